/** `GET /api/ledger` and `GET /api/batches/{id}`: what became of accepted rows. */
import { type Lsn, parseBatchId, type WalId } from '../core/ids';
import type { BatchStatus } from '../core/ingest';
import type { CountedTier } from '../core/wal';
import type { JsonAnswer } from './answer';

/**
 * Rows of one table on their way to one tier. A row that is routed to both tiers is in a line of each; one that was parked before it
 * was routed is in the line of `none`.
 */
export interface LedgerLine {
  readonly table: string;
  readonly tier: CountedTier;
  /** Counted when they became durable, apart from the delivery. */
  readonly accepted: number;
  readonly delivered: number;
  /** Parked by the store or the schema, whether the letters are still kept or were replayed or dropped since. */
  readonly deadLetters: number;
  /** Sent to the other tier because their day was moved there; that tier has its own exactly-once way for them. */
  readonly diverted: number;
  readonly pending: number;
}

export interface LedgerReport {
  /** When the counting of each tier began, milliseconds since 1970. */
  readonly sinceMs: Readonly<Partial<Record<CountedTier, number>>>;
  readonly lines: readonly LedgerLine[];
}

/** Counts the dead letters of a batch. */
export type BatchLetters = (batch: { readonly walId: WalId; readonly lsn: Lsn }) => Promise<number>;

/** Is every accepted row accounted for? */
export const isBalanced = ({
  accepted,
  delivered,
  deadLetters,
  diverted,
  pending,
}: Omit<LedgerLine, 'table' | 'tier'>): boolean => accepted === delivered + deadLetters + diverted + pending;

/** `accepted = delivered + dead_letters + diverted + pending` is checked for every line. */
export function ledgerAnswer({ sinceMs, lines }: LedgerReport): JsonAnswer {
  const tables = lines.map(({ table, tier, accepted, delivered, deadLetters, diverted, pending }) => ({
    table,
    tier,
    accepted,
    delivered,
    dead_letters: deadLetters,
    diverted,
    pending,
    balanced: isBalanced({ accepted, delivered, deadLetters, diverted, pending }),
  }));
  const since = Object.fromEntries(Object.entries(sinceMs).map(([tier, ms]) => [tier, new Date(ms).toISOString()]));
  return { status: 200, body: { since, tables, balanced: tables.every(({ balanced }) => balanced) } };
}

/** `id` as an adapter gave it to the client: `<walId>-<lsn>`. `dead_letters`: rows of it that are kept as such now. */
export async function batchAnswer(batches: BatchStatus, id: string, deadLetters: BatchLetters): Promise<JsonAnswer> {
  const parts = parseBatchId(id);
  if (parts === undefined) {
    const message = 'a batch id is 32 hex digits in lower case, a hyphen and a number';
    return { status: 400, body: { error: { code: 'invalid_argument', message } } };
  }
  const status = batches.status(id as Parameters<BatchStatus['status']>[0]);
  if (status === undefined) return { status: 404, body: { error: { code: 'not_found', message: 'no such batch' } } };
  const tiers = status.map(({ tier, delivered }) => ({ tier, state: delivered ? 'delivered' : 'pending' }));
  return { status: 200, body: { batch: id, lsn: parts.lsn, tiers, dead_letters: await deadLetters(parts) } };
}
