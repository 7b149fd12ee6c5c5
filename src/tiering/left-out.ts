/** Rows that are no part of their write: dead letters, and rows that went to the other tier. */
import type { RecordBatch } from 'apache-arrow';
import { cutRows } from '../columnar/cut';
import type { DeadLetterParking, DivertedRows } from '../core/dead-letter';
import type { WriteIdentity } from '../core/sink';
import type { TableSchema, Tier } from '../core/table-schema';
import type { PlanPart, TableTotals } from '../core/wal';

/** Positions in the batch of the write. */
export interface LeftOut {
  readonly refused: Set<number>;
  readonly diverted: Set<number>;
}

/** What earlier attempts, also of an earlier process, left out of the write. */
export async function leftOutOf(deadLetters: DeadLetterParking, tier: Tier, id: WriteIdentity): Promise<LeftOut> {
  return { refused: await deadLetters.refusedRows(tier, id), diverted: await deadLetters.divertedRows(tier, id) };
}

/** The totals of a table with one part more that is done. */
export function withPart(before: TableTotals | undefined, { rows }: PlanPart, { refused, diverted }: LeftOut): TableTotals {
  const moved = (before?.diverted ?? 0) + diverted.size;
  return {
    delivered: (before?.delivered ?? 0) + rows - refused.size - diverted.size,
    deadLetters: (before?.deadLetters ?? 0) + refused.size,
    ...(moved === 0 ? {} : { diverted: moved }),
  };
}

/** Rows that become durable together on their way to the other tier. */
const DIVERTED_AT_ONCE = 10_000;

/** Rows of a batch in the form of `schema`, for the other tier, in pieces of bounded size. */
export function* diversions(
  tier: Tier,
  { id, batch }: { id: WriteIdentity; batch: RecordBatch },
  { version: schemaVersion }: TableSchema,
  rows: readonly number[],
): Generator<DivertedRows> {
  const to: Tier = tier === 'hot' ? 'cold' : 'hot';
  for (let at = 0; at < rows.length; at += DIVERTED_AT_ONCE) {
    const slice = rows.slice(at, at + DIVERTED_AT_ONCE);
    yield { tier, id, rows: slice, to, schemaVersion, batch: cutRows(batch, slice) };
  }
}
