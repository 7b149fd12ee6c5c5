/** Where the batches of one stream go: a table that is made or grown from the stream's schema before its first batch. */
import type { RecordBatch } from 'apache-arrow';
import type { ForeignField } from '../../columnar/foreign-schema';
import type { DecodedRequest } from '../../core/batch';
import { IngestError } from '../../core/errors';
import type { TableName } from '../../core/ids';
import type { Registry } from '../../core/ingest';
import type { TableSchema, Tier } from '../../core/table-schema';
import { arrowRows } from '../arrow-named-rows';
import { columnsOfFields } from '../arrow-types';
import { isBuiltin } from '../friendly-names';
import type { Parking } from '../row-rejections';
import { checkTableName, decodeForTable } from '../schema-on-write';
import { keyOfPath } from './batch-keys';
import { type FlightDescriptor, pathElement } from './messages';
import { type IfExists, type IfNotExist, readSqlCommand, readStatementIngest, type StatementIngest } from './sql-messages';
import { malformed } from './wire';

/** Takes out all rows that a table has. Throws IngestError. */
export type ReplaceRows = (table: TableName) => Promise<void>;

/** What a stream wants to be done with its table. */
export interface Destination {
  readonly table: TableName;
  readonly ifNotExist: IfNotExist;
  readonly ifExists: IfExists;
  /** Home of a table that is made; undefined leaves it to the default. */
  readonly tier: Tier | undefined;
  /** `batches`: a result for each batch with app_metadata (FL5). `total`: one result with the number of rows (FS3). */
  readonly results: 'batches' | 'total';
  /** Idempotency key of the stream in its descriptor. */
  readonly key?: string | undefined;
}

/** Throws IngestError `invalid_argument`. `undefined` and '' are no wish. */
export function checkedTier(name: unknown, what: string): Tier | undefined {
  if (name === undefined || name === '') return undefined;
  if (name === 'hot' || name === 'cold') return name;
  throw malformed(`${what} must be hot or cold`);
}

/** What the first message of DoPut asks for (FL1, FL2, FS2). Throws IngestError. */
export function destinationOf(descriptor: FlightDescriptor | undefined, tier: Tier | undefined): Destination {
  if (descriptor === undefined) throw malformed('the first message must carry a descriptor');
  if (descriptor.type === 'path') {
    const key = keyOfPath(descriptor.path);
    const [name = ''] = key === undefined ? [pathElement(descriptor)] : descriptor.path;
    return { table: checkTableName(name), ifNotExist: 'create', ifExists: 'append', tier, results: 'batches', key };
  }
  if (descriptor.type !== 'cmd') throw malformed('the descriptor must be a path or a command');
  const command = readSqlCommand(descriptor.cmd);
  if (command === undefined) throw malformed('the command is not a Flight SQL message');
  if (command.name !== 'CommandStatementIngest') throw new IngestError('unimplemented', `${command.name} is not implemented`);
  return ingestDestination(readStatementIngest(command.value), tier);
}

function ingestDestination(command: StatementIngest, tier: Tier | undefined): Destination {
  const refused = (what: string): IngestError => new IngestError('unimplemented', `flight sql ingest: ${what}`);
  if (command.temporary) throw refused('there are no temporary tables');
  if (command.hasTransaction) throw refused('there are no transactions, each batch is durable by itself');
  if (command.schema !== '') throw refused('tables have no schema, only a catalog (hot or cold)');
  const [option] = command.options;
  if (option !== undefined) throw refused(`the option ${option.slice(0, 80)} is not known`);
  const { ifNotExist, ifExists } = command;
  const catalog = checkedTier(command.catalog, 'the catalog');
  return { table: checkTableName(command.table), ifNotExist, ifExists, tier: catalog ?? tier, results: 'total' };
}

export class TableWriter {
  private fields: readonly ForeignField[] | undefined;
  /** Tables that are being made with `create` right now. */
  private static readonly creating = new WeakMap<Registry, Set<TableName>>();

  constructor(
    readonly destination: Destination,
    private readonly registry: Registry,
    private readonly replaceRows: ReplaceRows | undefined,
    private readonly parking: Parking = 'columns',
  ) {}

  /** Refuses what can be refused before the first row: the modes of Flight SQL (FS2). Throws IngestError. */
  check(): void {
    const { table, ifNotExist, ifExists, tier } = this.destination;
    const known = this.registry.get(table);
    if (known === undefined) {
      if (ifNotExist === 'fail') throw new IngestError('not_found', `there is no table ${table}`);
      return;
    }
    if (ifExists === 'fail') throw new IngestError('already_exists', `the table ${table} exists`);
    if (tier !== undefined && tier !== known.tier) throw malformed(`the table ${table} is in the ${known.tier} tier`);
    if (ifExists !== 'replace') return;
    if (isBuiltin(table)) throw malformed(`the built-in table ${table} cannot be replaced`);
    if (this.replaceRows === undefined) throw new IngestError('unimplemented', 'tables cannot be replaced without stores');
  }

  /** Makes or grows the table; its schema is durable afterwards. Throws IngestError. */
  async open(fields: readonly ForeignField[]): Promise<void> {
    const { table, ifExists } = this.destination;
    const known = this.registry.get(table);
    if (known === undefined) {
      await this.create(fields);
      return;
    }
    this.check();
    if (ifExists === 'replace' && this.replaceRows !== undefined) {
      checkSameTypes(fields, known);
      await this.replaceRows(table);
    }
    await this.grow(fields, known);
    this.fields = fields;
  }

  private async create(fields: readonly ForeignField[]): Promise<void> {
    const { table, ifExists } = this.destination;
    const creating = TableWriter.creating.get(this.registry) ?? new Set<TableName>();
    TableWriter.creating.set(this.registry, creating);
    if (ifExists === 'fail' && creating.has(table)) throw new IngestError('already_exists', `the table ${table} exists`);
    creating.add(table);
    try {
      await this.grow(fields, undefined);
      this.fields = fields;
    } finally {
      creating.delete(table);
    }
  }

  private async grow(fields: readonly ForeignField[], known: TableSchema | undefined): Promise<void> {
    const { table, tier } = this.destination;
    const { columns, timeColumn } = columnsOfFields(fields, known);
    if (known !== undefined && columns.length === 0) return;
    await this.registry.evolve(table, columns, { timeColumn, ...(tier === undefined ? {} : { tier }) });
  }

  /** The rows of one batch under the schema in force, which grows as they need it and its policies allow. Throws IngestError. */
  decode(batch: RecordBatch, arrivalNs: bigint): Promise<DecodedRequest> {
    if (this.fields === undefined) throw new Error('the table is not open');
    const rows = arrowRows(this.fields, [batch], { arrivalNs });
    return decodeForTable(this.registry, this.destination.table, rows, this.parking);
  }
}

/** Tables only grow: one that is replaced keeps its columns, so the new rows must agree with their types. */
function checkSameTypes(fields: readonly ForeignField[], known: TableSchema): void {
  const { columns } = columnsOfFields(fields, undefined);
  const types = new Map(known.columns.map(({ name, type }) => [name, type]));
  for (const { name, type } of columns) {
    const before = types.get(name);
    if (before !== undefined && before !== type) {
      throw malformed(`a replaced table keeps its columns, and ${name.slice(0, 80)} is ${before} there, not ${type}`);
    }
  }
}
