/**
 * Exactly one copy of a batch in ClickHouse: rules C4 and C5 of the durability rules, over a store that may fail at any point.
 *
 * Known facts it rests on: one INSERT of one record batch of one partition is whole or absent; a token makes a repeated INSERT
 * a success without effect, but (a) a token is forgotten after a window and (b) after a crash between token and part it is
 * remembered although its rows are not there. So a success proves delivery only on the very first attempt; after any doubt the
 * rows are counted. A request whose connection broke may still be on its way: it carries the same token as the retry, and
 * queries of this batch are killed and waited for before the count.
 *
 * Not covered (C8): rows that a TTL, DELETE, DROP PARTITION or TRUNCATE takes away between a doubtful insert and its count are
 * missing for the count and are written again. Tables behind materialized views are best effort: only the source is counted.
 * Behind a load balancer, count and kill must reach the replica that had the insert.
 */
import { SinkError } from '../../core/sink';
import { StoreError } from './errors';

/** One batch in one store. Methods throw StoreError. */
export interface BatchStore {
  /** Sends the rows with the token of this attempt. Resolves only on a clean success. */
  insert(attempt: number): Promise<void>;
  /** Creates what is missing of table and columns. */
  repair(): Promise<void>;
  /** Ends every query of this batch and resolves when none runs. */
  settle(): Promise<void>;
  /** Rows of this batch in its partition. */
  count(): Promise<number>;
}

/** Tokens tried in one call before the store is given time: each was answered with success and brought no row. */
const TOKENS_MAX = 3;

/** Tokens of one batch that are useless: the store takes them for done and has no rows. Kept from call to call. */
export interface DeadTokens {
  count: number;
}

/** Resolves when all rows are there once. Throws SinkError or StoreError; then the next call needs `mayHaveRun`. */
export async function deliverOnce(
  store: BatchStore,
  batch: { rows: number; mayHaveRun: boolean; dead: DeadTokens; mayHoldMore?: boolean },
): Promise<void> {
  if (!batch.mayHaveRun) {
    const failure = await attemptInsert(store, 0);
    if (failure === undefined) return;
    if (failure.kind === 'schema') await store.repair();
    if (await isStored(store, batch)) return;
    if (failure.refused && failure.kind !== 'schema') throw failure;
  } else if (await isStored(store, batch)) {
    return;
  }
  for (let tried = 0; tried < TOKENS_MAX; tried++) {
    const failure = await attemptInsert(store, batch.dead.count);
    if (failure?.kind === 'schema') await store.repair();
    if (await isStored(store, batch)) return;
    if (failure !== undefined) throw failure;
    batch.dead.count++;
  }
  throw new SinkError('retry', `clickhouse reported ${TOKENS_MAX} successes but holds no row of the batch`);
}

async function attemptInsert(store: BatchStore, attempt: number): Promise<StoreError | undefined> {
  try {
    await store.insert(attempt);
    return undefined;
  } catch (error) {
    if (error instanceof StoreError) return error;
    throw error;
  }
}

async function isStored(store: BatchStore, { rows, mayHoldMore }: { rows: number; mayHoldMore?: boolean }): Promise<boolean> {
  await store.settle();
  const found = await store.count();
  // The batch as it was before a repair of the log took rows from it: whole all the same.
  if (found === rows || (mayHoldMore === true && found > rows)) return true;
  if (found === 0) return false;
  throw new SinkError('broken', `clickhouse holds ${found} of ${rows} rows of a batch that must be whole or absent`);
}
