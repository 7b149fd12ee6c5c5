/** From entries and plans to inserts: what the cursor and the held tables have in common. */
import { widenBatch } from '../columnar/widen';
import { type Lsn, lsn, type TableName } from '../core/ids';
import type { WriteIdentity } from '../core/sink';
import type { DeliveryPlan, DeliveryTotals, PlanPart, Wal, WalBatch, WalEntry } from '../core/wal';
import { type LeftOut, leftOutOf, withPart } from './left-out';
import { PartWrite, type PartWriteOptions, registered } from './part-write';
import { type PartRows, partsOf, planInForce } from './plan';

export interface InsertsOptions extends PartWriteOptions {
  readonly wal: Wal;
  readonly bytesMax: number;
}

export class Inserts {
  constructor(private readonly options: InsertsOptions) {}

  /** The rows of these tables by table and partition. Throws SinkError for a table that the registry does not know. */
  partsOf(entries: readonly WalEntry[], isAsked: (table: TableName) => boolean): PartRows[] {
    const { sink, schemaOf } = this.options;
    const asked = entries.map((entry) => ({ ...entry, batches: entry.batches.filter(({ table }) => isAsked(table)) }));
    return partsOf(asked, sink.tier, {
      partitioning: sink.partitioning,
      timeColumnOf: (table) => registered(schemaOf, table).timeColumn,
      formOf: (batch, table, schemaVersion) => {
        const schema = registered(schemaOf, table);
        return schemaVersion === schema.version ? batch : widenBatch(batch, schema);
      },
    });
  }

  /** Entries of a range that are in the WAL until a sink has let go of them. */
  async entriesOf({ fromLsn, toLsn }: { fromLsn: Lsn; toLsn: Lsn }): Promise<WalEntry[]> {
    const { wal, bytesMax } = this.options;
    const entries: WalEntry[] = [];
    for (let at = fromLsn; at <= toLsn; ) {
      const read = await wal.read(at, bytesMax);
      if (read.length === 0) throw new Error(`entry ${at} of the durable plan ${fromLsn}-${toLsn} is not in the WAL`);
      entries.push(...read.filter((entry) => entry.lsn <= toLsn));
      at = lsn(read.at(-1)!.lsn + 1);
    }
    return entries;
  }

  /** What the entries of a durable plan make now: see `planInForce`. */
  inForce(durable: DeliveryPlan, entries: readonly WalEntry[]): PlanRows {
    const tables = new Set(durable.parts.map(({ table }) => table));
    const parts = this.partsOf(entries, (table) => tables.has(table));
    const plan = planInForce(durable, entries, parts);
    return { plan, rows: rowsByPart(plan, parts) };
  }

  write(plan: DeliveryPlan, part: PlanPart, rows: PartRows, repeated: boolean): PartWrite {
    return new PartWrite(this.options, this.identity(plan, part), plan, { part, rows, repeated });
  }

  /** Rows that are no part of an insert that is done. */
  leftOut(plan: DeliveryPlan, part: PlanPart): Promise<LeftOut> {
    const { deadLetters, sink } = this.options;
    return leftOutOf(deadLetters, sink.tier, this.identity(plan, part));
  }

  private identity({ fromLsn, toLsn }: DeliveryPlan, { table, partition }: PlanPart): WriteIdentity {
    return { walId: this.options.wal.walId, lsn: fromLsn, lastLsn: toLsn, table, partition };
  }
}

/** A plan and the rows of its parts. */
export interface PlanRows {
  readonly plan: DeliveryPlan;
  readonly rows: ReadonlyMap<PlanPart, PartRows>;
}

/** `rows` in the order of the plan. */
export const rowsByPart = (plan: DeliveryPlan, rows: readonly PartRows[]): PlanRows['rows'] =>
  new Map(plan.parts.map((part, i) => [part, rows[i]]));

/** Batches of the entries whose table is one of these. */
export const batchesOf = (entries: readonly WalEntry[], isAsked: (table: TableName) => boolean): WalBatch[] =>
  entries.flatMap(({ batches }) => batches.filter(({ table }) => isAsked(table)));

/** The totals after a part is done. */
export const addToTotals = (totals: DeliveryTotals, part: PlanPart, left: LeftOut): DeliveryTotals => ({
  ...totals,
  [part.table]: withPart(totals[part.table], part, left),
});
