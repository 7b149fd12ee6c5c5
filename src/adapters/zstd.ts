/**
 * Zstandard bodies (RFC 8878) with a bound on the output. The frame and block headers are walked first: that finds truncation
 * and foreign bytes, the window a decoder would have to allocate, and the size where every frame states it. Then the
 * native decoder runs; it checks what the frames stated.
 */
import { dirname } from 'node:path';
import loadNative from 'node-gyp-build';
import { corrupt, giveWay, OutputCollector, SYNC_OUTPUT_BYTES_MAX, tooLarge } from './decompress-output';

interface NativeDecompressor {
  data(chunk: Buffer, output: (piece: Buffer) => void): void;
  end(output: (piece: Buffer) => void): void;
}

interface NativeZstd {
  /** One frame or more; fails when the output is not smaller than `boundBytes`. */
  decompress(data: Buffer, boundBytes: number): Buffer;
  Decompressor: new () => NativeDecompressor;
}

// The package's own entry is an ES module with a top-level await, which `require` cannot load; its binary can be.
const native = loadNative(dirname(require.resolve('@cloudpss/zstd/package.json'))) as NativeZstd;

const FRAME_MAGIC = 0xfd2fb528;
const SKIPPABLE_MAGIC = 0x184d2a50;
const BLOCK_RLE = 1;
const BLOCK_RESERVED = 3;
/** Decoders should take windows of 8 MiB at least (RFC 8878 section 3.1.1.1.2). */
const WINDOW_BYTES_MIN = 8 * 1024 * 1024;
const INPUT_SLICE_BYTES = 64 * 1024;

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

export function zstdDeclaredSize(body: Buffer): number | undefined {
  return zstdShape(body)?.contentBytes;
}

/** See `decompress` of decompress.ts. */
export function unzstd(body: Buffer, limitBytes: number): Buffer | Promise<Buffer> {
  const shape = zstdShape(body);
  if (shape === undefined || shape.frames === 0) throw corrupt('zstd');
  if (shape.contentBytes !== undefined && shape.contentBytes > limitBytes) throw tooLarge(limitBytes);
  if (shape.windowBytes > Math.max(limitBytes, WINDOW_BYTES_MIN)) throw tooLarge(limitBytes);
  if (shape.frames === 1 && shape.contentBytes !== undefined && shape.contentBytes <= SYNC_OUTPUT_BYTES_MAX) {
    try {
      return native.decompress(body, shape.contentBytes + 1);
    } catch (error) {
      throw corrupt('zstd', error);
    }
  }
  return unzstdInSlices(body, limitBytes, shape.contentBytes);
}

async function unzstdInSlices(body: Buffer, limitBytes: number, contentBytes: number | undefined): Promise<Buffer> {
  const decoder = new native.Decompressor();
  const output = new OutputCollector(limitBytes, contentBytes);
  const over = tooLarge(limitBytes);
  const take = (piece: Buffer): void => {
    // Thrown through the native call, so that a bomb is stopped inside one slice.
    if (!output.add(piece)) throw over;
  };
  try {
    for (let at = 0; at < body.length; at += INPUT_SLICE_BYTES) {
      if (at > 0) await giveWay();
      decoder.data(body.subarray(at, at + INPUT_SLICE_BYTES), take);
    }
    decoder.end(take);
  } catch (error) {
    throw error === over ? over : corrupt('zstd', error);
  }
  return output.take();
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
