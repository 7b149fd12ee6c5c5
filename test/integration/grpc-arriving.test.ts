/** Messages of streams that never become whole: memory stays bounded, they are told why they end, and nobody else is starved. */
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { Table, Utf8, vectorFromArray } from 'apache-arrow';
import { FlightAdapter } from '../../src/adapters/flight/adapter';
import { IngestServiceAdapter } from '../../src/adapters/grpc/adapter';
import { GrpcListener, type GrpcListenerOptions } from '../../src/adapters/grpc-listener';
import { lsn } from '../../src/core/ids';
import { silentLogger, Telemetry } from '../../src/telemetry';
import { FlightTestClient, flightMessage, pathDescriptor, tableParts } from '../support/flight-client';
import { frame, type RawCall, RawGrpcClient } from '../support/grpc-raw';
import { IngestClient } from '../support/ingest-client';
import { MemoryRegistry, RecordingIngest } from '../support/recording-ingest';
import { decodeRpcStatus } from '../support/rpc-status';

const MB = 1024 * 1024;
const DO_PUT = '/arrow.flight.protocol.FlightService/DoPut';
const STREAMS = [
  DO_PUT,
  '/arrow.flight.protocol.FlightService/DoExchange',
  '/arrow.flight.protocol.FlightService/Handshake',
  '/arrow.flight.protocol.FlightService/GetFlightInfo',
  '/thermocline.ingest.v1.IngestService/WriteStream',
  '/grpc.reflection.v1.ServerReflection/ServerReflectionInfo',
];

let ingest: RecordingIngest;
let listener: GrpcListener;
let address: string;
let raw: RawGrpcClient[];
let client: IngestClient;
let flight: FlightTestClient;

async function start(options: Partial<GrpcListenerOptions>): Promise<void> {
  ingest = new RecordingIngest();
  const common = { ingest, registry: new MemoryRegistry(), batches: { status: () => undefined }, telemetry: new Telemetry() };
  const progress = { durableLsn: () => lsn(0), delivered: () => Promise.resolve() };
  listener = new GrpcListener({
    host: '127.0.0.1',
    port: 0,
    logger: silentLogger(),
    services: [
      ...new IngestServiceAdapter(common).services,
      ...new FlightAdapter({ ...common, progress, erasers: [], sql: { hot: undefined, cold: undefined } }).services,
    ],
    ...options,
  });
  address = await listener.start();
  client = new IngestClient(address);
  flight = new FlightTestClient(address);
  raw = [];
}

async function connections(count: number): Promise<RawGrpcClient[]> {
  const opened = await Promise.all(Array.from({ length: count }, () => RawGrpcClient.open(address)));
  raw.push(...opened);
  return opened;
}

async function close(): Promise<void> {
  client.close();
  flight.close();
  for (const connection of raw) connection.close();
  await listener.stop(0);
  expect(ingest.inFlightBytes).toBe(0);
}
afterEach(close);

/** Announces a message of `sizeBytes` and sends `sent` of it. */
function halfSend(call: RawCall, sizeBytes: number, sent: Buffer): void {
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(sizeBytes, 1);
  call.stream.write(prefix);
  call.stream.write(sent);
}

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await delay(10);
}

const bigRow = (bytes: number): object => ({
  table: 'cars',
  rows: { rows: [{ fields: { s: { stringValue: 'x'.repeat(bytes) } } }] },
});

/** Half-sent messages on `count` streams of all kinds; their statuses as they end. */
async function attack(count: number, sizeBytes: number, sent: Buffer): Promise<{ calls: RawCall[]; ended: string[] }> {
  const own = await connections(4);
  const calls = Array.from({ length: count }, (_, i) => own[i % 4].call(STREAMS[i % STREAMS.length]));
  const ended: string[] = [];
  for (const call of calls) {
    void call.answer.then(({ trailers }) => ended.push(String(trailers['grpc-status'])));
    halfSend(call, sizeBytes, sent);
  }
  return { calls, ended };
}

it('FL9: half-sent messages of many streams are bounded together', async () => {
  await start({ arrivingBytesMax: 16 * MB, messageBytesMax: 16 * MB, arrivingStallMs: 400 });
  const before = process.memoryUsage().arrayBuffers;
  let peakBytes = 0;
  const sample = setInterval(() => {
    peakBytes = Math.max(peakBytes, process.memoryUsage().arrayBuffers - before);
  }, 5);
  // 512 MiB in all, of one buffer in this process.
  const { ended } = await attack(64, 12 * MB, Buffer.alloc(8 * MB));
  await until(() => ended.length >= 2);
  clearInterval(sample);
  // The bound, one message, an HTTP/2 window of each stream, and what the client has made of the 8 MiB.
  expect(peakBytes).toBeLessThan((16 + 16 + 64 + 64) * MB);
}, 30_000);

it('half-sent messages end as UNAVAILABLE with a hint when others wait, and starve nobody', async () => {
  await start({ arrivingBytesMax: 16 * MB, messageBytesMax: 16 * MB, arrivingStallMs: 200 });
  const { calls, ended } = await attack(48, 12 * MB, Buffer.alloc(MB));
  await until(() => ended.length > 0);
  // Small messages, a unary call and a message of the greatest size come through while they are at it.
  const table = new Table({ s: vectorFromArray(['a'], new Utf8()) });
  expect((await flight.put(table, pathDescriptor('bikes'))).end.code).toBe(0);
  expect(await client.call('Write', bigRow(10))).toMatchObject({ acceptedRows: '1' });
  expect(ended.length).toBeLessThan(calls.length);
  const stream = client.stream();
  const over = once(stream, 'status');
  const answered = once(stream, 'data');
  stream.end({ requestId: 'big', write: bigRow(15 * MB) });
  expect((await answered)[0]).toMatchObject({ requestId: 'big', response: { acceptedRows: '1' } });
  await over;
  expect(new Set(ended)).toEqual(new Set(['14']));
  const first = await Promise.race(calls.map((call) => call.answer));
  const details = Buffer.from(String(first.trailers['grpc-status-details-bin']), 'base64');
  expect(decodeRpcStatus(details)).toMatchObject({ code: 14, retryAfterMs: 1_000 });
}, 30_000);

it('FL9: 200 streams of messages that together are far over the bound all get through', async () => {
  await start({ arrivingBytesMax: 4 * MB, messageBytesMax: 2 * MB });
  const [schema, batch] = tableParts(new Table({ s: vectorFromArray(['y'.repeat(MB)], new Utf8()) }));
  const clients = Array.from({ length: 4 }, () => new FlightTestClient(address));
  const ends = clients.flatMap((own) =>
    Array.from({ length: 50 }, async () => {
      const stream = own.stream('DoPut');
      await stream.send({ flightDescriptor: pathDescriptor('cars'), ...schema });
      await stream.send({ ...batch, appMetadata: Buffer.from('0') });
      const { code } = await stream.finish();
      return [code, ...stream.acks()];
    }),
  );
  expect(new Set((await Promise.all(ends)).map(String))).toEqual(new Set(['0,0']));
  expect(ingest.rows()).toEqual({ cars: 200 });
  for (const own of clients) own.close();
});

it('compressed messages of streams are unpacked within the bound', async () => {
  await start({ arrivingBytesMax: 8 * MB, messageBytesMax: 4 * MB });
  const [connection] = await connections(1);
  const [schema, batch] = tableParts(new Table({ s: vectorFromArray(['z'.repeat(3 * MB)], new Utf8()) }));
  const packed = (data: object): Buffer => frame(gzipSync(flightMessage('FlightData', data)), 1);
  const bytes = Buffer.concat([packed({ flightDescriptor: pathDescriptor('cars'), ...schema }), packed(batch), packed(batch)]);
  const calls = Array.from({ length: 20 }, () => connection.call(DO_PUT, { 'grpc-encoding': 'gzip' }));
  for (const call of calls) call.stream.end(bytes);
  const answers = await Promise.all(calls.map((call) => call.answer));
  expect(new Set(answers.map(({ trailers }) => trailers['grpc-status']))).toEqual(new Set(['0']));
  expect(ingest.rows()).toEqual({ cars: 40 });
});
