/**
 * Definitions of ClickHouse tables. Every table carries the batch id columns and the settings of durability rule C1, and is
 * partitioned by the UTC day of its time column, so that one insert of one day is one part (C2).
 *
 * Null: strings, JSON and bytes are '' for a row without a value, attributes and lists are empty; numbers, bools, dates and
 * timestamps are Nullable where the schema allows it, because 0 is a value.
 */

import { identifier, literal, qualified } from '../../core/clickhouse-sql';
import { storeNameOf } from '../../core/column-name';
import type { ColumnSchema, ColumnType, TableSchema } from '../../core/table-schema';
import { holds, isNumeric } from '../../core/type-lattice';
import { localTable, mergeTree, onCluster } from './cluster';
import type { DdlOptions } from './ddl-options';

/** Batch id columns of rule C1: the first 64 bits of the WAL id, and the first LSN of the insert. */
export const BATCH_HI = '_batch_hi';
export const BATCH_LO = '_batch_lo';

/** Inserts of one table whose tokens ClickHouse remembers: 10 times what could ever be under way (C1). */
const DEDUPLICATION_WINDOW = 10_000;

const VALUE_TYPES: Readonly<Record<Exclude<ColumnType, 'string'>, string>> = {
  timestamp: "DateTime64(9, 'UTC')",
  json: 'String',
  attributes: 'Map(LowCardinality(String), String)',
  bool: 'Bool',
  int16: 'Int16',
  int32: 'Int32',
  int64: 'Int64',
  uint8: 'UInt8',
  uint32: 'UInt32',
  uint64: 'UInt64',
  decimal: 'Decimal(76, 38)',
  float32: 'Float32',
  float64: 'Float64',
  binary: 'String',
  date: 'Date32',
  'list<uint64>': 'Array(UInt64)',
  'list<int64>': 'Array(Int64)',
  'list<float64>': 'Array(Float64)',
  'list<string>': 'Array(String)',
};

const NEVER_NULL: ReadonlySet<ColumnType> = new Set<ColumnType>([
  'string',
  'json',
  'attributes',
  'binary',
  'list<uint64>',
  'list<int64>',
  'list<float64>',
  'list<string>',
]);

/** The ClickHouse type of a column. The time column is never null: it partitions and orders the table. */
export function columnType(column: ColumnSchema, timeColumn: string): string {
  if (column.type === 'string') return column.lowCardinality === true ? 'LowCardinality(String)' : 'String';
  const type = VALUE_TYPES[column.type];
  return column.nullable && column.name !== timeColumn && !NEVER_NULL.has(column.type) ? `Nullable(${type})` : type;
}

/** Deltas of timestamps compress 2 to 4 times better; the rest is best served by plain ZSTD(1). */
const codec = (type: ColumnType): string => (type === 'timestamp' ? 'CODEC(Delta(8), ZSTD(1))' : 'CODEC(ZSTD(1))');

const columnDefinition = (column: ColumnSchema, timeColumn: string): string =>
  `${identifier(column.name)} ${columnType(column, timeColumn)} ${codec(column.type)}`;

const BATCH_COLUMNS = [BATCH_HI, BATCH_LO].map((name) => `${identifier(name)} UInt64 CODEC(ZSTD(1))`);
const BATCH_INDEX = `idx_batch (${identifier(BATCH_HI)}, ${identifier(BATCH_LO)}) TYPE minmax GRANULARITY 1`;
const TRACE_INDEX = 'idx_trace_id `trace_id` TYPE bloom_filter(0.001) GRANULARITY 1';

const hasString = (schema: TableSchema, name: string): boolean =>
  schema.columns.some((column) => column.name === name && column.type === 'string');

/** Rows of one application stand together, in time order; a table without `app` is in time order alone. */
const sortingKey = (schema: TableSchema): string =>
  hasString(schema, 'app') ? `(\`app\`, ${identifier(schema.timeColumn)})` : `(${identifier(schema.timeColumn)})`;

/** The expression of the partition: its value is the `partition` of a write's identity. */
export const partitionExpression = (timeColumn: string): string => `toYYYYMMDD(${identifier(timeColumn)})`;

/** Rule C1: remember tokens, and have a part on disk before the insert is answered. */
const SETTINGS: readonly (readonly [name: string, value: number])[] = [
  ['fsync_after_insert', 1],
  ['fsync_part_directory', 1],
  ['min_rows_to_fsync_after_merge', 1],
  ['min_compressed_bytes_to_fsync_after_merge', 1],
];

function settings(options: DdlOptions): string {
  const window = options.replicated === undefined ? 'non_replicated_deduplication_window' : 'replicated_deduplication_window';
  return [[window, DEDUPLICATION_WINDOW], ...SETTINGS].map(([name, value]) => `${name} = ${value}`).join(', ');
}

/** Settings that only a new table can be given. */
const creationSettings = ({ storagePolicy }: DdlOptions): string =>
  storagePolicy === undefined ? '' : `, storage_policy = ${literal(storagePolicy)}`;

/** Whole partitions go when all their rows are too old; undefined: rows are kept for ever. */
export function rowTtl(schema: TableSchema, { keepDays = {} }: DdlOptions): string | undefined {
  if (!Object.hasOwn(keepDays, schema.table)) return undefined;
  return `toDateTime(${identifier(schema.timeColumn)}) + toIntervalDay(${keepDays[schema.table]})`;
}

/** The change that gives a table this TTL; undefined when it has it. `engine`: `engine_full` of the stored table. */
export function ttlChange(engine: string, ttl: string | undefined): string | undefined {
  const plain = (text: string | undefined): string | undefined => text?.replaceAll('`', '');
  if (plain(/ TTL (.*?)(?: SETTINGS |$)/.exec(engine)?.[1]) === plain(ttl)) return undefined;
  return ttl === undefined ? 'REMOVE TTL' : `MODIFY TTL ${ttl}`;
}

/** Refuses names that would hide our own columns; the registry refuses them to clients already. */
function checkColumns(schema: TableSchema): void {
  const own = schema.columns.find(({ name }) => name === BATCH_HI || name === BATCH_LO);
  if (own !== undefined) throw new RangeError(`column name ${own.name} is reserved`);
  const time = schema.columns.find(({ name }) => name === schema.timeColumn);
  if (time?.type !== 'timestamp') throw new RangeError(`time column ${schema.timeColumn} must be a timestamp`);
}

export const createDatabase = (options: DdlOptions): string =>
  `CREATE DATABASE IF NOT EXISTS ${identifier(options.database)}${onCluster(options)}`;

/** Throws RangeError for a schema that cannot be a table. */
export function createTable(schema: TableSchema, options: DdlOptions): string {
  checkColumns(schema);
  const columns = schema.columns.map((column) => columnDefinition(column, schema.timeColumn));
  const ttl = rowTtl(schema, options);
  const indexes = [BATCH_INDEX, ...(hasString(schema, 'trace_id') ? [TRACE_INDEX] : [])].map((index) => `INDEX ${index}`);
  return [
    `CREATE TABLE IF NOT EXISTS ${qualified(options.database, localTable(schema.table, options))}${onCluster(options)} (`,
    [...columns, ...BATCH_COLUMNS, ...indexes].map((line) => `  ${line}`).join(',\n'),
    `) ENGINE = ${mergeTree('MergeTree', options)}`,
    `PARTITION BY ${partitionExpression(schema.timeColumn)}`,
    `ORDER BY ${sortingKey(schema)}`,
    ...(ttl === undefined ? [] : [`TTL ${ttl}`]),
    `SETTINGS ${settings(options)}${creationSettings(options)}`,
  ].join('\n');
}

/** What is in the store of a table or view: one row of `StoredTable`, none when there is nothing with that name. */
export const describeTable = (table: string, { database }: DdlOptions): string =>
  'SELECT engine, engine_full, partition_key, comment, (SELECT groupArray((name, type)) FROM system.columns ' +
  `WHERE database = ${literal(database)} AND table = ${literal(table)}) AS columns ` +
  `FROM system.tables WHERE database = ${literal(database)} AND name = ${literal(table)}`;

export interface StoredTable {
  readonly engine: string;
  readonly engine_full: string;
  readonly partition_key: string;
  readonly comment: string;
  readonly columns: readonly (readonly [name: string, type: string])[];
}

/** What the store would tell of a table that was made for this schema. */
export function storedForm(schema: TableSchema, options: DdlOptions): StoredTable {
  const ttl = rowTtl(schema, options);
  const own = [BATCH_HI, BATCH_LO].map((name): [string, string] => [name, 'UInt64']);
  return {
    engine: mergeTree('MergeTree', options),
    engine_full: `${ttl === undefined ? '' : ` TTL ${ttl}`} SETTINGS ${settings(options)}`,
    partition_key: partitionExpression(schema.timeColumn),
    comment: '',
    columns: [...schema.columns.map((column): [string, string] => [column.name, columnType(column, schema.timeColumn)]), ...own],
  };
}

/** Why a table that exists cannot take our inserts; undefined when it can. */
export function objection(schema: TableSchema, stored: StoredTable): string | undefined {
  if (!stored.engine.endsWith('MergeTree')) return `${schema.table} has engine ${stored.engine}, a MergeTree is needed`;
  const partition = stored.partition_key.replaceAll('`', '');
  const expected = partitionExpression(schema.timeColumn).replaceAll('`', '');
  if (partition !== expected) return `${schema.table} is partitioned by ${partition || 'nothing'}, ${expected} is needed`;
  return undefined;
}

/** Statements that give an existing table the columns, types and settings it lacks; none when it has all of them. */
export function alterTable(schema: TableSchema, stored: StoredTable, options: DdlOptions): string[] {
  const widenings = wideningsOf(schema, new Map(stored.columns));
  const names = new Set([...stored.columns.map(([name]) => name), ...widenings.flatMap(({ oldName }) => oldName ?? [])]);
  for (const { column, oldName } of widenings) if (oldName !== undefined) names.delete(column.name);
  const missing = (name: string): boolean => !names.has(name);
  const changes = schema.columns
    .filter(({ name }) => missing(name))
    .map((column) => `ADD COLUMN IF NOT EXISTS ${addedDefinition(column, schema, names)}`);
  if (missing('trace_id') && hasString(schema, 'trace_id')) changes.push(`ADD INDEX IF NOT EXISTS ${TRACE_INDEX}`);
  if (missing(BATCH_HI) || missing(BATCH_LO)) {
    changes.push(...BATCH_COLUMNS.map((definition) => `ADD COLUMN IF NOT EXISTS ${definition}`));
    changes.push(`ADD INDEX IF NOT EXISTS ${BATCH_INDEX}`);
  }
  const alter = `ALTER TABLE ${qualified(options.database, localTable(schema.table, options))}${onCluster(options)}`;
  const statements = widenings
    .flatMap((widening) => widenColumn(widening, schema.timeColumn))
    .map((change) => `${alter} ${change}`);
  if (changes.length > 0) statements.push(`${alter} ${changes.join(', ')}`);
  const wanted = rowTtl(schema, options);
  // A TTL that an operator has set by hand stays.
  const ttl = wanted === undefined ? undefined : ttlChange(stored.engine_full, wanted);
  if (ttl !== undefined) statements.push(`${alter} ${ttl} SETTINGS materialize_ttl_after_modify = 0`);
  // One that somebody has set to 0 is set again: the log is released as soon as the store has answered (C6).
  const settled = SETTINGS.every(([name]) => new RegExp(`\\b${name} = [1-9]`).test(stored.engine_full));
  return settled ? statements : [...statements, `${alter} MODIFY SETTING ${settings(options)}`];
}

/** A new column; one that took the place of a narrower one reads that one's values for earlier rows. */
function addedDefinition(column: ColumnSchema, schema: TableSchema, names: ReadonlySet<string>): string {
  const companion = schema.columns.find(({ exactOf }) => exactOf === column.name)?.name ?? `${column.name}_int`;
  const before = COLUMN_TYPES.map((type): [string, ColumnType] => [keptName(column.name, type), type]);
  const isExact = column.type === 'float64' && names.has(companion) && !schema.columns.some(isOtherThan(companion, column.name));
  const old = before.find(([name]) => names.has(name));
  if (!isExact && old === undefined) return columnDefinition(column, schema.timeColumn);
  const isNumber = isNumeric(column.type);
  const value = isExact ? identifier(companion) : isNumber ? identifier(old![0]) : textExpression(old![0], old![1]);
  return `${identifier(column.name)} ${columnType(column, schema.timeColumn)} DEFAULT ${value} ${codec(column.type)}`;
}

/** A column of this name that is not the companion of `owner`. */
const isOtherThan =
  (companion: string, owner: string) =>
  ({ name, exactOf }: ColumnSchema): boolean =>
    name === companion && exactOf !== owner;

const keptName = (name: string, from: ColumnType): string => {
  const kept = `${name}_before_${from.replace(/\W+/g, '_')}`;
  return storeNameOf(kept) ?? kept;
};

/** A column that the store has in a narrower type. */
interface Widening {
  readonly column: ColumnSchema;
  /** Where the old column goes, when it is kept under another name. */
  readonly oldName: string | undefined;
  readonly isNullable: boolean;
}

const COLUMN_TYPES: readonly ColumnType[] = ['string', ...(Object.keys(VALUE_TYPES) as (keyof typeof VALUE_TYPES)[])];

/** `stored`: name to type. */
function wideningsOf(schema: TableSchema, stored: ReadonlyMap<string, string>): Widening[] {
  return schema.columns.flatMap((column): Widening[] => {
    const found = stored.get(column.name);
    if (found === undefined || bareType(found) === bareType(columnType(column, schema.timeColumn))) return [];
    const from = COLUMN_TYPES.find(
      (type) => type !== 'string' && type !== column.type && VALUE_TYPES[type] === bareType(found) && holds(column.type, type),
    );
    if (from === undefined) return [];
    const isNullable = found.startsWith('Nullable(');
    if (!isNumeric(column.type)) return [{ column, oldName: keptName(column.name, from), isNullable }];
    const isExact = column.type === 'float64' && from === 'int64';
    return [{ column, oldName: isExact ? companionOf(column, schema, stored) : undefined, isNullable }];
  });
}

/** Where the exact integers of a column go; a server that has not heard of them yet keeps them all the same. */
function companionOf({ name }: ColumnSchema, schema: TableSchema, stored: ReadonlyMap<string, string>): string {
  const companion = schema.columns.find(({ exactOf }) => exactOf === name)?.name ?? `${name}_int`;
  return stored.has(companion) ? keptName(name, 'int64') : companion;
}

/**
 * A column that another server has widened under a name that this schema does not know yet; undefined when there is none. ClickHouse
 * would convert what is inserted in the old type without a word: integers above 2^53 to the nearest double, times to texts of its own.
 */
export function movedColumn(schema: TableSchema, stored: StoredTable): string | undefined {
  const types = new Map(stored.columns);
  const own = new Set(schema.columns.map(({ name }) => name));
  return schema.columns.find(({ name, type }) => {
    const found = types.get(name);
    if (found === undefined || bareType(found) === bareType(columnType({ name, type, nullable: true }, schema.timeColumn)))
      return false;
    return [keptName(name, type), ...(type === 'int64' ? [`${name}_int`] : [])].some((kept) => types.has(kept) && !own.has(kept));
  })?.name;
}

const bareType = (type: string): string => /^(?:Nullable|LowCardinality)\((.*)\)$/.exec(type)?.[1] ?? type;

/**
 * Changes that widen a column. A wider number is a MODIFY: ClickHouse converts parts in the background and on reading. Integers
 * that become doubles, and everything that becomes text, is a RENAME (of files), and then a new column whose default is the old
 * one: that costs nothing however large the table is, and no digit is lost.
 */
function widenColumn({ column, oldName, isNullable }: Widening, timeColumn: string): string[] {
  if (oldName === undefined) return [`MODIFY COLUMN ${columnDefinition(column, timeColumn)}`];
  const rename = `RENAME COLUMN ${identifier(column.name)} TO ${identifier(oldName)}`;
  const isExact = column.type === 'float64';
  return isExact && !isNullable ? [rename, `MODIFY COLUMN ${identifier(oldName)} Nullable(Int64)`] : [rename];
}

/** A column's values as text, as columnar/widen.ts spells them; null is ''. */
function textExpression(name: string, from: ColumnType): string {
  const column = identifier(name);
  if (from === 'binary') return `base64Encode(${column})`;
  if (from === 'attributes' || from.startsWith('list')) return `toJSONString(${column})`;
  const text = from === 'timestamp' ? `concat(replaceOne(toString(${column}), ' ', 'T'), 'Z')` : `toString(${column})`;
  return `ifNull(${text}, '')`;
}

/** A view whose comment says that it is ours, so that a table or view of somebody else with its name is left alone. */
export const createView = (name: string, select: string, comment: string, options: DdlOptions): string =>
  `CREATE OR REPLACE VIEW ${qualified(options.database, name)}${onCluster(options)} AS ${select} COMMENT ${literal(comment)}`;
