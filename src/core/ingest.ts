import type { TableBatch, UnfitRows } from './batch';
import type { BatchId, Lsn, TableName } from './ids';
import type { ColumnSchema, TableSchema, Tier } from './table-schema';

/** Where rows came in: a label of metrics and log lines. */
export type Protocol = 'otlp_http' | 'otlp_grpc' | 'ingest_grpc' | 'flight' | 'rest';

/** What must have happened before the client is answered. `wal`: durable in the WAL (after fsync). */
export type AckLevel = 'wal' | 'hot' | 'cold' | 'all';

/** Names a request, so that it is stored once however often it is sent. */
export interface Idempotency {
  /** 1 to `LIMITS.idempotencyKeyBytesMax` bytes. */
  readonly key: string;
  /** SHA-256 of what the request says, to tell a repetition from another request under the same key. */
  readonly digest: Uint8Array;
}

/** Rows of one table that go to the same tiers. */
export interface RoutedBatch extends TableBatch {
  readonly tiers: readonly Tier[];
}

export interface WriteRequest {
  readonly protocol: Protocol;
  readonly batches: readonly TableBatch[];
  /** Rows that become dead letters, durable in the same entry as the others. */
  readonly parked?: readonly UnfitRows[];
  readonly ack: AckLevel;
  readonly idempotency?: Idempotency;
}

/** Proof of acceptance. */
export interface WriteReceipt {
  readonly batch: BatchId;
  readonly lsn: Lsn;
  /** Rows of `WriteRequest.batches` that became dead letters: because of their labels or, with an ack level above `wal`, refused by a store; absent when there is none. */
  readonly parkedRows?: number;
}

/** Bytes reserved somewhere. `release` must be called exactly once, also on failure. */
export interface Room {
  release(): void;
}

/** Bytes reserved for one request between socket and WAL. */
export interface Admission extends Room {
  /** Reserves so many bytes more for the same request. Throws as `admit`; then what was reserved before stays. */
  grow(bytes: number): void;
}

/** The port through which every adapter writes. */
export interface Ingest {
  /**
   * Asks for room for `bytes` of a request, before its body is decoded.
   * `client` is whoever shares of the room are counted for: the remote address. Absent: one for all who are not named.
   * Throws IngestError `unavailable` with `retryAfterMs` when the server or the client's share is full, the log or its disk is
   * full, or the server is draining.
   */
  admit(bytes: number, client?: string): Admission;
  /**
   * Resolves when the ack level holds (for `wal`: the entry is fsynced), all batches of the request together or none.
   * A request without rows resolves at once with a receipt of lsn 0. Throws IngestError, `unavailable` also when rows are to be
   * parked and the dead letters are full: nothing of the request is stored then.
   */
  write(request: WriteRequest): Promise<WriteReceipt>;
}

/** How far the sinks are, as far as an acknowledgement may depend on it. */
export interface DeliveryProgress {
  /**
   * Resolves when every row of these tables (default: of all) in entries up to `at` that is routed to `tier` is in its store or a
   * dead letter; rejects when `signal` aborts.
   */
  delivered(tier: Tier, at: Lsn, signal: AbortSignal, tables?: readonly TableName[]): Promise<void>;
}

/** What an acknowledgement says. */
export interface AckProgress extends DeliveryProgress {
  /** Dead letters that are kept of rows of entry `at` which the stores of these tiers refused. */
  deadLetters(at: Lsn, tiers: readonly Tier[]): Promise<number>;
}

/** How far a batch has got with the store of one tier; rows that are not routed there count as delivered. */
export interface BatchTierStatus {
  readonly tier: Tier;
  readonly delivered: boolean;
}

/** Where acknowledged batches stand. */
export interface BatchStatus {
  /** One entry for each store that is delivered to; undefined for a batch that was never acknowledged here. */
  status(batch: BatchId): readonly BatchTierStatus[] | undefined;
}

/** Look-up and growth of table schemas, used by adapters that take rows by name. */
export interface Registry {
  get(table: TableName): TableSchema | undefined;
  list(): readonly TableSchema[];
  /**
   * Makes sure that the table exists and has these columns, as far as its policy lets rows change it: adds what is missing,
   * gives a column the wider type that is asked for where its conflict policy allows it, and keeps the rest as it is.
   * Resolves with the schema in force once it is durable. Throws IngestError `invalid_argument` for a bad column.
   */
  evolve(table: TableName, columns: readonly ColumnSchema[], options: { timeColumn: string; tier?: Tier }): Promise<TableSchema>;
  /** What `evolve` would make of it now. Throws as it would. */
  preview(table: TableName, columns: readonly ColumnSchema[], options: { timeColumn: string; tier?: Tier }): TableSchema;
}
