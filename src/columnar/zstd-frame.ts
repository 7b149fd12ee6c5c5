/**
 * Zstandard frames (RFC 8878): their shape from their headers alone, and the native decoder. The frame and block headers are
 * walked first: that finds truncation and foreign bytes, the window a decoder would have to allocate, and the size where every
 * frame states it.
 */
import { dirname } from 'node:path';
import loadNative from 'node-gyp-build';
import { corrupt } from './foreign-error';

interface NativeDecompressor {
  data(chunk: Buffer, output: (piece: Buffer) => void): void;
  end(output: (piece: Buffer) => void): void;
}

export interface NativeZstd {
  /** One frame or more; fails when the output is not smaller than `boundBytes`. */
  decompress(data: Buffer, boundBytes: number): Buffer;
  Decompressor: new () => NativeDecompressor;
}

// The package's own entry is an ES module with a top-level await, which `require` cannot load; its binary can be.
export const nativeZstd = loadNative(dirname(require.resolve('@cloudpss/zstd/package.json'))) as NativeZstd;

const FRAME_MAGIC = 0xfd2fb528;
const SKIPPABLE_MAGIC = 0x184d2a50;
const BLOCK_RLE = 1;
const BLOCK_RESERVED = 3;
/** Decoders should take windows of 8 MiB at least (RFC 8878 section 3.1.1.1.2). */
export const ZSTD_WINDOW_BYTES_MIN = 8 * 1024 * 1024;
export interface ZstdShape {
  /** Frames that hold data, without skippable ones. */
  readonly frames: number;
  /** Size of the output where every frame states it. */
  readonly contentBytes: number | undefined;
  readonly windowBytes: number;
}

/** The shape of a body, from its headers alone; undefined when it is not a whole number of frames. */
export function zstdShape(body: Buffer): ZstdShape | undefined {
  let at = 0;
  let frames = 0;
  let contentBytes: number | undefined = 0;
  let windowBytes = 0;
  while (at < body.length) {
    if (at + 8 > body.length) return undefined;
    const magic = body.readUInt32LE(at);
    if ((magic & 0xfffffff0) >>> 0 === SKIPPABLE_MAGIC) {
      at += 8 + body.readUInt32LE(at + 4);
      continue;
    }
    if (magic !== FRAME_MAGIC) return undefined;
    const header = frameHeader(body, at + 4);
    const end = header === undefined ? undefined : endOfBlocks(body, header.end);
    if (header === undefined || end === undefined) return undefined;
    at = end + (header.checksum ? 4 : 0);
    frames++;
    windowBytes = Math.max(windowBytes, header.windowBytes);
    contentBytes =
      contentBytes === undefined || header.contentBytes === undefined ? undefined : contentBytes + header.contentBytes;
  }
  return at === body.length ? { frames, contentBytes, windowBytes } : undefined;
}

/**
 * Fills `room` with the content of all frames in `bytes`, in place: for pieces of a request whose size is bounded. Throws
 * IngestError `invalid_argument`.
 */
export function unzstdInto(bytes: Uint8Array, room: Uint8Array): void {
  const body = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const shape = zstdShape(body);
  if (shape === undefined || shape.frames === 0) throw broken('it is not a whole number of frames');
  const { frames, contentBytes, windowBytes } = shape;
  if ((contentBytes ?? room.length) !== room.length)
    throw broken(`it has ${contentBytes} bytes where ${room.length} were declared`);
  if (windowBytes > Math.max(room.length, ZSTD_WINDOW_BYTES_MIN)) throw broken('its window is too large');
  const isSized = frames === 1 && contentBytes !== undefined;
  let filled = 0;
  const take = (piece: Buffer): void => {
    if (filled + piece.length > room.length) throw broken(`it has more than the ${room.length} bytes that were declared`);
    room.set(piece, filled);
    filled += piece.length;
  };
  try {
    if (isSized) take(nativeZstd.decompress(body, room.length + 1));
    else decodeStream(body, take);
  } catch (error) {
    throw broken('it is damaged', error);
  }
  if (filled !== room.length) throw broken(`it has ${filled} bytes where ${room.length} were declared`);
}

function decodeStream(body: Buffer, take: (piece: Buffer) => void): void {
  const decoder = new nativeZstd.Decompressor();
  decoder.data(body, take);
  decoder.end(take);
}

function broken(what: string, cause?: unknown): Error {
  return corrupt(`a compressed buffer is not valid Zstandard: ${what}`, cause);
}

interface FrameHeader {
  readonly end: number;
  readonly contentBytes: number | undefined;
  readonly windowBytes: number;
  readonly checksum: boolean;
}

/** RFC 8878 section 3.1.1.1. `at` is the position after the magic number. */
function frameHeader(body: Buffer, at: number): FrameHeader | undefined {
  const descriptor = body[at];
  const singleSegment = (descriptor & 0x20) !== 0;
  const contentFlag = descriptor >>> 6;
  const contentFieldBytes = contentFlag === 0 ? (singleSegment ? 1 : 0) : 1 << contentFlag;
  const contentAt = at + 1 + (singleSegment ? 0 : 1) + [0, 1, 2, 4][descriptor & 3];
  const end = contentAt + contentFieldBytes;
  if ((descriptor & 0x08) !== 0 || end > body.length) return undefined;
  const contentBytes = contentSize(body, contentAt, contentFieldBytes);
  return {
    end,
    contentBytes,
    windowBytes: singleSegment ? (contentBytes ?? 0) : windowSize(body[at + 1]),
    checksum: (descriptor & 0x04) !== 0,
  };
}

function contentSize(body: Buffer, at: number, fieldBytes: number): number | undefined {
  switch (fieldBytes) {
    case 1:
      return body[at];
    case 2:
      return body.readUInt16LE(at) + 256;
    case 4:
      return body.readUInt32LE(at);
    case 8:
      return Number(body.readBigUInt64LE(at));
    default:
      return undefined;
  }
}

function windowSize(descriptor: number): number {
  const base = 2 ** (10 + (descriptor >>> 3));
  return base + (base / 8) * (descriptor & 7);
}

/** The position after the last block of a frame; undefined when the body ends before it. */
function endOfBlocks(body: Buffer, start: number): number | undefined {
  let at = start;
  for (;;) {
    if (at + 3 > body.length) return undefined;
    const header = body.readUIntLE(at, 3);
    const type = (header >>> 1) & 3;
    if (type === BLOCK_RESERVED) return undefined;
    at += 3 + (type === BLOCK_RLE ? 1 : header >>> 3);
    if (at > body.length) return undefined;
    if ((header & 1) === 1) return at;
  }
}
