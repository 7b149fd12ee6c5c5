/** Request bodies: decompression, and INSERT data that goes to a file and never through memory. */

import { createWriteStream } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { dirname } from 'node:path';
import { Readable, Transform, type TransformCallback } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createBrotliDecompress, createGunzip, createInflate } from 'node:zlib';
import loadNative from 'node-gyp-build';
import { ClickHouseException, refuse } from './exception';

/** A statement other than an INSERT with data must fit; the engine's own max_query_size is far below. */
const STATEMENT_BYTES_MAX = 64 * 1024 * 1024;
const ZSTD_SLICE_BYTES = 64 * 1024;

/** The body without its Content-Encoding. An error of the socket or of the data ends the iteration with ClickHouseException. */
export async function* decodedBody(request: IncomingMessage, signal: AbortSignal): AsyncGenerator<Buffer, void> {
  const decoders = (request.headers['content-encoding'] ?? '')
    .split(',')
    .map((name) => name.trim().toLowerCase())
    .filter((name) => name !== '' && name !== 'identity')
    .toReversed()
    .map((name) => decoderOf(name));
  let source: Readable = request;
  const pipes: Promise<unknown>[] = [];
  for (const decoder of decoders) {
    pipes.push(pipeline(source, decoder).catch(() => undefined));
    source = decoder;
  }
  const stop = (): void => {
    source.destroy(refuse('QUERY_WAS_CANCELLED', 'Query was cancelled'));
  };
  signal.addEventListener('abort', stop, { once: true });
  try {
    for await (const chunk of source) yield chunk as Buffer;
    // A client that goes away ends the stream early without an error of its own.
    if (!request.complete) throw refuse('NETWORK_ERROR', 'The request body ended before its time');
  } catch (error) {
    throw bodyError(error, request, signal);
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

function bodyError(error: unknown, request: IncomingMessage, signal: AbortSignal): ClickHouseException {
  if (signal.aborted) return refuse('QUERY_WAS_CANCELLED', 'Query was cancelled');
  if (error instanceof ClickHouseException) return error;
  const text = error instanceof Error ? error.message : String(error);
  if (request.destroyed && !request.complete)
    return refuse('NETWORK_ERROR', `The request body could not be read: ${text}`, error);
  return refuse('CANNOT_DECOMPRESS', `Cannot decompress the request body: ${text}`, error);
}

function decoderOf(name: string): Transform {
  switch (name) {
    case 'gzip':
    case 'x-gzip':
      return createGunzip();
    case 'deflate':
      return createInflate();
    case 'br':
      return createBrotliDecompress();
    case 'zstd':
      return new ZstdDecoder();
    default:
      throw refuse('NOT_IMPLEMENTED', `Unknown compression method: ${name}`);
  }
}

interface NativeZstd {
  Decompressor: new () => {
    data(chunk: Buffer, output: (piece: Buffer) => void): void;
    end(output: (piece: Buffer) => void): void;
  };
}

/** Streaming zstd for every supported Node; node:zlib has it from 22.15 only. */
class ZstdDecoder extends Transform {
  private readonly decoder = new (
    loadNative(dirname(require.resolve('@cloudpss/zstd/package.json'))) as NativeZstd
  ).Decompressor();

  override _transform(chunk: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    try {
      for (let at = 0; at < chunk.length; at += ZSTD_SLICE_BYTES) {
        this.decoder.data(chunk.subarray(at, at + ZSTD_SLICE_BYTES), (piece) => this.push(piece));
      }
      done();
    } catch (error) {
      done(error as Error);
    }
  }

  override _flush(done: TransformCallback): void {
    try {
      this.decoder.end((piece) => this.push(piece));
      done();
    } catch (error) {
      done(error as Error);
    }
  }
}

/** Reads the beginning of a body: grows until `enough` says so or the body ends. */
export class BodyReader {
  private readonly chunks: AsyncIterator<Buffer, void>;
  private done = false;
  text: Buffer = Buffer.alloc(0);

  constructor(prefix: Buffer, chunks: AsyncIterator<Buffer, void>) {
    this.text = prefix;
    this.chunks = chunks;
  }

  get complete(): boolean {
    return this.done;
  }

  /** Reads on until the text has doubled or the body ends, so that repeated looks at it stay cheap. */
  async more(): Promise<void> {
    const wanted = Math.max(this.text.length * 2, 4096);
    const parts = [this.text];
    let length = this.text.length;
    while (!this.done && length < wanted) {
      const next = await this.chunks.next();
      if (next.done === true) this.done = true;
      else {
        parts.push(next.value);
        length += next.value.length;
      }
    }
    if (length > STATEMENT_BYTES_MAX) throw refuse('SYNTAX_ERROR', 'Syntax error: Max query size exceeded');
    this.text = Buffer.concat(parts, length);
  }

  /** Writes everything from `start` of the text on to a file. Answers the bytes. */
  async spool(start: number, file: string): Promise<number> {
    let sizeBytes = 0;
    const first = this.text.subarray(start);
    const chunks = this.chunks;
    async function* rest(): AsyncGenerator<Buffer, void> {
      if (first.length > 0) yield first;
      for (let next = await chunks.next(); next.done !== true; next = await chunks.next()) yield next.value;
    }
    async function* counted(): AsyncGenerator<Buffer, void> {
      for await (const chunk of rest()) {
        sizeBytes += chunk.length;
        yield chunk;
      }
    }
    await pipeline(Readable.from(counted(), { objectMode: false }), createWriteStream(file, { flags: 'wx' }));
    return sizeBytes;
  }
}

/** The fields of a multipart/form-data body that are no files; files would be external tables, which chDB does not take. */
export function readMultipart(body: Buffer, contentType: string): Map<string, string> {
  const boundary = /boundary="?([^";]+)"?/i.exec(contentType)?.[1];
  if (boundary === undefined) throw refuse('BAD_ARGUMENTS', 'multipart/form-data without a boundary');
  const fields = new Map<string, string>();
  const text = `\r\n${body.toString('latin1')}`;
  for (const part of text.split(`\r\n--${boundary}`).slice(1)) {
    if (part.startsWith('--')) break;
    const split = part.indexOf('\r\n\r\n');
    const name = /;\s*name="([^"]*)"/i.exec(part.slice(0, Math.max(split, 0)))?.[1];
    if (split < 0 || name === undefined) throw refuse('BAD_ARGUMENTS', 'Malformed multipart/form-data body');
    if (/;\s*filename=/i.test(part.slice(0, split))) {
      throw refuse('NOT_IMPLEMENTED', 'External tables are not supported by the embedded server');
    }
    fields.set(Buffer.from(name, 'latin1').toString('utf8'), Buffer.from(part.slice(split + 4), 'latin1').toString('utf8'));
  }
  return fields;
}
