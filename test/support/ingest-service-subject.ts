/** IngestService as a subject of the contract suite. */
import { type ServiceError, status } from '@grpc/grpc-js';
import { IngestServiceAdapter } from '../../src/adapters/grpc/adapter';
import { GrpcListener } from '../../src/adapters/grpc-listener';
import { silentLogger, Telemetry } from '../../src/telemetry';
import type { AdapterAnswer, AdapterSubject, RunningAdapter } from '../contract/adapter';
import { IngestClient } from './ingest-client';
import { encodeIngest } from './ingest-proto';
import { MemoryRegistry } from './recording-ingest';
import { decodeRpcStatus } from './rpc-status';

const OUTCOMES: Partial<Record<number, AdapterAnswer['outcome']>> = {
  [status.INVALID_ARGUMENT]: 'invalid',
  [status.RESOURCE_EXHAUSTED]: 'too_large',
  [status.INTERNAL]: 'internal',
  [status.UNAVAILABLE]: 'unavailable',
};
const ACK_LEVELS: Readonly<Record<string, number>> = { wal: 1, hot: 2, cold: 3, all: 4, maybe: 99 };

const row = (i: number, more: object = {}): object => ({ fields: { speed: { intValue: i }, ...more } });
const request = (rows: object[]): Buffer => encodeIngest('WriteRequest', { table: 'cars', rows: { rows } });

export const ingestService: AdapterSubject = {
  protocol: 'ingest_grpc',
  table: 'cars',
  rows: (count) => request(Array.from({ length: count }, (_, i) => row(i))),
  oneOfThreeBad: request([row(1), row(2, { _batch: { intValue: 1 } }), row(3)]),
  empty: request([]),
  garbage: Buffer.from('0a05', 'hex'),
  async start(ingest, bodyBytesMax): Promise<RunningAdapter> {
    const batches = { status: () => undefined };
    const { services } = new IngestServiceAdapter({
      ingest,
      registry: new MemoryRegistry(),
      batches,
      telemetry: new Telemetry(),
    });
    const logger = silentLogger();
    const listener = new GrpcListener({ host: '127.0.0.1', port: 0, services, logger, messageBytesMax: bodyBytesMax });
    const address = await listener.start();
    return {
      async send(body, { ack } = {}) {
        const client = new IngestClient(address);
        // Pieces of a message are merged: this sets ack_level.
        const level = ack === undefined ? [] : [0x30, ACK_LEVELS[ack]];
        try {
          return answerOf(await client.call('Write', Buffer.concat([body, Buffer.from(level)])));
        } catch (error) {
          return failureOf(error as ServiceError);
        } finally {
          client.close();
        }
      },
      stop: (graceMs) => listener.stop(graceMs),
    };
  },
};

function answerOf(answer: Record<string, unknown>): AdapterAnswer {
  if (answer['rejectedRows'] === undefined) return { outcome: 'ok', retryable: false };
  const rejections = answer['rejections'] as { row: string; message: string }[];
  const message = rejections.map((rejection) => `row ${rejection.row}: ${rejection.message}`).join();
  return { outcome: 'partial', rejected: Number(answer['rejectedRows']), message, retryable: false };
}

function failureOf(error: ServiceError): AdapterAnswer {
  const outcome = OUTCOMES[error.code];
  const [details] = error.metadata.get('grpc-status-details-bin');
  // Without details it is the library's own: there is no server.
  if (outcome === undefined || (outcome === 'unavailable' && details === undefined)) throw error;
  const retryAfterMs = details === undefined ? undefined : decodeRpcStatus(details as Buffer).retryAfterMs;
  const retryable = error.code === status.UNAVAILABLE || retryAfterMs !== undefined;
  return { outcome, message: error.details, retryable, retryAfterMs };
}
