import type { RecordBatch } from 'apache-arrow';
import type { Lsn, TableName } from './ids';
import type { WriteIdentity } from './sink';
import type { Tier } from './table-schema';

/** Where a row was found to be impossible to store. `schema`: it does not fit the table's schema, whatever the store says. */
export type DeadLetterStage = 'decode' | 'schema' | 'hot_insert' | 'cold_insert';

/** Why one row was taken out of its write, and where it came from. */
export interface ParkedRow {
  /** Position in the write's batch, before any row was taken out. */
  readonly row: number;
  /** The WAL entry that brought the row. */
  readonly lsn: Lsn;
  readonly schemaVersion: number;
  readonly stage: DeadLetterStage;
  /** SQLSTATE, ClickHouse code, or a `RejectionCode`. */
  readonly code: string;
  readonly column?: string;
  readonly message: string;
}

/** Rows of one write that its store refuses: durable together or not at all. */
export interface ParkedRows {
  readonly tier: Tier;
  readonly id: WriteIdentity;
  readonly rows: readonly ParkedRow[];
  /** Just these rows, in the order of `rows`. */
  readonly batch: RecordBatch;
}

/** Rows of one write that belong to the other tier by now (core/demotion.ts): they are left out of the write and delivered there. */
export interface DivertedRows {
  readonly tier: Tier;
  readonly id: WriteIdentity;
  /** Positions in the write's batch, before any row was taken out. */
  readonly rows: readonly number[];
  readonly to: Tier;
  readonly schemaVersion: number;
  /** Just these rows, in the order of `rows`. */
  readonly batch: RecordBatch;
}

/** A row that cannot be stored, kept with its reason. */
export interface DeadLetter {
  /** `<group>-<row>`: stable for as long as the letter is kept, ascending in the order of parking. */
  readonly id: string;
  readonly table: TableName;
  /** The tier whose store refused the row; a row of two tiers may have been delivered to the other one. */
  readonly tier: Tier;
  readonly stage: DeadLetterStage;
  readonly code: string;
  readonly column?: string;
  readonly message: string;
  readonly schemaVersion: number;
  readonly lsn: Lsn;
  /** When it was parked, milliseconds since 1970. */
  readonly atMs: number;
  /** An Arrow IPC stream of one row. */
  readonly row: Uint8Array;
  /** The row as a JSON object, for people. */
  readonly json: string;
}

export interface DeadLetterFilter {
  readonly table?: string;
  readonly tier?: Tier;
  readonly code?: string;
}

/** Letters by id, or all that match a filter. */
export type DeadLetterSelection = { readonly ids: readonly string[] } | { readonly filter: DeadLetterFilter };

export interface DeadLetterPage {
  readonly letters: readonly DeadLetter[];
  /** Give it as `after` for the next page; undefined on the last one. */
  readonly next: string | undefined;
}

/** What became of a selection. */
export interface DeadLetterOutcome {
  readonly done: number;
  /** Letters that stay as they are, with the reason; the first `LIMITS.rejectionsListedMax`, the count is exact. */
  readonly kept: readonly { readonly id: string; readonly reason: string }[];
  readonly keptCount: number;
}

export interface DeadLetterStats {
  readonly letters: number;
  readonly sizeBytes: number;
  readonly sizeBytesMax: number;
}

/** What delivery needs: to park rows, and to know after a restart which rows of a write are parked. */
export interface DeadLetterParking {
  /** Resolves when the rows are durable. Throws SinkError `retry` when there is no room: the caller holds its rows, none is dropped. */
  park(rows: ParkedRows): Promise<void>;
  /** Rows of the write's batch that were parked by any earlier attempt, also those whose letters are gone by now. */
  refusedRows(tier: Tier, id: WriteIdentity): Promise<Set<number>>;
  /** Puts the rows on their way to the other tier and remembers that they are left out of this write: durable together. */
  divert(rows: DivertedRows): Promise<void>;
  /** Rows of the write's batch that any earlier attempt diverted. */
  divertedRows(tier: Tier, id: WriteIdentity): Promise<Set<number>>;
}

/** What the operator needs. */
export interface DeadLetterStore extends DeadLetterParking {
  list(options: { filter: DeadLetterFilter; limit: number; after?: string }): Promise<DeadLetterPage>;
  get(id: string): Promise<DeadLetter | undefined>;
  drop(selection: DeadLetterSelection): Promise<DeadLetterOutcome>;
  /** Sends the rows to the tiers (default: to the one that refused them) and drops the letters, in one durable step. */
  replay(selection: DeadLetterSelection, tiers?: readonly Tier[]): Promise<DeadLetterOutcome>;
  stats(): DeadLetterStats;
}
