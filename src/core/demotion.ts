/**
 * Demotion: the verified hand-off of a whole partition from PostgreSQL (hot) to ClickHouse (cold), and back.
 *
 * Words: a *demotion* is one hand-off of one partition of one table. It has a random 64-bit id, which is `_batch_hi` of every row that
 * it writes to ClickHouse. Its state stands in the table `_demotions` of PostgreSQL, which all servers on the same stores share:
 *
 *   planned -> copying -> verifying -> flipping -> demoted -> restoring -> returning -> restored
 *      |          |           |            |
 *      +----------+-----------+------------+--> aborting -> aborted     (asked for, or the copy does not hold: `error` says why)
 *
 * - planned: chosen, nothing has happened.
 * - copying: the range is *closed*: PostgreSQL refuses writes to the partition, late rows go to ClickHouse. Chunk by chunk is copied.
 * - verifying: what ClickHouse has is read back and compared with what was read from PostgreSQL.
 * - flipping: verified. One PostgreSQL transaction drops the partition and makes the rows in ClickHouse count: *demoted*.
 * - restoring: rows are copied back into a table that is not a partition yet. returning: one transaction made it one, the rows in
 *   ClickHouse no longer count and are being deleted.
 * - aborting: the range is open again, the copy in ClickHouse is being deleted.
 *
 * Each row is visible exactly once at every moment to who reads both tiers through `BothTiers`.
 */
import type { RecordBatch } from 'apache-arrow';
import { storeForm } from './column-name';
import type { TableName } from './ids';
import type { ColumnSchema, TableSchema } from './table-schema';

export type DemotionState =
  | 'planned'
  | 'copying'
  | 'verifying'
  | 'flipping'
  | 'demoted'
  | 'aborting'
  | 'aborted'
  | 'restoring'
  | 'returning'
  | 'restored';

/** A partition of a table in PostgreSQL: a native range partition, or a chunk of a hypertable. */
export interface HotPartition {
  readonly table: TableName;
  readonly name: string;
  /** Milliseconds since 1970, from inclusive, to exclusive. */
  readonly fromMs: number;
  readonly toMs: number;
  readonly rowsEstimate: number;
  readonly sizeBytes: number;
}

/** How a closed partition is cut: chunk `k` is its blocks from `k * chunkBlocks` on. */
export interface ChunkLayout {
  /** Names the file of the rows and the columns' types: as long as it stands, chunks and values do. */
  readonly fingerprint: string;
  /** What is copied: the table's columns, by their names in the stores, when the partition was closed. */
  readonly columns: readonly ColumnSchema[];
  readonly blocks: number;
  readonly chunkBlocks: number;
}

export const chunksOf = ({ blocks, chunkBlocks }: ChunkLayout): number => Math.ceil(blocks / chunkBlocks);

/** Sums of hashes over rows in any order (columnar/digest.ts): 16 hex digits each. `rows`: of whole rows. */
export interface DigestSums {
  readonly count: number;
  readonly rows: string;
  readonly columns: Readonly<Record<string, string>>;
}

export interface Demotion {
  /** 16 lower-case hex digits. */
  readonly id: string;
  readonly table: TableName;
  readonly partition: string;
  readonly fromMs: number;
  readonly toMs: number;
  readonly state: DemotionState;
  /** From `copying` on. */
  readonly layout?: ChunkLayout;
  /** The first chunk that is not in ClickHouse for certain. */
  readonly nextChunk: number;
  /** Over all chunks before `nextChunk`. */
  readonly digest?: DigestSums;
  readonly rowsEstimate: number;
  readonly sizeBytes: number;
  /** While restoring: rows before this time (nanoseconds since 1970) are back. */
  readonly cursorNs?: bigint;
  /** Rows that are back while restoring. */
  readonly rowsBack: number;
  readonly error?: string;
  readonly createdAtMs: number;
  readonly updatedAtMs: number;
  /** Counts changes: who has read an older one cannot write. */
  readonly revision: number;
}

/** What a step changes of a demotion. */
export type DemotionChange = Partial<Pick<Demotion, 'layout' | 'nextChunk' | 'digest' | 'cursorNs' | 'rowsBack' | 'error'>> & {
  readonly state?: DemotionState;
};

/** Another server has changed the demotion meanwhile, or the lock is lost. */
export class DemotionConflictError extends Error {
  constructor(id: string) {
    super(`demotion ${id} was changed by somebody else`);
    this.name = 'DemotionConflictError';
  }
}

/** The partition cannot be moved as it is: an operator must look at it. */
export class DemotionRefusedError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'DemotionRefusedError';
  }
}

/** The right to run demotions, held by one server at a time. */
export interface DemotionLock {
  /** Aborted when the lock is lost. */
  readonly lost: AbortSignal;
  release(): Promise<void>;
}

/** The hot side, on PostgreSQL. Steps take the demotion as it was read and give it as it is after; they throw DemotionConflictError. */
export interface HotDemotions {
  /** Undefined: another server has it. */
  lock(): Promise<DemotionLock | undefined>;
  list(filter?: { table?: string; unfinished?: boolean }): Promise<readonly Demotion[]>;
  /** Partitions with two bounds that end before `beforeMs`, the oldest first. */
  partitions(schema: TableSchema, beforeMs: number): Promise<readonly HotPartition[]>;
  /** Rows before `beforeMs` that are in no partition of a range of their own get one. */
  adoptStrays(schema: TableSchema, beforeMs: number): Promise<void>;
  /** Writes down demotions; a partition that is on its way or away already is left out. */
  plan(partitions: readonly HotPartition[]): Promise<readonly Demotion[]>;
  update(demotion: Demotion, change: DemotionChange): Promise<Demotion>;
  /** planned -> copying. Undefined: the locks were not to be had in time, try again. Throws DemotionRefusedError. */
  close(demotion: Demotion, schema: TableSchema): Promise<Demotion | undefined>;
  /** The rows of one chunk, the same in the same batches on every call. Throws DemotionRefusedError. */
  read(demotion: Demotion, chunk: number, schema: TableSchema): AsyncIterable<RecordBatch>;
  count(demotion: Demotion): Promise<number>;
  /** flipping -> demoted, in one transaction with the end of the partition. Undefined as for `close`. */
  flip(demotion: Demotion): Promise<Demotion | undefined>;
  /** planned, copying, verifying, flipping -> aborting: the range is open again. Undefined as for `close`. */
  reopen(demotion: Demotion, error?: string): Promise<Demotion | undefined>;
  /** Adds rows to the table that is to become the partition again, and moves the cursor, in one transaction. */
  bringBack(
    demotion: Demotion,
    schema: TableSchema,
    batches: AsyncIterable<RecordBatch>,
    upTo: { cursorNs: bigint; rows: number },
  ): Promise<Demotion>;
  /** restoring -> returning, in one transaction with the partition's return. Undefined as for `close`. */
  flipBack(demotion: Demotion, schema: TableSchema): Promise<Demotion | undefined>;
  /** The rows that are back. */
  readBack(demotion: Demotion, schema: TableSchema): AsyncIterable<RecordBatch>;
  /** Copies that were deleted longer ago no longer need to be hidden. */
  forgetHidden(afterMs: number): Promise<void>;
}

/** The schema by store names with the columns that a demotion copies. */
export const copiedSchema = (schema: TableSchema, { layout }: Demotion): TableSchema => {
  const stored = storeForm(schema);
  return layout === undefined ? stored : { ...stored, columns: layout.columns };
};

const UNFINISHED: ReadonlySet<DemotionState> = new Set<DemotionState>([
  'planned',
  'copying',
  'verifying',
  'flipping',
  'aborting',
  'restoring',
  'returning',
]);

/** Is there something left to do? */
export const isUnfinished = ({ state }: Pick<Demotion, 'state'>): boolean => UNFINISHED.has(state);

/** Rows of a demotion in ClickHouse from `fromNs` to before `toNs`. */
export interface TimeSlice {
  readonly fromNs: bigint;
  readonly toNs: bigint;
  readonly rows: number;
}

/** The cold side, on ClickHouse. */
export interface ColdDemotions {
  /** Inserts part `part` of a chunk exactly once. Throws SinkError. */
  insert(
    demotion: Demotion,
    schema: TableSchema,
    at: { chunk: number; part: number },
    batch: RecordBatch,
    mayHaveRun: boolean,
  ): Promise<void>;
  /** The demotion's rows cut by time into slices of bounded size, in order, from `fromNs` on. */
  slices(demotion: Demotion, schema: TableSchema, fromNs?: bigint): Promise<readonly TimeSlice[]>;
  /** The rows of a slice as they were in PostgreSQL. */
  read(demotion: Demotion, schema: TableSchema, slice: TimeSlice): AsyncIterable<RecordBatch>;
  /** Deletes every row of the demotion and resolves when none is left. */
  erase(demotion: Demotion, schema: TableSchema): Promise<void>;
}

/**
 * What a reader of both tiers needs so that it sees each row once: hot rows from one snapshot, and the batch ids (`_batch_hi`, as
 * decimal digits) whose rows do not count in ClickHouse as of this snapshot.
 */
export interface TierSnapshot<Query> {
  /** Asks PostgreSQL within the snapshot; one query at a time. */
  readonly hot: Query;
  readonly hidden: readonly string[];
}

/** Reads both tiers as of one moment. */
export interface BothTiers<Query> {
  /**
   * Runs `work` with a snapshot of these tables. Until it resolves no partition of theirs changes its tier, so ask ClickHouse within it,
   * with `countsInCold`, and be quick: a demotion that is done waits. A table that PostgreSQL does not have is no error.
   */
  snapshot<T>(tables: readonly string[], work: (snapshot: TierSnapshot<Query>) => Promise<T>): Promise<T>;
}

/** The condition for ClickHouse that leaves out rows which do not count; for a table without demotions it is `1`. */
export const countsInCold = (hidden: readonly string[]): string =>
  hidden.length === 0 ? '1' : `_batch_hi NOT IN (${hidden.join(', ')})`;
