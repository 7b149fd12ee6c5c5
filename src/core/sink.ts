import type { RecordBatch } from 'apache-arrow';
import type { RejectionCode } from './errors';
import type { Lsn, TableName, WalId } from './ids';
import type { TableSchema, Tier } from './table-schema';

/** Identity of one insert: the same rows have the same identity in every attempt, on every restart (R3, R4). */
export interface WriteIdentity {
  readonly walId: WalId;
  /** First entry of the plan: each entry is in exactly one plan, so (walId, lsn, table, partition) is unique. */
  readonly lsn: Lsn;
  /** Last entry of the plan. */
  readonly lastLsn: Lsn;
  readonly table: TableName;
  /** UTC day YYYYMMDD for a sink with `partitioning: 'day'`, otherwise ''. */
  readonly partition: string;
}

export interface SinkWrite {
  readonly id: WriteIdentity;
  readonly schema: TableSchema;
  /** Rows of one table and one partition, one batch; columns by name, any may be missing or dictionary-encoded. */
  readonly batch: RecordBatch;
  /** An earlier attempt of this identity may have taken effect: ask the store before writing (C5, P3). */
  readonly mayHaveRun: boolean;
  /** Rows of `batch` that an earlier attempt parked: they are no part of the write. */
  readonly refused: ReadonlySet<number>;
  /**
   * Parks rows that the store refuses for what they hold; resolves when they are durable as dead letters and in `refused`. A sink
   * calls it before the write without these rows can take effect, so that every later attempt leaves out the same rows.
   */
  readonly onRefused: (rows: readonly RefusedRow[]) => Promise<void>;
  /** Entries of this write were lost in a repair of the log: the store may have it whole, which is more rows than here. */
  readonly mayHoldMore?: boolean;
  /**
   * Sends rows of a day that was moved to the other tier there instead; resolves when they are durable on their way and in `refused`.
   * As with `onRefused`, it is called before the write without these rows can take effect. Absent: there is no other tier.
   */
  readonly onDiverted?: (rows: readonly number[]) => Promise<void>;
}

/** One row that cannot be stored as it is. */
export interface RefusedRow {
  /** Position in the write's batch. */
  readonly row: number;
  /** `schema`: the row does not fit the schema; `insert`: the store refused it. */
  readonly stage: 'schema' | 'insert';
  /** SQLSTATE, ClickHouse code, or a `RejectionCode`. */
  readonly code: string;
  readonly column?: string;
  readonly message: string;
}

/** A whole batch that does not fit the schema it is written with: each of its rows is refused. */
export class UnfitBatchError extends RangeError {
  constructor(
    readonly code: RejectionCode,
    readonly column: string,
    message: string,
  ) {
    super(message);
    this.name = 'UnfitBatchError';
  }
}

/**
 * What a failed attempt means. `retry`: hold and try again with back-off, never skip (store down, table missing, wrong password,
 * read-only, too many parts, memory). `content`: the store refuses these rows for what they hold. `broken`: an invariant does not
 * hold (a count between 0 and N, rule C5): stop this table and alarm.
 */
export type SinkFailure = 'retry' | 'content' | 'broken';

/** What a failure is about: one table, or the store and so all of them; `unknown`: the error does not tell. */
export type FailureScope = 'table' | 'store' | 'unknown';

/**
 * What is done about an error of a store, the closed list of issue and documentation. `retry`: again with back-off. `verify`: again,
 * after asking the store whether the attempt took effect. `split`: in parts, a row that is refused alone becomes a dead letter.
 * `dead_letter`: the same, for what is always the fault of single rows. `stop`: the table is held and the operator is alarmed.
 */
export type ErrorAction = 'retry' | 'verify' | 'split' | 'dead_letter' | 'stop';

/** One line of a store's table of errors. */
export interface ErrorRule {
  readonly action: ErrorAction;
  readonly scope: FailureScope;
  /** What it means, for people. */
  readonly reason: string;
  /** Each insert costs the store too much: fewer and larger ones. */
  readonly fewerInserts?: boolean;
}

/** What the delivery loop is told of an action: whoever makes an attempt has verified and split already. */
export const FAILURE_OF: Readonly<Record<ErrorAction, SinkFailure>> = {
  retry: 'retry',
  verify: 'retry',
  split: 'content',
  dead_letter: 'content',
  stop: 'broken',
};

interface SinkErrorOptions {
  readonly cause?: unknown;
  readonly storeCode?: string;
  readonly scope?: FailureScope;
  readonly fewerInserts?: boolean;
}

export class SinkError extends Error {
  readonly failure: SinkFailure;
  /** SQLSTATE or ClickHouse code, as text; '' when the store gave none. */
  readonly storeCode: string;
  readonly scope: FailureScope;
  /** Each insert costs the store too much: fewer and larger ones. */
  readonly fewerInserts: boolean;

  constructor(failure: SinkFailure, message: string, options: SinkErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'SinkError';
    this.failure = failure;
    this.storeCode = options.storeCode ?? '';
    this.scope = options.scope ?? 'unknown';
    this.fewerInserts = options.fewerInserts ?? false;
  }
}

/**
 * What a store has of the last insert of one table from one log. Inserts of a table follow each other, so those before it are done
 * with, and those behind it have not taken effect.
 */
export interface LastInsert {
  readonly fromLsn: Lsn;
  /** The last entry of its plan; undefined when the store does not keep that. */
  readonly toLsn: Lsn | undefined;
  /** Its rows that are there, by partition. */
  readonly rows: ReadonlyMap<string, number>;
}

/** What a store remembers of the inserts from one log. */
export interface Recall {
  /** Inserts that begin with an earlier entry are done with, whatever the table; 1 when that is not kept. */
  readonly below: Lsn;
  readonly tables: ReadonlyMap<TableName, LastInsert>;
}

/** PostgreSQL or ClickHouse behind one interface. The delivery loop owns retry and order; a sink makes one attempt exact. */
export interface Sink {
  readonly tier: Tier;
  /** `day`: each write must hold rows of one UTC day only (C2). */
  readonly partitioning: 'none' | 'day';
  /** Connects, checks the store (P4) and creates what is always there (batch table, functions). May be called again after a failure. */
  start(): Promise<void>;
  /** Creates the table and its views if missing and adds missing columns; never removes or changes one. Repeatable. */
  ensureTable(schema: TableSchema): Promise<void>;
  /**
   * Resolves when the store has every row that is not refused, once, and every other row is parked (`onRefused`). Throws SinkError;
   * `content` is left for a refusal that cannot be laid on rows.
   */
  write(write: SinkWrite): Promise<void>;
  /** Told now and then that writes of the WAL that begin before `below` are durably done with: what is kept of them may go (P5). */
  forget?(walId: WalId, below: Lsn): Promise<void>;
  /**
   * What the store has of these tables from the WAL: for a checkpoint that is lost or older than the store. `settle`: once nothing of
   * the WAL is under way there any more.
   */
  recall?(walId: WalId, schemas: readonly TableSchema[], settle: boolean): Promise<Recall>;
  /** Cheap check for /readyz and the breaker; throws when the store does not answer. */
  ping(): Promise<void>;
  stop(): Promise<void>;
}
