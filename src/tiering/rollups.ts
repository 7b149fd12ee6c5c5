/**
 * Keeps roll-ups in step with their tables: every so often, days that are over and whose rows have changed since their sums were
 * built, or that have none, are built anew from their rows. What arrives late or is repeated therefore cannot count twice, and a
 * crash at any place costs no more than building a day again.
 */
import type { MovedDaysOf, Rollup, RollupStore } from '../core/rollup';
import { dayName } from '../core/utc-day';
import type { Logger, Telemetry } from '../telemetry';
import { Repeated } from './repeated';

export interface RollupKeeperOptions {
  readonly store: RollupStore;
  /** Roll-ups of the tables that are there now. */
  readonly rollups: () => readonly Rollup[];
  readonly movedDays: MovedDaysOf;
  /** A day is over this long after its end. */
  readonly closeAfterMs: number;
  readonly intervalMs: number;
  readonly clock: () => number;
  readonly telemetry: Telemetry;
  readonly logger: Logger;
}

/** The first UTC day (YYYYMMDD) that is not over yet. */
export const firstOpenDay = (nowMs: number, closeAfterMs: number): string => dayName(nowMs - closeAfterMs);

export class RollupKeeper {
  /** Schema versions for which a roll-up is there, by table and period. */
  private readonly ensured = new Map<string, number>();
  private readonly failing = new Set<string>();
  private readonly repeated: Repeated;

  constructor(private readonly options: RollupKeeperOptions) {
    this.repeated = new Repeated(() => this.pass(), options.intervalMs);
  }

  start(): void {
    this.repeated.start();
  }

  /** Finishes the day that is being built. */
  stop(): Promise<void> {
    return this.repeated.stop();
  }

  /** Looks at every roll-up once. What fails is tried again with the next pass. Never rejects. */
  async pass(): Promise<void> {
    for (const rollup of this.options.rollups()) {
      if (this.repeated.stopped) return;
      const name = `${rollup.source.table}_${rollup.period.name}`;
      try {
        await this.keep(rollup, name);
        if (this.failing.delete(name)) this.options.logger.info({ rollup: name }, 'roll-up is kept again');
      } catch (error) {
        const level = this.failing.has(name) ? 'debug' : 'warn';
        this.options.logger[level]({ err: error, rollup: name }, 'cannot keep a roll-up, will try again');
        this.failing.add(name);
        this.options.telemetry.rollupFailures.inc({ rollup: name });
        // The table may be gone.
        this.ensured.delete(name);
      }
    }
  }

  private async keep(rollup: Rollup, name: string): Promise<void> {
    const { store, movedDays, telemetry, clock, closeAfterMs } = this.options;
    const { table, version } = rollup.source;
    if (this.ensured.get(name) !== version) {
      await store.ensureRollup(rollup);
      this.ensured.set(name, version);
    }
    const open = firstOpenDay(clock(), closeAfterMs);
    const { returned } = await movedDays(table);
    const stale = (await store.staleDays(rollup, returned)).filter((day) => day < open);
    for (const day of stale) {
      if (this.repeated.stopped) return;
      const { busy, hidden } = await movedDays(table);
      if (busy.has(day)) continue;
      const isBusy = async (): Promise<boolean> => (await movedDays(table)).busy.has(day);
      const stop = telemetry.rollupSeconds.startTimer({ table, period: rollup.period.name });
      await store.buildDay(rollup, day, { hidden: hidden.get(day) ?? [], isBusy });
      stop();
      this.options.logger.info({ rollup: name, day }, 'roll-up of a day is built');
    }
  }
}
