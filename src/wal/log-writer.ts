/**
 * The writing end of the log: group commit. One group is written and synced at a time; appends that arrive meanwhile form the
 * next group (R1). A group is one `writev` of the callers' own pieces and one `fdatasync`.
 *
 * What can go wrong: a short write is continued (R10); no space cuts the file back to the last durable byte, syncs, and refuses
 * what is waiting with a hint to retry, the next append tries again (R10); anything else, and every failed sync, is final (R8):
 * all waiters are refused, `onFatal` is called once and the log never writes or syncs again.
 */
import { IngestError } from '../core/errors';
import { type Lsn, lsn, type WalId } from '../core/ids';
import type { Logger } from '../telemetry';
import type { EncodedEntry } from './entry-codec';
import { isNoSpace, SyncFailedError } from './errors';
import { checksumWith, encodeFrameHeader, encodeSeal, FRAME_ENTRY, headerCrcOf, SEAL_BYTES, type Seal } from './format';
import { syncFile, writeFully } from './io';
import type { OpenSegment, SegmentFiles } from './segment-files';

/** Bounds of one group: beyond, a sync takes so long that waiting for the next one is no loss. */
const GROUP_BYTES_MAX = 16 * 1024 * 1024;
const GROUP_PIECES_MAX = 1024;
const RETRY_NO_SPACE_MS = 1_000;
const RETRY_FULL_QUEUE_MS = 100;

/** One group that became durable, for metrics. */
export interface WalCommit {
  readonly entries: number;
  readonly sizeBytes: number;
  readonly writeMs: number;
  readonly syncMs: number;
}

interface Pending {
  readonly entry: EncodedEntry;
  readonly appendedAtMs: number;
  readonly resolve: (at: Lsn) => void;
  readonly reject: (error: IngestError) => void;
}

export interface LogWriterOptions {
  readonly files: SegmentFiles;
  readonly walId: WalId;
  readonly epoch: number;
  readonly segmentNumber: number;
  readonly lastSeq: number;
  readonly pendingBytesMax: number;
  readonly clock: () => number;
  readonly logger: Logger;
  readonly onSegment: (opened: OpenSegment) => void;
  /** Called after each group, when its entries may be read. */
  readonly onDurable: (lastSeq: number) => void;
  readonly onCommit: ((commit: WalCommit) => void) | undefined;
  readonly onFatal: (error: Error) => void;
}

export class LogWriter {
  private readonly options: LogWriterOptions;
  private active: OpenSegment | undefined;
  private segmentNumber: number;
  private durable: number;
  private pending: Pending[] = [];
  private pendingBytes = 0;
  private draining: Promise<void> | undefined;
  private failure: Error | undefined;
  private closing = false;
  /** Seals of full segments that are being written behind the appends. */
  private readonly sealing = new Set<Promise<void>>();

  constructor(options: LogWriterOptions) {
    this.options = options;
    this.segmentNumber = options.segmentNumber;
    this.durable = options.lastSeq;
  }

  get durableSeq(): number {
    return this.durable;
  }

  /** Opens the first segment. Throws for want of space like any other device error; appends try again. */
  async start(): Promise<void> {
    await this.rotate(0);
  }

  append(entry: EncodedEntry): Promise<Lsn> {
    if (this.failure !== undefined) return Promise.reject(unavailable('the wal has failed', { cause: this.failure }));
    if (this.closing) return Promise.reject(unavailable('the server is shutting down'));
    if (this.pending.length > 0 && this.pendingBytes + entry.frameBytes > this.options.pendingBytesMax) {
      return Promise.reject(unavailable('too much waits for the disk', { retryAfterMs: RETRY_FULL_QUEUE_MS }));
    }
    return new Promise((resolve, reject) => {
      this.pending.push({ entry, appendedAtMs: this.options.clock(), resolve, reject });
      this.pendingBytes += entry.frameBytes;
      // In a microtask, so that appends made in one turn of the event loop share the first group.
      this.draining ??= Promise.resolve().then(() => this.drain());
    });
  }

  /** Stops for good: refuses what waits and calls `onFatal`, once. */
  fail(reason: unknown): void {
    if (this.failure !== undefined) return;
    const error = reason instanceof Error ? reason : new Error('the wal failed', { cause: reason });
    this.failure = error;
    this.refuse(this.take(this.pending.length), unavailable('the wal has failed', { cause: error }));
    this.options.onFatal(error);
  }

  /** Waits for what was appended, writes the seal of a clean end, closes the file. Nothing is synced after a failure (R8). */
  async close(): Promise<void> {
    this.closing = true;
    await this.draining;
    await Promise.all(this.sealing);
    const { active } = this;
    this.active = undefined;
    if (active === undefined) return;
    try {
      if (this.failure === undefined) await this.seal(active, 'closed');
    } catch (error) {
      // Without a seal the next start takes the end for unclean and checks it, which loses nothing.
      if (!isNoSpace(error)) this.fail(error);
    } finally {
      await active.file.close();
    }
  }

  private async drain(): Promise<void> {
    while (this.pending.length > 0 && this.failure === undefined) {
      try {
        await this.commitGroup();
      } catch (error) {
        if (isNoSpace(error)) {
          this.options.logger.warn({ err: error }, 'no space for the wal, appends are refused');
          const refusal = unavailable('no space for the wal', { cause: error, retryAfterMs: RETRY_NO_SPACE_MS });
          this.refuse(this.take(this.pending.length), refusal);
        } else {
          this.fail(error);
        }
      }
    }
    this.draining = undefined;
  }

  private async commitGroup(): Promise<void> {
    const needed = this.pending[0].entry.frameBytes;
    const active = this.active !== undefined && room(this.active) >= needed ? this.active : await this.rotate(needed);
    const { segment, file } = active;
    const { count, sizeBytes } = this.groupThatFits(room(active));
    const group = this.pending.slice(0, count);
    const pieces: Uint8Array[] = [];
    for (const [index, { entry, appendedAtMs }] of group.entries()) {
      const frame = { length: entry.payloadBytes, type: FRAME_ENTRY, payloadCrc: entry.payloadCrc, appendedAtMs };
      const seq = this.durable + 1 + index;
      encodeFrameHeader(entry.head, { ...frame, seq, durableSeq: this.durable }, segment.seed);
      for (const piece of entry.pieces) pieces.push(piece);
    }
    const startedAt = performance.now();
    await this.writeOrCutBack(active, pieces);
    if (this.failure !== undefined) return;
    const writtenAt = performance.now();
    await syncFile(file, segment.path);
    const syncedAt = performance.now();
    if (this.failure !== undefined) return;

    this.take(count);
    let offset = segment.endOffset;
    for (const { entry } of group) {
      segment.index.add(++this.durable, offset);
      segment.checksum = checksumWith(segment.checksum, headerCrcOf(entry.head));
      offset += entry.frameBytes;
    }
    segment.lastSeq = this.durable;
    segment.endOffset = offset;
    segment.fileBytes = Math.max(segment.fileBytes, offset);
    // Not at once after a rotation: a segment released in the meantime is a cheaper spare than one filled with zeros.
    if (offset > active.capacityBytes / 2) this.options.files.prepare();
    this.options.onDurable(this.durable);
    const first = this.durable - count + 1;
    for (const [index, each] of group.entries()) each.resolve(lsn(first + index));
    const commit = { entries: count, sizeBytes, writeMs: writtenAt - startedAt, syncMs: syncedAt - writtenAt };
    this.options.onCommit?.(commit);
  }

  private groupThatFits(roomBytes: number): { count: number; sizeBytes: number } {
    let count = 0;
    let sizeBytes = 0;
    let pieces = 0;
    const limit = Math.min(roomBytes, GROUP_BYTES_MAX);
    for (const { entry } of this.pending) {
      const isOver = sizeBytes + entry.frameBytes > limit || pieces + entry.pieces.length > GROUP_PIECES_MAX;
      if (count > 0 && isOver) break;
      count++;
      sizeBytes += entry.frameBytes;
      pieces += entry.pieces.length;
    }
    return { count, sizeBytes };
  }

  /** Writes behind the last durable byte. When the device is full, nothing of the group stays in the file (R10). */
  private async writeOrCutBack({ segment, file }: OpenSegment, pieces: readonly Uint8Array[]): Promise<void> {
    try {
      await writeFully(file, pieces, segment.endOffset);
    } catch (error) {
      if (!isNoSpace(error)) throw error;
      // What stays behind would be taken for entries of this log after a crash, so failing here is final.
      await file.truncate(segment.endOffset).catch((cause: unknown) => {
        throw new SyncFailedError(segment.path, { cause });
      });
      segment.fileBytes = segment.endOffset;
      await syncFile(file, segment.path);
      throw error;
    }
  }

  /** Opens the next segment, large enough for a frame of `frameBytes`. The full one is sealed behind the appends. */
  private async rotate(frameBytes: number): Promise<OpenSegment> {
    const { files, walId, epoch } = this.options;
    const segmentNumber = this.segmentNumber + 1;
    const next = await files.create({ walId, epoch, segmentNumber, base: this.durable + 1, frameBytes });
    const full = this.active;
    this.segmentNumber = segmentNumber;
    this.active = next;
    this.options.onSegment(next);
    if (full !== undefined) this.sealBehind(full);
    return next;
  }

  private sealBehind(full: OpenSegment): void {
    const work = this.seal(full, 'full')
      .catch((error: unknown) => {
        // The seal is a shortcut for the next start; without it the segment is scanned.
        if (!isNoSpace(error)) this.fail(error);
      })
      .then(() => full.file.close())
      .finally(() => this.sealing.delete(work));
    this.sealing.add(work);
  }

  /** A seal lies in the last bytes of its file. A closed segment is cut to size, a full one keeps its size for recycling. */
  private async seal({ segment, file, capacityBytes }: OpenSegment, reason: Seal['reason']): Promise<void> {
    const { base, lastSeq, endOffset, checksum } = segment;
    const seal = { base, lastSeq, reason, entries: lastSeq - base + 1, checksum };
    const at = reason === 'full' ? capacityBytes - SEAL_BYTES : endOffset;
    if (reason !== 'full') await file.truncate(endOffset);
    await writeFully(file, [encodeSeal(seal, this.options.clock(), segment.seed)], at);
    await syncFile(file, segment.path);
    segment.fileBytes = at + SEAL_BYTES;
    segment.sealed = true;
  }

  private take(count: number): Pending[] {
    const taken = this.pending.slice(0, count);
    this.pending = this.pending.slice(count);
    for (const { entry } of taken) this.pendingBytes -= entry.frameBytes;
    return taken;
  }

  private refuse(refused: readonly Pending[], error: IngestError): void {
    for (const { reject } of refused) reject(error);
  }
}

const room = ({ segment, capacityBytes }: OpenSegment): number => capacityBytes - SEAL_BYTES - segment.endOffset;

const unavailable = (message: string, options: { cause?: unknown; retryAfterMs?: number } = {}): IngestError =>
  new IngestError('unavailable', message, options);
