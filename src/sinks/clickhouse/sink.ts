/** The cold tier: ClickHouse behind the Sink interface. Exactly-once by durability rules C1 to C5 and C7, see recipe.ts. */
import { setTimeout as sleep } from 'node:timers/promises';
import { identifier, literal, qualified } from '../../core/clickhouse-sql';
import { storeForm } from '../../core/column-name';
import { lsn, type TableName, type WalId } from '../../core/ids';
import type { StoreTables } from '../../core/schema-registry';
import { type LastInsert, type Recall, type Sink, SinkError, type SinkWrite, UnfitBatchError } from '../../core/sink';
import type { TableSchema } from '../../core/table-schema';
import type { Logger } from '../../telemetry';
import { acceptedRows, isolate } from '../isolate';
import { storeWrite } from '../store-form';
import { attemptToken, batchKey, hiOf, tokenPrefix } from './batch-key';
import { localTable } from './cluster';
import { Connection } from './connection';
import {
  alterTable,
  BATCH_HI,
  BATCH_LO,
  columnType,
  createDatabase,
  createTable,
  partitionExpression,
  type StoredTable,
  storedForm,
} from './ddl';
import type { DdlOptions } from './ddl-options';
import { type EncodedWrite, encodeArrow } from './encode-arrow';
import { StoreError, toSinkError } from './errors';
import { type Location, parseLocation } from './location';
import { Probe, rowsOf } from './probe';
import { type BatchStore, type DeadTokens, deliverOnce } from './recipe';
import { insertSettings, parseVersion, type ServerVersion } from './server';
import { Tables } from './tables';

export interface ClickHouseSinkOptions extends Omit<DdlOptions, 'database'> {
  /** See location.ts. */
  readonly url: string;
  readonly logger: Logger;
  /** One INSERT, from its first byte to its answer. */
  readonly insertTimeoutMs?: number;
  /** Any other statement, and the wait for queries that are being killed. */
  readonly queryTimeoutMs?: number;
}

const INSERT_TIMEOUT_MS = 120_000;
const QUERY_TIMEOUT_MS = 30_000;
const PING_TIMEOUT_MS = 2_000;
const CONNECTIONS_MAX = 10;
/** Pauses between looks at the running queries, doubled each time. */
const SETTLE_PAUSE_MS = { first: 20, max: 500 };

export class ClickHouseSink implements Sink, StoreTables {
  /** By batch, for those not delivered yet: as many as delivery has parts under way. */
  private readonly deadTokens = new Map<string, DeadTokens>();
  readonly tier = 'cold';
  readonly partitioning = 'day';
  private readonly location: Location;
  private readonly connection: Connection;
  private readonly ddl: DdlOptions;
  private readonly tables: Tables;
  private readonly queryTimeoutMs: number;
  private readonly insertTimeoutMs: number;
  private version: ServerVersion | undefined;

  /** Throws TypeError for a bad URL. */
  constructor(private readonly options: ClickHouseSinkOptions) {
    this.location = parseLocation(options.url);
    this.queryTimeoutMs = options.queryTimeoutMs ?? QUERY_TIMEOUT_MS;
    this.insertTimeoutMs = options.insertTimeoutMs ?? INSERT_TIMEOUT_MS;
    this.connection = new Connection({
      location: this.location,
      queryTimeoutMs: this.queryTimeoutMs,
      connectionsMax: CONNECTIONS_MAX,
    });
    this.ddl = { ...options, database: this.location.database };
    this.tables = new Tables(this.connection, this.ddl, options.logger);
  }

  async start(): Promise<void> {
    await attempt(async () => {
      const { database } = this.location;
      const [server] = await this.connection.rows<{ version: string; databases: string }>(
        `SELECT version() AS version, (SELECT count() FROM system.databases WHERE name = ${literal(database)}) AS databases`,
      );
      if (server === undefined) throw new StoreError('clickhouse does not tell its version');
      if (server.databases === '0') await this.connection.command(createDatabase(this.ddl));
      this.version = supported(server.version);
    });
  }

  async ensureTable(schema: TableSchema): Promise<void> {
    await attempt(() => this.tables.ensure(storeForm(schema)));
  }

  columnsOf(schema: TableSchema): ReadonlyMap<string, string> {
    const stored = storeForm(schema);
    return new Map(stored.columns.map((column) => [column.name, columnType(column, stored.timeColumn)]));
  }

  explain(schema: TableSchema, before: TableSchema | undefined): readonly string[] {
    const stored = storeForm(schema);
    if (before === undefined) return [createTable(stored, this.ddl)];
    return alterTable(stored, storedForm(storeForm(before), this.ddl), this.ddl);
  }

  async describe(table: TableName): Promise<ReadonlyMap<string, string> | undefined> {
    let stored: StoredTable | undefined;
    await attempt(async () => {
      stored = await this.tables.describe(localTable(table, this.ddl));
    });
    return stored === undefined ? undefined : new Map(stored.columns);
  }

  async write(asked: SinkWrite): Promise<void> {
    const write = storeWrite(asked, asked.schema);
    await attempt(async () => {
      if (this.version === undefined) await this.start();
      await this.tables.ensure(write.schema);
      await this.tables.checkUnmoved(write.schema);
      try {
        await this.deliver(write, write.mayHaveRun);
      } catch (error) {
        // Recipe.ts has seen that nothing of the batch is stored: what it holds may still be decided.
        if (!isContent(error)) throw error;
        this.options.logger.warn(
          { err: error, table: write.id.table },
          'clickhouse refuses a batch, looking for the rows at fault',
        );
        if ((await this.refuseRows(write, error)) === 0) throw error;
        await this.deliver(write, true);
      }
    });
  }

  /** Delivers the rows that are not refused. */
  private async deliver(write: SinkWrite, mayHaveRun: boolean): Promise<void> {
    const rows = acceptedRows(write.batch.numRows, write.refused);
    if (rows.length === 0) return;
    const key = tokenPrefix(write.id);
    const dead = this.deadTokens.get(key) ?? { count: 0 };
    this.deadTokens.set(key, dead);
    const more = write.mayHoldMore === true ? { mayHoldMore: true } : {};
    await deliverOnce(this.batchStore(write, rows, this.version!), { rows: rows.length, mayHaveRun, dead, ...more });
    this.deadTokens.delete(key);
  }

  /** Parks the rows that cannot be stored; resolves with their number. */
  private async refuseRows(write: SinkWrite, error: unknown): Promise<number> {
    const rows = acceptedRows(write.batch.numRows, write.refused);
    if (error instanceof UnfitBatchError) {
      const { code, column, message } = error;
      await write.onRefused(Array.from(rows, (row) => ({ row, stage: 'schema' as const, code, column, message })));
      return rows.length;
    }
    const probe = new Probe(this.connection, this.ddl, write, this.insertTimeoutMs);
    try {
      await probe.create();
      return await isolate({ rows, attempt: (part) => probe.attempt(part), onRefused: write.onRefused });
    } finally {
      await probe.drop().catch((problem: unknown) => this.options.logger.warn({ err: problem }, 'cannot drop a probe table'));
    }
  }

  private batchStore(write: SinkWrite, rows: Int32Array, version: ServerVersion): BatchStore {
    let encoded: EncodedWrite | undefined;
    return {
      insert: async (number) => {
        encoded ??= encodeArrow({ ...write, batch: rowsOf(write.batch, rows) });
        const token = attemptToken(write.id, number);
        const columns = encoded.columns.map(identifier).join(', ');
        const table = this.tableOf(write);
        await this.connection.insert(`INSERT INTO ${table} (${columns}) FORMAT ArrowStream`, encoded.bytes, {
          settings: insertSettings(version, token),
          queryId: token,
          timeoutMs: this.insertTimeoutMs,
        });
      },
      repair: () => this.tables.repair(write.schema),
      settle: () => this.settle(tokenPrefix(write.id)),
      count: () => this.count(write),
    };
  }

  /** Kills what runs under such query ids and waits until nothing of it does. Throws StoreError when that takes too long. */
  private async settle(prefix: string): Promise<void> {
    const ours = `startsWith(query_id, ${literal(prefix)})`;
    const deadline = performance.now() + this.queryTimeoutMs;
    await this.connection.command(`KILL QUERY WHERE ${ours} SYNC`);
    for (let pauseMs = SETTLE_PAUSE_MS.first; ; pauseMs = Math.min(pauseMs * 2, SETTLE_PAUSE_MS.max)) {
      const [running] = await this.connection.rows<{ n: string }>(`SELECT count() AS n FROM system.processes WHERE ${ours}`);
      if (running?.n === '0') return;
      if (performance.now() > deadline) throw new StoreError('a killed insert is still running');
      await sleep(pauseMs);
    }
  }

  private tableOf(write: SinkWrite): string {
    return qualified(this.location.database, localTable(write.id.table, this.ddl));
  }

  /** Is any row of this write here? */
  async holds(asked: SinkWrite): Promise<boolean> {
    const write = storeWrite(asked, asked.schema);
    let rows = 0;
    await attempt(async () => {
      if (this.version === undefined) await this.start();
      await this.tables.ensure(write.schema);
      await this.settle(tokenPrefix(write.id));
      rows = await this.count(write);
    });
    return rows > 0;
  }

  async recall(walId: WalId, schemas: readonly TableSchema[], settle: boolean): Promise<Recall> {
    const tables = new Map<TableName, LastInsert>();
    await attempt(async () => {
      if (this.version === undefined) await this.start();
      if (settle) await this.settle(`${walId}/`);
      for (const asked of schemas) {
        const schema = storeForm(asked);
        await this.tables.ensure(schema);
        const last = await this.lastInsert(walId, schema);
        if (last !== undefined) tables.set(asked.table, last);
      }
    });
    return { below: lsn(1), tables };
  }

  private async lastInsert(walId: WalId, { table, timeColumn }: TableSchema): Promise<LastInsert | undefined> {
    const stored = qualified(this.location.database, localTable(table, this.ddl));
    if (this.ddl.replicated !== undefined) await this.connection.command(`SYSTEM SYNC REPLICA ${stored} LIGHTWEIGHT`);
    const [hi, lo] = [identifier(BATCH_HI), identifier(BATCH_LO)];
    const ours = `${hi} = ${hiOf(walId)}`;
    const found = await this.connection.rows<Record<'first' | 'day' | 'n', string>>(
      `SELECT toString(${lo}) AS first, toString(${partitionExpression(timeColumn)}) AS day, toString(count()) AS n FROM ${stored} ` +
        `WHERE ${ours} AND ${lo} = (SELECT max(${lo}) FROM ${stored} WHERE ${ours}) GROUP BY first, day`,
    );
    if (found.length === 0) return undefined;
    const rows = new Map(found.map(({ day, n }) => [day.padStart(8, '0'), Number(n)]));
    return { fromLsn: lsn(Number(found[0].first)), toLsn: undefined, rows };
  }

  private async count(write: SinkWrite): Promise<number> {
    const { hi, lo } = batchKey(write.id);
    const sql =
      `SELECT count() AS n FROM ${this.tableOf(write)} ` +
      `WHERE ${identifier(BATCH_HI)} = ${hi} AND ${identifier(BATCH_LO)} = ${lo} ` +
      `AND ${partitionExpression(write.schema.timeColumn)} = ${Number(write.id.partition)}`;
    const counted = async (): Promise<number> => {
      // What another replica has taken (C5).
      if (this.ddl.replicated !== undefined)
        await this.connection.command(`SYSTEM SYNC REPLICA ${this.tableOf(write)} LIGHTWEIGHT`);
      const [row] = await this.connection.rows<{ n: string }>(sql);
      if (row === undefined) throw new StoreError('clickhouse does not count');
      return Number(row.n);
    };
    try {
      return await counted();
    } catch (error) {
      if (!(error instanceof StoreError && error.kind === 'schema')) throw error;
      await this.tables.repair(write.schema);
      return counted();
    }
  }

  async ping(): Promise<void> {
    await attempt(async () => {
      await this.connection.rows('SELECT 1', { timeoutMs: PING_TIMEOUT_MS });
    });
  }

  async stop(): Promise<void> {
    await this.connection.close();
  }
}

/** A refusal for what the rows hold. A batch that is too large for its encoding (RangeError) is one whose parts may not be. */
const isContent = (error: unknown): boolean =>
  error instanceof RangeError || (error instanceof StoreError && error.kind === 'content');

function supported(version: string): ServerVersion {
  try {
    return parseVersion(version);
  } catch (error) {
    throw new SinkError('retry', (error as RangeError).message, { cause: error });
  }
}

async function attempt(action: () => Promise<void>): Promise<void> {
  try {
    await action();
  } catch (error) {
    if (error instanceof RangeError) throw new SinkError('content', error.message, { cause: error });
    throw toSinkError(error);
  }
}
