/**
 * The WAL in files of one directory. Layout of the files: `format.ts`; start: `recovery.ts`; group commit: `log-writer.ts`.
 *
 * Guarantees: an append that resolved is on stable storage and is read back byte for byte after any crash (R1); an entry is
 * readable only when it is durable (R2), so a position once seen never names other data; positions have no gaps.
 */
import { randomBytes } from 'node:crypto';
import * as path from 'node:path';
import { IngestError } from '../core/errors';
import { type Lsn, lsn, type WalId } from '../core/ids';
import type { Wal, WalBatch, WalEntry, WalLoad, WalStats } from '../core/wal';
import { type Logger, silentLogger } from '../telemetry';
import { encodeEntry } from './entry-codec';
import { isNoSpace, WalCorruptError, WalLockedError } from './errors';
import { SEAL_BYTES, SEGMENT_HEADER_BYTES } from './format';
import { removeIfThere, syncDirectory } from './io';
import { LogReader } from './log-reader';
import { LogWriter, type WalCommit } from './log-writer';
import { type Recovered, recover, type VerifyMode } from './recovery';
import { Scrubber, type ScrubbingOptions } from './scrubber';
import type { Segment } from './segment';
import { LOCK_FILE_NAME, SegmentFiles } from './segment-files';
import { SegmentHandles } from './segment-handles';
import type { Storage, StorageLock } from './storage';

const SEGMENT_BYTES_MIN = 1024;

export interface FileWalOptions {
  readonly directory: string;
  /** Size of a segment file, a multiple of 8. */
  readonly segmentBytes: number;
  /** The greatest frame that is accepted; also the bound of what waits for the disk. */
  readonly frameBytesMax: number;
  readonly storage: Storage;
  /** Bytes of the device that no segment may take (R11); default 0. */
  readonly reserveBytes?: number;
  /** A sync failed, or acknowledged data turned out damaged: the process must stop (R8). Called at most once. */
  readonly onFatal: (error: Error) => void;
  /** Wall clock, milliseconds since 1970. Lands in the entries, decides nothing. */
  readonly clock: () => number;
  readonly logger?: Logger;
  /** Called after each group commit, for metrics. */
  readonly onCommit?: (commit: WalCommit) => void;
  /** Reads sealed segments again in the background; absent: not. */
  readonly scrubbing?: ScrubbingOptions;
  /** Default `all`: refuse to start when any checksum of the backlog is wrong. */
  readonly verify?: VerifyMode;
}

interface Waiter {
  readonly at: number;
  readonly resolve: () => void;
  readonly reject: (error: IngestError) => void;
}

export class FileWal implements Wal, WalLoad {
  readonly walId: WalId;
  private readonly options: FileWalOptions;
  private readonly lock: StorageLock;
  private readonly files: SegmentFiles;
  private readonly handles: SegmentHandles;
  private readonly reader: LogReader;
  private readonly writer: LogWriter;
  private segments: Segment[];
  private readonly waiters = new Set<Waiter>();
  private scrubber: Scrubber | undefined;
  private releasing: Promise<void> = Promise.resolve();
  private releasedBelow = 1;
  /** Of all segments but the last that are not released as a whole. */
  private olderBytes = 0;
  private appended = 0;
  private isFailed = false;
  private closed: Promise<void> | undefined;

  /**
   * Takes the lock of the directory, checks and repairs what is there, and opens a new segment.
   * Throws WalLockedError, WalCorruptError (exit 78), WalVersionError, or the device's error.
   */
  static async open(options: FileWalOptions): Promise<FileWal> {
    const { storage, directory, segmentBytes, frameBytesMax } = options;
    if (segmentBytes % 8 !== 0 || segmentBytes < SEGMENT_BYTES_MIN || frameBytesMax < SEGMENT_BYTES_MIN) {
      throw new Error(`a wal segment has at least ${SEGMENT_BYTES_MIN} bytes and a multiple of 8`);
    }
    await storage.makeDirectory(directory);
    const lock = await storage.lock(path.join(directory, LOCK_FILE_NAME));
    if (lock === undefined) throw new WalLockedError(directory);
    const logger = options.logger ?? silentLogger();
    const recovery = { storage, directory, logger, verify: options.verify ?? 'all', nowMs: options.clock() };
    const found = await recover(recovery).catch(async (error: unknown) => {
      await lock.release();
      throw error;
    });
    const wal = new FileWal(options, lock, found);
    try {
      await wal.start();
    } catch (error) {
      await wal.close();
      throw error;
    }
    return wal;
  }

  private constructor(options: FileWalOptions, lock: StorageLock, found: Recovered) {
    const { storage, directory, segmentBytes, frameBytesMax, clock } = options;
    const logger = options.logger ?? silentLogger();
    this.options = options;
    this.lock = lock;
    this.walId = found.walId ?? (randomBytes(16).toString('hex') as WalId);
    this.segments = [];
    this.keep(found.segments);
    this.appended = found.segments.reduce((sum, segment) => sum + usedBytes(segment), 0);
    this.handles = new SegmentHandles(storage);
    this.reader = new LogReader(this.handles);
    this.files = new SegmentFiles({
      storage,
      directory,
      segmentBytes,
      reserveBytes: options.reserveBytes ?? 0,
      logger,
      onError: (error) => this.writer.fail(error),
    });
    this.writer = new LogWriter({
      files: this.files,
      walId: this.walId,
      epoch: found.epoch + 1,
      segmentNumber: found.segmentNumber,
      lastSeq: found.lastSeq,
      pendingBytesMax: frameBytesMax,
      clock,
      logger,
      onSegment: ({ segment }) => this.keep([...this.segments, segment]),
      onDurable: (lastSeq) => this.wake(lastSeq),
      onCommit: (commit) => {
        this.appended += commit.sizeBytes;
        options.onCommit?.(commit);
      },
      onFatal: (error) => this.failed(error),
    });
  }

  append(batches: readonly WalBatch[], note?: Uint8Array): Promise<Lsn> {
    try {
      const entry = encodeEntry(batches, this.options.frameBytesMax - SEGMENT_HEADER_BYTES - SEAL_BYTES, note);
      return this.writer.append(entry);
    } catch (error) {
      return Promise.reject(IngestError.from(error));
    }
  }

  /** Throws for a position that was released already: the caller would take a gap for the end of what it missed. */
  async read(from: Lsn, bytesMax: number): Promise<readonly WalEntry[]> {
    if (from < this.firstSeq) throw new Error(`lsn ${from} was released, the wal begins at ${this.firstSeq}`);
    if (from > this.writer.durableSeq) return [];
    try {
      return await this.reader.read(this.segments, from, bytesMax);
    } catch (error) {
      if (error instanceof WalCorruptError) this.writer.fail(error);
      throw error;
    }
  }

  /** Rejects with IngestError `unavailable` when the WAL fails or is closed meanwhile. */
  waitFor(at: Lsn, signal: AbortSignal): Promise<void> {
    if (at <= this.writer.durableSeq || signal.aborted) return Promise.resolve();
    if (this.isFailed || this.closed !== undefined) return Promise.reject(stopped());
    return new Promise((resolve, reject) => {
      const onAbort = (): void => {
        this.waiters.delete(waiter);
        resolve();
      };
      const done = (settle: () => void): void => {
        signal.removeEventListener('abort', onAbort);
        settle();
      };
      const waiter: Waiter = { at, resolve: () => done(resolve), reject: (error) => done(() => reject(error)) };
      signal.addEventListener('abort', onAbort, { once: true });
      this.waiters.add(waiter);
    });
  }

  /** Deletes or recycles segments from the oldest on, each deletion durable before the next, so that no gap can appear. */
  release(below: Lsn): Promise<void> {
    this.releasedBelow = Math.max(this.releasedBelow, below);
    this.keep(this.segments);
    const turn = this.releasing.then(() => this.removeReleased());
    this.releasing = turn.catch(() => undefined);
    return turn;
  }

  stats(): WalStats {
    return {
      durableLsn: lsn(this.writer.durableSeq),
      firstLsn: lsn(this.firstSeq),
      segments: this.segments.length,
      sizeBytes: this.segments.reduce((sum, segment) => sum + segment.fileBytes, 0),
    };
  }

  get appendedBytes(): number {
    return this.appended;
  }

  get retainedBytes(): number {
    const last = this.segments.at(-1);
    return this.olderBytes + (last === undefined || last.lastSeq < this.releasedBelow ? 0 : last.endOffset);
  }

  get pendingBytes(): number {
    const first = this.segments.findIndex((segment) => segment.lastSeq >= this.releasedBelow);
    if (first === -1) return 0;
    const bytes = this.segments.slice(first).reduce((sum, segment) => sum + usedBytes(segment), 0);
    const floor = this.segments[first].index.floor(this.releasedBelow)?.offset ?? SEGMENT_HEADER_BYTES;
    return bytes - (floor - SEGMENT_HEADER_BYTES);
  }

  get nextSegmentReady(): boolean {
    return this.files.hasSpare;
  }

  close(): Promise<void> {
    this.closed ??= this.shutDown();
    return this.closed;
  }

  private get firstSeq(): number {
    return this.segments.find((segment) => !segment.empty)?.base ?? this.writer.durableSeq + 1;
  }

  private async start(): Promise<void> {
    const before = this.segments;
    try {
      await this.writer.start();
    } catch (error) {
      // A full device must not keep the backlog from being delivered, which is what makes room again.
      if (!isNoSpace(error) || before.length === 0) throw error;
      this.options.logger?.warn({ err: error }, 'no space for a wal segment, appends are refused');
      this.startScrubbing();
      return;
    }
    this.startScrubbing();
    // Segments without entries stay behind starts without load.
    for (const segment of before.filter((each) => each.empty)) await this.remove(segment);
  }

  private keep(segments: Segment[]): void {
    this.segments = segments;
    this.olderBytes = 0;
    for (const segment of segments.slice(0, -1)) {
      if (segment.lastSeq >= this.releasedBelow) this.olderBytes += segment.fileBytes;
    }
  }

  private startScrubbing(): void {
    const { scrubbing, storage, logger = silentLogger() } = this.options;
    if (scrubbing === undefined) return;
    this.scrubber = new Scrubber({
      ...scrubbing,
      storage,
      logger,
      segments: () => this.segments,
      releasedBelow: () => this.releasedBelow,
      onNeededDamage: (range) => this.writer.fail(new WalCorruptError('entries of the wal are damaged', [range])),
    });
  }

  private async removeReleased(): Promise<void> {
    while (!this.isFailed && this.closed === undefined) {
      const [oldest, next] = this.segments;
      if (oldest === undefined || next === undefined || next.base > this.releasedBelow) return;
      await this.remove(oldest);
    }
  }

  private async remove(segment: Segment): Promise<void> {
    const { storage, directory } = this.options;
    this.keep(this.segments.filter((each) => each !== segment));
    this.reader.forget(segment);
    await this.handles.retire(segment);
    try {
      if (await this.files.recycle(segment)) return;
      await removeIfThere(storage, segment.path);
      await syncDirectory(storage, directory);
    } catch (error) {
      this.writer.fail(error);
      throw error;
    }
  }

  private wake(lastSeq: number): void {
    for (const waiter of this.waiters) {
      if (waiter.at > lastSeq) continue;
      this.waiters.delete(waiter);
      waiter.resolve();
    }
  }

  private failed(error: Error): void {
    this.isFailed = true;
    this.rejectWaiters();
    this.options.onFatal(error);
  }

  private rejectWaiters(): void {
    for (const waiter of this.waiters) waiter.reject(stopped());
    this.waiters.clear();
  }

  private async shutDown(): Promise<void> {
    try {
      await this.scrubber?.stop();
      await this.releasing;
      await this.writer.close();
      await this.files.close();
    } finally {
      this.rejectWaiters();
      await this.handles.close();
      await this.lock.release();
    }
  }
}

const usedBytes = ({ endOffset }: Segment): number => endOffset - SEGMENT_HEADER_BYTES;

const stopped = (): IngestError => new IngestError('unavailable', 'the wal has stopped');
