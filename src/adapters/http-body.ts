/** Reading and discarding request bodies within bounds. */
import type { IncomingMessage } from 'node:http';
import { IngestError } from '../core/errors';

/**
 * Room asked for at first. A client that declares more gets more as its bytes arrive, doubling: otherwise a few slow clients
 * that only claim a great size would hold the whole budget.
 */
const FIRST_RESERVATION_BYTES = 1024 * 1024;
const UNKNOWN_RESERVATION_BYTES = 64 * 1024;

/** The declared length; undefined for a chunked body. Node's parser has refused what is not a number. */
export function declaredLength(req: IncomingMessage): number | undefined {
  const header = req.headers['content-length'];
  if (header !== undefined) return Number(header);
  return req.headers['transfer-encoding'] === undefined ? 0 : undefined;
}

export interface BodyOptions {
  readonly limitBytes: number;
  readonly reserve: (totalBytes: number) => void;
  /** Called when the body is wanted: its declared length and the room for it are all right. */
  readonly begin: () => void;
}

/** The body as one buffer. See `HttpExchange.readBody`. */
export function readBody(req: IncomingMessage, { limitBytes, reserve, begin }: BodyOptions): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const declaredBytes = declaredLength(req);
    if (declaredBytes !== undefined && declaredBytes > limitBytes) throw bodyTooLarge(limitBytes);
    let reservedBytes = Math.min(declaredBytes ?? UNKNOWN_RESERVATION_BYTES, FIRST_RESERVATION_BYTES);
    reserve(reservedBytes);
    begin();
    const pieces = new Pieces(declaredBytes);

    const settle = (finish: () => void): void => {
      req.off('data', onData);
      req.off('end', onEnd);
      req.off('error', onGone);
      req.off('close', onGone);
      finish();
    };
    const onData = (chunk: Buffer): void => {
      try {
        const sizeBytes = pieces.sizeBytes + chunk.length;
        if (sizeBytes > limitBytes) throw bodyTooLarge(limitBytes);
        if (sizeBytes > reservedBytes) {
          reservedBytes = Math.min(Math.max(sizeBytes, reservedBytes * 2), declaredBytes ?? limitBytes);
          reserve(reservedBytes);
        }
        pieces.add(chunk);
      } catch (error) {
        req.pause();
        settle(() => reject(error));
      }
    };
    const onEnd = (): void => settle(() => resolve(pieces.join()));
    const onGone = (): void => settle(() => reject(new IngestError('cancelled', 'the client closed the connection')));
    req.on('data', onData);
    req.on('end', onEnd);
    req.on('error', onGone);
    req.on('close', onGone);
  });
}

/** Chunks of a body; with a known length they are laid into one allocation as they come. */
class Pieces {
  sizeBytes = 0;
  private chunks: Buffer[] = [];
  private room: Buffer | undefined;

  constructor(private readonly declaredBytes: number | undefined) {}

  add(chunk: Buffer): void {
    if (this.room === undefined && this.declaredBytes !== undefined && chunk.length < this.declaredBytes) {
      this.room = Buffer.allocUnsafeSlow(this.declaredBytes);
    }
    if (this.room === undefined) this.chunks.push(chunk);
    else chunk.copy(this.room, this.sizeBytes);
    this.sizeBytes += chunk.length;
  }

  join(): Buffer {
    if (this.room !== undefined) return this.room;
    return this.chunks.length === 1 ? this.chunks[0] : Buffer.concat(this.chunks, this.sizeBytes);
  }
}

/**
 * Reads on and throws away. Resolves with true when the body ended, with false after `bytesMax` bytes or `timeoutMs`,
 * or when the connection broke.
 */
export function discardBody(req: IncomingMessage, bytesMax: number, timeoutMs: number): Promise<boolean> {
  if (req.complete && req.readableEnded) return Promise.resolve(true);
  return new Promise((resolve) => {
    let discardedBytes = 0;
    const settle = (ended: boolean): void => {
      clearTimeout(timer);
      req.off('data', onData);
      req.off('end', onEnd);
      req.off('error', onGone);
      req.off('close', onGone);
      resolve(ended);
    };
    const onData = (chunk: Buffer): void => {
      discardedBytes += chunk.length;
      if (discardedBytes > bytesMax) settle(false);
    };
    const onEnd = (): void => settle(true);
    const onGone = (): void => settle(false);
    const timer = setTimeout(onGone, timeoutMs);
    req.on('data', onData);
    req.on('end', onEnd);
    req.on('error', onGone);
    req.on('close', onGone);
    req.resume();
  });
}

function bodyTooLarge(limitBytes: number): IngestError {
  return new IngestError('payload_too_large', `request body is larger than ${limitBytes} bytes`);
}
