/** The end of rows in PostgreSQL by age, without a move to ClickHouse: whole partitions, and old rows of the DEFAULT one. */
import { type DemotionState, isUnfinished } from './demotion';
import type { TableSchema } from './table-schema';

export interface OldPartition {
  readonly name: string;
  /** Milliseconds since 1970, from inclusive, to exclusive. */
  readonly fromMs: number;
  readonly toMs: number;
  /** About. */
  readonly rows: number;
}

/** What retention asks for: the table's rows before `beforeMs` end. `isDemoted`: they are moved to ClickHouse by a policy before. */
export interface OldRows {
  readonly schema: TableSchema;
  readonly beforeMs: number;
  readonly isDemoted: boolean;
}

/** All throw errors of the store. */
export interface HotRetention {
  /** Partitions that are wholly older and may be dropped, the oldest first. Undefined: the table is not partitioned. */
  outdated(rows: OldRows): Promise<readonly OldPartition[] | undefined>;
  /** `busy`: the locks were not to be had, try again; `kept`: it is gone, or may not be dropped any more. */
  drop(rows: OldRows, partition: OldPartition): Promise<'dropped' | 'busy' | 'kept'>;
  /** Deletes some of the old rows of the DEFAULT partition; gives their number, 0 when none is left. */
  deleteStrays(rows: OldRows): Promise<number>;
}

/**
 * May a partition be dropped? `states`: of the demotions that meet its range, the newest last. Not while its rows are on their way, nor
 * when an operator took them back. Where a policy moves the rows of the table, only what it had to give up.
 */
export function mayDrop(states: readonly DemotionState[], isDemoted: boolean): boolean {
  const last = states.at(-1);
  if (last === 'restored' || states.some((state) => isUnfinished({ state }))) return false;
  return !isDemoted || last === 'aborted';
}
