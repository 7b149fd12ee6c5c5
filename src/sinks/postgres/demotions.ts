/**
 * The hot side of demotions (core/demotion.ts) on native range partitions.
 *
 * A closed partition has a trigger that refuses every change, whoever makes it: its rows stay where they are, so that a range of its
 * blocks holds the same rows in the same order on each reading. What a trigger does not see, rewriting the table (VACUUM FULL, ALTER)
 * or its columns, changes the fingerprint, and the hand-off is refused.
 */

import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { RecordBatch } from 'apache-arrow';
import type { Pool, PoolClient } from 'pg';
import * as copyStreams from 'pg-copy-streams';
import { storeForm } from '../../core/column-name';
import {
  copiedSchema,
  type Demotion,
  type DemotionChange,
  type DemotionLock,
  DemotionRefusedError,
  type HotDemotions,
  type HotPartition,
} from '../../core/demotion';
import { LIMITS } from '../../core/limits';
import type { TableSchema } from '../../core/table-schema';
import type { Logger } from '../../telemetry';
import { closePool, createPool, inTransaction, withConnection } from './connection';
import { derivedName, pgColumns, quoteIdentifier, quoteLiteral } from './ddl';
import { copySelectList, decodeCopy } from './decode-copy';
import { insertDemotions, listDemotions, lockDemotions, updateDemotion } from './demotion-store';
import { CopyEncoder } from './encode-copy';
import { addPartitions, lockDdl } from './ensure-table';
import { sqlStateOf } from './errors';
import { LIST_RANGES, NEW_PARTITIONS_MAX, readRanges } from './partitions';

export interface PostgresDemotionsOptions {
  readonly url: string;
  readonly logger: Logger;
  /** Longest statement, milliseconds; default 5 minutes. */
  readonly statementTimeoutMs?: number;
  /** Longest wait for the locks of a step that others have to wait for, milliseconds; default 500. */
  readonly lockTimeoutMs?: number;
  /** Does somebody else (pg_partman) make the partitions, for rows of the DEFAULT one too? */
  readonly partitionsAreForeign?: boolean;
  /** Heap bytes of one chunk; default 32 MiB. */
  readonly chunkBytes?: number;
}

const STATEMENT_TIMEOUT_MS = 300_000;
const LOCK_TIMEOUT_MS = 500;
const CHUNK_BYTES = 32 * 1024 * 1024;
const STOP_GRACE_MS = 5_000;
const READ_BUFFER_BYTES = 1024 * 1024;
const BATCH_BOUNDS = { rowsMax: 200_000, bytesMax: 64 * 1024 * 1024 };
const TRIGGER = '_thermocline_closed';
/** Lock timeout, deadlock. */
const LOCK_FAILURES = new Set(['55P03', '40P01']);

if (BATCH_BOUNDS.rowsMax > LIMITS.rowsPerWriteMax) throw new Error('limits: a part of a demotion must fit into one write');

export class PostgresDemotions implements HotDemotions {
  private readonly pool: Pool;
  private readonly statementTimeoutMs: number;

  constructor(private readonly options: PostgresDemotionsOptions) {
    this.statementTimeoutMs = options.statementTimeoutMs ?? STATEMENT_TIMEOUT_MS;
    this.pool = createPool({
      url: options.url,
      connectionsMax: 4,
      statementTimeoutMs: this.statementTimeoutMs,
      logger: options.logger,
    });
  }

  lock(): Promise<DemotionLock | undefined> {
    return lockDemotions(this.pool);
  }

  list(filter: { table?: string; unfinished?: boolean } = {}): Promise<readonly Demotion[]> {
    return listDemotions(this.pool, filter);
  }

  async partitions(schema: TableSchema, beforeMs: number): Promise<readonly HotPartition[]> {
    const { table } = schema;
    const { rows } = await this.pool.query<Parameters<typeof readRanges>[0][number]>(LIST_RANGES, [quoteIdentifier(table)]);
    return readRanges(rows)
      .filter(({ fromMs, toMs }) => Number.isFinite(fromMs) && toMs <= beforeMs)
      .sort((a, b) => a.fromMs - b.fromMs)
      .map((range) => ({ table, ...range }));
  }

  async adoptStrays(schema: TableSchema, beforeMs: number): Promise<void> {
    if (this.options.partitionsAreForeign === true) return;
    const stored = storeForm(schema);
    await this.transaction(async (client) => {
      await lockDdl(client);
      const time = quoteIdentifier(stored.timeColumn);
      const strays = quoteIdentifier(derivedName('_default_', stored.table));
      const known = await client.query('SELECT to_regclass($1) AS found', [strays]);
      if ((known.rows[0] as { found: string | null }).found === null) return;
      const { rows } = await client.query<{ day: number }>(
        `SELECT DISTINCT floor(extract(epoch FROM ${time}) / 86400)::int AS day FROM ONLY ${strays}
          WHERE isfinite(${time}) AND ${time} < to_timestamp($1::float8 / 1000) ORDER BY 1 LIMIT ${NEW_PARTITIONS_MAX}`,
        [beforeMs],
      );
      const days = rows.map(({ day }) => day);
      if (days.length > 0) await addPartitions(client, stored, days, { partman: undefined });
    });
  }

  plan(partitions: readonly HotPartition[]): Promise<readonly Demotion[]> {
    return this.transaction(async (client) => {
      await client.query('LOCK TABLE _demotions IN SHARE ROW EXCLUSIVE MODE');
      return insertDemotions(client, partitions);
    });
  }

  update(demotion: Demotion, change: DemotionChange): Promise<Demotion> {
    return updateDemotion(this.pool, demotion, change);
  }

  async close(demotion: Demotion, schema: TableSchema): Promise<Demotion | undefined> {
    const { partition, table } = demotion;
    const stored = storeForm(schema);
    return this.lockedStep(async (client) => {
      if (!(await isPartition(client, demotion)))
        throw new DemotionRefusedError(`${partition} is no partition of ${table} any more`);
      await client.query(`LOCK TABLE ONLY ${partition} IN SHARE ROW EXCLUSIVE MODE`);
      await refuseForeignColumns(client, demotion, stored);
      await client.query(
        `CREATE TRIGGER ${TRIGGER} BEFORE INSERT OR UPDATE OR DELETE ON ${partition}
          FOR EACH ROW EXECUTE FUNCTION _thermocline_refuse_write();
        CREATE TRIGGER ${TRIGGER}_all BEFORE TRUNCATE ON ${partition}
          FOR EACH STATEMENT EXECUTE FUNCTION _thermocline_refuse_write()`,
      );
      const { rows } = await client.query<{ blocks: number; block_bytes: number; bytes: string }>(
        `SELECT (pg_relation_size($1::regclass) / current_setting('block_size')::int)::int AS blocks,
          current_setting('block_size')::int AS block_bytes, pg_table_size($1::regclass) AS bytes`,
        [partition],
      );
      const { blocks, block_bytes: blockBytes, bytes } = rows[0];
      // Where rows keep most of their bytes elsewhere (TOAST), a chunk has fewer blocks.
      const perBlock = blocks === 0 ? blockBytes : Math.max(blockBytes, Number(bytes) / blocks);
      const chunkBlocks = Math.max(1, Math.floor((this.options.chunkBytes ?? CHUNK_BYTES) / perBlock));
      const layout = { fingerprint: await fingerprintOf(client, partition), columns: stored.columns, blocks, chunkBlocks };
      return updateDemotion(client, demotion, { state: 'copying', closed: true, layout, nextChunk: 0 });
    });
  }

  async *read(demotion: Demotion, chunk: number, schema: TableSchema): AsyncIterable<RecordBatch> {
    const { layout, partition } = demotion;
    if (layout === undefined) throw new Error(`demotion ${demotion.id} is not closed`);
    const first = chunk * layout.chunkBlocks;
    const where = `WHERE ctid >= '(${first},0)'::tid AND ctid < '(${first + layout.chunkBlocks},0)'::tid`;
    yield* this.copyOut(partition, copiedSchema(schema, demotion), where, (client) => checkUnchanged(client, demotion));
  }

  async *readBack(demotion: Demotion, schema: TableSchema): AsyncIterable<RecordBatch> {
    yield* this.copyOut(backTable(demotion), storeForm(schema), '', () => Promise.resolve());
  }

  private async *copyOut(
    relation: string,
    schema: TableSchema,
    where: string,
    check: (client: PoolClient) => Promise<void>,
  ): AsyncGenerator<RecordBatch> {
    const client = await this.pool.connect();
    const ignore = (): void => undefined;
    client.on('error', ignore);
    let usable = false;
    try {
      await client.query(`BEGIN; LOCK TABLE ONLY ${relation} IN ACCESS SHARE MODE`);
      await check(client);
      const sql = `COPY (SELECT ${copySelectList(schema)} FROM ONLY ${relation} ${where}) TO STDOUT (FORMAT binary)`;
      const stream = client.query(copyStreams.to(sql, { highWaterMark: READ_BUFFER_BYTES }));
      yield* decodeCopy(stream as AsyncIterable<Buffer>, schema, BATCH_BOUNDS);
      await client.query('COMMIT');
      usable = true;
    } catch (error) {
      if (error instanceof RangeError) throw new DemotionRefusedError(`${relation}: ${error.message}`, { cause: error });
      throw error;
    } finally {
      client.removeListener('error', ignore);
      client.release(!usable);
    }
  }

  async count({ partition }: Demotion): Promise<number> {
    const { rows } = await this.pool.query<{ n: string }>(`SELECT count(*) AS n FROM ONLY ${partition}`);
    return Number(rows[0]?.n);
  }

  async flip(demotion: Demotion): Promise<Demotion | undefined> {
    const { table, partition } = demotion;
    return this.lockedStep(async (client) => {
      await client.query(`LOCK TABLE ONLY ${quoteIdentifier(table)} IN ACCESS EXCLUSIVE MODE`);
      await checkUnchanged(client, demotion);
      await client.query(`ALTER TABLE ${quoteIdentifier(table)} DETACH PARTITION ${partition}`);
      await client.query(`DROP TABLE ${partition}`);
      return updateDemotion(client, demotion, { state: 'demoted', hidden: false });
    });
  }

  async reopen(demotion: Demotion, error?: string): Promise<Demotion | undefined> {
    const { partition } = demotion;
    return this.lockedStep(async (client) => {
      const { rows } = await client.query<{ found: string | null }>('SELECT to_regclass($1) AS found', [partition]);
      if (typeof rows[0]?.found === 'string') {
        await client.query(
          `DROP TRIGGER IF EXISTS ${TRIGGER} ON ${partition}; DROP TRIGGER IF EXISTS ${TRIGGER}_all ON ${partition}`,
        );
      }
      return updateDemotion(client, demotion, { state: 'aborting', closed: false, ...(error === undefined ? {} : { error }) });
    });
  }

  bringBack(
    demotion: Demotion,
    schema: TableSchema,
    batches: AsyncIterable<RecordBatch>,
    { cursorNs, rows }: { cursorNs: bigint; rows: number },
  ): Promise<Demotion> {
    const stored = storeForm(schema);
    return this.transaction(async (client) => {
      for (const statement of createBackTable(demotion, stored)) await client.query(statement);
      let copied = 0;
      for await (const batch of batches) copied += await copyIn(client, backTable(demotion), stored, batch);
      if (copied !== rows) throw new Error(`clickhouse gave ${copied} rows of ${rows} that it counts`);
      return updateDemotion(client, demotion, { cursorNs, rowsBack: demotion.rowsBack + copied });
    });
  }

  async flipBack(demotion: Demotion, schema: TableSchema): Promise<Demotion | undefined> {
    const stored = storeForm(schema);
    return this.lockedStep(async (client) => {
      for (const statement of createBackTable(demotion, stored)) await client.query(statement);
      await client.query(`LOCK TABLE ONLY ${quoteIdentifier(stored.table)} IN ACCESS EXCLUSIVE MODE`);
      for (const statement of attachBackTable(demotion, stored)) await client.query(statement);
      return updateDemotion(client, demotion, { state: 'returning', closed: false, hidden: true });
    });
  }

  /** Copies whose deletion is long done: nobody can be sending rows of them any more. */
  async forgetHidden(afterMs: number): Promise<void> {
    await this.pool.query(
      `UPDATE _demotions SET hidden = false WHERE hidden AND state IN ('aborted', 'restored')
        AND updated_at < now() - $1 * interval '1 millisecond'`,
      [afterMs],
    );
  }

  private transaction<T>(work: (client: PoolClient) => Promise<T>): Promise<T> {
    return inTransaction(this.pool, this.statementTimeoutMs, work);
  }

  /** A transaction that gives up soon when it does not get its locks, so that those who wait behind it go on. */
  private async lockedStep(work: (client: PoolClient) => Promise<Demotion>): Promise<Demotion | undefined> {
    const { lockTimeoutMs = LOCK_TIMEOUT_MS } = this.options;
    try {
      return await withConnection(this.pool, this.statementTimeoutMs, async (client) => {
        await client.query(`BEGIN; SET LOCAL lock_timeout = ${lockTimeoutMs}`);
        const result = await work(client);
        const { command } = await client.query('COMMIT');
        if (command !== 'COMMIT') throw new Error(`postgresql answered ${command} to COMMIT`);
        return result;
      });
    } catch (error) {
      if (LOCK_FAILURES.has(sqlStateOf(error))) return undefined;
      throw error;
    }
  }

  async stop(): Promise<void> {
    await closePool(this.pool, STOP_GRACE_MS);
  }
}

async function isPartition(client: PoolClient, { table, partition }: Demotion): Promise<boolean> {
  const { rowCount } = await client.query(
    'SELECT FROM pg_inherits WHERE inhrelid = to_regclass($1) AND inhparent = to_regclass($2)',
    [partition, quoteIdentifier(table)],
  );
  return rowCount === 1;
}

/** The file of the rows, and the names and types of the columns that were there first; a column that is added is no change. */
async function fingerprintOf(client: PoolClient, partition: string, attributes?: string): Promise<string> {
  const { rows } = await client.query<{ node: string; columns: string; last: string }>(
    `SELECT pg_relation_filenode($1::regclass) AS node, md5(string_agg(attname || ' ' || atttypid, ',' ORDER BY attnum)) AS columns,
      max(attnum) AS last FROM pg_attribute
      WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped AND attnum <= coalesce($2::int, 32767)`,
    [partition, attributes ?? null],
  );
  const { node, columns, last } = rows[0];
  return `${node}/${columns}/${attributes ?? last}`;
}

async function checkUnchanged(client: PoolClient, { partition, layout }: Demotion): Promise<void> {
  const expected = layout?.fingerprint ?? '';
  if ((await fingerprintOf(client, partition, expected.split('/')[2])) !== expected) {
    throw new DemotionRefusedError(`${partition} was rewritten or its columns changed while it was copied`);
  }
}

/** A column that the schema does not know would be lost, so it must be empty. */
async function refuseForeignColumns(client: PoolClient, { partition }: Demotion, schema: TableSchema): Promise<void> {
  const { rows } = await client.query<{ name: string }>(
    `SELECT attname AS name FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped
      AND NOT attname = ANY ($2)`,
    [partition, pgColumns(schema).map(({ name }) => name)],
  );
  for (const { name } of rows) {
    const found = await client.query(`SELECT FROM ONLY ${partition} WHERE ${quoteIdentifier(name)} IS NOT NULL LIMIT 1`);
    if (found.rowCount === 1) {
      throw new DemotionRefusedError(`column ${name} of ${partition} holds values and is not in the schema of ${schema.table}`);
    }
  }
}

/** Where rows that come back are gathered. */
const backTable = ({ id }: Demotion): string => quoteIdentifier(`_back_${id}`);

const isoTime = (ms: number): string => quoteLiteral(new Date(ms).toISOString());

/** The CHECK says what the partition's bounds will say, so that it need not be read again when it is attached. */
function createBackTable(demotion: Demotion, { table, timeColumn }: TableSchema): string[] {
  const time = quoteIdentifier(timeColumn);
  return [
    `CREATE TABLE IF NOT EXISTS ${backTable(demotion)} (
      LIKE ${quoteIdentifier(table)} INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE INCLUDING COMPRESSION INCLUDING INDEXES,
      CONSTRAINT _range CHECK (${time} IS NOT NULL AND ${time} >= ${isoTime(demotion.fromMs)} AND ${time} < ${isoTime(demotion.toMs)})
    )`,
  ];
}

/** Rows of the range that others have put into the DEFAULT partition meanwhile come along. */
function attachBackTable(demotion: Demotion, schema: TableSchema): string[] {
  const { table } = schema;
  const back = backTable(demotion);
  const time = quoteIdentifier(schema.timeColumn);
  const stray = quoteIdentifier(derivedName('_default_', table));
  const columns = pgColumns(schema)
    .map(({ name }) => quoteIdentifier(name))
    .join(', ');
  const [from, to] = [isoTime(demotion.fromMs), isoTime(demotion.toMs)];
  return [
    `WITH moved AS (DELETE FROM ONLY ${stray} WHERE ${time} >= ${from} AND ${time} < ${to} RETURNING ${columns})
      INSERT INTO ${back} (${columns}) SELECT ${columns} FROM moved`,
    `ALTER TABLE ${quoteIdentifier(table)} ATTACH PARTITION ${back} FOR VALUES FROM (${from}) TO (${to})`,
    `ALTER TABLE ${back} DROP CONSTRAINT _range`,
    `ALTER TABLE ${back} RENAME TO ${demotion.partition.slice(demotion.partition.lastIndexOf('.') + 1)}`,
  ];
}

async function copyIn(client: PoolClient, relation: string, schema: TableSchema, batch: RecordBatch): Promise<number> {
  const encoder = new CopyEncoder(schema, batch);
  const columns = encoder.columns.map(quoteIdentifier).join(', ');
  const stream = client.query(copyStreams.from(`COPY ${relation} (${columns}) FROM STDIN (FORMAT binary)`));
  await pipeline(Readable.from(encoder.chunks(), { objectMode: true, highWaterMark: 1 }), stream);
  return stream.rowCount;
}
