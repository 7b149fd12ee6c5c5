/** Composition of the ledger: what was accepted, held against what the deliveries say of it. */
import type { LedgerLine, LedgerReport } from './admin/ledger';
import { parseBatchId } from './core/ids';
import type { BatchStatus } from './core/ingest';
import type { Sink } from './core/sink';
import type { AcceptedCounts, DeliveryStateStore, Wal } from './core/wal';
import type { Delivery } from './tiering/delivery';
import { AcceptedRows, type AcceptedRowsOptions } from './wal/accepted-rows';

/** To be called before the deliveries start: the counts begin where the checkpoints of the sinks stand. */
export async function openAccepted(
  sinks: readonly Sink[],
  states: DeliveryStateStore,
  options: Omit<AcceptedRowsOptions, 'checkpoints' | 'clock'>,
): Promise<AcceptedRows> {
  const checkpoints = await Promise.all(sinks.map(async ({ tier }) => [tier, await states.load(tier)] as const));
  return AcceptedRows.open({ ...options, checkpoints: new Map(checkpoints), clock: Date.now });
}

/** All lines are of one moment: accepted rows, backlogs and totals change without a pause between them. */
export async function ledgerReport(accepted: AcceptedCounts | undefined, deliveries: readonly Delivery[]): Promise<LedgerReport> {
  await Promise.all(deliveries.map(({ counted }) => counted));
  const lines = deliveries.flatMap((delivery) => linesOf(accepted, delivery));
  const since = deliveries.map(({ tier }) => [tier, accepted?.of(tier)?.sinceMs]).filter(([, ms]) => ms !== undefined);
  return {
    sinceMs: Object.fromEntries(since) as LedgerReport['sinceMs'],
    lines: lines.sort((a, b) => (a.table < b.table ? -1 : a.table > b.table ? 1 : 0)),
  };
}

function linesOf(accepted: AcceptedCounts | undefined, { tier, totals, backlog }: Delivery): LedgerLine[] {
  const rows = new Map<string, number>(accepted?.of(tier)?.rows);
  const pending = new Map<string, number>(backlog.rowsByTable);
  const done = new Map(Object.entries(totals));
  return [...new Set([...rows.keys(), ...pending.keys(), ...done.keys()])].map((table) => {
    const { delivered, deadLetters, diverted = 0 } = done.get(table) ?? { delivered: 0, deadLetters: 0 };
    return { table, tier, accepted: rows.get(table) ?? 0, delivered, deadLetters, diverted, pending: pending.get(table) ?? 0 };
  });
}

/** Entries below a sink's cursor are in its store. */
export function batchStatus(wal: Wal, deliveries: () => readonly Delivery[]): BatchStatus {
  return {
    status: (batch) => {
      const parts = parseBatchId(batch);
      if (parts === undefined || parts.walId !== wal.walId || parts.lsn > wal.stats().durableLsn) return undefined;
      return deliveries().map((delivery) => ({ tier: delivery.tier, delivered: delivery.status().nextLsn > parts.lsn }));
    },
  };
}
