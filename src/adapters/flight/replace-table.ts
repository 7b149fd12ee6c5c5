/**
 * The mode `replace` of bulk ingest (FS2). Tables only grow and are never dropped: the rows go, the columns stay. Rows that were
 * accepted before are delivered first, so that none of them turns up afterwards; rows that others send meanwhile are either
 * before the replacement, and go with it, or behind it, and stay. It is not undone when the new rows fail.
 */
import { IngestError } from '../../core/errors';
import type { TableName } from '../../core/ids';
import { LIMITS } from '../../core/limits';
import type { RowEraser } from '../../core/row-eraser';
import type { FlightProgress } from './actions';

/** Throws IngestError `unavailable` when the stores do not have everything in time or cannot be emptied. */
export async function replaceTable(table: TableName, progress: FlightProgress, erasers: readonly RowEraser[]): Promise<void> {
  const at = progress.durableLsn();
  const signal = AbortSignal.timeout(LIMITS.ackTimeoutMs);
  try {
    await Promise.all(erasers.map(({ tier }) => progress.delivered(tier, at, signal, [table])));
    await Promise.all(erasers.map((eraser) => eraser.erase(table)));
  } catch (error) {
    throw new IngestError('unavailable', `the table ${table} cannot be replaced now`, { cause: error, retryAfterMs: 1_000 });
  }
}
