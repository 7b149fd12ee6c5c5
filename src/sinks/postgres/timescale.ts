/** Hypertables where TimescaleDB (2.13 or newer) is installed; compression where its license has it. */
import type { PoolClient } from 'pg';
import { quoteIdentifier, quoteLiteral } from '../../core/postgres-sql';
import type { TableSchema } from '../../core/table-schema';

/** How hypertables are made. */
export interface TimescaleOptions {
  /** Range of time of one chunk. A day is what demotion moves best: a chunk is moved whole. */
  readonly chunkHours: number;
  /** Age at which TimescaleDB compresses chunks; undefined: never. */
  readonly compressAfterDays?: number | undefined;
}

export const TIMESCALE_DEFAULTS: TimescaleOptions = { chunkHours: 24 };

/** The table must be empty. */
export function createHypertable(schema: TableSchema, { chunkHours }: TimescaleOptions): string {
  const relation = quoteLiteral(quoteIdentifier(schema.table));
  const dimension = `by_range(${quoteLiteral(schema.timeColumn)}, INTERVAL '${chunkHours} hours')`;
  return `SELECT create_hypertable(${relation}, ${dimension}, create_default_indexes => false, if_not_exists => true)`;
}

/** For chunks that are made from now on. */
export function setChunkInterval(schema: TableSchema, { chunkHours }: TimescaleOptions): string {
  return `SELECT set_chunk_time_interval(${quoteLiteral(quoteIdentifier(schema.table))}, INTERVAL '${chunkHours} hours')`;
}

/**
 * Rows of one application lie together in a compressed chunk. Our writes are plain inserts into a table without unique indexes: a late
 * row goes into the uncompressed part of its chunk, and never has to look for a row to change.
 */
export function compress(schema: TableSchema, afterDays: number): string[] {
  const table = quoteIdentifier(schema.table);
  const hasApp = schema.columns.some(({ name, type }) => name === 'app' && type === 'string');
  const segments = hasApp ? ", timescaledb.compress_segmentby = 'app'" : '';
  const order = quoteLiteral(`${quoteIdentifier(schema.timeColumn)} DESC`);
  return [
    `ALTER TABLE ${table} SET (timescaledb.compress, timescaledb.compress_orderby = ${order}${segments})`,
    `SELECT remove_compression_policy(${quoteLiteral(table)}, if_exists => true)`,
    `SELECT add_compression_policy(${quoteLiteral(table)}, INTERVAL '${afterDays} days')`,
  ];
}

/** Sets compression as it is wished, unless it is so already. Chunks that are compressed stay so when the wish is gone. */
export async function keepCompression(
  client: PoolClient,
  schema: TableSchema,
  { compressAfterDays }: TimescaleOptions,
): Promise<void> {
  if ((await compressedAfterDays(client, schema)) === compressAfterDays) return;
  const statements =
    compressAfterDays === undefined
      ? [`SELECT remove_compression_policy(${quoteLiteral(quoteIdentifier(schema.table))}, if_exists => true)`]
      : compress(schema, compressAfterDays);
  for (const statement of statements) await client.query(statement);
}

/** Compression, among others, is not in the Apache edition, which Debian's package is. */
export async function hasFullLicense(client: PoolClient): Promise<boolean> {
  const { rows } = await client.query<{ license: string | null }>(
    "SELECT current_setting('timescaledb.license', true) AS license",
  );
  return rows[0]?.license === 'timescale';
}

/** Days of the compression policy that is set; undefined without one. */
async function compressedAfterDays(client: PoolClient, { table }: TableSchema): Promise<number | undefined> {
  const { rows } = await client.query<{ days: number | null }>(
    `SELECT extract(epoch FROM (config->>'compress_after')::interval)::float8 / 86400 AS days FROM timescaledb_information.jobs
      WHERE proc_name IN ('policy_compression', 'columnstore_policy') AND hypertable_schema = current_schema() AND hypertable_name = $1`,
    [table],
  );
  return rows[0]?.days ?? undefined;
}

/** Installs the extension where the server has loaded it; without the right to do that, native partitions serve. */
export async function enableTimescale(client: PoolClient): Promise<boolean> {
  const { rows } = await client.query<{ installed: boolean; loadable: boolean }>(
    `SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb') AS installed,
      EXISTS (SELECT FROM pg_available_extensions WHERE name = 'timescaledb')
        AND current_setting('shared_preload_libraries') LIKE '%timescaledb%' AS loadable`,
  );
  const [found] = rows;
  if (found?.installed || !found?.loadable) return found?.installed;
  await client.query('SAVEPOINT timescale');
  try {
    await client.query('CREATE EXTENSION IF NOT EXISTS timescaledb');
    return true;
  } catch {
    await client.query('ROLLBACK TO SAVEPOINT timescale');
    return false;
  }
}
