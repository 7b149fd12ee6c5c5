/**
 * The hot tier. A write is one transaction: first the row of the batch in `_ingest_batches`, then the rows by binary COPY, then
 * COMMIT (durability rules P1 to P4). Whatever happens to a connection, the batch row and the data are there together or not at
 * all, so that repeating a write of unknown outcome is always right: it finds the batch row, or does the work. See deliver.ts.
 */
import type { Pool, PoolClient } from 'pg';
import type { Lsn, TableName, WalId } from '../../core/ids';
import { covers, type StoredSchema, schemaOfRow } from '../../core/merge-schema';
import type { SharedRegistry, StoreTables } from '../../core/schema-registry';
import { type Recall, type Sink, SinkError, type SinkWrite } from '../../core/sink';
import type { TableSchema, Tier } from '../../core/table-schema';
import type { Logger, Telemetry } from '../../telemetry';
import { storeWrite } from '../store-form';
import { pruneBatches, recallBatches } from './batch-rows';
import { closePool, createPool, inTransaction, withConnection } from './connection';
import { deliver } from './deliver';
import {
  addPartitions,
  columnsOf,
  createBase,
  createOrEvolve,
  lockDdl,
  type Store,
  type StoreOptions,
  type TableState,
} from './ensure-table';
import { isSchemaChange, retryError, sinkError, sqlStateOf } from './errors';
import { columnsOfSchema, explainTable } from './explain';
import { daysAhead, daysOf, isCovered, missingDays } from './partitions';
import { SELECT_REGISTRY } from './registry-rows';
import { TIMESCALE_DEFAULTS } from './timescale';

export interface PostgresSinkOptions extends Partial<StoreOptions> {
  /** `postgresql://user:password@host:port/database?sslmode=...` */
  readonly url: string;
  readonly logger: Logger;
  readonly telemetry: Telemetry;
  /** Writes that may run at the same time; default 4. */
  readonly writesMax?: number;
  /** Longest COPY, milliseconds; default 5 minutes. */
  readonly statementTimeoutMs?: number;
  /** How long rows of delivered batches are kept behind the cursor; default a day. */
  readonly batchRetentionMs?: number;
  /** Wall clock, for the partitions made ahead of time. */
  readonly now?: () => number;
  /** Told what has come of merging a schema with the shared registry. */
  readonly onSchema?: (schema: TableSchema) => Promise<unknown>;
}

const WRITES_MAX = 4;
const BATCH_RETENTION_MS = 86_400_000;
const STATEMENT_TIMEOUT_MS = 300_000;
const CONTROL_CONNECTIONS_MAX = 2;
const STOP_GRACE_MS = 300;
const SERVER_VERSION_MIN = 150_000;
/** Errors of making a partition after which the rows can go to the DEFAULT one: lock timeout, deadlock, cancelled. */
const PARTITION_CAN_WAIT = new Set(['55P03', '40P01', '57014']);

export class PostgresSink implements Sink, StoreTables, SharedRegistry {
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
      const { timescale = TIMESCALE_DEFAULTS, partitioning = 'auto', logger } = this.options;
      const base = (client: PoolClient): Promise<Store> => createBase(client, { timescale, partitioning });
      this.store = await inTransaction(this.control, this.statementTimeoutMs, base);
      this.tables.clear();
      if (this.store.timescale?.compressAfterDays !== undefined && !this.store.compression)
        logger.warn('this TimescaleDB has no compression: chunks stay as they are');
      if (partitioning === 'partman' && this.store.partman === undefined)
        logger.warn('pg_partman is not installed in this database: partitions are made without it');
    } catch (error) {
      throw retryError(error, 'postgresql cannot be used');
    }
  }

  async ensureTable(schema: TableSchema): Promise<void> {
    await this.tableState(schema);
  }

  async write(asked: SinkWrite): Promise<void> {
    const { schema } = asked;
    const state = await this.tableState(schema);
    const write = storeWrite(asked, state.schema);
    const { fingerprint } = state;
    if (state.kind === 'partitioned') await this.ensurePartitions(state, write);
    try {
      await this.attempt(write, { isolating: false, fingerprint });
    } catch (error) {
      if (!(error instanceof SinkError && error.failure === 'content')) throw error;
      this.options.logger.warn({ err: error, table: schema.table }, 'postgresql refuses a batch, looking for the rows at fault');
      await this.attempt(write, { isolating: true, fingerprint });
    }
  }

  columnsOf(schema: TableSchema): ReadonlyMap<string, string> {
    return columnsOfSchema(schema);
  }

  explain(schema: TableSchema, before: TableSchema | undefined): readonly string[] {
    return explainTable(schema, before, this.store?.timescale);
  }

  async describe(table: TableName): Promise<ReadonlyMap<string, string> | undefined> {
    try {
      const columns = await withConnection(this.control, this.statementTimeoutMs, (client) => columnsOf(client, table));
      return columns.size === 0 ? undefined : columns;
    } catch (error) {
      throw retryError(error, `reading the columns of ${table}`);
    }
  }

  async schemas(): Promise<readonly TableSchema[]> {
    try {
      const { rows } = await this.control.query<StoredSchema>(SELECT_REGISTRY);
      return rows.flatMap((row) => schemaOfRow(row) ?? []);
    } catch (error) {
      throw retryError(error, 'reading the table registry');
    }
  }

  private async attempt(write: SinkWrite, how: { isolating: boolean; fingerprint: string }): Promise<void> {
    const { table } = write.schema;
    try {
      const work = (client: PoolClient): Promise<number> => deliver(client, write, how);
      const sanitized = await withConnection(this.writes, this.statementTimeoutMs, work);
      if (sanitized > 0) this.options.telemetry.sanitizedValues.inc({ tier: this.tier, reason: 'nul' }, sanitized);
    } catch (error) {
      if (isSchemaChange(error)) this.tables.delete(table);
      if (error instanceof RangeError) throw new SinkError('content', `writing to ${table}: ${error.message}`, { cause: error });
      throw sinkError(error, `writing to ${table}`);
    }
  }

  async forget(walId: WalId, below: Lsn): Promise<void> {
    const retentionMs = this.options.batchRetentionMs ?? BATCH_RETENTION_MS;
    try {
      await pruneBatches(this.control, this.statementTimeoutMs, { walId, below, retentionMs });
    } catch (error) {
      throw retryError(error, 'pruning batch rows');
    }
  }

  async recall(walId: WalId, schemas: readonly TableSchema[], settle: boolean): Promise<Recall> {
    const tables = schemas.map(({ table }) => table);
    try {
      return await recallBatches(this.control, this.statementTimeoutMs, { walId, tables, settle });
    } catch (error) {
      throw retryError(error, 'reading batch rows');
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
    if (known !== undefined && covers(known.schema, schema)) return known;
    return this.change(schema, async () => {
      const meanwhile = this.tables.get(schema.table);
      if (meanwhile !== undefined && covers(meanwhile.schema, schema)) return meanwhile;
      const { store } = this;
      if (store === undefined) throw new SinkError('retry', 'the postgresql sink has not started');
      const state = await inTransaction(this.control, this.statementTimeoutMs, (client) =>
        createOrEvolve(client, schema, store, this.now()),
      );
      this.tables.set(schema.table, state);
      for (const { column, oldName } of state.leftBehind) {
        const text = 'a large table has a new column for what the old one cannot hold; earlier rows stand in the old one';
        this.options.logger.warn({ table: schema.table, column: column.name, oldColumn: oldName }, text);
      }
      await this.tell(state.schema);
      return state;
    });
  }

  /** The rows are safe without it: the state of the table is kept here. */
  private async tell(schema: TableSchema): Promise<void> {
    await this.options.onSchema?.(schema).catch((error: unknown) => {
      this.options.logger.warn({ err: error, table: schema.table }, 'cannot take over the shared schema of a table');
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
          return addPartitions(client, schema, missing, this.store!);
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
}
