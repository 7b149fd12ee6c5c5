import type { Tier } from '../core/table-schema';
import type { WalBatch } from '../core/wal';

/** What lies in the WAL for one tier and is not delivered: totals only, so that a long outage costs no memory. */
export class Backlog {
  rows = 0;
  bytes = 0;
  private waiters: (() => void)[] = [];

  constructor(private readonly tier: Tier) {}

  add(batches: readonly WalBatch[]): void {
    for (const batch of batches) {
      if (!batch.tiers.includes(this.tier)) continue;
      this.rows += batch.rows;
      this.bytes += batch.ipc.reduce((sum, piece) => sum + piece.byteLength, 0);
    }
    if (this.waiters.length > 0) for (const wake of this.waiters.splice(0)) wake();
  }

  remove(rows: number, bytes: number): void {
    this.rows = Math.max(0, this.rows - rows);
    this.bytes = Math.max(0, this.bytes - bytes);
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
