/**
 * Keeps a copy of the letters where they can be queried. The log is what counts: a copy that is lost or older is put right at the
 * next start, group by group (a group only ever loses letters, so one with as many as it keeps is the same). A store that is down
 * delays the copy and nothing else.
 * Bounds: the names of the groups that have changed; the letters of a few groups at a time.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { DeadLetterCopy, DeadLetterView } from '../core/dead-letter';
import type { WalId } from '../core/ids';
import type { Logger } from '../telemetry';
import type { LogDeadLetterStore } from './store';

export interface MirrorOptions {
  readonly store: LogDeadLetterStore;
  readonly logId: WalId;
  readonly copy: DeadLetterCopy;
  readonly logger: Logger;
}

const PAUSE_MS = 200;
const BACKOFF_MS = { first: 500, max: 30_000 };
/** What one transaction takes, about. */
const STEP = { groups: 200, length: 8 * 1024 * 1024 };

export class Mirror {
  private readonly changed = new Set<number>();
  private readonly stopping = new AbortController();
  private running: Promise<void> = Promise.resolve();
  private isCompared = false;
  private wake: () => void = () => undefined;

  constructor(private readonly options: MirrorOptions) {}

  start(): void {
    this.running = this.run();
  }

  /** Letters of the group were added or taken out. */
  note(group: number): void {
    this.changed.add(group);
    this.wake();
  }

  async stop(): Promise<void> {
    this.stopping.abort();
    this.wake();
    await this.running;
  }

  private async run(): Promise<void> {
    const { signal } = this.stopping;
    for (let pauseMs = BACKOFF_MS.first; !signal.aborted; ) {
      try {
        if (!this.isCompared) await this.compare();
        while (this.changed.size > 0 && !signal.aborted) await this.step();
        pauseMs = BACKOFF_MS.first;
        await this.untilChanged();
        // Changes come in crowds.
        await sleep(PAUSE_MS, undefined, { signal }).catch(() => undefined);
      } catch (error) {
        this.options.logger.warn({ err: error, retryInMs: pauseMs }, 'the table of dead letters is behind');
        await sleep(pauseMs, undefined, { signal }).catch(() => undefined);
        pauseMs = Math.min(pauseMs * 2, BACKOFF_MS.max);
        // Somebody may have taken the table away.
        this.isCompared = false;
      }
    }
  }

  private async untilChanged(): Promise<void> {
    if (this.changed.size > 0 || this.stopping.signal.aborted) return;
    await new Promise<void>((resolve) => {
      this.wake = resolve;
    });
  }

  /** Notes every group of which the copy has not what is kept. */
  private async compare(): Promise<void> {
    const { copy, logId, store } = this.options;
    const there = await copy.groups(logId);
    const kept = store.groupSizes();
    for (const [group, letters] of kept) if (there.get(group) !== letters) this.changed.add(group);
    for (const group of there.keys()) if (!kept.has(group)) this.changed.add(group);
    this.isCompared = true;
  }

  private async step(): Promise<void> {
    const { copy, logId, store } = this.options;
    const groups = new Map<number, readonly DeadLetterView[]>();
    let length = 0;
    for (const group of this.changed) {
      if (groups.size >= STEP.groups || length >= STEP.length) break;
      // A change from here on is noted again.
      this.changed.delete(group);
      const letters = await this.lettersOf(store, group, groups);
      groups.set(group, letters);
      length += letters.reduce((sum, { json }) => sum + json.length, 0);
    }
    try {
      await copy.replace(logId, groups);
    } catch (error) {
      for (const group of groups.keys()) this.changed.add(group);
      throw error;
    }
  }

  private async lettersOf(
    store: LogDeadLetterStore,
    group: number,
    taken: ReadonlyMap<number, unknown>,
  ): Promise<readonly DeadLetterView[]> {
    try {
      return await store.viewsOf(group);
    } catch (error) {
      for (const each of [...taken.keys(), group]) this.changed.add(each);
      throw error;
    }
  }
}
