/**
 * One `WriteStream` call. Requests are decoded and handed to the log in their order; several wait for it at a time, and each is
 * acknowledged in order. While too many requests, or too many bytes, wait, nothing is read: HTTP/2 flow control holds the client.
 * A client that does not read its acknowledgements is held in the same way.
 */
import type { ServerDuplexStream } from '@grpc/grpc-js';
import { IngestError } from '../../core/errors';
import { LIMITS } from '../../core/limits';
import { arrivingOf } from '../grpc-call-guard';
import { grpcServiceError } from '../grpc-status';
import { readOneAhead } from '../grpc-stream';

export interface WriteStreamOptions {
  /**
   * Takes a message: `stored` begins when the message is decoded and the log has it next, and resolves with the acknowledgement.
   * Neither rejects.
   */
  readonly take: (message: Buffer) => Promise<{ readonly stored: Promise<object> }>;
  readonly requestsMax?: number;
  readonly bytesMax?: number;
}

export class WriteStreamCall {
  /** Resolves when the call is over and nothing of it is left. */
  readonly done: Promise<void>;
  private openRequests = 0;
  private openBytes = 0;
  /** Ends when the last message taken was handed to the log. */
  private turn: Promise<unknown> = Promise.resolve();
  /** Ends when the last message taken is acknowledged. */
  private acknowledged: Promise<void> = Promise.resolve();
  private over = false;
  private readonly arriving: ReturnType<typeof arrivingOf>;
  private readonly requestsMax: number;
  private readonly bytesMax: number;

  constructor(
    private readonly call: ServerDuplexStream<Buffer, object>,
    private readonly options: WriteStreamOptions,
  ) {
    this.requestsMax = options.requestsMax ?? LIMITS.streamRequestsMax;
    this.bytesMax = options.bytesMax ?? LIMITS.streamBytesMax;
    readOneAhead(call);
    this.arriving = arrivingOf(call.metadata);
    this.done = new Promise<void>((resolve) => {
      const finish = (status: IngestError | undefined): void => {
        if (this.over) return;
        this.over = true;
        call.pause();
        void this.acknowledged.then(() => {
          this.end(status);
          resolve();
        });
      };
      call.on('data', (message: Buffer) => this.take(message));
      call.on('end', () => finish(undefined));
      call.on('cancelled', () => finish(undefined));
      call.on('error', () => finish(undefined));
      if (this.arriving !== undefined) this.arriving.onRefused = finish;
      this.drain = () => finish(new IngestError('unavailable', 'server is stopping', { retryAfterMs: 1_000 }));
    });
  }

  /** Reads no further, acknowledges what was read, and tells the client to come back. */
  drain: () => void = () => undefined;

  private end(status: IngestError | undefined): void {
    if (this.call.cancelled) return;
    if (status === undefined) this.call.end();
    else this.call.emit('error', grpcServiceError(status));
  }

  private take(message: Buffer): void {
    if (this.over) return;
    this.openRequests++;
    this.openBytes += message.length;
    if (this.isFull()) this.call.pause();
    const taken = this.turn.then(() => {
      const result = this.options.take(message);
      this.arriving?.taken();
      return result;
    });
    this.turn = taken;
    this.acknowledged = Promise.all([taken, this.acknowledged])
      .then(([{ stored }]) => stored)
      .then((acknowledgement) => this.send(acknowledgement))
      .then(() => this.release(message.length));
  }

  private isFull(): boolean {
    return this.openRequests >= this.requestsMax || this.openBytes >= this.bytesMax;
  }

  private release(bytes: number): void {
    this.openRequests--;
    this.openBytes -= bytes;
    if (!this.over && !this.isFull()) this.call.resume();
  }

  /** Resolves when there is room for the next acknowledgement, or nobody to send it to. */
  private async send(acknowledgement: object): Promise<void> {
    const { call } = this;
    if (call.cancelled || call.write(acknowledgement)) return;
    await new Promise<void>((resolve) => {
      const go = (): void => {
        call.off('drain', go);
        call.off('cancelled', go);
        resolve();
      };
      call.on('drain', go);
      call.on('cancelled', go);
    });
  }
}
