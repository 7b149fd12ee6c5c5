/**
 * JSON rows into one record batch of a table (DESIGN section 4). A row is wholly in or wholly out: values are converted into
 * cells
 * first and appended when the row is sound. A member that comes twice in a row has its last value.
 */
import { utf8Builder } from '../../columnar/bytes-builder';
import { recordBatch } from '../../columnar/record-batch';
import type { DecodedRequest } from '../../core/batch';
import { LOGS_EVENTS } from '../../core/builtin-tables';
import { isSideColumn } from '../../core/column-room';
import type { IngestError } from '../../core/errors';
import { CONFLICTS_COLUMN, type ColumnSchema, type ColumnType, OVERFLOW_COLUMN, type TableSchema } from '../../core/table-schema';
import type { CellProblem } from '../cell-problem';
import { aliasesOf, isBuiltin, overflowColumn } from '../friendly-names';
import { JSON_BYTE, type JsonReader } from '../json-reader';
import { KeyTable } from '../key-table';
import { newNameProblem } from '../new-columns';
import { isParked, type Parking, Rejections, unfitReason } from '../row-rejections';
import { readEntry } from './attribute-entries';
import { AttributesColumn, type Column, TimestampColumn } from './columns';
import { type Derive, deriveFor } from './derive';
import { makeAnyTextColumn, makeColumn } from './make-column';
import { ObjectColumn } from './object-column';
import { type JsonKind, type RowVisitor, readRows } from './rows-json';
import { type UnfitJson, unfitRows } from './unfit-rows';

/** Where and how rows come in. */
export interface DecodeContext {
  /** When the request arrived, nanoseconds since 1970: the time of rows that have none. */
  readonly arrivalNs: bigint;
  /** Default: `columns`. */
  readonly parking?: Parking;
  /** See ReceivedBody; only Arrow bodies ask. */
  readonly reserveUnpacked?: (totalBytes: number) => void;
}

/**
 * The rows of a JSON body for a table. Rows that do not fit are listed, the others are in the batch.
 * Throws IngestError `invalid_argument` when the body itself is not JSON.
 */
export function decodeJsonRows(body: Uint8Array, kind: JsonKind, schema: TableSchema, context: DecodeContext): DecodedRequest {
  const decoder = new RowDecoder(schema, context);
  readRows(body, kind, decoder);
  return decoder.finish();
}

/** A member name and the column that it fills. */
interface Member {
  readonly nameBytes: Uint8Array;
  readonly slot: ColumnSlot;
  readonly isAlias: boolean;
}

/** A column, and by which name the open row has filled it. */
interface ColumnSlot {
  readonly column: Column;
  /** Attributes and lists write to their builder while they are read, so they take part in every row. */
  readonly eager: boolean;
  /** Does the column hold a value in any row so far? Others are left out of the batch. */
  used: boolean;
  filledBy: Member | undefined;
  /** Where the value of an alias stands, should the column's own name come later. */
  valueAt: number;
}

const NOT_A_ROW: CellProblem = { code: 'not_an_object', message: 'a row must be a JSON object' };
const MISSING: CellProblem = { code: 'missing_column', message: 'the column must have a value' };

class RowDecoder implements RowVisitor {
  private readonly members = new KeyTable<Member>();
  private readonly slots: readonly ColumnSlot[];
  private readonly required: readonly Column[];
  private readonly time: Column;
  private readonly overflow: AttributesColumn | undefined;
  /** Members for which the table has no room, and values that do not fit their columns. */
  private readonly extra: ObjectColumn | undefined;
  private readonly conflicts: ObjectColumn | undefined;
  /** May rows change the table? */
  private readonly canChange: boolean;
  private readonly derive: Derive | undefined;
  private readonly rejections = new Rejections();
  private readonly parking: Parking;
  private readonly parked: UnfitJson[] = [];
  /** Where the open row is. */
  private reader: JsonReader | undefined;
  private rowStart = 0;
  private rowsRead = 0;
  private rowsAccepted = 0;
  /** Why the open row is refused. */
  private problem: CellProblem | undefined;
  private problemColumn: string | undefined;

  constructor(
    private readonly schema: TableSchema,
    private readonly context: DecodeContext,
  ) {
    this.parking = context.parking ?? 'columns';
    this.slots = makeSlots(schema);
    const byName = new Map(this.slots.map((slot) => [slot.column.schema.name, slot]));
    const addMember = (name: string, column: string, isAlias: boolean): void =>
      this.members.add({ nameBytes: new Uint8Array(Buffer.from(name)), slot: slotOf(byName, column), isAlias });
    for (const name of byName.keys()) if (!isSideColumn(name)) addMember(name, name, false);
    for (const [name, column] of aliasesOf(schema)) addMember(name, column, true);
    this.time = slotOf(byName, schema.timeColumn).column;
    this.required = schema.columns
      .filter(({ name, nullable }) => !nullable && name !== schema.timeColumn)
      .map(({ name }) => slotOf(byName, name).column);
    const overflow = byName.get(overflowColumn(schema) ?? '')?.column;
    this.overflow = overflow instanceof AttributesColumn ? overflow : undefined;
    this.extra = objectColumn(byName.get(OVERFLOW_COLUMN));
    this.conflicts = objectColumn(byName.get(CONFLICTS_COLUMN));
    this.canChange = (schema.policy ?? 'evolve') === 'evolve' && !isBuiltin(schema.table);
    this.derive = deriveFor(schema, (name) => slotOf(byName, name).column);
  }

  row(reader: JsonReader, byte: number): void {
    this.reader = reader;
    this.rowStart = reader.pos;
    if (byte !== JSON_BYTE.openObject) {
      reader.skipValue();
      this.refuse(NOT_A_ROW);
      return;
    }
    reader.beginObject();
    for (let first = true; reader.nextMember(first); first = false) {
      const { text, textStart, textEnd } = reader;
      const member = this.members.find(text, textStart, textEnd);
      const value = reader.peek();
      if (this.problem !== undefined) reader.skipValue();
      else if (member === undefined) this.unknown(reader, value, text, textStart, textEnd);
      else if (value === JSON_BYTE.n) this.fillNull(reader, member);
      else this.fill(reader, value, member);
    }
  }

  done(): void {
    if (this.problem === undefined) this.complete();
    if (this.problem === undefined) this.commit();
    else this.drop(this.problem, this.reader?.bytes.subarray(this.rowStart, this.reader.pos));
  }

  broken(error: IngestError, line: Uint8Array): void {
    this.problemColumn = undefined;
    this.drop({ code: 'invalid_json', message: error.message }, line);
  }

  finish(): DecodedRequest {
    const parked = unfitRows(this.schema, this.parked);
    if (this.rowsAccepted === 0) return this.rejections.decoded(undefined, parked);
    const columns = this.slots
      .filter((slot) => slot.used)
      .map(({ column }) => ({ name: column.schema.name, data: column.finish() }));
    const { table, version: schemaVersion } = this.schema;
    return this.rejections.decoded({ table, schemaVersion, batch: recordBatch(columns) }, parked);
  }

  private fill(reader: JsonReader, byte: number, member: Member): void {
    const { slot } = member;
    const { filledBy } = slot;
    if (filledBy !== undefined && filledBy !== member) {
      if (member.isAlias) {
        this.addEntry(reader, byte, member.nameBytes, 0, member.nameBytes.length);
        return;
      }
      this.moveToEntries(reader, filledBy, slot.valueAt);
    }
    slot.filledBy = member;
    slot.valueAt = reader.pos;
    const problem = slot.column.read(reader, byte);
    if (problem === undefined) slot.column.isSet = true;
    else this.conflict(reader, byte, slot, problem);
  }

  /** The value that was just read does not fit: what then, is the column's policy. */
  private conflict(reader: JsonReader, byte: number, slot: ColumnSlot, problem: CellProblem): void {
    const { name, conflict } = slot.column.schema;
    if (conflict === 'side_column' && this.conflicts !== undefined) {
      slot.column.drop();
      this.conflicts.add(name, reader.bytes, slot.valueAt, reader.pos);
      return;
    }
    this.refuse(problem, name);
    if (!this.canChange || name === this.schema.timeColumn) return;
    this.rejections.conflict(slot.column.schema, problem.fits ?? typeOfValue(byte));
  }

  private fillNull(reader: JsonReader, member: Member): void {
    reader.word();
    if (member.slot.filledBy !== member || member.slot.eager) return;
    member.slot.filledBy = undefined;
    member.slot.column.isSet = false;
  }

  /** The column's own name has come: what an alias had put there becomes an attribute under the alias. */
  private moveToEntries(reader: JsonReader, alias: Member, valueAt: number): void {
    const { pos } = reader;
    reader.pos = valueAt;
    this.addEntry(reader, reader.peek(), alias.nameBytes, 0, alias.nameBytes.length);
    reader.pos = pos;
  }

  private unknown(reader: JsonReader, byte: number, text: Uint8Array, start: number, end: number): void {
    if (this.overflow !== undefined) {
      this.addEntry(reader, byte, text, start, end);
      return;
    }
    const name = byte === JSON_BYTE.n ? '' : Buffer.from(text.subarray(start, end)).toString();
    const valueAt = reader.pos;
    reader.skipValue();
    // Null says nothing, so it needs no column.
    if (byte === JSON_BYTE.n) return;
    const problem = this.unknownProblem(name);
    if (problem.code === 'unknown_column' && this.canChange && this.extra !== undefined) {
      this.extra.add(name, reader.bytes, valueAt, reader.pos);
    } else {
      this.refuse(problem, name);
    }
  }

  private unknownProblem(name: string): CellProblem {
    const message = newNameProblem(name, this.schema);
    return message === undefined
      ? { code: 'unknown_column', message: `table ${this.schema.table} has no such column` }
      : { code: 'invalid_name', message };
  }

  /** Adds an attribute to the overflow column. Only built-in tables have aliases, and each of them has that column. */
  private addEntry(reader: JsonReader, byte: number, name: Uint8Array, start: number, end: number): void {
    const { overflow } = this;
    if (overflow === undefined) throw new Error(`table ${this.schema.table} has no attributes column`);
    const key = overflow.entries.keys.intern(name, start, end);
    const problem = readEntry(reader, byte, key, overflow.entries);
    if (problem === undefined) overflow.isSet = true;
    else this.refuse(problem, Buffer.from(name.subarray(start, end)).toString());
  }

  private refuse(problem: CellProblem, column?: string): void {
    this.problem = problem;
    this.problemColumn = column;
  }

  /** Fills in what the row does not say; may refuse it. */
  private complete(): void {
    this.derive?.();
    if (!this.time.isSet && this.time instanceof TimestampColumn) this.time.setNs(this.context.arrivalNs);
    const missing = this.required.find((column) => !column.isSet);
    if (missing !== undefined) this.refuse(MISSING, missing.schema.name);
  }

  private commit(): void {
    for (const slot of this.slots) {
      const { column } = slot;
      if (column.isSet && !slot.used) {
        slot.used = true;
        column.fill(this.rowsAccepted);
      }
      if (slot.used || slot.eager) column.commit();
      slot.filledBy = undefined;
    }
    this.rowsAccepted++;
    this.rowsRead++;
  }

  private drop(problem: CellProblem, text: Uint8Array | undefined): void {
    const { problemColumn } = this;
    if (text !== undefined && isParked(this.schema, this.parking, problemColumn)) {
      this.parked.push({ text, reason: unfitReason(problem, problemColumn) });
    } else {
      this.rejections.add(this.rowsRead, problem, problemColumn);
    }
    for (const slot of this.slots) {
      slot.column.drop();
      slot.filledBy = undefined;
    }
    this.problem = undefined;
    this.problemColumn = undefined;
    this.rowsRead++;
  }
}

const objectColumn = (slot: ColumnSlot | undefined): ObjectColumn | undefined =>
  slot?.column instanceof ObjectColumn ? slot.column : undefined;

/** A type for a value that begins with this byte and is not of the column's; numbers say it themselves. */
function typeOfValue(byte: number): ColumnType {
  switch (byte) {
    case JSON_BYTE.quote:
      return 'string';
    case JSON_BYTE.t:
    case JSON_BYTE.f:
      return 'bool';
    case JSON_BYTE.openArray:
    case JSON_BYTE.openObject:
      return 'json';
    default:
      return 'uint64';
  }
}

const NESTED = /^(attributes|list<)/;

function columnFor(schema: TableSchema, column: ColumnSchema): Column {
  if (isSideColumn(column.name)) return new ObjectColumn(column, utf8Builder());
  // The body of a log may be of any kind; `body_type` then tells which.
  const takesAll = schema.table === LOGS_EVENTS.table && column.name === 'message';
  const coerces = column.type === 'string' && column.conflict === 'coerce';
  return takesAll || coerces ? makeAnyTextColumn(column) : makeColumn(column);
}

function makeSlots(schema: TableSchema): ColumnSlot[] {
  return schema.columns.map((column) => ({
    column: columnFor(schema, column),
    eager: NESTED.test(column.type),
    used: false,
    filledBy: undefined,
    valueAt: 0,
  }));
}

function slotOf(slots: ReadonlyMap<string, ColumnSlot>, name: string): ColumnSlot {
  const slot = slots.get(name);
  if (slot === undefined) throw new Error(`the schema has no column ${name}`);
  return slot;
}
