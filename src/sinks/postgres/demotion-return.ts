/** The way back of a demotion: rows gather in a table beside, which then becomes the partition, or goes into chunks, in one transaction. */
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type { RecordBatch } from 'apache-arrow';
import type { PoolClient } from 'pg';
import * as copyStreams from 'pg-copy-streams';
import type { Demotion } from '../../core/demotion';
import { quoteIdentifier, quoteLiteral } from '../../core/postgres-sql';
import type { TableSchema } from '../../core/table-schema';
import { pgColumns } from './ddl';
import { CopyEncoder } from './encode-copy';
import { LOCK_FAILURES, sqlStateOf } from './errors';
import { defaultPartition } from './hot-partitions';

/** Blocks that one statement moves. */
const MOVED_BLOCKS = 4_096;
const LOCK_ATTEMPTS_MAX = 200;
const LOCK_PAUSE_MS = 100;

/** Where rows that come back are gathered. */
export const backTable = ({ id }: Demotion): string => quoteIdentifier(`_back_${id}`);

const isoTime = (ms: number): string => quoteLiteral(new Date(ms).toISOString());

const columnList = (schema: TableSchema): string =>
  pgColumns(schema)
    .map(({ name }) => quoteIdentifier(name))
    .join(', ');

/** The CHECK says what the partition's bounds will say, so that it need not be read again when it is attached. */
export function createBackTable(demotion: Demotion, { table, timeColumn }: TableSchema): string {
  const time = quoteIdentifier(timeColumn);
  return `CREATE TABLE IF NOT EXISTS ${backTable(demotion)} (
      LIKE ${quoteIdentifier(table)} INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE INCLUDING COMPRESSION INCLUDING INDEXES,
      CONSTRAINT _range CHECK (${time} IS NOT NULL AND ${time} >= ${isoTime(demotion.fromMs)} AND ${time} < ${isoTime(demotion.toMs)})
    )`;
}

/** Rows of the range that others have put into the DEFAULT partition meanwhile come along. */
export async function attachBackTable(client: PoolClient, demotion: Demotion, schema: TableSchema): Promise<void> {
  const parent = quoteIdentifier(schema.table);
  const back = backTable(demotion);
  const time = quoteIdentifier(schema.timeColumn);
  const columns = columnList(schema);
  const [from, to] = [isoTime(demotion.fromMs), isoTime(demotion.toMs)];
  await client.query(`LOCK TABLE ONLY ${parent} IN ACCESS EXCLUSIVE MODE`);
  const strays = await defaultPartition(client, schema.table);
  if (strays !== undefined) {
    await client.query(
      `WITH moved AS (DELETE FROM ONLY ${strays} WHERE ${time} >= ${from} AND ${time} < ${to} RETURNING ${columns})
        INSERT INTO ${back} (${columns}) SELECT ${columns} FROM moved`,
    );
  }
  await client.query(`ALTER TABLE ${parent} ATTACH PARTITION ${back} FOR VALUES FROM (${from}) TO (${to})`);
  await client.query(`ALTER TABLE ${back} DROP CONSTRAINT _range`);
  await client.query(`ALTER TABLE ${back} RENAME TO ${demotion.partition.slice(demotion.partition.lastIndexOf('.') + 1)}`);
}

/**
 * Makes the chunk, empty, in a transaction of its own: who makes one holds off all other writes that need a new chunk, until its
 * transaction ends.
 */
export async function prepareChunk(client: PoolClient, demotion: Demotion, schema: TableSchema): Promise<void> {
  await client.query(createBackTable(demotion, schema));
  const columns = columnList(schema);
  const { rows } = await client.query<{ chunk: string; at: string }>(
    `INSERT INTO ${quoteIdentifier(schema.table)} (${columns}) SELECT ${columns} FROM ONLY ${backTable(demotion)} LIMIT 1
      RETURNING tableoid::regclass::text AS chunk, ctid AS at`,
  );
  for (const { chunk, at } of rows) await client.query(`DELETE FROM ONLY ${chunk} WHERE ctid = $1`, [at]);
}

/**
 * TimescaleDB (as of 2.19) cannot take a table for a chunk under the Apache license: the rows are inserted again. Writers and readers go on
 * meanwhile; the lock that nobody reads under is taken when the rows are in.
 */
export async function intoChunks(client: PoolClient, demotion: Demotion, schema: TableSchema): Promise<void> {
  const parent = quoteIdentifier(schema.table);
  const back = backTable(demotion);
  const columns = columnList(schema);
  const { rows } = await client.query<{ blocks: number }>(
    "SELECT (pg_relation_size($1::regclass) / current_setting('block_size')::int)::int AS blocks",
    [back],
  );
  const blocks = rows[0]?.blocks ?? 0;
  for (let block = 0; block < blocks; block += MOVED_BLOCKS) {
    await client.query(
      `INSERT INTO ${parent} (${columns}) SELECT ${columns} FROM ONLY ${back}
        WHERE ctid >= '(${block},0)'::tid AND ctid < '(${block + MOVED_BLOCKS},0)'::tid`,
    );
  }
  await lockAtLast(client, `LOCK TABLE ONLY ${parent} IN ACCESS EXCLUSIVE MODE`);
  await client.query(`DROP TABLE ${back}`);
}

/** Tries for a lock again and again without losing what the transaction has done, and without others queueing behind it for long. */
async function lockAtLast(client: PoolClient, statement: string): Promise<void> {
  await client.query('SAVEPOINT locking');
  for (let attempt = 1; ; attempt++) {
    try {
      await client.query(statement);
      return;
    } catch (error) {
      if (!LOCK_FAILURES.has(sqlStateOf(error)) || attempt >= LOCK_ATTEMPTS_MAX) throw error;
      await client.query('ROLLBACK TO SAVEPOINT locking');
    }
    await sleep(LOCK_PAUSE_MS);
  }
}

export async function copyIn(client: PoolClient, relation: string, schema: TableSchema, batch: RecordBatch): Promise<number> {
  const encoder = new CopyEncoder(schema, batch);
  const columns = encoder.columns.map(quoteIdentifier).join(', ');
  const stream = client.query(copyStreams.from(`COPY ${relation} (${columns}) FROM STDIN (FORMAT binary)`));
  await pipeline(Readable.from(encoder.chunks(), { objectMode: true, highWaterMark: 1 }), stream);
  return stream.rowCount;
}
