/** Partitions of a table as things that come and go whole: native range partitions, or chunks of a hypertable. */
import type { ClientBase, Pool } from 'pg';
import { DemotionRefusedError } from '../../core/demotion';
import { quoteIdentifier } from '../../core/postgres-sql';
import { sqlStateOf } from './errors';
import { LIST_RANGES, type Range, readRanges } from './partitions';

type Queryable = Pick<Pool, 'query'>;

/** `partitioned`: native partitions; `hypertable`: TimescaleDB makes chunks; `plain`: made by somebody else, left as it is. */
export type TableKind = 'partitioned' | 'hypertable' | 'plain';

/** Undefined when there is no such table. */
export async function kindOf(client: Queryable, table: string): Promise<TableKind | undefined> {
  const { rows } = await client.query<{ relkind: string; hypertable: boolean }>(
    `SELECT c.relkind, EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND t.tgname = 'ts_insert_blocker') AS hypertable
      FROM pg_class c WHERE c.oid = to_regclass($1)`,
    [quoteIdentifier(table)],
  );
  const [found] = rows;
  if (found === undefined) return undefined;
  if (found.relkind === 'p') return 'partitioned';
  return found.hypertable ? 'hypertable' : 'plain';
}

export interface FoundPartition extends Range {
  /** Quoted and qualified as need be. */
  readonly name: string;
  /** 0 when PostgreSQL has not looked yet. */
  readonly rowsEstimate: number;
  readonly sizeBytes: number;
}

/** Chunks of hypertable $1, with what compression has put elsewhere. */
export const LIST_CHUNKS = `SELECT format('%I.%I', h.chunk_schema, h.chunk_name) AS name,
    (extract(epoch FROM h.range_start) * 1000)::float8 AS from_ms, (extract(epoch FROM h.range_end) * 1000)::float8 AS to_ms,
    greatest(c.reltuples, 0)::float8 AS rows, pg_total_relation_size(c.oid)::float8 AS bytes
  FROM timescaledb_information.chunks h
    JOIN pg_namespace n ON n.nspname = h.chunk_schema JOIN pg_class c ON c.relname = h.chunk_name AND c.relnamespace = n.oid
  WHERE (h.hypertable_schema, h.hypertable_name) =
    (SELECT pn.nspname, p.relname FROM pg_class p JOIN pg_namespace pn ON pn.oid = p.relnamespace WHERE p.oid = to_regclass($1))`;

/** Partitions with two bounds, the oldest first. The session's time zone must be UTC. */
export async function listPartitions(client: Queryable, table: string): Promise<FoundPartition[]> {
  const found = (await kindOf(client, table)) === 'hypertable' ? await chunksOf(client, table) : await rangesOf(client, table);
  return found
    .filter(({ fromMs, toMs }) => Number.isSafeInteger(fromMs) && Number.isSafeInteger(toMs))
    .sort((a, b) => a.fromMs - b.fromMs);
}

async function rangesOf(client: Queryable, table: string): Promise<FoundPartition[]> {
  const { rows } = await client.query<Parameters<typeof readRanges>[0][number]>(LIST_RANGES, [quoteIdentifier(table)]);
  return readRanges(rows);
}

async function chunksOf(client: Queryable, table: string): Promise<FoundPartition[]> {
  const { rows } = await client.query<{ name: string; from_ms: number; to_ms: number; rows: number; bytes: number }>(
    LIST_CHUNKS,
    [quoteIdentifier(table)],
  );
  return rows.map((row) => ({
    name: row.name,
    fromMs: row.from_ms,
    toMs: row.to_ms,
    rowsEstimate: row.rows,
    sizeBytes: row.bytes,
  }));
}

/** Name of the DEFAULT partition, quoted as need be; undefined without one. */
export async function defaultPartition(client: Queryable, table: string): Promise<string | undefined> {
  const { rows } = await client.query<{ name: string }>(
    `SELECT c.oid::regclass::text AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
      WHERE i.inhparent = to_regclass($1) AND pg_get_expr(c.relpartbound, c.oid) = 'DEFAULT'`,
    [quoteIdentifier(table)],
  );
  return rows[0]?.name;
}

/** Ends a partition with its rows, in a transaction that holds ACCESS EXCLUSIVE on the table. */
export async function dropPartition(client: Queryable, table: string, partition: string): Promise<void> {
  // TimescaleDB forgets a chunk whose table is dropped; a native partition is detached first, which says when it is none.
  if ((await kindOf(client, table)) === 'partitioned') {
    await client.query(`ALTER TABLE ${quoteIdentifier(table)} DETACH PARTITION ${partition}`);
  }
  await client.query(`DROP TABLE ${partition}`);
}

/** Is chunk $1 compressed? */
export const IS_COMPRESSED =
  "SELECT is_compressed AS compressed FROM timescaledb_information.chunks WHERE format('%I.%I', chunk_schema, chunk_name) = $1";

/**
 * A chunk to be read block by block: its rows lie in its own table, and its range of time is its alone. A compressed one is decompressed,
 * under the lock of the transaction. Throws DemotionRefusedError.
 */
export async function readyChunk(client: ClientBase, table: string, chunk: string): Promise<void> {
  const { rowCount: dimensions } = await client.query(
    `SELECT FROM timescaledb_information.dimensions WHERE (hypertable_schema, hypertable_name) =
      (SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass($1))`,
    [quoteIdentifier(table)],
  );
  if (dimensions !== 1) throw new DemotionRefusedError(`hypertable ${table} is partitioned by more than its time`);
  const { rows } = await client.query<{ compressed: boolean | null }>(IS_COMPRESSED, [chunk]);
  if (rows[0]?.compressed !== true) return;
  try {
    await client.query('SELECT decompress_chunk($1::regclass)', [chunk]);
  } catch (error) {
    if (sqlStateOf(error) !== NOT_SUPPORTED) throw error;
    const text = `chunk ${chunk} is compressed, and the license of this TimescaleDB cannot decompress it`;
    throw new DemotionRefusedError(text, { cause: error });
  }
}

const NOT_SUPPORTED = '0A000';
