/**
 * From WAL entries to inserts, as pure functions: the same entries give the same parts in the same order with the same rows,
 * so that a plan made durable before the first attempt can be repeated after a restart (durability rules R3, R4, C2).
 */
import type { RecordBatch } from 'apache-arrow';
import { concatRows, type RowRuns, wholeBatch } from '../columnar/concat';
import { decodeIpc, joinPieces } from '../columnar/ipc';
import { runsByDay } from '../columnar/partition';
import { columnData } from '../columnar/record-batch';
import type { Lsn, TableName } from '../core/ids';
import type { Tier } from '../core/table-schema';
import type { DeliveryPlan, WalEntry } from '../core/wal';

/** Rows of one batch of one entry. */
export interface PartPiece extends RowRuns {
  readonly lsn: Lsn;
  readonly schemaVersion: number;
}

/** Rows of one table and one partition, still in the batches they came in. */
export interface PartRows {
  readonly table: TableName;
  readonly partition: string;
  readonly rows: number;
  readonly pieces: readonly PartPiece[];
}

export interface PartitionRule {
  readonly partitioning: 'none' | 'day';
  readonly timeColumnOf: (table: TableName) => string;
  /** The batch in the form of the schema in force: columns may have become wider since it was accepted. */
  readonly formOf?: (batch: RecordBatch, table: TableName, schemaVersion: number) => RecordBatch;
}

/** How many of the entries, from the first, fit into one plan: at least one. */
export function entriesWithin(entries: readonly WalEntry[], tier: Tier, bounds: { rowsMax: number; bytesMax: number }): number {
  let rows = 0;
  let bytes = 0;
  for (const [i, entry] of entries.entries()) {
    rows += rowsFor(entry, tier);
    bytes += entry.sizeBytes;
    if (i > 0 && (rows > bounds.rowsMax || bytes > bounds.bytesMax)) return i;
  }
  return entries.length;
}

export function rowsFor(entry: WalEntry, tier: Tier): number {
  let rows = 0;
  for (const batch of entry.batches) if (batch.tiers.includes(tier)) rows += batch.rows;
  return rows;
}

/** The rows of the entries that go to the tier, by table and partition, in order of first appearance. */
export function partsOf(entries: readonly WalEntry[], tier: Tier, rule: PartitionRule): PartRows[] {
  const parts = new Map<string, { table: TableName; partition: string; rows: number; pieces: PartPiece[] }>();
  for (const entry of entries) {
    for (const stored of entry.batches) {
      if (!stored.tiers.includes(tier)) continue;
      const accepted = decodeIpc(joinPieces(stored.ipc));
      const batch = rule.formOf?.(accepted, stored.table, stored.schemaVersion) ?? accepted;
      for (const [partition, piece] of piecesOf(batch, stored.table, rule)) {
        const key = `${stored.table}/${partition}`;
        const part = parts.get(key) ?? { table: stored.table, partition, rows: 0, pieces: [] };
        part.rows += rowsIn(piece);
        part.pieces.push({ ...piece, lsn: entry.lsn, schemaVersion: stored.schemaVersion });
        parts.set(key, part);
      }
    }
  }
  return [...parts.values()];
}

function piecesOf(batch: RecordBatch, table: TableName, rule: PartitionRule): [string, RowRuns][] {
  if (rule.partitioning === 'none') return [['', wholeBatch(batch)]];
  const timeColumn = rule.timeColumnOf(table);
  // Rows without a time have no day; they are of a part of their own, which the sink refuses.
  if (columnData(batch, timeColumn)?.nullCount !== 0) return [['', wholeBatch(batch)]];
  return [...runsByDay(batch, timeColumn)].map(([day, runs]) => [day, { batch, runs }]);
}

export function rowsIn(piece: RowRuns): number {
  let rows = 0;
  for (let i = 0; i < piece.runs.length; i += 2) rows += piece.runs[i + 1] - piece.runs[i];
  return rows;
}

/** The rows of a part as the one record batch of its insert. */
export const batchOf = (part: PartRows): RecordBatch => concatRows(part.pieces);

export function planFor(entries: readonly WalEntry[], parts: readonly PartRows[]): DeliveryPlan {
  return {
    fromLsn: entries[0].lsn,
    toLsn: entries.at(-1)!.lsn,
    parts: parts.map(({ table, partition, rows }) => ({ table, partition, rows, done: false })),
  };
}

/** Do the rows read again from the WAL make exactly the inserts of the durable plan? */
export function matchesPlan(plan: DeliveryPlan, parts: readonly PartRows[]): boolean {
  return (
    plan.parts.length === parts.length &&
    plan.parts.every(({ table, partition, rows }, i) => {
      const part = parts[i];
      return part.table === table && part.partition === partition && part.rows === rows;
    })
  );
}

/**
 * The plan that its entries make now: the durable one, or what a repair of the log has left of it; what was done stays done.
 * Throws when they make another one for any other reason.
 */
export function planInForce(plan: DeliveryPlan, entries: readonly WalEntry[], parts: readonly PartRows[]): DeliveryPlan {
  if (matchesPlan(plan, parts)) return plan;
  if (entries.every(({ batches }) => batches.length > 0)) {
    throw new Error(`entries ${plan.fromLsn}-${plan.toLsn} no longer make the durable plan`);
  }
  const before = new Map(plan.parts.map((part) => [`${part.table}/${part.partition}`, part]));
  const left = parts.map(({ table, partition, rows }) => {
    const part = before.get(`${table}/${partition}`);
    return part?.done === true ? part : { table, partition, rows, done: false };
  });
  return { ...plan, parts: left, repaired: true };
}
