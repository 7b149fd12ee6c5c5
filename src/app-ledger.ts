/** Composition of the ledger: what was accepted, held against what the deliveries say of it. */
import { isBalanced, type LedgerLine, type LedgerReport } from './admin/ledger';
import { parseBatchId } from './core/ids';
import type { BatchStatus } from './core/ingest';
import type { Sink } from './core/sink';
import type { AcceptedCounts, CountedTier, DeliveryState, DeliveryStateStore, DeliveryTotals, Wal } from './core/wal';
import type { Telemetry } from './telemetry';
import type { Delivery } from './tiering/delivery';
import { AcceptedRows, type AcceptedRowsOptions } from './wal/accepted-rows';

/** To be called before the deliveries start: the counts begin where the checkpoints of the sinks stand. */
export async function openAccepted(
  sinks: readonly Sink[],
  states: DeliveryStateStore,
  parked: DeliveryState | undefined,
  options: Omit<AcceptedRowsOptions, 'checkpoints' | 'clock'>,
): Promise<AcceptedRows> {
  const checkpoints = await Promise.all(sinks.map(async ({ tier }) => [tier, await states.load(tier)] as const));
  return AcceptedRows.open({
    ...options,
    checkpoints: new Map<CountedTier, DeliveryState | undefined>([...checkpoints, ['none', parked]]),
    clock: Date.now,
  });
}

/** Parked rows: those that became dead letters, and those that are to. */
export interface ParkedCounts {
  readonly totals: Readonly<Record<string, number>>;
  readonly pending: ReadonlyMap<string, number>;
}

/** All lines are of one moment: accepted rows, backlogs and totals change without a pause between them. */
export async function ledgerReport(
  accepted: AcceptedCounts | undefined,
  deliveries: readonly Delivery[],
  parked: () => ParkedCounts,
): Promise<LedgerReport> {
  await Promise.all(deliveries.map(({ counted }) => counted));
  return reportOf(accepted, deliveries, parked);
}

function reportOf(
  accepted: AcceptedCounts | undefined,
  deliveries: readonly Delivery[],
  parked: () => ParkedCounts,
): LedgerReport {
  const parkedLines = accepted === undefined ? [] : linesOf(accepted, parkedSide(parked()));
  const lines = [...deliveries.flatMap((delivery) => linesOf(accepted, sideOf(delivery))), ...parkedLines];
  const tiers: readonly CountedTier[] = [
    ...deliveries.map(({ tier }) => tier),
    ...(parkedLines.length > 0 ? ['none' as const] : []),
  ];
  const since = tiers.map((tier) => [tier, accepted?.of(tier)?.sinceMs]).filter(([, ms]) => ms !== undefined);
  return {
    sinceMs: Object.fromEntries(since) as LedgerReport['sinceMs'],
    lines: lines.sort((a, b) => (a.table < b.table ? -1 : a.table > b.table ? 1 : 0)),
  };
}

/** The same as gauges, of the moment of each call; nothing while what an earlier run left is being counted. */
export function showLedger(telemetry: Telemetry, ...[accepted, deliveries, parked]: Parameters<typeof reportOf>): () => void {
  let isCounted = false;
  void Promise.all(deliveries.map(({ counted }) => counted)).then(() => (isCounted = true));
  return () => {
    if (!isCounted) return;
    const { lines } = reportOf(accepted, deliveries, parked);
    telemetry.ledgerRows.reset();
    for (const { table, tier, ...line } of lines) {
      const states = { ...line, dead_letters: line.deadLetters };
      for (const state of LEDGER_STATES) telemetry.ledgerRows.set({ table, tier, state }, states[state]);
    }
    telemetry.ledgerBalanced.set(lines.every(isBalanced) ? 1 : 0);
  };
}

const LEDGER_STATES = ['accepted', 'delivered', 'dead_letters', 'diverted', 'pending'] as const;

/** What became of the rows of one tier. */
interface Side {
  readonly tier: CountedTier;
  readonly totals: DeliveryTotals;
  readonly pending: ReadonlyMap<string, number>;
}

const sideOf = ({ tier, totals, backlog }: Delivery): Side => ({ tier, totals, pending: new Map(backlog.rowsByTable) });

function parkedSide({ totals, pending }: ParkedCounts): Side {
  const done = Object.entries(totals).map(([table, deadLetters]) => [table, { delivered: 0, deadLetters }]);
  return { tier: 'none', totals: Object.fromEntries(done) as DeliveryTotals, pending };
}

function linesOf(accepted: AcceptedCounts | undefined, { tier, totals, pending }: Side): LedgerLine[] {
  const rows = new Map<string, number>(accepted?.of(tier)?.rows);
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
      return deliveries().map((delivery) => ({ tier: delivery.tier, delivered: delivery.isDelivered(parts.lsn) }));
    },
  };
}
