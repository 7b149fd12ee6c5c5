/**
 * Cost of the listeners and adapters without decoding and WAL, run by hand:
 *
 *   node bench/run.cjs bench/adapters.ts [seconds per round]
 *
 * The server is this process, the load another one that sends over bare sockets (HTTP/1.1) or bare HTTP/2 (gRPC). Prints requests
 * per CPU-second of the server. `bare` is node:http that reads the body and answers 200, for comparison.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { connect as connectHttp2 } from 'node:http2';
import { type AddressInfo, connect } from 'node:net';
import { gzipSync } from 'node:zlib';
import { GrpcListener } from '../src/adapters/grpc-listener';
import { HttpListener } from '../src/adapters/http-listener';
import { OtlpGrpcAdapter } from '../src/adapters/otlp/grpc-adapter';
import { OtlpHttpAdapter } from '../src/adapters/otlp/http-adapter';
import type { OtlpDecoders } from '../src/adapters/otlp/signal';
import type { DecodedRequest } from '../src/core/batch';
import { type BatchId, lsn } from '../src/core/ids';
import type { Ingest, WriteReceipt } from '../src/core/ingest';
import { silentLogger, Telemetry } from '../src/telemetry';

const CONNECTIONS = 32;
const NOTHING: DecodedRequest = { batches: [], acceptedRows: 0, rejectedRows: 0, rejections: [] };
const RECEIPT: Promise<WriteReceipt> = Promise.resolve({ batch: 'none' as BatchId, lsn: lsn(0) });
const ADMISSION = { grow: (): void => undefined, release: (): void => undefined };
const INGEST: Ingest = { admit: () => ADMISSION, write: () => RECEIPT };
const decoder = { decode: () => NOTHING, transcode: (body: Uint8Array) => body };
const DECODERS: OtlpDecoders = { logs: decoder, metrics: decoder, traces: decoder };

interface Load {
  readonly address: string;
  readonly kind: 'http' | 'grpc';
  readonly bytes: number;
  readonly gzip: boolean;
}

/** Text that gzip shrinks about fivefold. */
const payload = (bytes: number): Buffer =>
  Buffer.from(
    Array.from({ length: Math.ceil(bytes / 40) }, (_, i) => `{"n":${(i * 7919) % 99991},"m":"connection reset"},   `).join(''),
  ).subarray(0, bytes);

/** In the load process: sends for ever, until it is killed. */
function generate({ address, kind, bytes, gzip }: Load): void {
  const body = gzip ? gzipSync(payload(bytes)) : payload(bytes);
  const [host, port] = address.split(':');
  if (kind === 'http') {
    const encoding = gzip ? 'Content-Encoding: gzip\r\n' : '';
    const head = `POST /v1/logs HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\n${encoding}Content-Length: ${body.length}\r\n\r\n`;
    const request = Buffer.concat([Buffer.from(head), body]);
    for (let i = 0; i < CONNECTIONS; i++) {
      const socket = connect({ host, port: Number(port), noDelay: true });
      socket.on('data', () => socket.write(request));
      socket.write(request);
    }
    return;
  }
  const message = Buffer.concat([Buffer.alloc(5), body]);
  message[0] = gzip ? 1 : 0;
  message.writeUInt32BE(body.length, 1);
  const headers = {
    ':method': 'POST',
    ':path': '/opentelemetry.proto.collector.logs.v1.LogsService/Export',
    'content-type': 'application/grpc',
    te: 'trailers',
    ...(gzip ? { 'grpc-encoding': 'gzip' } : {}),
  };
  for (let c = 0; c < 4; c++) {
    const session = connectHttp2(`http://${address}`);
    const next = (): void => {
      const stream = session.request(headers);
      stream.resume();
      stream.on('close', next);
      stream.end(message);
    };
    for (let i = 0; i < CONNECTIONS / 4; i++) next();
  }
}

async function measure(load: Load, served: () => number, seconds: number): Promise<number> {
  const child: ChildProcess = spawn(process.execPath, ['bench/run.cjs', 'bench/adapters.ts'], {
    env: { ...process.env, BENCH_LOAD: JSON.stringify(load) },
    stdio: 'inherit',
  });
  const warmUntil = performance.now() + 20_000;
  while (served() < 500 && performance.now() < warmUntil) await new Promise((resolve) => setTimeout(resolve, 50));
  const rates: number[] = [];
  for (let round = 0; round < 3; round++) {
    const before = process.cpuUsage();
    const start = served();
    await new Promise((resolve) => setTimeout(resolve, seconds * 1_000));
    const { user, system } = process.cpuUsage(before);
    rates.push(((served() - start) / (user + system)) * 1e6);
  }
  child.kill('SIGKILL');
  await once(child, 'exit');
  return Math.round(rates.toSorted((a, b) => a - b)[1]);
}

async function main(seconds: number): Promise<void> {
  const telemetry = new Telemetry();
  let served = 0;
  const count = (): DecodedRequest => {
    served++;
    return NOTHING;
  };
  const decoders: OtlpDecoders = { ...DECODERS, logs: { ...decoder, decode: count } };
  const adapters = [new OtlpHttpAdapter({ ingest: INGEST, decoders, telemetry })];
  const http = new HttpListener({ host: '127.0.0.1', port: 0, logger: silentLogger(), adapters });
  const { services } = new OtlpGrpcAdapter({ ingest: INGEST, decoders, telemetry });
  const grpc = new GrpcListener({ host: '127.0.0.1', port: 0, logger: silentLogger(), services });
  const bare = createServer((req, res) => {
    const chunks: Buffer[] = [];
    req.on('data', (chunk: Buffer) => chunks.push(chunk));
    req.on('end', () => {
      served += Buffer.concat(chunks).length > 0 ? 1 : 0;
      res.writeHead(200, { 'content-length': 0 }).end();
    });
  });
  bare.listen(0, '127.0.0.1');
  await once(bare, 'listening');
  const addresses = {
    bare: `127.0.0.1:${(bare.address() as AddressInfo).port}`,
    http: await http.start(),
    grpc: await grpc.start(),
  };
  for (const [bytes, gzip] of [
    [5_000, false],
    [100_000, false],
    [100_000, true],
  ] as const) {
    for (const name of gzip ? (['http', 'grpc'] as const) : (['bare', 'http', 'grpc'] as const)) {
      const kind = name === 'grpc' ? 'grpc' : 'http';
      const rate = await measure({ address: addresses[name], kind, bytes, gzip }, () => served, seconds);
      console.log(`${name.padEnd(5)} ${bytes / 1000} KB${gzip ? ' gzip' : ''}: ${rate} requests per CPU-second`);
    }
  }
  bare.close();
  bare.closeAllConnections();
  await Promise.all([http.stop(0), grpc.stop(0)]);
}

const job = process.env.BENCH_LOAD;
if (job === undefined) void main(Number(process.argv[2] ?? 2));
else generate(JSON.parse(job) as Load);
