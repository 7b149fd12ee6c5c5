import { IngestError } from '../core/errors';
import type { Lsn, WalId } from '../core/ids';
import type { Wal, WalEntry, WalStats } from '../core/wal';
import { isReplay } from './format';

/**
 * The dead-letter log as delivery sees it: only the rows that are to be delivered again. Delivery from here is like delivery from
 * the WAL of the requests: a plan, an identity of its own, exactly once.
 */
export class ReplayLog implements Wal {
  constructor(private readonly log: Wal) {}

  get walId(): WalId {
    return this.log.walId;
  }

  async read(from: Lsn, bytesMax: number): Promise<readonly WalEntry[]> {
    const entries = await this.log.read(from, bytesMax);
    return entries.map((entry) => ({ ...entry, batches: entry.batches.filter(isReplay) }));
  }

  waitFor(at: Lsn, signal: AbortSignal): Promise<void> {
    return this.log.waitFor(at, signal);
  }

  stats(): WalStats {
    return this.log.stats();
  }

  append(): Promise<Lsn> {
    return Promise.reject(new IngestError('internal', 'replays are appended by the dead letters'));
  }

  /** The letters decide what can be released. */
  async release(): Promise<void> {}

  async close(): Promise<void> {}
}
