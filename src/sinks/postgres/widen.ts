/**
 * Columns that became wider (core/type-lattice.ts). Changing a column's type rewrites every partition under a lock that nothing
 * passes, so it is done for small tables only; a large table keeps its old column under another name and gets a new one beside
 * it, which is done at once whatever the size:
 *
 * - bigint to double: the column is renamed to its exact companion (ColumnSchema.exactOf), which goes on to hold integers, and a
 *   double column takes its name; the doubles of earlier rows are filled in where the table is small.
 * - anything else: the type is changed where the table is small; otherwise the column is renamed to `<name>_before_<type>`.
 *
 * Earlier rows of a large table are null in the new column and stand in the old one.
 */
import type { PoolClient } from 'pg';
import { storeNameOf } from '../../core/column-name';
import { quoteIdentifier, quoteLiteral } from '../../core/postgres-sql';
import type { ColumnSchema, ColumnType, TableSchema } from '../../core/table-schema';
import { holds, needsExact } from '../../core/type-lattice';
import { nanosColumn, PG_TYPES } from './ddl';

/** Tables up to this size (with indexes) are rewritten or filled in: a second or so. */
const REWRITE_BYTES_MAX = 64 * 1024 * 1024;

export interface Widening {
  readonly column: ColumnSchema;
  /** What the store has. */
  readonly from: ColumnType;
  /** Where the old column goes when it is kept: the exact companion, or a name made from the old type. */
  readonly oldName: string;
  /** The old column lives on as the exact companion. */
  readonly isExact: boolean;
}

/** The columns that the store has in a narrower type. `existing`: name to format_type. Names are those of the store. */
export function wideningsOf(schema: TableSchema, existing: ReadonlyMap<string, string>): Widening[] {
  return schema.columns.flatMap((column): Widening[] => {
    const found = existing.get(column.name);
    if (found === undefined || found === PG_TYPES[column.type]) return [];
    const from = narrowerTypes(column.type).find((type) => PG_TYPES[type] === found);
    if (from === undefined) return [];
    const exact = schema.columns.find(({ exactOf, name }) => exactOf === column.name && !existing.has(name));
    // A smaller integer would have to be rewritten to become the companion.
    const isExact = exact !== undefined && needsExact(from, column.type) && found === PG_TYPES.int64;
    const oldName = `${column.name}_before_${column.type}`;
    return [{ column, from, isExact, oldName: isExact ? exact.name : (storeNameOf(oldName) ?? oldName) }];
  });
}

const narrowerTypes = (type: ColumnType): ColumnType[] =>
  (Object.keys(PG_TYPES) as ColumnType[]).filter((other) => other !== type && holds(type, other));

/** The statements of a widening. `isSmall`: earlier rows are brought into the new type too. */
export function widenColumn(schema: TableSchema, widening: Widening, isSmall: boolean): string[] {
  const { column, from, oldName, isExact } = widening;
  const table = `ALTER TABLE ${quoteIdentifier(schema.table)}`;
  const name = quoteIdentifier(column.name);
  if (isSmall && !isExact) {
    return [`${table} ALTER COLUMN ${name} TYPE ${PG_TYPES[column.type]} USING ${converted(column.name, from, column.type)}`];
  }
  const old = quoteIdentifier(oldName);
  const statements = [`${table} RENAME COLUMN ${name} TO ${old}`];
  // From now on there may be rows that have no integer.
  if (!column.nullable) statements.push(`${table} ALTER COLUMN ${old} DROP NOT NULL`);
  statements.push(`${table} ADD COLUMN ${name} ${PG_TYPES[column.type]}`);
  if (isSmall) statements.push(`UPDATE ${quoteIdentifier(schema.table)} SET ${name} = ${old} WHERE ${old} IS NOT NULL`);
  return statements;
}

/** An expression for the column's values in the new type, as columnar/widen.ts spells them. */
function converted(name: string, from: ColumnType, to: ColumnType): string {
  const value = quoteIdentifier(name);
  if (to === 'json') return `to_jsonb(${value})`;
  if (to !== 'string') return `${value}::${PG_TYPES[to]}`;
  if (from.startsWith('list')) return `to_jsonb(${value})::text`;
  if (from === 'binary') return `translate(encode(${value}, 'base64'), E'\\n', '')`;
  if (from !== 'timestamp') return `${value}::text`;
  const micros = `to_char(${value} AT TIME ZONE 'UTC', ${quoteLiteral('YYYY-MM-DD"T"HH24:MI:SS.US')})`;
  return `${micros} || lpad(coalesce(${quoteIdentifier(nanosColumn(name))}, 0)::text, 3, '0') || 'Z'`;
}

const SIZE_OF: Readonly<Record<'partitioned' | 'hypertable' | 'plain', string>> = {
  partitioned: 'SELECT coalesce(sum(pg_total_relation_size(relid)), 0) AS bytes FROM pg_partition_tree($1::regclass)',
  hypertable: 'SELECT coalesce(hypertable_size($1::regclass), 0) AS bytes',
  plain: 'SELECT pg_total_relation_size($1::regclass) AS bytes',
};

/** Widens columns in a transaction that holds the DDL lock. Gives the columns whose earlier rows stand in the old column only. */
export async function widenColumns(
  client: PoolClient,
  schema: TableSchema,
  widenings: readonly Widening[],
  kind: keyof typeof SIZE_OF,
): Promise<Widening[]> {
  if (widenings.length === 0) return [];
  const { rows } = await client.query<{ bytes: string }>(SIZE_OF[kind], [quoteIdentifier(schema.table)]);
  const isSmall = Number(rows[0]?.bytes) <= REWRITE_BYTES_MAX;
  const left: Widening[] = [];
  for (const widening of widenings) {
    if (isSmall && (await tryAll(client, widenColumn(schema, widening, true)))) continue;
    for (const statement of widenColumn(schema, widening, false)) await client.query(statement);
    left.push(widening);
  }
  return left;
}

/** False when the store refuses a statement, for example because a view uses the column; then nothing of them is done. */
async function tryAll(client: PoolClient, statements: readonly string[]): Promise<boolean> {
  await client.query('SAVEPOINT widening');
  try {
    for (const statement of statements) await client.query(statement);
    await client.query('RELEASE SAVEPOINT widening');
    return true;
  } catch (error) {
    await client.query('ROLLBACK TO SAVEPOINT widening');
    const isRefusal = /^(0A|2BP01|55P03)/.test(String((error as { code?: unknown }).code));
    if (isRefusal) return false;
    throw error;
  }
}
