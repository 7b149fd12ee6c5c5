import type { Lsn, TableName, WalId } from './ids';
import type { Tier } from './table-schema';

/** One record batch as it lies in the WAL. */
export interface WalBatch {
  readonly table: TableName;
  readonly schemaVersion: number;
  /** Tiers the batch is routed to, fixed when it was appended; none for parked rows (columnar/parked-ipc.ts). */
  readonly tiers: readonly Tier[];
  readonly rows: number;
  /** An Arrow IPC stream (schema, dictionaries, one record batch, end of stream) as one or more pieces to be laid end to end. */
  readonly ipc: readonly Uint8Array[];
}

/** One entry: all batches of one request, durable together or not at all. */
export interface WalEntry {
  readonly lsn: Lsn;
  /** Wall clock when it was appended, milliseconds since 1970. For lag only, never for order. */
  readonly appendedAtMs: number;
  /** None in the place of an entry that was lost in a repair of the log. */
  readonly batches: readonly WalBatch[];
  /** What the appender wrote beside the batches, as it was; undefined when nothing. */
  readonly note: Uint8Array | undefined;
  /** Bytes of the entry's frame on disk. */
  readonly sizeBytes: number;
}

export interface WalStats {
  /** The last durable entry; 0 before the first. */
  readonly durableLsn: Lsn;
  /** The oldest entry still kept; durableLsn + 1 when there is none. */
  readonly firstLsn: Lsn;
  readonly segments: number;
  readonly sizeBytes: number;
}

/** What back-pressure needs to know of the log. */
export interface WalLoad {
  /** Bytes of the segments that are not released as a whole: what the limit of the log counts. */
  readonly retainedBytes: number;
  /** Bytes of the entries that are not released, to about 1 MiB. */
  readonly pendingBytes: number;
  /** Bytes of all entries since the start, those found then included. Never falls. */
  readonly appendedBytes: number;
  /** The next segment has its blocks already. */
  readonly nextSegmentReady: boolean;
}

/** The durable log between acknowledgement and sinks. Implementations: `FileWal`; later a Kafka topic. */
export interface Wal {
  readonly walId: WalId;
  /**
   * Resolves with the entry's position after it is on stable storage (R1), in order of the calls. `note`: some bytes of the caller's
   * that become durable with the batches, at most 64 KiB.
   * Throws IngestError `unavailable` when there is no space or the WAL is closing. An fsync error is fatal (R8): `onFatal` is called.
   */
  append(batches: readonly WalBatch[], note?: Uint8Array): Promise<Lsn>;
  /**
   * Durable entries from `from` on, in order, until about `bytesMax` bytes or the last durable entry; at least one if there is one.
   * Never gives an entry that is not durable (R2). The bytes may be views into a buffer that the caller owns.
   */
  read(from: Lsn, bytesMax: number): Promise<readonly WalEntry[]>;
  /** Resolves when an entry with `lsn >= at` is durable, or when `signal` aborts. */
  waitFor(at: Lsn, signal: AbortSignal): Promise<void>;
  /** Every sink is past `below`: segments that hold only entries before it may be deleted. */
  release(below: Lsn): Promise<void>;
  stats(): WalStats;
  /** Waits for open appends, seals the log and gives the lock back. */
  close(): Promise<void>;
}

/** One insert of a delivery plan: rows of one table and one partition, taken from a fixed range of entries. */
export interface PlanPart {
  readonly table: TableName;
  /** '' for a sink that takes all partitions in one write, otherwise the UTC day as YYYYMMDD. */
  readonly partition: string;
  readonly rows: number;
  done: boolean;
}

/** Which entries form one delivery. Durable before the first attempt, so that a restart repeats exactly the same inserts. */
export interface DeliveryPlan {
  readonly fromLsn: Lsn;
  readonly toLsn: Lsn;
  readonly parts: PlanPart[];
  /** Entries of it were lost in a repair of the log: the store may have rows of them. */
  readonly repaired?: boolean;
}

/** Rows of one table that a sink is done with, since its totals began. */
export interface TableTotals {
  readonly delivered: number;
  readonly deadLetters: number;
  /** Rows that were sent to the other tier, because their day was moved there. Absent: none. */
  readonly diverted?: number;
}

export type DeliveryTotals = Readonly<Record<string, TableTotals>>;

/**
 * A table whose rows the store refuses as a whole, so that they wait beside the cursor: first the inserts of `plan`, which may have
 * taken effect, then the rows of `range`, which were never tried. Together they are all rows of the table from the first entry of
 * `plan` (of `range` without one) up to the cursor.
 */
export interface HeldTable {
  readonly table: TableName;
  /** Why, for people; with the store's code, '' when it gave none. */
  readonly reason: string;
  readonly code: string;
  /** Milliseconds since 1970. */
  readonly sinceMs: number;
  readonly plan?: DeliveryPlan | undefined;
  readonly range?: { readonly fromLsn: Lsn; readonly toLsn: Lsn } | undefined;
  /** The checkpoint was lost: inserts of `range` may have been attempted under the identities that they will have. */
  readonly recalled?: boolean;
}

/** How far one sink has got. `nextLsn` is the first entry that is in no finished plan. */
export interface DeliveryState {
  nextLsn: Lsn;
  /** Rows of its entries whose table has no part in it are with `held`, or were. */
  plan: DeliveryPlan | undefined;
  /** By table, what became of the rows that are done with; undefined in a checkpoint of a server that did not count. */
  totals?: DeliveryTotals | undefined;
  held?: readonly HeldTable[] | undefined;
}

/** Where accepted rows are counted: a tier, or `none` for rows that were parked before they were routed. */
export type CountedTier = Tier | 'none';

/** Rows that were accepted, counted apart from their delivery: one side of the ledger. */
export interface AcceptedCounts {
  /** Accepted rows by table since `sinceMs`, of those routed to the tier; undefined for a tier that is not counted. */
  of(tier: CountedTier): { readonly sinceMs: number; readonly rows: ReadonlyMap<string, number> } | undefined;
}

/** Checkpoints of the sinks, one file each: written to a temporary file, fsynced, renamed, directory fsynced (R12). */
export interface DeliveryStateStore {
  load(tier: Tier): Promise<DeliveryState | undefined>;
  save(tier: Tier, state: DeliveryState): Promise<void>;
}
