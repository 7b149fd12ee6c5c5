/** Commands of `proto/arrow/flight/protocol/FlightSql.proto`. */
import { Writer } from 'protobufjs/minimal';
import { readAny, writeAny } from './messages';
import { malformed, readFields } from './wire';

const PREFIX = 'type.googleapis.com/arrow.flight.protocol.sql.';

/** A Flight SQL command or action body: its short name and its bytes. */
export interface SqlCommand {
  readonly name: string;
  readonly value: Buffer;
}

/** Undefined when the bytes are no Flight SQL message (FL2). */
export function readSqlCommand(bytes: Buffer): SqlCommand | undefined {
  const any = readAny(bytes);
  if (any === undefined || !any.typeUrl.startsWith(PREFIX)) return undefined;
  return { name: any.typeUrl.slice(PREFIX.length), value: any.value };
}

export const writeSqlMessage = (name: string, value: Uint8Array): Buffer => writeAny(PREFIX + name, value);

export type IfNotExist = 'create' | 'fail';
export type IfExists = 'fail' | 'append' | 'replace';

export interface StatementIngest {
  readonly table: string;
  readonly ifNotExist: IfNotExist;
  readonly ifExists: IfExists;
  readonly catalog: string;
  readonly schema: string;
  readonly temporary: boolean;
  readonly hasTransaction: boolean;
  /** Names of the options that are set. */
  readonly options: readonly string[];
}

const IF_NOT_EXIST: readonly (IfNotExist | undefined)[] = [undefined, 'create', 'fail'];
const IF_EXISTS: readonly (IfExists | undefined)[] = [undefined, 'fail', 'append', 'replace'];

/** Throws IngestError `invalid_argument` for a mode that is not said and for an empty table name (FS2). */
export function readStatementIngest(message: Buffer): StatementIngest {
  const found = { table: '', schema: '', catalog: '', temporary: false, hasTransaction: false };
  const options: string[] = [];
  let modes = { ifNotExist: 0, ifExists: 0 };
  readFields(message, 'CommandStatementIngest', (field) => {
    if (field.number === 1) modes = readModes(field.bytes(), modes);
    else if (field.number === 2) found.table = field.text();
    else if (field.number === 3) found.schema = field.text();
    else if (field.number === 4) found.catalog = field.text();
    else if (field.number === 5) found.temporary = field.bool();
    else if (field.number === 6) found.hasTransaction = field.bytes().length > 0;
    else if (field.number === 1000) options.push(readKey(field.bytes()));
  });
  const ifNotExist = IF_NOT_EXIST[modes.ifNotExist];
  const ifExists = IF_EXISTS[modes.ifExists];
  if (ifNotExist === undefined || ifExists === undefined) {
    throw malformed('if_not_exist and if_exists of CommandStatementIngest must both be set');
  }
  if (found.table === '') throw malformed('CommandStatementIngest names no table');
  return { ...found, ifNotExist, ifExists, options };
}

function readModes(message: Buffer, before: { ifNotExist: number; ifExists: number }): { ifNotExist: number; ifExists: number } {
  const modes = { ...before };
  readFields(message, 'TableDefinitionOptions', (field) => {
    if (field.number === 1) modes.ifNotExist = field.uint32();
    else if (field.number === 2) modes.ifExists = field.uint32();
  });
  return modes;
}

function readKey(entry: Buffer): string {
  let key = '';
  readFields(entry, 'options', (field) => {
    if (field.number === 1) key = field.text();
  });
  return key;
}

export interface StatementQuery {
  readonly query: string;
  readonly hasTransaction: boolean;
}

/** CommandStatementQuery and ActionCreatePreparedStatementRequest, which look the same. */
export function readStatementQuery(message: Buffer, name: string): StatementQuery {
  let query = '';
  let hasTransaction = false;
  readFields(message, name, (field) => {
    if (field.number === 1) query = field.text();
    else if (field.number === 2) hasTransaction = field.bytes().length > 0;
  });
  return { query, hasTransaction };
}

/** The SqlInfo codes asked for, packed or not (PB2). */
export function readSqlInfo(message: Buffer): number[] {
  const codes: number[] = [];
  readFields(message, 'CommandGetSqlInfo', (field) => {
    if (field.number === 1) codes.push(...field.uint32List());
  });
  return codes;
}

export interface TablesFilter {
  readonly catalog: string | undefined;
  readonly schemaPattern: string | undefined;
  readonly tablePattern: string | undefined;
  readonly tableTypes: readonly string[];
  readonly includeSchema: boolean;
}

/** CommandGetTables; its first two fields are also those of CommandGetDbSchemas. */
export function readTablesFilter(message: Buffer): TablesFilter {
  const found: { catalog?: string; schemaPattern?: string; tablePattern?: string } = {};
  const tableTypes: string[] = [];
  let includeSchema = false;
  readFields(message, 'CommandGetTables', (field) => {
    if (field.number === 1) found.catalog = field.text();
    else if (field.number === 2) found.schemaPattern = field.text();
    else if (field.number === 3) found.tablePattern = field.text();
    else if (field.number === 4) tableTypes.push(field.text());
    else if (field.number === 5) includeSchema = field.bool();
  });
  const { catalog, schemaPattern, tablePattern } = found;
  return { catalog, schemaPattern, tablePattern, tableTypes, includeSchema };
}

/** ActionCreatePreparedStatementResult without schemas: both are known only when the statement runs. */
export function writePreparedStatement(handle: Uint8Array): Buffer {
  const result = Writer.create().uint32(0x0a).bytes(handle).finish();
  return writeSqlMessage('ActionCreatePreparedStatementResult', result);
}
