/**
 * Walks one segment file and says what every stretch of it is. Used by recovery and by `wal inspect`.
 * Memory does not depend on the size of the file or of a frame (R15). Nothing is changed.
 */
import { crc32 } from 'node:zlib';
import { WalVersionError } from './errors';
import {
  checksumWith,
  decodeFrameHeader,
  decodeSeal,
  decodeSegmentHeader,
  FORMAT_VERSION,
  FRAME_ENTRY,
  FRAME_HEADER_BYTES,
  FRAME_SEAL,
  type FrameHeader,
  frameSeed,
  SEAL_BYTES,
  SEGMENT_HEADER_BYTES,
  type Seal,
  type SegmentHeader,
  type SegmentHeaderResult,
} from './format';
import { crcOfRange, readFully, SCAN_CHUNK_BYTES } from './io';
import type { StorageFile } from './storage';

const ZEROS = Buffer.alloc(SCAN_CHUNK_BYTES);

/** `damage` covers the entries from `firstSeq` to `lastSeq`; without `lastSeq` nothing readable follows it in this file. */
export type ScanItem =
  | { readonly kind: 'entry'; readonly offset: number; readonly frame: FrameHeader }
  | {
      readonly kind: 'damage';
      readonly offset: number;
      readonly endOffset: number;
      readonly firstSeq: number;
      readonly lastSeq: number | undefined;
      /** Durable sequence number of the damaged frame itself, where its header is intact; otherwise 0. */
      readonly durableSeq: number;
      readonly reason: string;
    }
  | { readonly kind: 'seal'; readonly offset: number; readonly seal: Seal };

/** Reads the header of a segment file. */
export async function readSegmentHeader(file: StorageFile): Promise<SegmentHeaderResult> {
  const bytes = Buffer.alloc(SEGMENT_HEADER_BYTES);
  const count = await readFully(file, bytes, 0);
  return decodeSegmentHeader(bytes.subarray(0, count));
}

/** Reads the seal in the last bytes of a segment file, if it has one. */
export async function readSeal(file: StorageFile, fileBytes: number, seed: number): Promise<Seal | undefined> {
  if (fileBytes < SEGMENT_HEADER_BYTES + SEAL_BYTES) return undefined;
  const bytes = Buffer.alloc(SEAL_BYTES);
  const count = await readFully(file, bytes, fileBytes - SEAL_BYTES);
  return decodeSeal(bytes.subarray(0, count), seed);
}

/** A part of the file in memory, moved along as the walk goes on. */
class Window {
  private readonly file: StorageFile;
  private readonly buffer = Buffer.allocUnsafe(SCAN_CHUNK_BYTES);
  private start = 0;
  private filled = 0;

  constructor(file: StorageFile) {
    this.file = file;
  }

  /** Up to `length` bytes at `offset` (at most a chunk); fewer only at the end of the file. */
  async at(offset: number, length: number): Promise<Buffer> {
    if (offset < this.start || offset + length > this.start + this.filled) {
      this.start = offset;
      this.filled = await readFully(this.file, this.buffer, offset);
    }
    const from = offset - this.start;
    return this.buffer.subarray(from, Math.min(from + length, this.filled));
  }
}

interface Found {
  readonly offset: number;
  readonly frame: FrameHeader;
}

class SegmentWalk {
  private readonly file: StorageFile;
  private readonly fileBytes: number;
  private readonly name: string;
  private readonly seed: number;
  private readonly window: Window;
  private readonly base: number;
  private expected: number;
  /** Of the intact entries so far; undefined behind damage. */
  private checksum: number | undefined = 0;

  constructor(file: StorageFile, options: { header: SegmentHeader; fileBytes: number; name: string }) {
    this.file = file;
    this.fileBytes = options.fileBytes;
    this.name = options.name;
    this.seed = frameSeed(options.header);
    this.window = new Window(file);
    this.base = options.header.base;
    this.expected = options.header.base;
  }

  async *items(): AsyncGenerator<ScanItem> {
    let at = SEGMENT_HEADER_BYTES;
    while (at + FRAME_HEADER_BYTES <= this.fileBytes) {
      const found = await this.frameAt(at);
      if (found !== undefined && (found.type === FRAME_SEAL || found.seq >= this.expected)) {
        yield* this.frameItems(at, found);
        at += FRAME_HEADER_BYTES + found.length;
        continue;
      }
      const next = await this.nextFrame(at + 8);
      if (next.found === undefined) {
        if (next.usedEnd > at) yield this.damage(at, next.usedEnd, { reason: 'no readable frame follows' });
        return;
      }
      yield* this.skipped(at, next.found);
      at = next.found.offset;
    }
    const rest = await this.window.at(at, FRAME_HEADER_BYTES);
    if (rest.some((byte) => byte !== 0)) yield this.damage(at, this.fileBytes, { reason: 'no readable frame follows' });
  }

  private async frameAt(at: number): Promise<FrameHeader | undefined> {
    const bytes = await this.window.at(at, FRAME_HEADER_BYTES);
    const result = decodeFrameHeader(bytes, 0, this.seed, this.fileBytes - at - FRAME_HEADER_BYTES);
    if (result.status === 'unknown_version') throw new WalVersionError(this.name, result.version);
    return result.status === 'ok' ? result.frame : undefined;
  }

  private async *frameItems(at: number, frame: FrameHeader): AsyncGenerator<ScanItem> {
    const endOffset = at + FRAME_HEADER_BYTES + frame.length;
    const intact = (await this.payloadCrc(at, frame.length)) === frame.payloadCrc;
    if (frame.type === FRAME_SEAL) {
      const seal = intact ? decodeSeal(Buffer.from(await this.window.at(at, SEAL_BYTES)), this.seed) : undefined;
      if (frame.seq >= this.expected) {
        yield this.damage(at, at, { lastSeq: frame.seq, reason: 'entries before the seal are missing' });
        this.expected = frame.seq + 1;
      }
      if (seal === undefined) return;
      if (seal.checksum !== undefined && this.checksum !== undefined && seal.checksum !== this.checksum) {
        const lost = { lastSeq: seal.lastSeq, durableSeq: seal.lastSeq, reason: 'checksum of the segment' };
        yield { ...this.damage(at, at, lost), firstSeq: this.base };
      }
      yield { kind: 'seal', offset: at, seal };
      return;
    }
    if (frame.seq > this.expected) {
      yield this.damage(at, at, { lastSeq: frame.seq - 1, reason: 'entries are missing' });
      this.expected = frame.seq;
    }
    if (intact) {
      if (this.checksum !== undefined) this.checksum = checksumWith(this.checksum, frame.headerCrc);
      yield { kind: 'entry', offset: at, frame };
    } else {
      yield this.damage(at, endOffset, { lastSeq: frame.seq, durableSeq: frame.durableSeq, reason: 'payload checksum' });
    }
    this.expected = frame.seq + 1;
  }

  /** What lies between the last frame and the next readable one: damage, or the unused bytes before the seal. */
  private *skipped(at: number, next: Found): Generator<ScanItem> {
    const lastLost = next.frame.type === FRAME_SEAL ? next.frame.seq : next.frame.seq - 1;
    if (next.frame.type === FRAME_SEAL && lastLost < this.expected) return;
    const lastSeq = Math.max(lastLost, this.expected);
    yield this.damage(at, next.offset, { lastSeq, reason: 'frame header' });
    this.expected = lastLost + 1;
  }

  private damage(
    offset: number,
    endOffset: number,
    what: { lastSeq?: number; durableSeq?: number; reason: string },
  ): ScanItem & { kind: 'damage' } {
    const { lastSeq, durableSeq = 0, reason } = what;
    this.checksum = undefined;
    return { kind: 'damage', offset, endOffset, firstSeq: this.expected, lastSeq, durableSeq, reason };
  }

  private async payloadCrc(at: number, length: number): Promise<number | undefined> {
    if (FRAME_HEADER_BYTES + length > SCAN_CHUNK_BYTES) {
      return await crcOfRange(this.file, at + FRAME_HEADER_BYTES, length, 0);
    }
    const bytes = await this.window.at(at, FRAME_HEADER_BYTES + length);
    return bytes.length < FRAME_HEADER_BYTES + length ? undefined : crc32(bytes.subarray(FRAME_HEADER_BYTES));
  }

  /** The next readable frame from `from` on, at any multiple of 8; `usedEnd`: behind the last byte that is not zero. */
  private async nextFrame(from: number): Promise<{ found: Found | undefined; usedEnd: number }> {
    let usedEnd = from - 8;
    const head = await this.window.at(from - 8, 8);
    if (head.some((byte) => byte !== 0)) usedEnd = from;
    const buffer = Buffer.allocUnsafe(SCAN_CHUNK_BYTES);
    for (let at = from; at < this.fileBytes; at += SCAN_CHUNK_BYTES - FRAME_HEADER_BYTES) {
      const count = await readFully(this.file, buffer, at);
      if (count === 0) break;
      if (buffer.compare(ZEROS, 0, count, 0, count) === 0) continue;
      const found = this.findIn(buffer.subarray(0, count), at);
      if (found !== undefined) return { found, usedEnd };
      let last = count;
      while (last > 0 && buffer[last - 1] === 0) last--;
      usedEnd = Math.max(usedEnd, at + last);
    }
    return { found: undefined, usedEnd };
  }

  private findIn(bytes: Buffer, start: number): Found | undefined {
    for (let at = 0; at + FRAME_HEADER_BYTES <= bytes.length; at += 8) {
      // Type and version first: what is not a header fails here, before the checksum is worked out.
      if (bytes[at + 5] !== FORMAT_VERSION || (bytes[at + 4] !== FRAME_ENTRY && bytes[at + 4] !== FRAME_SEAL)) continue;
      const result = decodeFrameHeader(bytes, at, this.seed, this.fileBytes - start - at - FRAME_HEADER_BYTES);
      if (result.status !== 'ok') continue;
      const isNews = result.frame.type === FRAME_SEAL || result.frame.seq >= this.expected;
      if (isNews) return { offset: start + at, frame: result.frame };
    }
    return undefined;
  }
}

/**
 * The items of a segment whose header is known, in the order of the file. Unused bytes give no item; in a recycled file they
 * are not zero and end as one `damage` without `lastSeq`, like a torn tail.
 * Throws WalVersionError for a frame that another release wrote.
 */
export function scanSegment(
  file: StorageFile,
  options: { header: SegmentHeader; fileBytes: number; name: string },
): AsyncGenerator<ScanItem> {
  return new SegmentWalk(file, options).items();
}
