import type { TableName } from '../core/ids';
import type { Tier } from '../core/table-schema';
import type { WalBatch } from '../core/wal';

/** What lies in the WAL for one tier and is not delivered: totals only, so that a long outage costs no memory. */
export class Backlog {
  rows = 0;
  bytes = 0;
  /** Rows by table. Below zero for the moment in which an entry was delivered before it was added. */
  private readonly tables = new Map<TableName, number>();
  private waiters: (() => void)[] = [];

  constructor(private readonly tier: Tier) {}

  add(batches: readonly WalBatch[]): void {
    this.change(batches, 1);
    if (this.waiters.length > 0) for (const wake of this.waiters.splice(0)) wake();
  }

  remove(batches: readonly WalBatch[]): void {
    this.change(batches, -1);
  }

  clear(): void {
    this.rows = 0;
    this.bytes = 0;
    this.tables.clear();
  }

  get rowsByTable(): ReadonlyMap<TableName, number> {
    return this.tables;
  }

  private change(batches: readonly WalBatch[], sign: 1 | -1): void {
    for (const { table, tiers, rows, ipc } of batches) {
      if (!tiers.includes(this.tier)) continue;
      this.rows = Math.max(0, this.rows + sign * rows);
      this.bytes = Math.max(0, this.bytes + sign * ipc.reduce((sum, piece) => sum + piece.byteLength, 0));
      this.tables.set(table, (this.tables.get(table) ?? 0) + sign * rows);
    }
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
