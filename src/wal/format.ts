/**
 * Layout of a WAL segment file, format version 1. All numbers are little-endian; every offset and length is a multiple of 8.
 *
 *   segment   header (64 bytes), frames laid end to end, unused bytes (zeros, or stale bytes of a recycled file),
 *             seal (72 bytes, always the last bytes of the file; absent while the segment is written)
 *
 *   header    0  magic            8 bytes "THRMWAL\n"
 *             8  version          u16
 *             10 header bytes     u16, 64
 *             12 salt             u32, random for each segment
 *             16 wal id           16 bytes, random for each directory (R3)
 *             32 epoch            u64, counts the starts of the server
 *             40 segment number   u64, the same as in the file name, counts up by 1
 *             48 base             u64, sequence number of the first entry of this segment, whether or not it exists
 *             56 flags            u32, bit 0: the file was recycled, its unused bytes are not zero
 *             60 crc              u32, of bytes 0..60
 *
 *   frame     0  length           u32, payload bytes; 0 = end of the log
 *             4  type             u8, 1 entry, 2 seal
 *             5  version          u8
 *             6  zero             u16
 *             8  seq              u64, gap-free from 1 (the LSN)
 *             16 durable seq      u64, everything up to it was synced before this frame was written (R7)
 *             24 appended at      u64, wall clock, milliseconds
 *             32 payload crc      u32, of the payload
 *             36 header crc       u32, of bytes 0..36, seeded with wal id, segment number and salt
 *             40 payload
 *
 *   seal      a frame whose seq and durable seq are the last entry of the segment; payload: 0 base u64, 8 entries u64,
 *             16 reason u8 (1 full, 2 closed, 3 recovered), 17 u8, 1: there is a checksum, 18 zero, 20 checksum u32, 24..32 zero
 *
 *   checksum  CRC-32 over the header crcs of all entries of the segment, in order (R13). A header crc covers the payload crc, so it
 *             stands for every byte of every entry, and finds what no frame alone can show: a write that never reached the medium
 *             and left an older, whole frame of the same position behind. Seals of the first releases have none.
 *
 * Guarantees: a frame validates only in the segment it was written to, because the seed covers wal id, segment number and salt,
 * and the header crc covers the payload crc. The salt is on disk only: a client that knows the wal id from its batch ids still
 * cannot make a payload that holds a valid frame. A header crc of its own keeps the chain of frames readable behind a damaged
 * payload, so that lost ranges are exact.
 * Not guaranteed: that damage to the last group of frames can be told from a torn write. Nothing later vouches for that group
 * until the next commit, a seal or a sink's checkpoint does.
 *
 * Versions (R18): a reader accepts its own version and the one before; an unknown one is refused, never skipped. When there is a
 * version 2, its writer goes on writing version 1 until the operator confirms the upgrade.
 *
 * The checksum is CRC-32 (ISO-HDLC, `zlib.crc32`), where durability.md R6 asks for CRC-32C: the native one runs at 4-7 GB/s,
 * CRC-32C in JavaScript at 2 GB/s, and both detect the same classes of error at these lengths.
 */
import { crc32 } from 'node:zlib';
import type { WalId } from '../core/ids';

export const FORMAT_VERSION = 1;
/** Versions this reader understands: n and n-1 (R18). There is nothing before 1. */
const READABLE_VERSIONS: readonly number[] = [1];

export const SEGMENT_HEADER_BYTES = 64;
export const FRAME_HEADER_BYTES = 40;
const SEAL_PAYLOAD_BYTES = 32;
export const SEAL_BYTES = FRAME_HEADER_BYTES + SEAL_PAYLOAD_BYTES;

export const FRAME_ENTRY = 1;
export const FRAME_SEAL = 2;

const MAGIC = Buffer.from('THRMWAL\n', 'latin1');
const FLAG_RECYCLED = 1;
const TWO_32 = 2 ** 32;

export interface SegmentHeader {
  readonly version: number;
  readonly salt: number;
  readonly walId: WalId;
  readonly epoch: number;
  readonly segmentNumber: number;
  readonly base: number;
  readonly recycled: boolean;
}

export interface FrameHeader {
  readonly length: number;
  readonly type: number;
  readonly version: number;
  readonly seq: number;
  readonly durableSeq: number;
  readonly appendedAtMs: number;
  readonly payloadCrc: number;
  /** Stands for the whole frame in the checksum of its segment. */
  readonly headerCrc: number;
}

export type SealReason = 'full' | 'closed' | 'recovered';
const SEAL_REASONS: readonly SealReason[] = ['full', 'closed', 'recovered'];

export interface Seal {
  readonly base: number;
  readonly entries: number;
  readonly lastSeq: number;
  readonly reason: SealReason;
  /** Of the segment's entries; undefined in a seal of a release that did not write it. */
  readonly checksum: number | undefined;
}

export const align8 = (sizeBytes: number): number => Math.ceil(sizeBytes / 8) * 8;

function writeU64(into: Buffer, value: number, at: number): void {
  into.writeUInt32LE(value % TWO_32, at);
  into.writeUInt32LE(Math.floor(value / TWO_32), at + 4);
}

/** NaN when the number is above 2^53: no position of ours is, so the bytes are not ours. */
function readU64(from: Buffer, at: number): number {
  const value = from.readUInt32LE(at) + from.readUInt32LE(at + 4) * TWO_32;
  return Number.isSafeInteger(value) ? value : Number.NaN;
}

/** File name of a segment; names sort in the order of the segments. */
export const segmentFileName = (segmentNumber: number): string => `${segmentNumber.toString().padStart(16, '0')}.wal`;

/** The segment number of a file name, or undefined for any other file. */
export function segmentNumberOf(fileName: string): number | undefined {
  const match = /^(\d{16})\.wal$/.exec(fileName);
  return match === null ? undefined : Number(match[1]);
}

/** Start value of the header checksums of one segment's frames. */
export function frameSeed(header: Pick<SegmentHeader, 'walId' | 'segmentNumber' | 'salt'>): number {
  const bytes = Buffer.alloc(28);
  bytes.write(header.walId, 0, 'hex');
  writeU64(bytes, header.segmentNumber, 16);
  bytes.writeUInt32LE(header.salt, 24);
  return crc32(bytes);
}

export function encodeSegmentHeader(header: SegmentHeader): Buffer {
  const bytes = Buffer.alloc(SEGMENT_HEADER_BYTES);
  MAGIC.copy(bytes, 0);
  bytes.writeUInt16LE(header.version, 8);
  bytes.writeUInt16LE(SEGMENT_HEADER_BYTES, 10);
  bytes.writeUInt32LE(header.salt, 12);
  bytes.write(header.walId, 16, 'hex');
  writeU64(bytes, header.epoch, 32);
  writeU64(bytes, header.segmentNumber, 40);
  writeU64(bytes, header.base, 48);
  bytes.writeUInt32LE(header.recycled ? FLAG_RECYCLED : 0, 56);
  bytes.writeUInt32LE(crc32(bytes.subarray(0, 60)), 60);
  return bytes;
}

/** `damaged`: not a header that was written by us. `unknown_version`: written by another release (R18). */
export type SegmentHeaderResult =
  | { readonly status: 'ok'; readonly header: SegmentHeader }
  | { readonly status: 'damaged' }
  | { readonly status: 'unknown_version'; readonly version: number };

export function decodeSegmentHeader(bytes: Buffer): SegmentHeaderResult {
  if (bytes.length < SEGMENT_HEADER_BYTES || !bytes.subarray(0, 8).equals(MAGIC)) return { status: 'damaged' };
  if (crc32(bytes.subarray(0, 60)) !== bytes.readUInt32LE(60)) return { status: 'damaged' };
  const version = bytes.readUInt16LE(8);
  if (!READABLE_VERSIONS.includes(version)) return { status: 'unknown_version', version };
  const header: SegmentHeader = {
    version,
    salt: bytes.readUInt32LE(12),
    walId: bytes.toString('hex', 16, 32) as WalId,
    epoch: readU64(bytes, 32),
    segmentNumber: readU64(bytes, 40),
    base: readU64(bytes, 48),
    recycled: (bytes.readUInt32LE(56) & FLAG_RECYCLED) !== 0,
  };
  const sane = header.epoch >= 0 && header.segmentNumber >= 1 && header.base >= 1;
  return sane ? { status: 'ok', header } : { status: 'damaged' };
}

/** The checksum of a segment with one more entry; 0 before the first. */
export function checksumWith(checksum: number, headerCrc: number): number {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(headerCrc);
  return crc32(bytes, checksum);
}

/** The crc of an encoded frame header. */
export const headerCrcOf = (header: Buffer): number => header.readUInt32LE(36);

/** Writes a frame header into the first 40 bytes of `into`. */
export function encodeFrameHeader(into: Buffer, frame: Omit<FrameHeader, 'version' | 'headerCrc'>, seed: number): void {
  into.writeUInt32LE(frame.length, 0);
  into[4] = frame.type;
  into[5] = FORMAT_VERSION;
  into.writeUInt16LE(0, 6);
  writeU64(into, frame.seq, 8);
  writeU64(into, frame.durableSeq, 16);
  writeU64(into, frame.appendedAtMs, 24);
  into.writeUInt32LE(frame.payloadCrc, 32);
  into.writeUInt32LE(crc32(into.subarray(0, 36), seed), 36);
}

/** `end`: no frame was written here. `damaged`: the bytes are not a frame of this segment. */
export type FrameHeaderResult =
  | { readonly status: 'ok'; readonly frame: FrameHeader }
  | { readonly status: 'end' }
  | { readonly status: 'damaged' }
  | { readonly status: 'unknown_version'; readonly version: number };

const END: FrameHeaderResult = { status: 'end' };
const DAMAGED: FrameHeaderResult = { status: 'damaged' };

/**
 * Reads the frame header at `at`. The length is checked against `lengthMax` (what is left of the segment and the limit for a
 * frame) before anything is allocated for it (R6). Cheap for bytes that are no header: most fail before the checksum.
 */
export function decodeFrameHeader(bytes: Buffer, at: number, seed: number, lengthMax: number): FrameHeaderResult {
  if (at + FRAME_HEADER_BYTES > bytes.length) return END;
  const length = bytes.readUInt32LE(at);
  if (length === 0) return bytes.subarray(at, at + FRAME_HEADER_BYTES).every((byte) => byte === 0) ? END : DAMAGED;
  if (length % 8 !== 0 || length > lengthMax || bytes[at + 6] !== 0 || bytes[at + 7] !== 0) return DAMAGED;
  if (crc32(bytes.subarray(at, at + 36), seed) !== bytes.readUInt32LE(at + 36)) return DAMAGED;
  const version = bytes[at + 5];
  const type = bytes[at + 4];
  // The checksum holds, so these bytes are ours: a type that we do not know was written by a newer release.
  if (!READABLE_VERSIONS.includes(version) || (type !== FRAME_ENTRY && type !== FRAME_SEAL)) {
    return { status: 'unknown_version', version };
  }
  const frame: FrameHeader = {
    length,
    type,
    version,
    seq: readU64(bytes, at + 8),
    durableSeq: readU64(bytes, at + 16),
    appendedAtMs: readU64(bytes, at + 24),
    payloadCrc: bytes.readUInt32LE(at + 32),
    headerCrc: bytes.readUInt32LE(at + 36),
  };
  return Number.isNaN(frame.seq) || Number.isNaN(frame.durableSeq) ? DAMAGED : { status: 'ok', frame };
}

export function encodeSeal(seal: Seal, sealedAtMs: number, seed: number): Buffer {
  const bytes = Buffer.alloc(SEAL_BYTES);
  const payload = bytes.subarray(FRAME_HEADER_BYTES);
  writeU64(payload, seal.base, 0);
  writeU64(payload, seal.entries, 8);
  payload[16] = SEAL_REASONS.indexOf(seal.reason) + 1;
  if (seal.checksum !== undefined) {
    payload[17] = 1;
    payload.writeUInt32LE(seal.checksum, 20);
  }
  const frame = { type: FRAME_SEAL, seq: seal.lastSeq, durableSeq: seal.lastSeq, appendedAtMs: sealedAtMs };
  encodeFrameHeader(bytes, { ...frame, length: SEAL_PAYLOAD_BYTES, payloadCrc: crc32(payload) }, seed);
  return bytes;
}

/** The seal in the last bytes of a file, or undefined when there is none or it is damaged. */
export function decodeSeal(bytes: Buffer, seed: number): Seal | undefined {
  if (bytes.length < SEAL_BYTES) return undefined;
  const result = decodeFrameHeader(bytes, 0, seed, SEAL_PAYLOAD_BYTES);
  if (result.status !== 'ok' || result.frame.type !== FRAME_SEAL || result.frame.length !== SEAL_PAYLOAD_BYTES) return undefined;
  const payload = bytes.subarray(FRAME_HEADER_BYTES, SEAL_BYTES);
  if (crc32(payload) !== result.frame.payloadCrc) return undefined;
  const reason = SEAL_REASONS[payload[16] - 1];
  if (reason === undefined) return undefined;
  const checksum = payload[17] === 1 ? payload.readUInt32LE(20) : undefined;
  return { base: readU64(payload, 0), entries: readU64(payload, 8), lastSeq: result.frame.seq, reason, checksum };
}
