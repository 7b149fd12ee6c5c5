/**
 * The hot side of demotions (core/demotion.ts), on native range partitions and on chunks of hypertables.
 *
 * A closed partition has a trigger that refuses every change, whoever makes it: its rows stay where they are, so that a range of its
 * blocks holds the same rows in the same order on each reading. What a trigger does not see, rewriting the table (VACUUM FULL, ALTER)
 * or its columns, changes the fingerprint, and the hand-off is refused.
 */
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
import { quoteIdentifier } from '../../core/postgres-sql';
import type { TableSchema } from '../../core/table-schema';
import type { Logger } from '../../telemetry';
import { closePool, createPool, inTransaction, tryLocked, withConnection } from './connection';
import { derivedName, pgColumns } from './ddl';
import { copySelectList, decodeCopy } from './decode-copy';
import { attachBackTable, backTable, copyIn, createBackTable, intoChunks, prepareChunk } from './demotion-return';
import { insertDemotions, listDemotions, lockDemotions, updateDemotion } from './demotion-store';
import { addPartitions, lockDdl } from './ensure-table';
import { dropPartition, kindOf, listPartitions, readyChunk } from './hot-partitions';
import { NEW_PARTITIONS_MAX } from './partitions';

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
/** Rows that come back to a hypertable go into it in one transaction. */
const INTO_CHUNKS_DEADLINE_MS = 2 * 3_600_000;

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
    const found = await listPartitions(this.pool, table);
    return found.filter(({ toMs }) => toMs <= beforeMs).map((partition) => ({ table, ...partition }));
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
      if ((await kindOf(client, table)) === 'hypertable') await readyChunk(client, table, partition);
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
      await dropPartition(client, table, partition);
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
      await client.query(createBackTable(demotion, stored));
      let copied = 0;
      for await (const batch of batches) copied += await copyIn(client, backTable(demotion), stored, batch);
      if (copied !== rows) throw new Error(`clickhouse gave ${copied} rows of ${rows} that it counts`);
      return updateDemotion(client, demotion, { cursorNs, rowsBack: demotion.rowsBack + copied });
    });
  }

  async flipBack(demotion: Demotion, schema: TableSchema): Promise<Demotion | undefined> {
    const stored = storeForm(schema);
    const kind = await withConnection(this.pool, this.statementTimeoutMs, (client) => kindOf(client, stored.table));
    if (kind === 'hypertable') await this.transaction((client) => prepareChunk(client, demotion, stored));
    const deadlineMs = kind === 'hypertable' ? INTO_CHUNKS_DEADLINE_MS : this.statementTimeoutMs;
    return this.lockedStep(async (client) => {
      await client.query(createBackTable(demotion, stored));
      const intoTable = kind === 'hypertable' ? intoChunks : attachBackTable;
      await intoTable(client, demotion, stored);
      return updateDemotion(client, demotion, { state: 'returning', closed: false, hidden: true });
    }, deadlineMs);
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

  private lockedStep(
    work: (client: PoolClient) => Promise<Demotion>,
    deadlineMs = this.statementTimeoutMs,
  ): Promise<Demotion | undefined> {
    return tryLocked(this.pool, { deadlineMs, lockTimeoutMs: this.options.lockTimeoutMs ?? LOCK_TIMEOUT_MS }, work);
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
