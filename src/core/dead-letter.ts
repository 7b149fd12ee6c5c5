import type { RecordBatch } from 'apache-arrow';
import type { Lsn, TableName, WalId } from './ids';
import type { Room } from './ingest';
import type { WriteIdentity } from './sink';
import type { TableSchema, Tier } from './table-schema';
import type { CountedTier } from './wal';

/**
 * Where a row was found to be impossible to store. `decode`: it could not be read, or its labels are abnormal; `schema`: it does
 * not fit the table's schema, whatever the store says.
 */
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
  /**
   * The tier whose store refused the row; a row of two tiers may have been delivered to the other one. Undefined for a row that was
   * parked before it was routed.
   */
  readonly tier: Tier | undefined;
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

/** A letter for those who only look at it. */
export type DeadLetterView = Omit<DeadLetter, 'row'>;

/** A copy of the letters in a store that can be queried. Every method may throw when the store does not answer. */
export interface DeadLetterCopy {
  /** How many letters the copy has of each group of a log; makes the table when it is not there. */
  groups(log: WalId): Promise<ReadonlyMap<number, number>>;
  /** Puts these letters in the place of those that the copy has of the groups, all together. */
  replace(log: WalId, groups: ReadonlyMap<number, readonly DeadLetterView[]>): Promise<void>;
  close(): Promise<void>;
}

export interface DeadLetterFilter {
  readonly table?: string;
  /** `none`: rows that no tier has seen. */
  readonly tier?: CountedTier;
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
  /**
   * Sends the rows, converted to the columns that the table has now, to the tiers and drops the letters, in one durable step. By
   * default they go to the tier that refused them, or to those that the table is routed to when no store has seen them.
   */
  replay(selection: DeadLetterSelection, tiers?: readonly Tier[]): Promise<DeadLetterOutcome>;
  stats(): DeadLetterStats;
}

/** Rows of dead letters that are to become rows of their table. */
export interface RefitRows {
  readonly batch: RecordBatch;
  readonly jsonColumns: readonly string[];
  readonly wholeRows: boolean;
  /** When they arrived, milliseconds since 1970: the time of rows that have none. */
  readonly atMs: number;
}

/** Rows in the form of their table, and why the others cannot have it. */
export interface Refitted {
  /** One or more batches with the rows that fit, in order; together they are all rows that are not refused. */
  readonly batches: readonly RecordBatch[];
  /** By position in the given batch. */
  readonly refused: ReadonlyMap<number, string>;
}

/** Converts rows to the columns of a schema, each value exactly or not at all. */
export type Refit = (rows: RefitRows, schema: TableSchema) => Refitted;

/** Parked rows that stand in a WAL entry, on their way to the dead letters. */
export interface ParkingRoom {
  /**
   * Room for some bytes of rows that are about to be appended. To be released after `add` was called, or when the append failed:
   * until then no later entry counts as looked through. Throws IngestError `unavailable` when the dead letters are full.
   */
  reserve(bytes: number): Room;
}

/** What became of the parked rows of one WAL. */
export interface ParkedProgress {
  readonly walId: WalId;
  /** The first entry that may hold parked rows which are not dead letters yet. */
  readonly nextLsn: Lsn;
  /** Parked batches of that entry which are dead letters already. */
  readonly batchesDone: number;
  /** By table, rows that became dead letters. */
  readonly totals: Readonly<Record<string, number>>;
}
