/** What the decompressors share: the bound of work done in place, the collected output, and how failures look. */
import { IngestError } from '../core/errors';

/** Output made without giving way to other work, bytes. See decompress.ts for the measurement. */
export const SYNC_OUTPUT_BYTES_MAX = 1024 * 1024;

export function tooLarge(limitBytes: number): IngestError {
  return new IngestError('payload_too_large', `request is larger than ${limitBytes} bytes after decompression`);
}

export function corrupt(encoding: string, cause?: unknown): IngestError {
  return new IngestError('invalid_argument', `body is not valid ${encoding}`, { cause, at: 'body' });
}

/** Gives other work of the event loop its turn. */
export function giveWay(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

/**
 * Output that arrives in pieces, at most `limitBytes` of it. With a true size hint it is laid into one allocation;
 * without one the pieces are joined at the end, which for a moment takes twice the output.
 */
export class OutputCollector {
  private readonly pieces: Buffer[] = [];
  private readonly room: Buffer | undefined;
  private readonly limitBytes: number;
  private filled = 0;
  private sizeBytes = 0;

  constructor(limitBytes: number, hintBytes: number | undefined) {
    this.limitBytes = limitBytes;
    this.room = hintBytes === undefined ? undefined : Buffer.allocUnsafeSlow(Math.min(hintBytes, limitBytes));
  }

  /** False when the piece would go over the limit; it is not taken then. */
  add(piece: Buffer): boolean {
    if (this.sizeBytes + piece.length > this.limitBytes) return false;
    this.sizeBytes += piece.length;
    const fits = this.room !== undefined && this.pieces.length === 0 && this.filled + piece.length <= this.room.length;
    if (fits) this.filled += piece.copy(this.room, this.filled);
    else this.pieces.push(piece);
    return true;
  }

  /** The whole output. The collector must not be used afterwards. */
  take(): Buffer {
    const head = this.room?.subarray(0, this.filled);
    if (this.pieces.length === 0) return head ?? Buffer.alloc(0);
    return Buffer.concat(head === undefined ? this.pieces : [head, ...this.pieces], this.sizeBytes);
  }
}
