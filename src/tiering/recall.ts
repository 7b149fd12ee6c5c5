/**
 * A checkpoint that is lost, or older than what its store has, made anew from what the store remembers.
 *
 * Inserts of one table follow each other, so the last one of a table that is in the store says everything: rows of entries before
 * it are done with, rows behind it are not there. PostgreSQL tells the entries of it; for ClickHouse they are found by counting the
 * rows of the entries until they are as many as are stored, those that were left out included. What is open then waits table by
 * table, as held tables do, and its inserts are written like any whose outcome is unknown.
 */
import { neededFrom, pendingFrom } from '../core/delivery-state';
import { type Lsn, lsn, type TableName } from '../core/ids';
import type { LastInsert, Recall } from '../core/sink';
import type { DeliveryPlan, DeliveryState, DeliveryTotals, HeldTable, PlanPart, WalBatch, WalEntry } from '../core/wal';
import type { Backlog } from './backlog';
import type { Checkpoint } from './checkpoint';
import type { DeliveryOptions } from './delivery-options';
import type { Inserts } from './inserts';
import { registered } from './part-write';
import { planFor } from './plan';

export interface RecallOptions extends DeliveryOptions {
  readonly inserts: Inserts;
  readonly checkpoint: Checkpoint;
  readonly backlog: Backlog;
}

const REASON = 'the checkpoint was lost or older than the store: what the store has not got is delivered';

/**
 * Compares the checkpoint with the store, and makes it anew where it is behind. `last`: the last entry that the backlog was counted
 * up to. True when there is a new state to be saved. Throws SinkError when the store does not answer, Error when the entries of an
 * insert cannot be told.
 */
export async function recallDelivery(options: RecallOptions, last: Lsn): Promise<boolean> {
  const { wal, sink, backlog, checkpoint, schemaOf, logger } = options;
  const tables = [...backlog.rowsByTable].filter(([, rows]) => rows > 0).map(([table]) => table);
  if (sink.recall === undefined || tables.length === 0) return false;
  const schemas = tables.map((table) => schemaOf(table)).filter((schema) => schema !== undefined);
  const look = await sink.recall(wal.walId, schemas, checkpoint.isFirst);
  const isBehind = tables.some((table) => isOlder(checkpoint.state, table, look));
  if (!isBehind && !(checkpoint.isFirst && look.tables.size > 0)) return false;
  for (const table of tables) registered(schemaOf, table);
  const known = checkpoint.isFirst ? look : await sink.recall(wal.walId, schemas, true);
  logger.error({ tier: sink.tier, nextLsn: checkpoint.state.nextLsn }, REASON);
  const plans = new Map<TableName, DeliveryPlan>();
  for (const table of tables) {
    const insert = known.tables.get(table);
    if (insert !== undefined && insert.toLsn === undefined) plans.set(table, await planOf(options, table, insert, last));
  }
  await takeOver(options, { known, plans, last });
  return true;
}

/** Has the store an insert of the table that is behind the one which the state allows for? */
function isOlder(state: DeliveryState, table: TableName, { below, tables }: Recall): boolean {
  const pending = pendingFrom(state, table);
  if (below > pending) return true;
  const insert = tables.get(table);
  if (insert === undefined) return false;
  const held = state.held?.find((each) => each.table === table);
  const plan = held === undefined ? state.plan : held.plan;
  if (plan?.fromLsn === insert.fromLsn) return false;
  return (insert.toLsn ?? insert.fromLsn) >= pending;
}

/** The plan of an insert of which only its first entry and its rows are known; parts that are stored are done. */
async function planOf(options: RecallOptions, table: TableName, insert: LastInsert, last: Lsn): Promise<DeliveryPlan> {
  const { wal, sink, inserts, deadLetters, bytesMax } = options;
  const { fromLsn, rows } = insert;
  const unclear = (): Error =>
    new Error(
      `the checkpoint of the ${sink.tier} sink is lost, and the entries of the last insert of ${table}, from entry ${fromLsn} on, ` +
        'cannot be told from the store; restore the checkpoint',
    );
  const missing = new Map<string, number>();
  for (const [partition, stored] of rows) {
    const id = { walId: wal.walId, lsn: fromLsn, lastLsn: fromLsn, table, partition };
    const left = (await deadLetters.refusedRows(sink.tier, id)).size + (await deadLetters.divertedRows(sink.tier, id)).size;
    missing.set(partition, stored + left);
  }
  const taken: WalEntry[] = [];
  for (let at = fromLsn; at <= last; ) {
    const entries = await wal.read(at, bytesMax);
    if (entries.length === 0 || entries[0].lsn !== at) throw unclear();
    for (const entry of entries) {
      const own = { ...entry, batches: entry.batches.filter((batch) => batch.table === table) };
      taken.push(own);
      for (const part of inserts.partsOf([own], () => true)) {
        const open = missing.get(part.partition);
        if (open !== undefined) missing.set(part.partition, open - part.rows);
      }
      const counts = [...missing.values()];
      if (counts.some((count) => count < 0)) throw unclear();
      if (counts.every((count) => count === 0)) return doneParts(taken, inserts, rows);
    }
    at = lsn(entries.at(-1)!.lsn + 1);
  }
  throw unclear();
}

function doneParts(entries: readonly WalEntry[], inserts: Inserts, stored: LastInsert['rows']): DeliveryPlan {
  const plan = planFor(
    entries,
    inserts.partsOf(entries, () => true),
  );
  return { ...plan, parts: plan.parts.map((part): PlanPart => ({ ...part, done: stored.has(part.partition) })) };
}

/** What of a table is still to be done. */
interface Open {
  readonly plan: DeliveryPlan | undefined;
  /** Rows of entries before it are done with. */
  readonly from: Lsn;
  firstLsn: Lsn | undefined;
}

function openOf(table: TableName, known: Recall, found: DeliveryPlan | undefined): Open {
  const plan = found?.parts.every(({ done }) => done) === true ? undefined : found;
  const insert = known.tables.get(table);
  const end = insert === undefined ? known.below : lsn((found?.toLsn ?? insert.toLsn ?? insert.fromLsn) + 1);
  return { plan, from: lsn(Math.max(known.below, plan?.fromLsn ?? end)), firstLsn: undefined };
}

async function takeOver(
  options: RecallOptions,
  { known, plans, last }: { known: Recall; plans: ReadonlyMap<TableName, DeliveryPlan>; last: Lsn },
): Promise<void> {
  const { wal, checkpoint, backlog, bytesMax } = options;
  const { state } = checkpoint;
  const passed = state.plan?.toLsn ?? lsn(state.nextLsn - 1);
  const tables = new Map<TableName, Open>();
  let totals: DeliveryTotals = state.totals ?? {};
  const judge = (at: Lsn, batch: WalBatch): void => {
    const { table, tiers } = batch;
    if (!tiers.includes(backlog.tier) || at < pendingFrom(state, table)) return;
    const open = tables.get(table) ?? openOf(table, known, plans.get(table));
    tables.set(table, open);
    const wasHeld = at <= passed && checkpoint.heldTable(table) !== undefined;
    if (at >= open.from) {
      if (open.plan === undefined || at > open.plan.toLsn) open.firstLsn ??= at;
      if (!wasHeld) backlog.hold([batch]);
      return;
    }
    if (wasHeld) backlog.removeHeld([batch]);
    else backlog.remove([batch]);
    const before = totals[table] ?? { delivered: 0, deadLetters: 0 };
    totals = { ...totals, [table]: { ...before, delivered: before.delivered + batch.rows } };
  };
  for (let at = neededFrom(state); at <= last; ) {
    const entries = await wal.read(at, bytesMax);
    if (entries.length === 0) throw new Error(`entry ${at} is not in the WAL`);
    for (const entry of entries) if (entry.lsn <= last) for (const batch of entry.batches) judge(entry.lsn, batch);
    at = lsn(entries.at(-1)!.lsn + 1);
  }
  checkpoint.update({ nextLsn: lsn(Math.max(last + 1, state.nextLsn)), plan: undefined, totals, held: waiting(tables, last) });
}

function waiting(tables: ReadonlyMap<TableName, Open>, toLsn: Lsn): HeldTable[] {
  const sinceMs = Date.now();
  return [...tables].flatMap(([table, { plan, firstLsn: fromLsn }]): HeldTable[] => {
    if (plan === undefined && fromLsn === undefined) return [];
    const range = fromLsn === undefined ? undefined : { fromLsn, toLsn };
    return [{ table, reason: REASON, code: '', sinceMs, plan, range, recalled: true }];
  });
}
