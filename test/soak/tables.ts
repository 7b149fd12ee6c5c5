/** The tables of the soak: how rows with ids get into each, by which protocol, and how the ids are read back. */
import { Client, credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import { Int64, Table, vectorFromArray } from 'apache-arrow';
import type { Tier } from '../../src/core/table-schema';
import { FlightTestClient, pathDescriptor } from '../support/flight-client';
import { IngestClient } from '../support/ingest-client';
import { encodeRequest, type Signal } from '../support/otlp-requests';

/** Where a running server listens. */
export interface Addresses {
  readonly grpc: string;
  readonly http: string;
}

/** Clients of one life of the server. */
export class Clients {
  readonly ingest: IngestClient;
  readonly flight: FlightTestClient;
  private readonly otlp: Client;

  constructor(readonly addresses: Addresses) {
    this.ingest = new IngestClient(addresses.grpc);
    this.flight = new FlightTestClient(addresses.grpc);
    this.otlp = new Client(addresses.grpc, credentials.createInsecure(), { 'grpc.use_local_subchannel_pool': 1 });
  }

  /** The answer's bytes; rejects with the call's error. */
  export(path: string, request: Uint8Array, key: string): Promise<Buffer> {
    const metadata = new Metadata();
    metadata.set('idempotency-key', key);
    return new Promise((resolve, reject) => {
      this.otlp.makeUnaryRequest(
        path,
        (bytes: Uint8Array) => Buffer.from(bytes),
        (bytes: Buffer) => bytes,
        request,
        metadata,
        { deadline: Date.now() + 20_000 },
        (error: ServiceError | null, answer?: Buffer) => (error === null ? resolve(answer as Buffer) : reject(error)),
      );
    });
  }

  close(): void {
    for (const client of [this.ingest, this.flight, this.otlp]) client.close();
  }
}

/** A request that was not acknowledged. */
export class NotAcknowledged extends Error {
  /** `hinted`: refused for now, with a time to come back. */
  constructor(
    message: string,
    readonly hinted: boolean,
  ) {
    super(message);
  }
}

export interface SoakRequest {
  /** Ids of the rows. */
  readonly rows: readonly number[];
  /** Idempotency key. */
  readonly key: string;
  /** When the client gives up; for HTTP. */
  readonly signal: AbortSignal;
}

export interface SoakTable {
  readonly table: string;
  readonly protocol: string;
  readonly tier: Tier;
  /** Each so-many-th row is refused by its store; 0: none. */
  readonly poisonEvery: number;
  /** SQL of the id of a row, in the store of its tier. */
  readonly idSql: string;
  /** The id of a row in a dead letter. */
  readonly idOf: (row: Record<string, unknown>) => number;
  /** Resolves when all rows are acknowledged. The same key must come with the same rows. */
  readonly send: (clients: Clients, request: SoakRequest, isPoison: (id: number) => boolean) => Promise<void>;
  /** A registration, and what makes the store refuse poison. */
  readonly columns?: readonly { name: string; type: string }[];
  readonly constraint?: string;
}

/** Nanoseconds of 2026-01-15, the day of all rows: partitions are not what is tested here. */
const TIME_NS = 1_768_435_200_000_000_000n;
const POISON_EVERY = 1_000;
const idColumn = (row: Record<string, unknown>): number => Number(row['id']);

async function post(clients: Clients, path: string, body: string | Uint8Array, { key, signal }: SoakRequest): Promise<Buffer> {
  const type = typeof body === 'string' ? 'application/json' : 'application/x-protobuf';
  const headers = { 'content-type': type, 'idempotency-key': key };
  const response = await fetch(`http://${clients.addresses.http}${path}`, { method: 'POST', headers, body, signal });
  const answer = Buffer.from(await response.arrayBuffer());
  if (response.status === 200) return answer;
  throw new NotAcknowledged(`${response.status} ${answer.toString('latin1').slice(0, 200)}`, response.headers.has('retry-after'));
}

/** An OTLP answer without a partial success is empty; a warning would have a message. */
function expectFullSuccess(answer: Buffer): void {
  if (answer.length > 0) throw new Error(`unexpected partial success ${answer.toString('hex')}`);
}

function expectAccepted(answer: { accepted: unknown }, ids: readonly number[]): void {
  if (Number(answer.accepted) !== ids.length) throw new Error(`accepted ${JSON.stringify(answer)} of ${ids.length} rows`);
}

const resource = { attributes: [{ key: 'service.name', value: { stringValue: 'soak' } }] };
const BODIES: Record<Signal, (ids: readonly number[]) => object> = {
  logs: (ids) => ({
    resourceLogs: [
      {
        resource,
        scopeLogs: [{ logRecords: ids.map((id) => ({ timeUnixNano: TIME_NS.toString(), body: { stringValue: String(id) } })) }],
      },
    ],
  }),
  traces: (ids) => ({
    resourceSpans: [
      {
        resource,
        scopeSpans: [
          {
            spans: ids.map((id) => ({
              traceId: Buffer.from((id + 1).toString(16).padStart(32, '0'), 'hex'),
              spanId: Buffer.from((id + 1).toString(16).padStart(16, '0'), 'hex'),
              name: String(id),
              startTimeUnixNano: TIME_NS.toString(),
              endTimeUnixNano: (TIME_NS + 5n).toString(),
            })),
          },
        ],
      },
    ],
  }),
  metrics: (ids) => ({
    resourceMetrics: [
      {
        resource,
        scopeMetrics: [
          {
            metrics: [
              { name: 'soak', gauge: { dataPoints: ids.map((id) => ({ timeUnixNano: TIME_NS.toString(), asDouble: id })) } },
            ],
          },
        ],
      },
    ],
  }),
};

export const SOAK_TABLES: readonly SoakTable[] = [
  {
    table: 'logs_events',
    protocol: 'OTLP/HTTP',
    tier: 'cold',
    poisonEvery: POISON_EVERY,
    constraint: `toUInt64OrZero(message) % ${POISON_EVERY} != ${POISON_EVERY - 1}`,
    idSql: 'message',
    idOf: (row) => Number(row['message']),
    send: async (clients, request) =>
      expectFullSuccess(await post(clients, '/v1/logs', encodeRequest('logs', BODIES.logs(request.rows)), request)),
  },
  {
    table: 'traces_spans',
    protocol: 'OTLP/HTTP',
    tier: 'hot',
    poisonEvery: 0,
    idSql: 'name',
    idOf: (row) => Number(row['name']),
    send: async (clients, request) => {
      const body = encodeRequest('traces', BODIES.traces(request.rows));
      expectFullSuccess(await post(clients, '/v1/traces', body, request));
    },
  },
  {
    table: 'metrics_events',
    protocol: 'OTLP/gRPC',
    tier: 'hot',
    poisonEvery: 0,
    idSql: 'value',
    idOf: (row) => Number(row['value']),
    send: async (clients, { rows: ids, key }) => {
      const path = '/opentelemetry.proto.collector.metrics.v1.MetricsService/Export';
      expectFullSuccess(await clients.export(path, encodeRequest('metrics', BODIES.metrics(ids)), key));
    },
  },
  {
    table: 'soak_rest',
    protocol: 'REST',
    tier: 'hot',
    poisonEvery: POISON_EVERY,
    columns: [
      { name: 'id', type: 'bigint' },
      { name: 'doc', type: 'jsonb' },
    ],
    idSql: 'id',
    idOf: idColumn,
    send: async (clients, request, isPoison) => {
      // A number that jsonb cannot hold.
      const rows = request.rows.map((id) => `{"id":${id},"doc":{"n":${isPoison(id) ? '1e400000' : id}}}`);
      const answer = await post(clients, '/write/soak_rest', `[${rows.join()}]`, request);
      expectAccepted(JSON.parse(answer.toString()) as { accepted: number }, request.rows);
    },
  },
  {
    table: 'soak_ingest',
    protocol: 'IngestService',
    tier: 'cold',
    poisonEvery: POISON_EVERY,
    columns: [{ name: 'id', type: 'bigint' }],
    constraint: `id % ${POISON_EVERY} != ${POISON_EVERY - 1}`,
    idSql: 'id',
    idOf: idColumn,
    send: async (clients, { rows: ids, key }) => {
      const columns = { columns: [{ name: 'id', int64s: { values: ids } }] };
      const answer = await clients.ingest.call('Write', { table: 'soak_ingest', columns, idempotencyKey: key });
      expectAccepted({ accepted: answer['acceptedRows'] }, ids);
    },
  },
  {
    table: 'soak_flight',
    protocol: 'Flight',
    tier: 'hot',
    poisonEvery: POISON_EVERY,
    columns: [{ name: 'id', type: 'bigint' }],
    constraint: `id % ${POISON_EVERY} <> ${POISON_EVERY - 1}`,
    idSql: 'id',
    idOf: idColumn,
    send: async (clients, { rows: ids, key }) => {
      const table = new Table({ id: vectorFromArray(ids.map(BigInt), new Int64()) });
      const { end } = await clients.flight.put(table, pathDescriptor('soak_flight'), { 'idempotency-key': key });
      if (end.code !== 0)
        throw new NotAcknowledged(`${end.code} ${end.details}`, end.trailers.get('grpc-status-details-bin').length > 0);
    },
  },
];
