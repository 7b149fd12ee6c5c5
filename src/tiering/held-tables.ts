/**
 * Tables that the store refuses as a whole while it takes others: their rows wait beside the cursor, in the checkpoint (`HeldTable`),
 * and each table has its own retry with growing pauses. Exactly once as ever: an insert that was attempted keeps its identity, rows
 * that were not are planned when their turn comes, and a plan is durable before its first attempt. A table whose rows are all
 * delivered is let go; the cursor takes it along again.
 */
import { type Lsn, lsn, type TableName } from '../core/ids';
import { SinkError } from '../core/sink';
import type { HeldTable, PlanPart, Wal, WalBatch, WalEntry } from '../core/wal';
import type { Backlog } from './backlog';
import type { Checkpoint } from './checkpoint';
import { addToTotals, batchesOf, type Inserts, type PlanRows, rowsByPart } from './inserts';
import type { LeftOut } from './left-out';
import type { PartWrite } from './part-write';
import { entriesWithin, planFor } from './plan';
import type { SinkRetry } from './sink-retry';

export interface HeldTablesOptions {
  readonly wal: Wal;
  readonly inserts: Inserts;
  readonly checkpoint: Checkpoint;
  readonly retry: SinkRetry;
  readonly backlog: Backlog;
  readonly signal: AbortSignal;
  readonly rowsMax: number;
  readonly bytesMax: number;
  /** Longest pause between two attempts on a table. */
  readonly pauseMaxMs: number;
  /** Makes the state in force durable, however long that takes. */
  readonly save: () => Promise<void>;
  /** Told of batches that are done with. */
  readonly onFinished: (batches: readonly WalBatch[]) => void;
}

/** Tables that are tried at the same time: each has a read of the WAL in memory. */
const TABLES_AT_ONCE = 2;

export class HeldTables {
  private readonly loops = new Map<TableName, Promise<void>>();
  private active = 0;
  private readonly queue: (() => void)[] = [];

  constructor(private readonly options: HeldTablesOptions) {}

  /** Begins to try the tables that the checkpoint holds and that are not tried yet. */
  start(): void {
    for (const { table } of this.options.checkpoint.held) {
      if (this.loops.has(table)) continue;
      this.loops.set(table, this.run(table));
    }
  }

  /** Resolves when nothing runs any more, after the signal has aborted. */
  async stopped(): Promise<void> {
    await Promise.all(this.loops.values());
  }

  private async run(table: TableName): Promise<void> {
    const { signal, checkpoint, retry, pauseMaxMs } = this.options;
    // It has just been tried, or its store was out of reach until now.
    for (let failures = 1; !signal.aborted; ) {
      try {
        if (failures > 0) await retry.pause(failures, pauseMaxMs);
        await this.inTurn(async () => {
          const held = checkpoint.heldTable(table);
          if (held !== undefined) await this.step(held);
        });
        failures = 0;
        if (checkpoint.heldTable(table) === undefined) {
          this.loops.delete(table);
          return;
        }
      } catch (error) {
        if (signal.aborted) return;
        failures++;
        this.showFailure(table, error);
      }
    }
  }

  private async inTurn(work: () => Promise<void>): Promise<void> {
    if (this.active >= TABLES_AT_ONCE) await new Promise<void>((resolve) => this.queue.push(resolve));
    else this.active++;
    try {
      await work();
    } finally {
      const next = this.queue.shift();
      if (next === undefined) this.active--;
      else next();
    }
  }

  /** One thing that is to be done for the table: its plan, the next plan, or to let it go. */
  private async step(held: HeldTable): Promise<void> {
    const { checkpoint, inserts, save } = this.options;
    const { table, plan, range } = held;
    if (plan !== undefined) {
      const entries = await inserts.entriesOf(plan);
      return this.finish(table, inserts.inForce(plan, entries), entries, true);
    }
    if (range !== undefined) return this.planNext(table, range.fromLsn);
    checkpoint.updateHeld(table, undefined);
    await save();
  }

  /** Plans the next rows of the range and tries them. */
  private async planNext(table: TableName, fromLsn: Lsn): Promise<void> {
    const { wal, inserts, checkpoint, rowsMax, bytesMax, save } = this.options;
    const { tier } = this.options.backlog;
    const toLsn = checkpoint.heldTable(table)?.range?.toLsn ?? fromLsn;
    const read = (await wal.read(fromLsn, bytesMax)).filter((entry) => entry.lsn <= toLsn);
    if (read.length === 0) throw new Error(`entry ${fromLsn} of the held table ${table} is not in the WAL`);
    const own = read.map((entry) => ({ ...entry, batches: entry.batches.filter((batch) => batch.table === table) }));
    const entries = own.slice(0, entriesWithin(own, tier, { rowsMax, bytesMax }));
    const parts = inserts.partsOf(entries, () => true);
    // The cursor may have moved on meanwhile, and with it the end of the range.
    const held = checkpoint.heldTable(table)!;
    const next = lsn(entries.at(-1)!.lsn + 1);
    const range = next <= held.range!.toLsn ? { fromLsn: next, toLsn: held.range!.toLsn } : undefined;
    if (parts.length === 0) return checkpoint.updateHeld(table, { ...held, range });
    const plan = planFor(entries, parts);
    checkpoint.updateHeld(table, { ...held, plan, range });
    await save();
    await this.finish(table, { plan, rows: rowsByPart(plan, parts) }, entries, held.recalled === true);
  }

  private async finish(
    table: TableName,
    { plan, rows }: PlanRows,
    entries: readonly WalEntry[],
    repeated: boolean,
  ): Promise<void> {
    const { inserts, checkpoint, backlog, save, onFinished } = this.options;
    const left = new Map<PlanPart, LeftOut>();
    for (const part of plan.parts) {
      const write = (): PartWrite => inserts.write(plan, part, rows.get(part)!, repeated);
      left.set(part, await (part.done ? inserts.leftOut(plan, part) : this.insert(write())));
    }
    const { totals = {} } = checkpoint.state;
    const added = plan.parts.reduce((sum, part) => addToTotals(sum, part, left.get(part)!), totals);
    const batches = batchesOf(entries, (name) => name === table);
    backlog.removeHeld(batches);
    onFinished(batches);
    checkpoint.updateHeld(table, { ...checkpoint.heldTable(table)!, plan: undefined }, { totals: added });
    await save();
  }

  private async insert(write: PartWrite): Promise<LeftOut> {
    const { retry } = this.options;
    await retry.breaker.pass();
    try {
      const left = await write.attempt();
      retry.succeeded();
      return left;
    } catch (error) {
      await retry.failed(error);
      throw error;
    }
  }

  private showFailure(table: TableName, error: unknown): void {
    const { checkpoint, retry } = this.options;
    const held = checkpoint.heldTable(table);
    if (held === undefined) return;
    checkpoint.updateHeld(table, { ...held, ...reasonOf(error) });
    retry.reportHeld(table, error);
  }
}

/** What is kept of an error in the checkpoint. */
export const reasonOf = (error: unknown): Pick<HeldTable, 'reason' | 'code'> => ({
  reason: (error instanceof Error ? error.message : String(error)).slice(0, 1_000),
  code: error instanceof SinkError ? error.storeCode : '',
});
