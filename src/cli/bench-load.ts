/** The load process of `thermocline bench`: reads a job from stdin, sends requests for its time, prints what happened. */
import { Agent, request as httpRequest } from 'node:http';
import { text } from 'node:stream/consumers';
import { Client, credentials } from '@grpc/grpc-js';
import { encodePayloads } from './bench-payloads';

export interface LoadJob {
  readonly transport: 'http' | 'grpc';
  readonly signal: 'logs' | 'metrics' | 'traces';
  /** host:port */
  readonly address: string;
  /** Rows of one request. */
  readonly rows: number;
  readonly seconds: number;
  /** Requests in flight. */
  readonly connections: number;
}

export interface LoadResult {
  readonly rows: number;
  readonly seconds: number;
  readonly errors: number;
  readonly ackP50Ms: number;
  readonly ackP99Ms: number;
}

/** Different bodies sent in turn, so that no cache sees one request again and again. */
const BODIES = 8;

const GRPC_METHODS = {
  logs: '/opentelemetry.proto.collector.logs.v1.LogsService/Export',
  metrics: '/opentelemetry.proto.collector.metrics.v1.MetricsService/Export',
  traces: '/opentelemetry.proto.collector.trace.v1.TraceService/Export',
} as const;

/** Sends one body; resolves when it is acknowledged in full, rejects otherwise. */
type Send = (body: Uint8Array) => Promise<void>;

export async function runLoad(): Promise<void> {
  const job = JSON.parse(await text(process.stdin)) as LoadJob;
  const bodies = encodePayloads(job.signal, job.rows, BODIES);
  const sender = job.transport === 'http' ? httpSender(job) : grpcSender(job);
  const latencies: number[] = [];
  let errors = 0;
  const startedAt = performance.now();
  const deadline = startedAt + job.seconds * 1_000;
  const worker = async (first: number): Promise<void> => {
    for (let i = first; performance.now() < deadline; i++) {
      const sentAt = performance.now();
      try {
        await sender.send(bodies[i % bodies.length]);
        latencies.push(performance.now() - sentAt);
      } catch {
        errors++;
      }
    }
  };
  await Promise.all(Array.from({ length: job.connections }, (_, i) => worker(i)));
  const seconds = (performance.now() - startedAt) / 1_000;
  sender.close();
  latencies.sort((a, b) => a - b);
  const quantile = (q: number): number => latencies[Math.min(latencies.length - 1, Math.floor(latencies.length * q))] ?? 0;
  const result: LoadResult = {
    rows: latencies.length * job.rows,
    seconds,
    errors,
    ackP50Ms: quantile(0.5),
    ackP99Ms: quantile(0.99),
  };
  process.stdout.write(`${JSON.stringify(result)}\n`);
}

function httpSender(job: LoadJob): { send: Send; close: () => void } {
  const agent = new Agent({ keepAlive: true, maxSockets: job.connections });
  const [host, port] = job.address.split(':');
  const send: Send = (body) =>
    new Promise((resolve, reject) => {
      const headers = { 'content-type': 'application/x-protobuf', 'content-length': body.length };
      const request = httpRequest({ agent, host, port, method: 'POST', path: `/v1/${job.signal}`, headers }, (response) => {
        let bytes = 0;
        response.on('data', (chunk: Buffer) => {
          bytes += chunk.length;
        });
        // A body in a 200 means a partial success: some rows were refused.
        response.on('end', () =>
          response.statusCode === 200 && bytes === 0 ? resolve() : reject(new Error(`status ${response.statusCode}`)),
        );
      });
      request.on('error', reject);
      request.end(body);
    });
  return { send, close: () => agent.destroy() };
}

function grpcSender(job: LoadJob): { send: Send; close: () => void } {
  const client = new Client(job.address, credentials.createInsecure());
  const identity = (bytes: Buffer): Buffer => bytes;
  const send: Send = (body) =>
    new Promise((resolve, reject) => {
      client.makeUnaryRequest(
        GRPC_METHODS[job.signal],
        identity,
        identity,
        Buffer.from(body.buffer, body.byteOffset, body.length),
        (error, answer) => {
          if (error === null && answer?.length === 0) resolve();
          else reject(error ?? new Error('partial success'));
        },
      );
    });
  return { send, close: () => client.close() };
}
