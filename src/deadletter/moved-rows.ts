import type { RecordBatch } from 'apache-arrow';
import type { ParkedProgress, ParkedRow } from '../core/dead-letter';
import { type Lsn, lsn, type TableName, type WalId } from '../core/ids';
import type { LettersHead, Moved } from './format';

/** Rows that no store has seen, in one form, from entries of a WAL that follow each other. */
export interface MovedLetters extends Pick<LettersHead, 'jsonColumns' | 'wholeRows'> {
  readonly table: TableName;
  readonly rows: readonly ParkedRow[];
  readonly batch: RecordBatch;
  readonly atMs: number;
  /** Where the next rows are. */
  readonly nextLsn: Lsn;
  readonly batchesDone: number;
}

/** How far the parked rows of a WAL have become letters, as the `_moved` batches of the log tell it (format.ts). */
export class MovedRows {
  private progress: ParkedProgress | undefined;
  /** Where the last one with all totals stands. */
  private totalsAt: Lsn | undefined;

  /** Undefined for a WAL of which no row has become a letter. */
  of(walId: WalId): ParkedProgress | undefined {
    return this.progress?.walId === walId ? this.progress : undefined;
  }

  /** The first of a WAL is written with all totals. */
  next(moved: Moved): Moved {
    if (this.of(moved.walId) !== undefined || moved.added === undefined) return moved;
    const { added, ...position } = moved;
    return { ...position, totals: { [added.table]: added.rows } };
  }

  /** All that is known, to be written again so that what came before can be released; undefined when nothing is known. */
  snapshot(): Moved | undefined {
    return this.progress;
  }

  /** It stands in the log at `at`. */
  step(moved: Moved, at: Lsn): void {
    const { added, walId, nextLsn, batchesDone } = moved;
    const totals = { ...(moved.totals ?? this.of(walId)?.totals) };
    if (added !== undefined) totals[added.table] = (totals[added.table] ?? 0) + added.rows;
    if (moved.totals !== undefined) this.totalsAt = at;
    this.progress = { walId, nextLsn, batchesDone, totals };
  }

  /** The first entry of the log that must stay. */
  get neededFrom(): Lsn {
    return this.totalsAt ?? lsn(Number.MAX_SAFE_INTEGER);
  }
}
