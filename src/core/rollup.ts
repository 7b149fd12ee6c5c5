/** Sums of a cold table's rows over periods of time, kept beside it (DESIGN section 2). */
import type { TableName } from './ids';
import type { TableSchema } from './table-schema';

/** A period: a whole number of seconds that divides a day. */
export interface RollupPeriod {
  /** As configured and as it ends the name of the view: `1m`, `1h`. */
  readonly name: string;
  readonly seconds: number;
}

export interface Rollup {
  readonly source: TableSchema;
  readonly period: RollupPeriod;
  /** Days that the sums are kept; undefined: for ever. */
  readonly keepDays: number | undefined;
}

/** The cold store, to those who keep its roll-ups. */
export interface RollupStore {
  /** Makes the table of the sums and the view over it, or adds what a wider source has. Repeatable. Throws SinkError. */
  ensureRollup(rollup: Rollup): Promise<void>;
  /**
   * UTC days (YYYYMMDD) whose rows have changed since their sums were built, or that have none, the earliest first. Rows that are
   * gone because the source keeps them no longer change nothing, except on the days `returned`.
   */
  staleDays(rollup: Rollup, returned: ReadonlySet<string>): Promise<readonly string[]>;
  /**
   * Builds the sums of one day from its rows and puts them in the place of the earlier ones, at once for readers. Repeatable. A day that
   * has become busy meanwhile stays as it was.
   */
  buildDay(rollup: Rollup, day: string, care?: DayCare): Promise<void>;
}

export interface DayCare {
  /** Batch ids (`_batch_hi`, decimal digits) whose rows do not count. */
  readonly hidden: readonly string[];
  /** Asked when the rows have been read. */
  readonly isBusy: () => Promise<boolean>;
}

/** What moves between the tiers has to do with the days (YYYYMMDD) of a table. */
export interface MovedDays {
  /** Rows are on their way: the day cannot be summed up yet. */
  readonly busy: ReadonlySet<string>;
  /** Rows went back to the other tier: what is not here any more is not to be in the sums either. */
  readonly returned: ReadonlySet<string>;
  /** By day, as DayCare has them. */
  readonly hidden: ReadonlyMap<string, readonly string[]>;
}

export type MovedDaysOf = (table: TableName) => Promise<MovedDays>;
