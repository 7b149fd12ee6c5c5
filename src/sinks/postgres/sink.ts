/**
 * The hot tier. A write is one transaction: first the row of the batch in `_ingest_batches`, then the rows by binary COPY, then
 * COMMIT (durability rules P1 to P4). Whatever happens to a connection, the batch row and the data are there together or not at
 * all, so that repeating a write of unknown outcome is always right: it finds the batch row, or does the work.
 */
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Pool, PoolClient } from 'pg';
import * as copyStreams from 'pg-copy-streams';
import { type Sink, SinkError, type SinkWrite } from '../../core/sink';
import type { TableSchema, Tier } from '../../core/table-schema';
import type { Logger, Telemetry } from '../../telemetry';
import { closePool, createPool, inTransaction, withConnection } from './connection';
import { quoteIdentifier } from './ddl';
import { CopyEncoder } from './encode-copy';
import { addPartitions, createBase, createOrEvolve, lockDdl, type Store, type TableState } from './ensure-table';
import { isSchemaChange, retryError, sinkError, sqlStateOf } from './errors';
import { daysAhead, daysOf, isCovered, missingDays } from './partitions';

export interface PostgresSinkOptions {
  /** `postgresql://user:password@host:port/database?sslmode=...` */
  readonly url: string;
  readonly logger: Logger;
  readonly telemetry: Telemetry;
  /** Writes that may run at the same time; default 4. */
  readonly writesMax?: number;
  /** Longest COPY, milliseconds; default 5 minutes. */
  readonly statementTimeoutMs?: number;
  /** Wall clock, for the partitions made ahead of time. */
  readonly now?: () => number;
}

const WRITES_MAX = 4;
const STATEMENT_TIMEOUT_MS = 300_000;
const CONTROL_CONNECTIONS_MAX = 2;
const STOP_GRACE_MS = 10_000;
const SERVER_VERSION_MIN = 150_000;
/** Bytes that wait between our encoder and the socket. */
const COPY_BUFFER_BYTES = 1024 * 1024;

/** A stronger setting of the server stays: `on` would weaken `remote_apply`. */
const BEGIN = `BEGIN; SELECT set_config('synchronous_commit',
  CASE current_setting('synchronous_commit') WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, true)`;

const CLAIM = `INSERT INTO _ingest_batches (wal_id, lsn, last_lsn, table_name, rows) VALUES ($1, $2, $3, $4, $5)
  ON CONFLICT DO NOTHING`;

const CLAIMED = 'SELECT last_lsn FROM _ingest_batches WHERE wal_id = $1 AND lsn = $2 AND table_name = $3';

/** Errors of making a partition after which the rows can go to the DEFAULT one: lock timeout, deadlock, cancelled. */
const PARTITION_CAN_WAIT = new Set(['55P03', '40P01', '57014']);

export class PostgresSink implements Sink {
  readonly tier: Tier = 'hot';
  readonly partitioning = 'none';
  private readonly writes: Pool;
  /** DDL and pings: they must not wait behind long writes. */
  private readonly control: Pool;
  private readonly statementTimeoutMs: number;
  private readonly now: () => number;
  private store: Store | undefined;
  private readonly tables = new Map<string, TableState>();
  /** One change of a table at a time. */
  private readonly changes = new Map<string, Promise<unknown>>();

  constructor(private readonly options: PostgresSinkOptions) {
    const { url, logger } = options;
    this.statementTimeoutMs = options.statementTimeoutMs ?? STATEMENT_TIMEOUT_MS;
    this.now = options.now ?? Date.now;
    const connection = { url, logger, statementTimeoutMs: this.statementTimeoutMs };
    this.writes = createPool({ ...connection, connectionsMax: options.writesMax ?? WRITES_MAX });
    this.control = createPool({ ...connection, connectionsMax: CONTROL_CONNECTIONS_MAX });
  }

  async start(): Promise<void> {
    try {
      await withConnection(this.control, this.statementTimeoutMs, (client) => this.checkServer(client));
      this.store = await inTransaction(this.control, this.statementTimeoutMs, createBase);
      this.tables.clear();
    } catch (error) {
      throw retryError(error, 'postgresql cannot be used');
    }
  }

  async ensureTable(schema: TableSchema): Promise<void> {
    await this.tableState(schema);
  }

  async write(write: SinkWrite): Promise<void> {
    const { schema } = write;
    const state = await this.tableState(schema);
    if (state.kind === 'partitioned') await this.ensurePartitions(state, write);
    try {
      await withConnection(this.writes, this.statementTimeoutMs, (client) => this.deliver(client, write));
    } catch (error) {
      if (isSchemaChange(error)) this.tables.delete(schema.table);
      throw sinkError(error, `writing to ${schema.table}`);
    }
  }

  async ping(): Promise<void> {
    try {
      await this.control.query('SELECT 1');
    } catch (error) {
      throw retryError(error, 'postgresql does not answer');
    }
  }

  /** Waits a little for the writes that run; one that is cut off is repeated after the next start. */
  async stop(): Promise<void> {
    await Promise.all([this.writes, this.control].map((pool) => closePool(pool, STOP_GRACE_MS)));
  }

  /** P4: a server that does not keep what it has committed would make our acknowledgement untrue. */
  private async checkServer(client: PoolClient): Promise<void> {
    const { rows } = await client.query<Record<'version' | 'fsync' | 'pages' | 'recovering', string>>(
      `SELECT current_setting('server_version_num') AS version, current_setting('fsync') AS fsync,
        current_setting('full_page_writes') AS pages, pg_is_in_recovery()::text AS recovering`,
    );
    const found = rows[0];
    if (Number(found?.version) < SERVER_VERSION_MIN) throw new SinkError('retry', 'postgresql 15 or newer is needed');
    if (found?.fsync !== 'on') {
      throw new SinkError('retry', 'postgresql runs with fsync=off and may lose what it has committed; set fsync=on');
    }
    if (found.recovering === 'true')
      throw new SinkError('retry', 'postgresql is a read-only standby; give the URL of the primary');
    if (found.pages !== 'on') {
      this.options.logger.warn('postgresql runs with full_page_writes=off: a power loss may damage its tables');
    }
  }

  private async tableState(schema: TableSchema): Promise<TableState> {
    const known = this.tables.get(schema.table);
    if (known !== undefined && known.version >= schema.version) return known;
    return this.change(schema, async () => {
      const meanwhile = this.tables.get(schema.table);
      if (meanwhile !== undefined && meanwhile.version >= schema.version) return meanwhile;
      const { store } = this;
      if (store === undefined) throw new SinkError('retry', 'the postgresql sink has not started');
      const state = await inTransaction(this.control, this.statementTimeoutMs, (client) =>
        createOrEvolve(client, schema, store, this.now()),
      );
      this.tables.set(schema.table, state);
      return state;
    });
  }

  private async change<T>(schema: TableSchema, work: () => Promise<T>): Promise<T> {
    const before = this.changes.get(schema.table) ?? Promise.resolve();
    const mine = before.then(work, work);
    this.changes.set(schema.table, mine);
    try {
      return await mine;
    } catch (error) {
      throw retryError(error, `preparing table ${schema.table}`);
    } finally {
      if (this.changes.get(schema.table) === mine) this.changes.delete(schema.table);
    }
  }

  /** Partitions for the days of the batch, and for the days to come. */
  private async ensurePartitions(state: TableState, { schema, batch }: SinkWrite): Promise<void> {
    const days = daysOf(batch, schema.timeColumn);
    const wanted = (ranges: TableState['ranges']): number[] => [
      ...new Set([...daysAhead(this.now()).filter((day) => !isCovered(day, ranges)), ...missingDays(days, ranges)]),
    ];
    if (wanted(state.ranges).length === 0) return;
    await this.change(schema, async () => {
      const latest = this.tables.get(schema.table) ?? state;
      const missing = wanted(latest.ranges);
      if (missing.length === 0) return;
      try {
        const ranges = await inTransaction(this.control, this.statementTimeoutMs, async (client) => {
          await lockDdl(client);
          return addPartitions(client, schema, missing);
        });
        this.tables.set(schema.table, { ...latest, ranges });
      } catch (error) {
        if (isSchemaChange(error)) this.tables.delete(schema.table);
        if (!PARTITION_CAN_WAIT.has(sqlStateOf(error))) throw error;
        const text = 'day partitions could not be made now, their rows go to the default partition';
        this.options.logger.warn({ err: error, table: schema.table }, text);
      }
    });
  }

  private async deliver(client: PoolClient, write: SinkWrite): Promise<void> {
    const { walId, lsn, lastLsn, table } = write.id;
    const rows = write.batch.numRows;
    await client.query(BEGIN);
    // Waits for another transaction with the same identity to end: a connection we have lost may still hold one.
    const claim = await client.query(CLAIM, [walId, lsn, lastLsn, table, rows]);
    if (claim.rowCount === 0) {
      await this.checkClaimed(client, write);
      await client.query('ROLLBACK');
      return;
    }
    const encoder = encoderOf(write);
    const copied = await copy(client, table, encoder);
    if (copied !== rows) {
      await client.query('ROLLBACK');
      throw new SinkError('broken', `postgresql stored ${copied} of ${rows} rows of ${table}: does a trigger or rule drop rows?`);
    }
    const { command } = await client.query('COMMIT');
    if (command !== 'COMMIT') throw new SinkError('retry', `postgresql answered ${command} to COMMIT`);
    const { sanitizedValues } = encoder;
    if (sanitizedValues > 0) this.options.telemetry.sanitizedValues.inc({ tier: this.tier, reason: 'nul' }, sanitizedValues);
  }

  /** The same first entry with another last one is another batch under a used identity: its rows would be taken for delivered. */
  private async checkClaimed(client: PoolClient, { id }: SinkWrite): Promise<void> {
    const { rows } = await client.query<{ last_lsn: string }>(CLAIMED, [id.walId, id.lsn, id.table]);
    const found = rows[0]?.last_lsn;
    if (found === String(id.lastLsn)) return;
    await client.query('ROLLBACK');
    const text = `entries ${id.lsn} to ${id.lastLsn} of ${id.table} stand as ${id.lsn} to ${found} in _ingest_batches`;
    throw new SinkError('broken', text);
  }
}

/** Errors of the encoder are ours, not the rows': the batch is not what its schema says. */
function encoderOf({ schema, batch }: SinkWrite): CopyEncoder {
  try {
    return new CopyEncoder(schema, batch);
  } catch (error) {
    throw new SinkError('broken', `cannot encode rows of ${schema.table}: ${(error as Error).message}`, { cause: error });
  }
}

async function copy(client: PoolClient, table: string, encoder: CopyEncoder): Promise<number> {
  const columns = encoder.columns.map(quoteIdentifier).join(', ');
  const sql = `COPY ${quoteIdentifier(table)} (${columns}) FROM STDIN (FORMAT binary)`;
  const stream = client.query(copyStreams.from(sql, { highWaterMark: COPY_BUFFER_BYTES }));
  await pipeline(Readable.from(encoder.chunks(), { objectMode: true, highWaterMark: 1 }), stream);
  return stream.rowCount;
}
