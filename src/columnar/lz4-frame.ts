/**
 * LZ4 frames (LZ4 Frame Format 1.6.4 and Block Format) into room of a known size.
 *
 *   frame    magic, FLG, BD, [content size: 8], header checksum: 1, blocks, end mark (four zeros), [content checksum: 4]
 *   block    size: 4 (highest bit: stored as it is), data, [block checksum: 4]
 *   data     sequences: token, [literal length...], literals, offset: 2, [match length...]; the last has literals alone
 *
 * All checksums that are there are verified. Frames may follow each other; skippable ones are skipped. Not supported:
 * dictionaries. Nothing is read outside of the frame or written outside of the room, and the room must come out full.
 */
import { corrupt } from './foreign-error';
import { xxHash32 } from './xxhash32';

const MAGIC = 0x184d2204;
const SKIPPABLE_MAGIC = 0x184d2a50;
const FLAG = { version: 0xc0, independent: 0x20, blockChecksum: 0x10, contentSize: 0x08, contentChecksum: 0x04, other: 0x03 };
const VERSION = 0x40;
const STORED = 0x80000000;
const MATCH_BYTES_MIN = 4;
/** Below, a loop is faster than a copy by the library. */
const COPY_BYTES_MIN = 24;

const broken = (what: string): Error => corrupt(`a compressed buffer is not valid LZ4: ${what}`);

/** Fills `room` with the content of all frames in `bytes`. Throws IngestError `invalid_argument`. */
export function unlz4Into(bytes: Uint8Array, room: Uint8Array): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  let at = 0;
  let filled = 0;
  while (at < bytes.length) {
    const magic = word(view, at);
    if ((magic & 0xfffffff0) >>> 0 === SKIPPABLE_MAGIC) {
      at += 8 + word(view, at + 4);
      if (at > bytes.length) throw broken('it ends too early');
    } else if (magic === MAGIC) {
      const end = readFrame(bytes, view, at, room, filled);
      at = end.at;
      ({ filled } = end);
    } else {
      throw broken('it does not start with a frame');
    }
  }
  if (filled !== room.length) throw broken(`it has ${filled} bytes where ${room.length} were declared`);
}

interface Position {
  readonly at: number;
  readonly filled: number;
}

interface Header {
  readonly end: number;
  readonly flags: number;
  readonly blockBytesMax: number;
  readonly contentBytes: number | undefined;
}

function word(view: DataView, at: number): number {
  if (at + 4 > view.byteLength) throw broken('it ends too early');
  return view.getUint32(at, true);
}

function readHeader(bytes: Uint8Array, view: DataView, start: number): Header {
  const at = start + 4;
  if (at + 3 > bytes.length) throw broken('it ends too early');
  const flags = bytes[at];
  const sizes = bytes[at + 1];
  const hasSize = (flags & FLAG.contentSize) !== 0;
  const checksumAt = at + 2 + (hasSize ? 8 : 0);
  if ((flags & FLAG.version) !== VERSION || (flags & FLAG.other) !== 0 || (sizes & 0x8f) !== 0 || sizes >> 4 < 4) {
    throw broken('its header is of an unknown kind');
  }
  if (checksumAt >= bytes.length) throw broken('it ends too early');
  if (bytes[checksumAt] !== ((xxHash32(bytes.subarray(at, checksumAt)) >>> 8) & 0xff)) throw broken('its header is damaged');
  const contentBytes = hasSize ? Number(view.getBigUint64(at + 2, true)) : undefined;
  return { end: checksumAt + 1, flags, blockBytesMax: 2 ** (8 + 2 * (sizes >> 4)), contentBytes };
}

function readFrame(bytes: Uint8Array, view: DataView, start: number, room: Uint8Array, filledBefore: number): Position {
  const { end, flags, blockBytesMax, contentBytes } = readHeader(bytes, view, start);
  const isIndependent = (flags & FLAG.independent) !== 0;
  let at = end;
  let filled = filledBefore;
  for (;;) {
    const size = word(view, at);
    at += 4;
    if (size === 0) break;
    const blockBytes = size & ~STORED;
    if (blockBytes > blockBytesMax) throw broken('a block is too large');
    const block = bytes.subarray(at, at + blockBytes);
    if (block.length < blockBytes) throw broken('it ends too early');
    at += blockBytes;
    if ((flags & FLAG.blockChecksum) !== 0) {
      if (word(view, at) !== xxHash32(block)) throw broken('a block is damaged');
      at += 4;
    }
    const roomEnd = Math.min(room.length, filled + blockBytesMax);
    const windowStart = isIndependent ? filled : filledBefore;
    if (size >= STORED) {
      if (filled + blockBytes > roomEnd) throw broken(`it has more than the ${room.length} bytes that were declared`);
      room.set(block, filled);
      filled += blockBytes;
    } else {
      filled = readBlock(block, room, { start: windowStart, filled, end: roomEnd });
    }
  }
  const content = room.subarray(filledBefore, filled);
  if (contentBytes !== undefined && contentBytes !== content.length) throw broken('its content size is wrong');
  if ((flags & FLAG.contentChecksum) === 0) return { at, filled };
  if (word(view, at) !== xxHash32(content)) throw broken('its content is damaged');
  return { at: at + 4, filled };
}

/** The sequences of one block; matches reach back to `window.start`. Where it ends in the room. */
function readBlock(block: Uint8Array, room: Uint8Array, window: { start: number; filled: number; end: number }): number {
  const { start, end } = window;
  let { filled } = window;
  let at = 0;
  while (at < block.length) {
    const token = block[at++];
    let literals = token >> 4;
    if (literals === 15) {
      let more: number;
      do {
        if (at >= block.length) throw broken('a block ends too early');
        more = block[at++];
        literals += more;
      } while (more === 255);
    }
    if (at + literals > block.length) throw broken('a block ends too early');
    if (filled + literals > end) throw broken('a block has more than fits');
    if (literals >= COPY_BYTES_MIN) {
      room.set(block.subarray(at, at + literals), filled);
      filled += literals;
      at += literals;
    } else {
      for (const stop = at + literals; at < stop; ) room[filled++] = block[at++];
    }
    // The last sequence has no match.
    if (at === block.length) return filled;
    if (at + 2 > block.length) throw broken('a block ends too early');
    const offset = block[at] | (block[at + 1] << 8);
    at += 2;
    let length = (token & 15) + MATCH_BYTES_MIN;
    if ((token & 15) === 15) {
      let more: number;
      do {
        if (at >= block.length) throw broken('a block ends too early');
        more = block[at++];
        length += more;
      } while (more === 255);
    }
    if (offset === 0 || filled - offset < start) throw broken('a match reaches before the data');
    if (filled + length > end) throw broken('a block has more than fits');
    if (length >= COPY_BYTES_MIN && offset >= length) {
      room.copyWithin(filled, filled - offset, filled - offset + length);
      filled += length;
    } else {
      for (const stop = filled + length; filled < stop; filled++) room[filled] = room[filled - offset];
    }
  }
  throw broken('a block ends with a match');
}
