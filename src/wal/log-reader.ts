import { crc32 } from 'node:zlib';
import { lsn } from '../core/ids';
import type { WalEntry } from '../core/wal';
import { decodeEntry } from './entry-codec';
import { WalCorruptError } from './errors';
import { decodeFrameHeader, FRAME_ENTRY, FRAME_HEADER_BYTES, type FrameHeader, SEGMENT_HEADER_BYTES } from './format';
import { readFully } from './io';
import type { EntryPosition, Segment } from './segment';
import type { SegmentHandles } from './segment-handles';
import type { StorageFile } from './storage';

/** Where a reader went on last time, for so many readers. */
const POSITIONS_MAX = 16;
const READ_BYTES_MIN = 4096;
/** Bytes of one read while the start of a range is looked for. */
const SEEK_BYTES = 256 * 1024;

interface Position extends EntryPosition {
  readonly segment: Segment;
}

/**
 * The reading end of the log. Only durable entries, each with its checksum checked; memory is that of one answer (R15).
 * A reader that follows the log goes on where its last answer ended; any other place is found through the sparse index.
 */
export class LogReader {
  private readonly handles: SegmentHandles;
  private readonly positions = new Map<number, Position>();

  constructor(handles: SegmentHandles) {
    this.handles = handles;
  }

  /** `segments`: in order, without gaps. `from` must be in them. Throws WalCorruptError for a damaged entry. */
  async read(segments: readonly Segment[], from: number, bytesMax: number): Promise<WalEntry[]> {
    const entries: WalEntry[] = [];
    let left = bytesMax;
    let at = await this.locate(segments, from);
    while (at !== undefined && left > 0) {
      const { segment } = at;
      const start = at;
      const got = await this.handles.use(segment, (file) => readEntries(file, start, left));
      for (const entry of got.entries) {
        entries.push(entry);
        left -= entry.sizeBytes;
      }
      at = got.next.seq > segment.lastSeq ? (following(segments, segment) ?? got.next) : got.next;
      // What does not fit any more is read whole by the next call.
      if (at.segment === segment) break;
    }
    if (at !== undefined) this.remember(at);
    return entries;
  }

  /** Forgets positions in a segment that goes away. */
  forget(segment: Segment): void {
    for (const [seq, position] of this.positions) if (position.segment === segment) this.positions.delete(seq);
  }

  private remember(next: Position): void {
    this.positions.delete(next.seq);
    this.positions.set(next.seq, next);
    if (this.positions.size > POSITIONS_MAX) this.positions.delete(this.positions.keys().next().value ?? 0);
  }

  private async locate(segments: readonly Segment[], from: number): Promise<Position | undefined> {
    const known = this.positions.get(from);
    if (known !== undefined && known.seq <= known.segment.lastSeq) return known;
    const segment = segmentOf(segments, from);
    if (segment === undefined) return undefined;
    const near = segment.index.floor(from) ?? { seq: segment.base, offset: SEGMENT_HEADER_BYTES };
    if (near.seq === from) return { ...near, segment };
    return await this.handles.use(segment, (file) => seek(file, { ...near, segment }, from));
  }
}

/** The segment that holds `seq`; empty segments hold nothing. */
function segmentOf(segments: readonly Segment[], seq: number): Segment | undefined {
  let low = 0;
  let high = segments.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (segments[middle].base <= seq) low = middle + 1;
    else high = middle;
  }
  for (let index = low - 1; index >= 0; index--) if (segments[index].lastSeq >= seq) return segments[index];
  return undefined;
}

function following(segments: readonly Segment[], segment: Segment): Position | undefined {
  const next = segments.slice(segments.indexOf(segment) + 1).find((each) => !each.empty);
  return next === undefined ? undefined : { segment: next, seq: next.base, offset: SEGMENT_HEADER_BYTES };
}

function corrupt(segment: Segment, seq: number, reason: string): WalCorruptError {
  const file = segment.path;
  return new WalCorruptError('an entry of the wal cannot be read', [{ file, firstLsn: seq, lastLsn: seq, reason }]);
}

function headerAt(bytes: Buffer, at: number, where: { segment: Segment; seq: number; offset: number }): FrameHeader {
  const { segment, seq, offset } = where;
  const lengthMax = segment.endOffset - offset - FRAME_HEADER_BYTES;
  const result = decodeFrameHeader(bytes, at, segment.seed, lengthMax);
  if (result.status !== 'ok' || result.frame.type !== FRAME_ENTRY) throw corrupt(segment, seq, 'frame header');
  if (result.frame.seq !== seq) throw corrupt(segment, seq, `the frame is that of lsn ${result.frame.seq}`);
  return result.frame;
}

/** Walks the frame headers from a known position to `seq`, without reading the payloads into the answer. */
async function seek(file: StorageFile, near: Position, seq: number): Promise<Position> {
  const { segment } = near;
  const buffer = Buffer.allocUnsafe(SEEK_BYTES);
  let offset = near.offset;
  let bufferAt = 0;
  let filled = 0;
  for (let current = near.seq; current < seq; current++) {
    if (filled === 0 || offset + FRAME_HEADER_BYTES > bufferAt + filled) {
      bufferAt = offset;
      filled = await readFully(file, buffer, offset);
    }
    const bytes = buffer.subarray(0, filled);
    offset += FRAME_HEADER_BYTES + headerAt(bytes, offset - bufferAt, { segment, seq: current, offset }).length;
  }
  return { segment, seq, offset };
}

/** Reads complete entries from one segment: as many as fit into about `bytesMax`, at least one. */
async function readEntries(
  file: StorageFile,
  start: Position,
  bytesMax: number,
): Promise<{ entries: WalEntry[]; next: Position }> {
  const { segment } = start;
  // Taken once: the writer moves both while this read is under way.
  const { lastSeq, endOffset } = segment;
  const available = endOffset - start.offset;
  let bytes = await readBytes(file, start, Math.min(available, Math.max(bytesMax, READ_BYTES_MIN)));
  const first = headerAt(bytes, 0, start);
  const firstBytes = FRAME_HEADER_BYTES + first.length;
  if (firstBytes > bytes.length) bytes = await readBytes(file, start, firstBytes);
  const entries: WalEntry[] = [];
  let at = 0;
  let { seq } = start;
  while (seq <= lastSeq && at + FRAME_HEADER_BYTES <= bytes.length && (at === 0 || at < bytesMax)) {
    const frame = headerAt(bytes, at, { segment, seq, offset: start.offset + at });
    const end = at + FRAME_HEADER_BYTES + frame.length;
    if (end > bytes.length) break;
    entries.push(entryOf(bytes.subarray(at + FRAME_HEADER_BYTES, end), frame, segment));
    at = end;
    seq++;
  }
  return { entries, next: { segment, seq, offset: start.offset + at } };
}

async function readBytes(file: StorageFile, at: Position, length: number): Promise<Buffer> {
  // Not from the pool: the views handed out begin at a multiple of 8 of their ArrayBuffer, as typed arrays need it.
  const bytes = Buffer.allocUnsafeSlow(length);
  const count = await readFully(file, bytes, at.offset);
  if (count < length) throw corrupt(at.segment, at.seq, 'the file is shorter than what was written');
  return bytes;
}

function entryOf(payload: Buffer, frame: FrameHeader, segment: Segment): WalEntry {
  if (crc32(payload) !== frame.payloadCrc) throw corrupt(segment, frame.seq, 'payload checksum');
  const entry = decodeEntry(payload);
  if (entry === undefined) throw corrupt(segment, frame.seq, 'payload layout');
  return { lsn: lsn(frame.seq), appendedAtMs: frame.appendedAtMs, ...entry, sizeBytes: FRAME_HEADER_BYTES + frame.length };
}
