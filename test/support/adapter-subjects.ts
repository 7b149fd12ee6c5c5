/** The adapters of this repository as subjects of the contract suite, each behind its real listener. */
import { Client, credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import { asBytes } from '../../src/adapters/grpc-contract';
import { GrpcListener } from '../../src/adapters/grpc-listener';
import type { HttpAdapter } from '../../src/adapters/http-contract';
import { HttpListener } from '../../src/adapters/http-listener';
import { decodeLogs } from '../../src/adapters/otlp/decode-logs';
import { decodeMetrics } from '../../src/adapters/otlp/decode-metrics';
import { decodeTraces } from '../../src/adapters/otlp/decode-traces';
import { OtlpGrpcAdapter } from '../../src/adapters/otlp/grpc-adapter';
import { OtlpHttpAdapter } from '../../src/adapters/otlp/http-adapter';
import { transcodeLogs, transcodeMetrics, transcodeTraces } from '../../src/adapters/otlp/json-to-protobuf';
import { RestAdapter } from '../../src/adapters/rest/adapter';
import { silentLogger, Telemetry } from '../../src/telemetry';
import type { AdapterAnswer, AdapterSubject, RunningAdapter } from '../contract/adapter';
import { type HttpAnswer, send } from './http-client';
import { otlpRoot } from './otlp-proto';
import { encodeRequest } from './otlp-requests';
import { MemoryRegistry } from './recording-ingest';
import { decodeRpcStatus } from './rpc-status';

export const DECODERS = {
  logs: { decode: decodeLogs, transcode: transcodeLogs },
  metrics: { decode: decodeMetrics, transcode: transcodeMetrics },
  traces: { decode: decodeTraces, transcode: transcodeTraces },
};

const TRACES_RESPONSE = otlpRoot().lookupType('ExportTraceServiceResponse');
const HEX_TRACE = '0102030405060708090a0b0c0d0e0f10';
const HEX_SPAN = '0102030405060708';

/** Spans; those whose position is in `bad` have no ids and are rejected one by one (OD2). */
export function spans(
  count: number,
  bad: readonly number[] = [],
  id: (hex: string) => unknown = (hex) => Buffer.from(hex, 'hex'),
): object {
  const list = Array.from({ length: count }, (_, i) => ({
    traceId: id(bad.includes(i) ? '' : HEX_TRACE),
    spanId: id(bad.includes(i) ? '' : HEX_SPAN),
    name: `span ${i}`,
    startTimeUnixNano: '1700000000000000000',
    endTimeUnixNano: '1700000000000000001',
  }));
  return { resourceSpans: [{ scopeSpans: [{ spans: list }] }] };
}

const spansJson = (count: number, bad: readonly number[] = []): Buffer => Buffer.from(JSON.stringify(spans(count, bad, String)));

function statusOutcome(code: number): AdapterAnswer['outcome'] {
  const outcomes: Record<number, AdapterAnswer['outcome']> = { 3: 'invalid', 8: 'too_large', 13: 'internal', 14: 'unavailable' };
  const outcome = outcomes[code];
  if (outcome === undefined) throw new Error(`unexpected code ${code}`);
  return outcome;
}

const OUTCOME_BY_HTTP: Record<number, AdapterAnswer['outcome']> = {
  400: 'invalid',
  413: 'too_large',
  500: 'internal',
  503: 'unavailable',
};

async function listen(adapter: HttpAdapter, bodyBytesMax: number): Promise<{ address: string; listener: HttpListener }> {
  const listener = new HttpListener({ host: '127.0.0.1', port: 0, adapters: [adapter], logger: silentLogger(), bodyBytesMax });
  return { address: await listener.start(), listener };
}

function httpFailure({ status, headers }: HttpAnswer, message: string): AdapterAnswer {
  const outcome = OUTCOME_BY_HTTP[status];
  if (outcome === undefined) throw new Error(`unexpected status ${status}`);
  const retryAfter = headers['retry-after'];
  return {
    outcome,
    message,
    retryable: [429, 502, 503, 504].includes(status),
    retryAfterMs: retryAfter === undefined ? undefined : Number(retryAfter) * 1000,
  };
}

const headersFor = (type: string, ack: string | undefined): Record<string, string> => ({
  'content-type': type,
  ...(ack === undefined ? {} : { 'x-ack': ack }),
});

export const otlpHttpJson: AdapterSubject = {
  protocol: 'otlp_http',
  table: 'traces_spans',
  rows: (count) => spansJson(count),
  oneOfThreeBad: spansJson(3, [1]),
  empty: Buffer.from('{}'),
  garbage: Buffer.from('{"resourceSpans":'),
  async start(ingest, bodyBytesMax): Promise<RunningAdapter> {
    const adapter = new OtlpHttpAdapter({ ingest, decoders: DECODERS, telemetry: new Telemetry(), bodyBytesMax });
    const { address, listener } = await listen(adapter, bodyBytesMax);
    return {
      async send(body, { ack } = {}) {
        const answer = await send(address, '/v1/traces', { headers: headersFor('application/json', ack), body });
        const value = JSON.parse(answer.body.toString()) as {
          message?: string;
          partialSuccess?: { rejectedSpans?: string; errorMessage?: string };
        };
        if (answer.status !== 200) return httpFailure(answer, value.message ?? '');
        const partial = value.partialSuccess;
        if (partial === undefined) return { outcome: 'ok', retryable: false };
        return { outcome: 'partial', rejected: Number(partial.rejectedSpans), message: partial.errorMessage, retryable: false };
      },
      stop: (graceMs) => listener.stop(graceMs),
    };
  },
};

/** partial_success of any signal: count in field 1, text in field 2. */
function partialOf(body: Buffer): AdapterAnswer {
  if (body.length === 0) return { outcome: 'ok', retryable: false };
  const type = TRACES_RESPONSE;
  const { partialSuccess } = type.toObject(type.decode(body), { longs: String }) as {
    partialSuccess: { rejectedSpans?: string; errorMessage: string };
  };
  const { rejectedSpans, errorMessage } = partialSuccess;
  return { outcome: 'partial', rejected: Number(rejectedSpans ?? 0), message: errorMessage, retryable: false };
}

export const otlpHttpProtobuf: AdapterSubject = {
  protocol: 'otlp_http',
  table: 'traces_spans',
  rows: (count) => encodeRequest('traces', spans(count)),
  oneOfThreeBad: encodeRequest('traces', spans(3, [1])),
  empty: Buffer.alloc(0),
  garbage: Buffer.from('0a05', 'hex'),
  async start(ingest, bodyBytesMax): Promise<RunningAdapter> {
    const adapter = new OtlpHttpAdapter({ ingest, decoders: DECODERS, telemetry: new Telemetry(), bodyBytesMax });
    const { address, listener } = await listen(adapter, bodyBytesMax);
    return {
      async send(body, { ack } = {}) {
        const answer = await send(address, '/v1/traces', { headers: headersFor('application/x-protobuf', ack), body });
        if (answer.status === 200) return partialOf(answer.body);
        return httpFailure(answer, decodeRpcStatus(answer.body).message);
      },
      stop: (graceMs) => listener.stop(graceMs),
    };
  },
};

export const otlpGrpc: AdapterSubject = {
  ...otlpHttpProtobuf,
  protocol: 'otlp_grpc',
  async start(ingest, bodyBytesMax): Promise<RunningAdapter> {
    const { services } = new OtlpGrpcAdapter({ ingest, decoders: DECODERS, telemetry: new Telemetry() });
    const listener = new GrpcListener({
      host: '127.0.0.1',
      port: 0,
      services,
      logger: silentLogger(),
      messageBytesMax: bodyBytesMax,
    });
    const address = await listener.start();
    const clients: Client[] = [];
    return {
      async send(body, { ack } = {}) {
        const client = new Client(address, credentials.createInsecure(), { 'grpc.use_local_subchannel_pool': 1 });
        clients.push(client);
        const metadata = new Metadata();
        if (ack !== undefined) metadata.set('x-ack', ack);
        const result = await exportSpans(client, body, metadata);
        client.close();
        return result;
      },
      async stop(graceMs) {
        await listener.stop(graceMs);
      },
    };
  },
};

function exportSpans(client: Client, body: Uint8Array, metadata: Metadata): Promise<AdapterAnswer> {
  const path = '/opentelemetry.proto.collector.trace.v1.TraceService/Export';
  const deadline = Date.now() + 20_000;
  return new Promise((resolve, reject) => {
    client.makeUnaryRequest(
      path,
      asBytes,
      asBytes,
      Buffer.from(body),
      metadata,
      { deadline },
      (error: ServiceError | null, value?: Buffer) => {
        if (error === null) {
          resolve(partialOf(value as Buffer));
          return;
        }
        const [details] = error.metadata.get('grpc-status-details-bin');
        if (details === undefined && statusOutcome(error.code) === 'unavailable') {
          reject(error);
          return;
        }
        const status = details === undefined ? undefined : decodeRpcStatus(details as Buffer);
        resolve({
          outcome: statusOutcome(error.code),
          message: error.details,
          retryable: [1, 4, 10, 11, 14, 15].includes(error.code) || status?.retryAfterMs !== undefined,
          retryAfterMs: status?.retryAfterMs,
        });
      },
    );
  });
}

export const restJson: AdapterSubject = {
  protocol: 'rest',
  table: 'cars',
  rows: (count) =>
    Buffer.from(JSON.stringify(Array.from({ length: count }, (_, i) => ({ ts: '2026-01-02T03:04:05Z', speed: i })))),
  oneOfThreeBad: Buffer.from('[{"speed":1},7,{"speed":3}]'),
  empty: Buffer.from('[]'),
  garbage: Buffer.from('[{"speed":1'),
  async start(ingest, bodyBytesMax): Promise<RunningAdapter> {
    const adapter = new RestAdapter({ ingest, registry: new MemoryRegistry(), telemetry: new Telemetry(), bodyBytesMax });
    const { address, listener } = await listen(adapter, bodyBytesMax);
    return {
      async send(body, { ack } = {}) {
        const answer = await send(address, '/write/cars', { headers: headersFor('application/json', ack), body });
        const value = JSON.parse(answer.body.toString()) as {
          rejected?: number;
          rejections?: { row: number; message: string }[];
          error?: { message: string };
        };
        if (answer.status !== 200) return httpFailure(answer, value.error?.message ?? '');
        if (value.rejected === 0) return { outcome: 'ok', retryable: false };
        const message = value.rejections?.map((rejection) => `row ${rejection.row}: ${rejection.message}`).join();
        return { outcome: 'partial', rejected: value.rejected, message, retryable: false };
      },
      stop: (graceMs) => listener.stop(graceMs),
    };
  },
};
