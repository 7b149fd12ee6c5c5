/** Brings tables into the state that their schema asks for. Everything here is repeatable and only ever adds. */
import type { PoolClient } from 'pg';
import { BUILTIN_TABLES } from '../../core/builtin-tables';
import { storeForm } from '../../core/column-name';
import { mergeSchemas, type StoredSchema, schemaOfRow } from '../../core/merge-schema';
import type { Partitioning } from '../../core/partitioning';
import { quoteIdentifier } from '../../core/postgres-sql';
import { SinkError } from '../../core/sink';
import type { TableSchema } from '../../core/table-schema';
import { CREATE_BATCH_ROWS } from './batch-rows';
import { addColumns, createIndexes, createTable, typeConflicts } from './ddl';
import { CREATE_DEMOTIONS, closedRanges } from './demotion-rows';
import { createEventsView, EVENTS_TABLES, EVENTS_VIEW } from './events-view';
import { kindOf, type TableKind } from './hot-partitions';
import {
  createDefaultPartition,
  createPartition,
  dayRange,
  daysAhead,
  isCovered,
  LIST_PARTITIONS,
  type Partitions,
  type Range,
  readPartitions,
} from './partitions';
import { keepByPartman, partmanSchema } from './partman';
import {
  CREATE_REGISTRY,
  historyValues,
  INSERT_HISTORY,
  registryValues,
  SELECT_REGISTRY,
  UPSERT_REGISTRY,
} from './registry-rows';
import { CREATE_TIME_BUCKET } from './time-bucket';
import {
  createHypertable,
  enableTimescale,
  hasFullLicense,
  keepCompression,
  setChunkInterval,
  type TimescaleOptions,
} from './timescale';
import { type Widening, widenColumns, wideningsOf } from './widen';

/** What the sink remembers of a table. */
export interface TableState {
  /** What is in force after merging with the shared registry, columns by their own names. */
  readonly schema: TableSchema;
  /** Types of the columns when they were looked at: writers compare it, see `fingerprintOf`. */
  readonly fingerprint: string;
  /** Columns that were widened beside the old ones just now, because the table is large. */
  readonly leftBehind: readonly Widening[];
  readonly kind: TableKind;
  /** Ranges of time that have a partition, or need none because they were demoted; empty for other kinds. */
  readonly ranges: readonly Range[];
}

export interface Store {
  /** How hypertables are made; undefined without TimescaleDB. */
  readonly timescale: TimescaleOptions | undefined;
  /** Does this TimescaleDB have compression? */
  readonly compression: boolean;
  /** The schema of pg_partman, where it is to keep the partitions. */
  readonly partman: string | undefined;
}

export interface StoreOptions {
  readonly partitioning: Partitioning;
  readonly timescale: TimescaleOptions;
}

/**
 * CREATE ... IF NOT EXISTS is not safe against itself: of two servers that start at once, one would get a unique violation in the
 * catalogue. All of our DDL takes this lock first (an arbitrary number; it must not change).
 */
const DDL_LOCK = '7454681337209917';
/** Longest wait for other transactions before an attempt is given up, so that queries do not queue behind us for ever. */
const LOCK_TIMEOUT_MS = 20_000;

export async function lockDdl(client: PoolClient): Promise<void> {
  await client.query(`SET LOCAL lock_timeout = ${LOCK_TIMEOUT_MS}; SELECT pg_advisory_xact_lock(${DDL_LOCK})`);
}

/** What is always there: batch rows, registry, functions. In a transaction. */
export async function createBase(client: PoolClient, options: StoreOptions): Promise<Store> {
  await lockDdl(client);
  const hasTimescale = await enableTimescale(client);
  for (const statement of [...CREATE_BATCH_ROWS, ...CREATE_DEMOTIONS, ...CREATE_REGISTRY]) await client.query(statement);
  if (!hasTimescale) for (const statement of CREATE_TIME_BUCKET) await client.query(statement);
  const partman = options.partitioning === 'partman' ? await partmanSchema(client) : undefined;
  const compression = hasTimescale && (await hasFullLicense(client));
  const isHypertable = hasTimescale && options.partitioning === 'auto';
  return { timescale: isHypertable ? options.timescale : undefined, compression, partman };
}

const SELECT_UNLOGGED = `SELECT c.relname FROM pg_class c WHERE c.relpersistence = 'u' AND (c.oid = to_regclass($1)
  OR c.oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = to_regclass($1))) LIMIT 1`;

/** P4: a crash of the server empties an unlogged table, while its batch rows say that all is there. */
async function refuseUnlogged(client: PoolClient, table: string): Promise<void> {
  const { rows } = await client.query<{ relname: string }>(SELECT_UNLOGGED, [quoteIdentifier(table)]);
  if (rows[0] === undefined) return;
  const text = `${rows[0].relname} is UNLOGGED: a crash of postgresql would empty it; ALTER TABLE ${rows[0].relname} SET LOGGED`;
  throw new SinkError('retry', text, { scope: 'table' });
}

/**
 * In a transaction: merges the schema with the shared registry and brings the table to what has come of it. Throws SinkError
 * when a column is there with a type that does not take our values.
 */
export async function createOrEvolve(client: PoolClient, asked: TableSchema, store: Store, nowMs: number): Promise<TableState> {
  await lockDdl(client);
  const shared = await sharedSchema(client, asked);
  const merged = shared === undefined ? asked : mergeSchemas(shared, asked);
  const schema = storeForm(merged);
  const before = await kindOf(client, schema.table);
  if (before === undefined) {
    await client.query(createTable(schema, store.timescale === undefined));
    if (store.timescale !== undefined) await client.query(createHypertable(schema, store.timescale));
  }
  const kind = before ?? (store.timescale === undefined ? 'partitioned' : 'hypertable');
  if (before !== undefined) await refuseUnlogged(client, schema.table);
  const found = await columnsOf(client, schema.table);
  const widenings = shared === undefined ? [] : wideningsSince(storeForm(shared), schema, found);
  const leftBehind = await widenColumns(client, schema, widenings, kind);
  const columns = await columnsOf(client, schema.table);
  const conflicts = typeConflicts(schema, columns);
  if (conflicts.length > 0)
    throw new SinkError('retry', `table ${schema.table} does not fit its schema: ${conflicts.join(', ')}`, { scope: 'table' });
  const alter = addColumns(schema, columns);
  if (alter !== undefined) await client.query(alter);
  for (const statement of createIndexes(schema)) await client.query(statement);
  if (kind === 'hypertable' && store.timescale !== undefined) {
    if (before !== undefined) await client.query(setChunkInterval(schema, store.timescale));
    if (store.compression) await keepCompression(client, schema, store.timescale);
  }
  const ranges = kind === 'partitioned' ? await addPartitions(client, schema, daysAhead(nowMs), store) : [];
  if (EVENTS_TABLES.includes(schema.table)) await refreshEventsView(client);
  await client.query(UPSERT_REGISTRY, registryValues(merged));
  await client.query(INSERT_HISTORY, historyValues(merged));
  return { schema: merged, fingerprint: await fingerprintOf(client, schema), leftBehind, kind, ranges };
}

/** What all servers on this store know of the table. Built-in tables come with the program. */
async function sharedSchema(client: PoolClient, { table }: TableSchema): Promise<TableSchema | undefined> {
  if (BUILTIN_TABLES.some((builtin) => builtin.table === table)) return undefined;
  const { rows } = await client.query<StoredSchema>(`${SELECT_REGISTRY} WHERE table_name = $1`, [table]);
  return rows[0] === undefined ? undefined : schemaOfRow(rows[0]);
}

/** Only types that we have given ourselves are changed: a column of somebody else's table is left as it is. */
function wideningsSince(before: TableSchema, schema: TableSchema, found: ReadonlyMap<string, string>): Widening[] {
  const types = new Map(before.columns.map(({ name, type }) => [name, type]));
  return wideningsOf(schema, found).filter(({ column }) => types.has(column.name) && types.get(column.name) !== column.type);
}

/**
 * Names and types of the table's columns that we write, as one text. Binary COPY says nothing of types: eight bytes of a bigint
 * would be taken for a double. A writer compares this within its transaction, in case another server has widened a column.
 */
export async function fingerprintOf(client: PoolClient, schema: TableSchema): Promise<string> {
  const { rows } = await client.query<{ fingerprint: string | null }>(
    `SELECT md5(string_agg(attname || ' ' || atttypid, ',' ORDER BY attname)) AS fingerprint FROM pg_attribute
      WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped AND attname = ANY($2)`,
    [quoteIdentifier(schema.table), schema.columns.map(({ name }) => name)],
  );
  return rows[0]?.fingerprint ?? '';
}

/** Makes the partitions that are missing of these days and gives all that need none. In a transaction that holds the DDL lock. */
export async function addPartitions(
  client: PoolClient,
  schema: TableSchema,
  days: readonly number[],
  { partman }: Pick<Store, 'partman'>,
): Promise<readonly Range[]> {
  if (partman !== undefined) {
    await keepByPartman(client, schema, partman);
    // Asked again when a day is needed that is further ahead.
    return [{ fromMs: -Infinity, toMs: dayRange(Math.max(...days)).toMs }];
  }
  let found = await partitionsOf(client, schema);
  if (found.defaultName === undefined) {
    await client.query(createDefaultPartition(schema));
    found = await partitionsOf(client, schema);
  }
  const closed = await closedRanges(client, schema.table);
  const missing = days.filter((day) => !isCovered(day, found.ranges) && !isCovered(day, closed));
  const { defaultName } = found;
  if (missing.length === 0 || defaultName === undefined) return [...found.ranges, ...closed];
  // Rows that another write puts there between our moving rows and attaching the partition would make the attachment fail.
  await client.query(`LOCK TABLE ONLY ${quoteIdentifier(schema.table)} IN SHARE UPDATE EXCLUSIVE MODE`);
  await client.query(`LOCK TABLE ${quoteIdentifier(defaultName)} IN ACCESS EXCLUSIVE MODE`);
  for (const day of missing) {
    for (const statement of createPartition(schema, day, defaultName)) await client.query(statement);
  }
  return [...(await partitionsOf(client, schema)).ranges, ...closed];
}

async function partitionsOf(client: PoolClient, schema: TableSchema): Promise<Partitions> {
  const { rows } = await client.query<{ name: string; bound: string }>(LIST_PARTITIONS, [quoteIdentifier(schema.table)]);
  return readPartitions(rows);
}

/** Names and types of the columns that a table has; none when there is no such table. */
export async function columnsOf(client: PoolClient, table: string): Promise<Map<string, string>> {
  const { rows } = await client.query<{ name: string; type: string }>(
    `SELECT attname AS name, format_type(atttypid, atttypmod) AS type FROM pg_attribute
      WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped`,
    [quoteIdentifier(table)],
  );
  return new Map(rows.map(({ name, type }) => [name, type]));
}

/** The name may belong to a table of somebody else (Vector's postgres sink is often given it): then there is no view. */
async function refreshEventsView(client: PoolClient): Promise<void> {
  const { rows } = await client.query<{ relname: string; relkind: string }>(
    'SELECT c.relname, c.relkind FROM pg_class c JOIN unnest($1::text[]) AS n ON c.oid = to_regclass(n)',
    [[...EVENTS_TABLES, EVENTS_VIEW]],
  );
  if (rows.some(({ relname, relkind }) => relname === EVENTS_VIEW && relkind !== 'v')) return;
  const sql = createEventsView(new Set(rows.map(({ relname }) => relname)));
  if (sql !== undefined) await client.query(sql);
}
