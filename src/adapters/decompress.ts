/**
 * Decompression of request bodies with a bound on the output (OH10): a body that unpacks to more than the limit is refused
 * after at most `limit` bytes were made. Truncated input, bytes after the end and anything else that is not a whole
 * stream of the named encoding is `invalid_argument`, never shortened data.
 *
 * Up to `SYNC_OUTPUT_BYTES_MAX` of output is made in place: measured on Node 20, that blocks the event loop for about 1 ms at
 * most, while the thread pool takes 80 us of CPU for a body of 5 KB instead of 12. Above, gzip and deflate go to the thread pool,
 * zstd and snappy give way to other work between slices.
 */
import {
  createGunzip,
  createInflate,
  createInflateRaw,
  gunzipSync,
  inflateRawSync,
  inflateSync,
  type ZlibOptions,
} from 'node:zlib';
import { IngestError } from '../core/errors';
import { corrupt, OutputCollector, SYNC_OUTPUT_BYTES_MAX, tooLarge } from './decompress-output';
import { snappyDeclaredSize, unsnappy } from './snappy';
import { unzstd, zstdDeclaredSize } from './zstd';

export type ContentEncoding = 'identity' | 'gzip' | 'deflate' | 'zstd' | 'snappy';

const ENCODINGS: ReadonlyMap<string, ContentEncoding> = new Map([
  ['', 'identity'],
  ['identity', 'identity'],
  ['gzip', 'gzip'],
  ['x-gzip', 'gzip'],
  ['deflate', 'deflate'],
  ['zlib', 'deflate'],
  ['zstd', 'zstd'],
  ['snappy', 'snappy'],
]);

const GZIP_MAGIC = 0x1f8b;
const ASYNC_CHUNK_BYTES = 256 * 1024;
/** The greatest ratio that deflate can reach is 1032; a gzip trailer that claims more is not believed. */
const DEFLATE_RATIO_MAX = 1032;

/** The encoding a Content-Encoding header names. Throws `unsupported_encoding`, also for more than one. */
export function parseContentEncoding(header: string | undefined): ContentEncoding {
  if (header === undefined) return 'identity';
  const encoding = ENCODINGS.get(header.trim().toLowerCase());
  if (encoding === undefined) {
    throw new IngestError('unsupported_encoding', 'content-encoding must be one of identity, gzip, deflate, zstd, snappy');
  }
  return encoding;
}

/** What a body claims to unpack to, bytes: a hint for admission, not to be relied on. */
export function declaredSize(encoding: ContentEncoding, body: Buffer): number | undefined {
  switch (encoding) {
    case 'identity':
      return body.length;
    case 'gzip':
      return gzipDeclaredSize(body);
    case 'zstd':
      return zstdDeclaredSize(body);
    case 'snappy':
      return snappyDeclaredSize(body);
    default:
      return undefined;
  }
}

/**
 * The unpacked body; at once when it is small, as a promise when it is not. Throws (or rejects with) IngestError
 * `payload_too_large` over `limitBytes` and `invalid_argument` for bytes that are not one whole stream.
 */
export function decompress(encoding: ContentEncoding, body: Buffer, limitBytes: number): Buffer | Promise<Buffer> {
  switch (encoding) {
    case 'identity':
      if (body.length > limitBytes) throw tooLarge(limitBytes);
      return body;
    case 'gzip':
      return inflate(GZIP, body, limitBytes, gzipDeclaredSize(body));
    case 'deflate':
      return inflate(hasZlibHeader(body) ? ZLIB : RAW, body, limitBytes, undefined);
    case 'zstd':
      return unzstd(body, limitBytes);
    default:
      return unsnappy(body, limitBytes);
  }
}

interface Inflater {
  readonly name: string;
  sync(body: Buffer, options: ZlibOptions): Buffer;
  stream(options: ZlibOptions): ReturnType<typeof createGunzip>;
}

const GZIP: Inflater = { name: 'gzip', sync: gunzipSync, stream: createGunzip };
const ZLIB: Inflater = { name: 'deflate', sync: inflateSync, stream: createInflate };
const RAW: Inflater = { name: 'deflate', sync: inflateRawSync, stream: createInflateRaw };

/** RFC 1950 section 2.2: method 8, and the first two bytes are a multiple of 31. HTTP's "deflate" means this; some send raw. */
function hasZlibHeader(body: Buffer): boolean {
  return body.length >= 2 && ((body[0] ?? 0) & 0x0f) === 8 && body.readUInt16BE(0) % 31 === 0;
}

/** ISIZE of the last member (RFC 1952 section 2.3.1), where it can be true. In a damaged body it is any number. */
function gzipDeclaredSize(body: Buffer): number | undefined {
  if (body.length < 18 || body.readUInt16BE(0) !== GZIP_MAGIC) return undefined;
  const size = body.readUInt32LE(body.length - 4);
  return size <= body.length * DEFLATE_RATIO_MAX ? size : undefined;
}

function inflate(inflater: Inflater, body: Buffer, limitBytes: number, hint: number | undefined): Buffer | Promise<Buffer> {
  if ((hint ?? 0) > SYNC_OUTPUT_BYTES_MAX || body.length > SYNC_OUTPUT_BYTES_MAX) {
    return inflateAsync(inflater, body, limitBytes, hint);
  }
  try {
    return inflateHere(inflater, body, Math.min(limitBytes, SYNC_OUTPUT_BYTES_MAX), hint);
  } catch (error) {
    if (!isTooLarge(error)) throw error instanceof IngestError ? error : corrupt(inflater.name, error);
    if (limitBytes <= SYNC_OUTPUT_BYTES_MAX) throw tooLarge(limitBytes);
    return inflateAsync(inflater, body, limitBytes, undefined);
  }
}

function inflateHere(inflater: Inflater, body: Buffer, maxOutputLength: number, hint: number | undefined): Buffer {
  // Some bytes more than the output, else zlib asks for a second chunk to find the end.
  const chunkSize = hint === undefined ? 64 * 1024 : Math.max(hint + 16, 1024);
  const result = inflater.sync(body, { maxOutputLength, chunkSize, info: true }) as unknown as {
    buffer: Buffer;
    engine: { bytesWritten: number };
  };
  if (result.engine.bytesWritten !== body.length) throw corrupt(inflater.name);
  return result.buffer;
}

function inflateAsync(inflater: Inflater, body: Buffer, limitBytes: number, hint: number | undefined): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const stream = inflater.stream({ chunkSize: ASYNC_CHUNK_BYTES });
    const output = new OutputCollector(limitBytes, hint);
    stream.on('data', (chunk: Buffer) => {
      if (output.add(chunk)) return;
      stream.destroy();
      reject(tooLarge(limitBytes));
    });
    stream.on('error', (error) => reject(corrupt(inflater.name, error)));
    stream.on('end', () => {
      if (stream.bytesWritten === body.length) resolve(output.take());
      else reject(corrupt(inflater.name));
    });
    stream.end(body);
  });
}

function isTooLarge(error: unknown): boolean {
  return (error as NodeJS.ErrnoException | undefined)?.code === 'ERR_BUFFER_TOO_LARGE';
}
