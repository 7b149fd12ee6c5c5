import type { TableName } from '../core/ids';
import type { Tier } from '../core/table-schema';
import type { WalBatch } from '../core/wal';

type Batches = readonly WalBatch[];

/** What lies in the WAL for one tier and is not delivered: totals only, so that a long outage costs no memory. */
export class Backlog {
  rows = 0;
  bytes = 0;
  /** The part that waits beside the cursor, because its tables are held. */
  heldRows = 0;
  heldBytes = 0;
  /** Rows by table. Below zero for the moment in which an entry was delivered before it was added. */
  private readonly tables = new Map<TableName, number>();
  private waiters: (() => void)[] = [];

  constructor(readonly tier: Tier) {}

  add(batches: Batches): void {
    this.change(batches, 1);
    if (this.waiters.length > 0) for (const wake of this.waiters.splice(0)) wake();
  }

  /** Delivered or parked. */
  remove(batches: Batches): void {
    this.change(batches, -1);
  }

  /** From now on they wait beside the cursor. */
  hold(batches: Batches): void {
    this.changeHeld(batches, 1);
  }

  removeHeld(batches: Batches): void {
    this.changeHeld(batches, -1);
    this.change(batches, -1);
  }

  clear(): void {
    this.rows = 0;
    this.bytes = 0;
    this.heldRows = 0;
    this.heldBytes = 0;
    this.tables.clear();
  }

  get rowsByTable(): ReadonlyMap<TableName, number> {
    return this.tables;
  }

  private change(batches: Batches, sign: 1 | -1): void {
    for (const { table, rows, bytes } of this.sizesOf(batches)) {
      this.rows = Math.max(0, this.rows + sign * rows);
      this.bytes = Math.max(0, this.bytes + sign * bytes);
      this.tables.set(table, (this.tables.get(table) ?? 0) + sign * rows);
    }
  }

  private changeHeld(batches: Batches, sign: 1 | -1): void {
    for (const { rows, bytes } of this.sizesOf(batches)) {
      this.heldRows += sign * rows;
      this.heldBytes += sign * bytes;
    }
  }

  private sizesOf(batches: Batches): { table: TableName; rows: number; bytes: number }[] {
    return batches
      .filter(({ tiers }) => tiers.includes(this.tier))
      .map(({ table, rows, ipc }) => ({ table, rows, bytes: ipc.reduce((sum, piece) => sum + piece.byteLength, 0) }));
  }

  /** Resolves with the next `add`, after `timeoutMs`, or when the signal aborts. */
  changed(timeoutMs: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        signal.removeEventListener('abort', done);
        this.waiters = this.waiters.filter((waiter) => waiter !== done);
        resolve();
      };
      const timer = setTimeout(done, timeoutMs);
      signal.addEventListener('abort', done, { once: true });
      this.waiters.push(done);
      if (signal.aborted) done();
    });
  }
}
