/**
 * Reads sealed segments again in the background, at a bounded rate, and checks every frame and the checksum of the segment (R13), so
 * that damage is found while the stores still have, or can still get, what it hits. What the page cache holds is checked there: rot of
 * the medium shows when the pages have been given up.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from '../telemetry';
import { type DamagedRange, isNotFound } from './errors';
import type { Segment } from './segment';
import { scanSegment } from './segment-scan';
import type { Storage, StorageFile } from './storage';

export interface ScrubbingOptions {
  readonly bytesPerSecond: number;
  /** A part of a segment was read. */
  readonly onRead?: (sizeBytes: number) => void;
  /** Damage; `needed`: of entries that are not released. */
  readonly onDamage?: (range: DamagedRange, needed: boolean) => void;
  /** From the start of one round over all segments to that of the next. */
  readonly roundMs?: number;
}

interface ScrubberOptions extends ScrubbingOptions {
  readonly storage: Storage;
  /** The segments of the log, in order. */
  readonly segments: () => readonly Segment[];
  readonly releasedBelow: () => number;
  readonly logger: Logger;
  /** Entries that a store may still ask for are damaged: the log must stop (R7). */
  readonly onNeededDamage: (range: DamagedRange) => void;
}

const ROUND_MS = 60_000;

export class Scrubber {
  private readonly stopping = new AbortController();
  private readonly running: Promise<void>;
  /** Damage that was told of: by segment, once. */
  private readonly told = new WeakSet<Segment>();

  constructor(private readonly options: ScrubberOptions) {
    this.running = this.run();
  }

  async stop(): Promise<void> {
    this.stopping.abort();
    await this.running;
  }

  private async run(): Promise<void> {
    const { roundMs = ROUND_MS, segments, logger } = this.options;
    const { signal } = this.stopping;
    while (!signal.aborted) {
      const startedAt = performance.now();
      for (const segment of segments()) {
        if (signal.aborted) return;
        if (!segment.sealed || segment.empty || !segments().includes(segment)) continue;
        await this.scrub(segment).catch((error: unknown) => {
          // Released meanwhile, or stopping; anything else a reader meets too, and treats as it must be treated.
          if (!isNotFound(error) && !signal.aborted)
            logger.error({ err: error, segment: segment.path }, 'cannot scrub a wal segment');
        });
      }
      await this.pause(Math.max(0, roundMs - (performance.now() - startedAt)));
    }
  }

  private async scrub(segment: Segment): Promise<void> {
    const { storage, segments } = this.options;
    const file = await storage.open(segment.path, 'read');
    const found: DamagedRange[] = [];
    try {
      const read = { header: segment.header, fileBytes: segment.fileBytes, name: segment.path };
      for await (const item of scanSegment(this.paced(file), read)) {
        if (item.kind !== 'damage' || item.firstSeq > segment.lastSeq) continue;
        const lastLsn = Math.min(item.lastSeq ?? segment.lastSeq, segment.lastSeq);
        found.push({ file: segment.path, firstLsn: item.firstSeq, lastLsn, reason: item.reason });
      }
    } finally {
      await file.close();
    }
    // A released file gets other content under the same descriptor.
    if (found.length === 0 || !segments().includes(segment) || this.told.has(segment)) return;
    this.told.add(segment);
    for (const range of found) this.tell(range);
  }

  private tell(range: DamagedRange): void {
    const { logger, onDamage, onNeededDamage, releasedBelow } = this.options;
    const needed = range.lastLsn >= releasedBelow();
    onDamage?.(range, needed);
    if (needed) onNeededDamage(range);
    else logger.error({ ...range }, 'damage in wal entries that every store has already');
  }

  /** The file, read no faster than the bound. */
  private paced(file: StorageFile): StorageFile {
    const { bytesPerSecond, onRead } = this.options;
    const read = async (into: Uint8Array, position: number): Promise<number> => {
      const count = await file.read(into, position);
      onRead?.(count);
      await this.pause((count / bytesPerSecond) * 1_000);
      if (this.stopping.signal.aborted) throw new Error('the scrubber is stopping');
      return count;
    };
    const refuse = (): never => {
      throw new Error('the scrubber only reads');
    };
    return { read, size: () => file.size(), close: () => file.close(), writev: refuse, fdatasync: refuse, truncate: refuse };
  }

  private async pause(ms: number): Promise<void> {
    await sleep(ms, undefined, { signal: this.stopping.signal, ref: false }).catch(() => undefined);
  }
}
