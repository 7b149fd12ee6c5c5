/** Calls of IngestService, with repetition. */
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type ChannelCredentials, Client, credentials, Metadata, type MethodDefinition, type ServiceError } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { Writer } from 'protobufjs/minimal';
import type { BatchAnswer } from './batch';
import { callFailure, type Rejection, ThermoclineError } from './errors';

const PROTO_FOLDER = join(__dirname, '..', '..', 'proto');
const SERVICE = 'thermocline.ingest.v1.IngestService';
const definition = loadSync('thermocline/ingest/v1/ingest.proto', {
  includeDirs: [PROTO_FOLDER],
  longs: Number,
  enums: String,
  defaults: true,
})[SERVICE] as unknown as Record<Method, MethodDefinition<object, object>>;

type Method = 'Write' | 'RegisterTable' | 'GetTable' | 'ListTables' | 'GetBatch';

export const ACK_LEVELS = { wal: 1, hot: 2, cold: 3, all: 4 } as const;

export interface TransportOptions {
  readonly address: string;
  readonly credentials: ChannelCredentials | undefined;
  /** Of one attempt. */
  readonly timeoutMs: number;
  readonly attemptsMax: number;
  readonly backoffMs: number;
  readonly backoffMsMax: number;
}

interface WriteResponse {
  readonly batchId: string;
  readonly rejectedRows: number;
  readonly rejections: readonly Rejection[];
  readonly deadLetterRows: number;
}

/** `data`: the field of the rows, `tail`: the fields behind it, both encoded. */
const writeRequest = (table: string, data: Uint8Array, tail: Uint8Array): Buffer =>
  Buffer.concat([Writer.create().uint32(0x0a).string(table).finish(), data, tail]);

export class Transport {
  private readonly client: Client;
  private readonly abort = new AbortController();

  constructor(private readonly options: TransportOptions) {
    this.client = new Client(options.address, options.credentials ?? credentials.createInsecure(), {
      'grpc.use_local_subchannel_pool': 1,
      'grpc.max_send_message_length': -1,
      'grpc.max_receive_message_length': -1,
    });
  }

  /** `data`: the field of the rows, encoded. One idempotency key for all attempts. Throws ThermoclineError. */
  async write(table: string, data: Uint8Array, ackLevel: keyof typeof ACK_LEVELS): Promise<BatchAnswer> {
    const tail = Writer.create().uint32(0x2a).string(randomUUID()).uint32(0x30).uint32(ACK_LEVELS[ackLevel]).finish();
    const message = writeRequest(table, data, tail);
    return this.repeat(async () => {
      try {
        const response = (await this.attempt('Write', message)) as WriteResponse;
        const { batchId, rejectedRows, rejections, deadLetterRows } = response;
        return { batchId, rejectedRows, rejections, deadLetterRows };
      } catch (error) {
        const { refusal } = callFailure(error as ServiceError);
        if (refusal === undefined) throw error;
        const { rejectedRows, rejections } = definition.Write.responseDeserialize(Buffer.from(refusal)) as WriteResponse;
        return { batchId: undefined, rejectedRows, rejections, deadLetterRows: 0 };
      }
    });
  }

  /** What a write of these rows would do. Throws ThermoclineError. */
  dryRun(table: string, data: Uint8Array): Promise<object> {
    const message = writeRequest(table, data, Writer.create().uint32(0x38).bool(true).finish());
    return this.repeat(() => this.attempt('Write', message));
  }

  /** A question without rows. Throws ThermoclineError. */
  call(method: Exclude<Method, 'Write'>, request: object): Promise<object> {
    const message = definition[method].requestSerialize(request);
    return this.repeat(() => this.attempt(method, message));
  }

  /** Gives up what is under way. */
  close(): void {
    this.abort.abort();
    this.client.close();
  }

  /** Repeats what may succeed later: after the server's hint, if there is one, and a random part of a growing pause. */
  private async repeat<T>(attempt: () => Promise<T>): Promise<T> {
    const { attemptsMax, backoffMs, backoffMsMax } = this.options;
    for (let made = 1; ; made++) {
      try {
        return await attempt();
      } catch (reason) {
        const { error, retryAfterMs = 0 } = callFailure(reason as ServiceError);
        if (this.abort.signal.aborted) throw new ThermoclineError('CANCELLED', 'the client was closed', { cause: error });
        if (!error.retryable || made >= attemptsMax) throw error;
        const pauseMs = Math.min(backoffMsMax, backoffMs * 2 ** (made - 1));
        await sleep(retryAfterMs + pauseMs * Math.random(), undefined, { signal: this.abort.signal }).catch(() => undefined);
      }
    }
  }

  /** Rejects with the ServiceError. */
  private attempt(method: Method, message: Buffer): Promise<object> {
    const { path, responseDeserialize } = definition[method];
    const deadline = Date.now() + this.options.timeoutMs;
    return new Promise((resolve, reject) => {
      const { signal } = this.abort;
      const call = this.client.makeUnaryRequest(
        path,
        (bytes: Buffer) => bytes,
        responseDeserialize,
        message,
        new Metadata(),
        { deadline },
        (error: ServiceError | null, answer?: object) => {
          signal.removeEventListener('abort', cancel);
          if (error === null && answer !== undefined) resolve(answer);
          else reject(error ?? new Error('the call ended without an answer'));
        },
      );
      const cancel = (): void => call.cancel();
      signal.addEventListener('abort', cancel, { once: true });
      if (signal.aborted) cancel();
    });
  }
}
