/** Branded identifiers: no bare string or number crosses a folder as a name or a position. */

declare const brand: unique symbol;
type Brand<T, B> = T & { readonly [brand]: B };

/** Name of a logical table, already checked by `tableName`. */
export type TableName = Brand<string, 'TableName'>;

/**
 * Log sequence number: the position of one entry in the WAL, counted from 1 without gaps.
 * A JavaScript number is exact to 2^53: at a million appends a second that is 285 years.
 */
export type Lsn = Brand<number, 'Lsn'>;

/** Random 128-bit identity of a WAL directory, 32 lower-case hex digits (durability rule R3). */
export type WalId = Brand<string, 'WalId'>;

/** What a client gets back for one accepted request: `<walId>-<lsn>`. */
export type BatchId = Brand<string, 'BatchId'>;

export const lsn = (value: number): Lsn => value as Lsn;

export const batchId = (walId: WalId, at: Lsn): BatchId => `${walId}-${at}` as BatchId;

const BATCH_ID = /^([0-9a-f]{32})-(0|[1-9]\d{0,15})$/;

/** The parts of a batch id, or undefined for a text that is none. */
export function parseBatchId(text: string): { walId: WalId; lsn: Lsn } | undefined {
  const [, walId, at] = BATCH_ID.exec(text) ?? [];
  return walId === undefined ? undefined : { walId: walId as WalId, lsn: lsn(Number(at)) };
}

const TABLE_NAME = /^[A-Za-z][A-Za-z0-9_]{0,62}$/;

/** Names that would collide with our own tables or with the stores' system names. */
const RESERVED = /^(pg_|_|table_registry|otel_|system$|information_schema$|observability_events$|logs$|dead_letters$)/i;

/**
 * Checks a table name from outside: a letter, then letters, digits or `_`, at most 63 bytes (PostgreSQL's limit,
 * so that the name is the same in both stores). Gives undefined for a name that cannot be a table.
 */
export function tableName(text: string): TableName | undefined {
  return TABLE_NAME.test(text) && !RESERVED.test(text) ? (text as TableName) : undefined;
}
