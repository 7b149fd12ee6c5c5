/**
 * Snappy bodies with a bound on the output: the block format, and the framing format where the body starts with its stream
 * identifier (google/snappy, format_description.txt and framing_format.txt). Sizes are read before anything is allocated.
 */
import { uncompress, uncompressSync } from 'snappy';
import { corrupt, giveWay, SYNC_OUTPUT_BYTES_MAX, tooLarge } from './decompress-output';

const STREAM_IDENTIFIER = Buffer.from([0xff, 0x06, 0x00, 0x00, 0x73, 0x4e, 0x61, 0x50, 0x70, 0x59]);
const CHUNK_COMPRESSED = 0x00;
const CHUNK_PLAIN = 0x01;
const CHUNK_IDENTIFIER = 0xff;
const CHUNK_SKIPPABLE_MIN = 0x80;
const CHUNK_OUTPUT_BYTES_MAX = 65_536;
const CHECKSUM_BYTES = 4;
/** A block cannot shrink more than this: three bytes copy at most 64. */
const BLOCK_RATIO_MAX = 22;

/** See `decompress` of decompress.ts. */
export function unsnappy(body: Buffer, limitBytes: number): Buffer | Promise<Buffer> {
  if (isFramed(body)) {
    const sizeBytes = framedSize(body);
    if (sizeBytes === undefined) throw corrupt('snappy');
    if (sizeBytes > limitBytes) throw tooLarge(limitBytes);
    return unframe(body, sizeBytes);
  }
  const sizeBytes = blockSize(body);
  if (sizeBytes === undefined) throw corrupt('snappy');
  if (sizeBytes > limitBytes) throw tooLarge(limitBytes);
  // A claim that cannot be true would only make the decoder allocate.
  if (sizeBytes > body.length * BLOCK_RATIO_MAX) throw corrupt('snappy');
  if (sizeBytes <= SYNC_OUTPUT_BYTES_MAX) return unblock(body);
  return uncompress(body, { asBuffer: true }).then(
    (output) => output as Buffer,
    (error: unknown) => {
      throw corrupt('snappy', error);
    },
  );
}

export function snappyDeclaredSize(body: Buffer): number | undefined {
  return isFramed(body) ? framedSize(body) : blockSize(body);
}

function isFramed(body: Buffer): boolean {
  return body.length >= STREAM_IDENTIFIER.length && body.subarray(0, STREAM_IDENTIFIER.length).equals(STREAM_IDENTIFIER);
}

/** The length that a block starts with: a varint of at most 32 bits. */
function blockSize(block: Buffer): number | undefined {
  let size = 0;
  for (let i = 0; i < 5; i++) {
    const byte = block[i];
    if (byte === undefined) return undefined;
    size += (byte & 0x7f) * 2 ** (7 * i);
    if (byte < 0x80) return size <= 0xffffffff ? size : undefined;
  }
  return undefined;
}

function unblock(block: Buffer): Buffer {
  try {
    return uncompressSync(block, { asBuffer: true }) as Buffer;
  } catch (error) {
    throw corrupt('snappy', error);
  }
}

interface Chunk {
  readonly type: number;
  /** Masked CRC-32C of the output. */
  readonly checksum: number;
  readonly data: Buffer;
  readonly outputBytes: number;
}

/** The chunks that hold data; stops with undefined at the first that is malformed. */
function* chunksOf(body: Buffer): Generator<Chunk | undefined> {
  let at = 0;
  while (at < body.length) {
    if (at + 4 > body.length) return yield undefined;
    const type = body[at];
    const end = at + 4 + body.readUIntLE(at + 1, 3);
    if (end > body.length) return yield undefined;
    if (type === CHUNK_COMPRESSED || type === CHUNK_PLAIN) {
      if (end - at < 4 + CHECKSUM_BYTES) return yield undefined;
      const data = body.subarray(at + 4 + CHECKSUM_BYTES, end);
      const outputBytes = type === CHUNK_PLAIN ? data.length : blockSize(data);
      if (outputBytes === undefined || outputBytes > CHUNK_OUTPUT_BYTES_MAX) return yield undefined;
      yield { type, checksum: body.readUInt32LE(at + 4), data, outputBytes };
    } else if (type === CHUNK_IDENTIFIER) {
      if (!body.subarray(at, end).equals(STREAM_IDENTIFIER)) return yield undefined;
    } else if (type < CHUNK_SKIPPABLE_MIN) {
      return yield undefined;
    }
    at = end;
  }
  return undefined;
}

function framedSize(body: Buffer): number | undefined {
  let sizeBytes = 0;
  for (const chunk of chunksOf(body)) {
    if (chunk === undefined) return undefined;
    sizeBytes += chunk.outputBytes;
  }
  return sizeBytes;
}

function unframe(body: Buffer, sizeBytes: number): Buffer | Promise<Buffer> {
  const output = Buffer.allocUnsafeSlow(sizeBytes);
  const chunks = chunksOf(body);
  if (sizeBytes > SYNC_OUTPUT_BYTES_MAX) return unframeInSlices(chunks, output);
  unframeInto(chunks, output, 0, sizeBytes);
  return output;
}

async function unframeInSlices(chunks: Generator<Chunk | undefined>, output: Buffer): Promise<Buffer> {
  let at = 0;
  while (at < output.length) {
    at = unframeInto(chunks, output, at, at + SYNC_OUTPUT_BYTES_MAX);
    await giveWay();
  }
  return output;
}

/** Unpacks chunks until the output is filled to `until` or they end; gives the new position. */
function unframeInto(chunks: Generator<Chunk | undefined>, output: Buffer, start: number, until: number): number {
  let at = start;
  while (at < until) {
    const chunk = chunks.next().value;
    if (chunk === undefined) break;
    const data = chunk.type === CHUNK_PLAIN ? chunk.data : unblock(chunk.data);
    if (data.length !== chunk.outputBytes || maskedCrc32c(data) !== chunk.checksum) throw corrupt('snappy');
    at += data.copy(output, at);
  }
  return at;
}

const CRC32C_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = (crc & 1) === 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  return crc;
});

/** The checksum of the framing format: CRC-32C, rotated right by 15 bits, plus a constant. */
function maskedCrc32c(data: Buffer): number {
  let crc = 0xffffffff;
  for (let i = 0; i < data.length; i++) crc = CRC32C_TABLE[(crc ^ data[i]) & 0xff] ^ (crc >>> 8);
  crc = ~crc >>> 0;
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}
