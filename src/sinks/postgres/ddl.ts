/** How a table looks in PostgreSQL: pure functions from schemas to SQL text. Every identifier is quoted. */
import { createHash } from 'node:crypto';
import { quoteIdentifier } from '../../core/postgres-sql';
import { type ColumnType, NANOS_SUFFIX, type TableSchema } from '../../core/table-schema';

/** The longest identifier that PostgreSQL keeps; it cuts longer ones silently. */
const IDENTIFIER_BYTES_MAX = 63;

/** Column types, spelled as PostgreSQL's format_type gives them back. */
export const PG_TYPES: Readonly<Record<ColumnType, string>> = {
  timestamp: 'timestamp with time zone',
  string: 'text',
  json: 'jsonb',
  attributes: 'jsonb',
  bool: 'boolean',
  int16: 'smallint',
  int32: 'integer',
  int64: 'bigint',
  uint8: 'smallint',
  uint32: 'bigint',
  uint64: 'numeric(20,0)',
  decimal: 'numeric',
  float32: 'real',
  float64: 'double precision',
  binary: 'bytea',
  date: 'date',
  'list<uint64>': 'numeric(20,0)[]',
  'list<int64>': 'bigint[]',
  'list<float64>': 'double precision[]',
  'list<string>': 'text[]',
};

/** The column with the nanoseconds below the microsecond of a timestamp column. */
export const nanosColumn = (timestampColumn: string): string => `${timestampColumn}${NANOS_SUFFIX}`;

export interface PgColumn {
  readonly name: string;
  readonly type: string;
  readonly notNull: boolean;
}

/**
 * The columns of the table: those of the schema in their order, then the nanosecond columns.
 * Throws RangeError when two would have one name: that schema cannot be stored without loss.
 */
export function pgColumns(schema: TableSchema): PgColumn[] {
  const columns = schema.columns.map(({ name, type, nullable }) => ({ name, type: PG_TYPES[type], notNull: !nullable }));
  for (const { name } of schema.columns.filter(({ type }) => type === 'timestamp')) {
    columns.push({ name: nanosColumn(name), type: 'smallint', notNull: false });
  }
  const names = new Set<string>();
  for (const { name } of columns) {
    if (names.has(name)) throw new RangeError(`table ${schema.table} has two columns named ${name}`);
    if (Buffer.byteLength(name) > IDENTIFIER_BYTES_MAX) throw new RangeError(`column name ${name} is too long for PostgreSQL`);
    names.add(name);
  }
  return columns;
}

const definition = ({ name, type, notNull }: PgColumn): string => `${quoteIdentifier(name)} ${type}${notNull ? ' NOT NULL' : ''}`;

/** `partitioned`: by ranges of the time column (native partitions); otherwise a plain table, to become a hypertable. */
export function createTable(schema: TableSchema, partitioned: boolean): string {
  const columns = pgColumns(schema).map(definition).join(',\n  ');
  const suffix = partitioned ? ` PARTITION BY RANGE (${quoteIdentifier(schema.timeColumn)})` : '';
  return `CREATE TABLE IF NOT EXISTS ${quoteIdentifier(schema.table)} (\n  ${columns}\n)${suffix}`;
}

/** Adds the columns that are missing; always nullable, because rows are there already. Undefined when nothing is missing. */
export function addColumns(schema: TableSchema, existing: ReadonlyMap<string, string>): string | undefined {
  const missing = pgColumns(schema).filter(({ name }) => !existing.has(name));
  if (missing.length === 0) return undefined;
  const clauses = missing.map(({ name, type }) => `ADD COLUMN IF NOT EXISTS ${quoteIdentifier(name)} ${type}`);
  return `ALTER TABLE ${quoteIdentifier(schema.table)} ${clauses.join(', ')}`;
}

/** Columns that are there with a type into which our values do not go. `existing`: name to format_type. */
export function typeConflicts(schema: TableSchema, existing: ReadonlyMap<string, string>): string[] {
  return pgColumns(schema).flatMap(({ name, type }) => {
    const found = existing.get(name);
    return found === undefined || accepts(found, type) ? [] : [`${name} is ${found}, expected ${type}`];
  });
}

const baseType = (type: string): string => type.replace(/\(.*\)/, '').replace('character varying', 'text');

/** These take the same binary form. */
function accepts(found: string, type: string): boolean {
  if (found === type) return true;
  return baseType(found) === baseType(type) && (type.startsWith('text') || found === type.replace('(20,0)', ''));
}

/**
 * Indexes of a table.
 * - time: BRIN, because rows arrive nearly in the order of time: it is a thousandth of the size of a btree and costs the insert
 *   nothing that can be measured, where a btree costs a quarter; partitions already narrow a query to its days.
 * - trace id, where rows belong to a span (traces, logs): a look-up of a few rows among all. A hash, because clients choose the text:
 *   a btree refuses values over 2,704 bytes.
 * - metric and time: a series over a range of time.
 */
export function createIndexes(schema: TableSchema): string[] {
  const has = (...names: string[]): boolean => names.every((name) => schema.columns.some((column) => column.name === name));
  const on = `ON ${quoteIdentifier(schema.table)}`;
  const time = quoteIdentifier(schema.timeColumn);
  const index = (prefix: string, rest: string): string =>
    `CREATE INDEX IF NOT EXISTS ${quoteIdentifier(derivedName(prefix, schema.table))} ${on} ${rest}`;
  const indexes = [index('_time_', `USING brin (${time}) WITH (pages_per_range = 32, autosummarize = on)`)];
  if (has('trace_id', 'span_id')) indexes.push(index('_trace_id_', 'USING hash (trace_id)'));
  if (has('metric')) indexes.push(index('_metric_', `(metric, ${time})`));
  return indexes;
}

/** A name made from a table's, unique and within PostgreSQL's length. It starts with `_`, which no table from outside may. */
export function derivedName(prefix: string, table: string): string {
  const name = `${prefix}${table}`;
  if (name.length <= IDENTIFIER_BYTES_MAX) return name;
  const hash = createHash('sha256').update(table).digest('hex').slice(0, 10);
  return `${name.slice(0, IDENTIFIER_BYTES_MAX - hash.length - 1)}_${hash}`;
}
