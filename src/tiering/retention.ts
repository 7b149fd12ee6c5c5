/** Keeps PostgreSQL to the days that its tables are kept there: every so often, what is older is dropped. */
import type { TableName } from '../core/ids';
import type { HotRetention, OldPartition, OldRows } from '../core/retention';
import type { TableSchema } from '../core/table-schema';
import { DAY_MS } from '../core/utc-day';
import type { Logger, Telemetry } from '../telemetry';
import { Repeated } from './repeated';

export interface RetentionKeeperOptions {
  readonly store: HotRetention;
  readonly tables: () => readonly TableSchema[];
  /** Days that rows of the table are kept; undefined: for ever. */
  readonly keepDays: (table: TableName) => number | undefined;
  /** Does a policy move rows of the table to ClickHouse? */
  readonly isDemoted: (table: TableName) => boolean;
  readonly clock: () => number;
  readonly telemetry: Telemetry;
  readonly logger: Logger;
  readonly intervalMs?: number;
}

const INTERVAL_MS = 60_000;
/** Tries for the locks of one partition in a pass. */
const ATTEMPTS_MAX = 10;
const PAUSE_MS = 200;
/** Batches of strays in a pass: others have their turn, and what is left goes with the next. */
const STRAY_BATCHES_MAX = 100;

export class RetentionKeeper {
  private readonly repeated: Repeated;
  private readonly warned = new Set<string>();

  constructor(private readonly options: RetentionKeeperOptions) {
    this.repeated = new Repeated(() => this.pass(), options.intervalMs ?? INTERVAL_MS);
  }

  start(): void {
    this.repeated.start();
  }

  stop(): Promise<void> {
    return this.repeated.stop();
  }

  /** Looks at every table once. What fails is tried again with the next pass. Never rejects. */
  async pass(): Promise<void> {
    const { tables, keepDays, isDemoted, clock, logger } = this.options;
    for (const schema of tables()) {
      const { table } = schema;
      const days = keepDays(table);
      if (days === undefined || this.repeated.stopped) continue;
      try {
        await this.keep({ schema, beforeMs: clock() - days * DAY_MS, isDemoted: isDemoted(table) });
        if (this.warned.delete(table)) logger.info({ table }, 'old rows of a table are dropped again');
      } catch (error) {
        this.warnOnce(table, error, 'cannot drop old rows of a table, will try again');
      }
    }
  }

  private async keep(rows: OldRows): Promise<void> {
    const { store, telemetry, logger } = this.options;
    const { table } = rows.schema;
    const outdated = await store.outdated(rows);
    if (outdated === undefined) throw new Error(`${table} is no partitioned table: its old rows stay`);
    for (const partition of outdated) {
      if (!(await this.drop(rows, partition))) continue;
      telemetry.retentionPartitions.inc({ table });
      telemetry.retentionRows.inc({ table }, partition.rows);
      const { name, fromMs, toMs } = partition;
      const range = { from: new Date(fromMs).toISOString(), to: new Date(toMs).toISOString() };
      logger.info(
        { table, partition: name, ...range, rows: partition.rows },
        'partition is dropped, its rows are past keep_days',
      );
    }
    for (let batch = 0; batch < STRAY_BATCHES_MAX && !this.repeated.stopped; batch++) {
      const deleted = await store.deleteStrays(rows);
      if (deleted === 0) return;
      telemetry.retentionRows.inc({ table }, deleted);
      logger.info({ table, rows: deleted }, 'rows outside of partitions are deleted, they are past keep_days');
    }
  }

  /** What others hold for long is left to the next pass. */
  private async drop(rows: OldRows, partition: OldPartition): Promise<boolean> {
    for (let attempt = 0; attempt < ATTEMPTS_MAX && !this.repeated.stopped; attempt++) {
      const done = await this.options.store.drop(rows, partition);
      if (done !== 'busy') return done === 'dropped';
      await this.repeated.pause(PAUSE_MS);
    }
    return false;
  }

  private warnOnce(table: string, error: unknown, text: string): void {
    const level = this.warned.has(table) || this.repeated.stopped ? 'debug' : 'warn';
    this.options.logger[level]({ err: error, table }, text);
    this.warned.add(table);
  }
}
