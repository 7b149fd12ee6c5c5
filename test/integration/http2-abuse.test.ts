/**
 * Clients that misuse HTTP/2 on the gRPC port, in frames written by hand (RFC 9113): the server cuts them off, keeps no room for them,
 * its memory stays flat, and others are served meanwhile.
 */

import { strict as assert } from 'node:assert';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { GrpcListener, type GrpcListenerOptions } from '../../src/adapters/grpc-listener';
import { OtlpGrpcAdapter } from '../../src/adapters/otlp/grpc-adapter';
import { silentLogger, Telemetry } from '../../src/telemetry';
import { DECODERS, spans } from '../support/adapter-subjects';
import { frame, RawGrpcClient } from '../support/grpc-raw';
import { encodeRequest } from '../support/otlp-requests';
import { RecordingIngest } from '../support/recording-ingest';

const TRACES = '/opentelemetry.proto.collector.trace.v1.TraceService/Export';
const MIB = 1024 * 1024;
const PREFACE = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';
const TYPE = { data: 0, headers: 1, reset: 3, settings: 4, ping: 6, continuation: 9 } as const;
const END_HEADERS = 4;
const GOAWAY = 7;

function h2(type: keyof typeof TYPE, flags: number, stream: number, payload: Uint8Array = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = TYPE[type];
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

const text = (value: string): Buffer => Buffer.concat([Buffer.of(value.length), Buffer.from(value)]);
/** POST http path, content-type and te, as literals without indexing (RFC 7541). */
const REQUEST = Buffer.concat([
  Buffer.of(0x83, 0x86, 0x04),
  text(TRACES),
  Buffer.of(0x01),
  text('x'),
  Buffer.of(0x0f, 0x10),
  text('application/grpc'),
  Buffer.of(0x00),
  text('te'),
  text('trailers'),
]);

let ingest: RecordingIngest;
let listener: GrpcListener;
let address: string;

async function listen(options: Partial<GrpcListenerOptions> = {}): Promise<void> {
  ingest = new RecordingIngest();
  const { services } = new OtlpGrpcAdapter({ ingest, decoders: DECODERS, telemetry: new Telemetry() });
  listener = new GrpcListener({ host: '127.0.0.1', port: 0, services, logger: silentLogger(), ...options });
  address = await listener.start();
}
afterEach(async () => {
  await listener.stop(0);
  assert.equal(ingest.inFlightBytes, 0);
});

/** A connection that has said hello, unless it is to be silent. What the server says is thrown away, or not even read. */
async function open(how: 'reads' | 'does not read' | 'is silent' = 'reads'): Promise<Socket> {
  const [host, port] = address.split(':') as [string, string];
  const socket = connect({ host, port: Number(port) });
  socket.on('error', () => undefined);
  await once(socket, 'connect');
  if (how !== 'does not read') socket.resume();
  if (how !== 'is silent') socket.write(Buffer.concat([Buffer.from(PREFACE), h2('settings', 0, 0)]));
  return socket;
}

const closed = (socket: Socket): Promise<unknown> =>
  socket.destroyed ? Promise.resolve(undefined) : once(socket, 'close').catch(() => undefined);

/** Writes what `next` gives until the server closes the connection; gives the number of writes. */
async function floodUntilClosed(socket: Socket, next: (index: number) => Buffer): Promise<number> {
  let isClosed = false;
  void closed(socket).then(() => (isClosed = true));
  for (let index = 0; index < 100_000; index++) {
    if (isClosed || socket.destroyed) return index;
    if (!socket.write(next(index))) await Promise.race([once(socket, 'drain').catch(() => undefined), closed(socket)]);
    else if (index % 50 === 0) await new Promise(setImmediate);
  }
  throw new Error('the server takes everything');
}

async function serves(): Promise<boolean> {
  const client = await RawGrpcClient.open(address);
  const answer = await client.unary(TRACES, frame(encodeRequest('traces', spans(3))));
  client.close();
  return answer.trailers['grpc-status'] === '0';
}

/** Runs the attack ten times and gives by how much the memory that is still held grew, MiB: what is garbage is not counted. */
async function growth(attack: () => Promise<unknown>): Promise<number> {
  await attack();
  const before = heldBytes();
  for (let time = 0; time < 10; time++) await attack();
  return (heldBytes() - before) / MIB;
}

function heldBytes(): number {
  setFlagsFromString('--expose-gc');
  (runInNewContext('gc') as () => void)();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

it('a rapid reset (streams opened and reset at once) is stopped by GOAWAY, and the connection is closed', async () => {
  await listen({ keepaliveTimeMs: 200, keepaliveTimeoutMs: 200 });
  const opened = 4_000;
  const attack = async (): Promise<void> => {
    const socket = await open('does not read');
    let lastStream = Number.NaN;
    socket.on('data', (chunk: Buffer) => {
      for (let at = 0; at + 17 <= chunk.length; at += 9 + chunk.readUIntBE(at, 3)) {
        if (chunk[at + 3] === GOAWAY && Number.isNaN(lastStream)) lastStream = chunk.readUInt32BE(at + 9);
      }
    });
    const frames = Array.from({ length: opened }, (_, index) => [
      h2('headers', END_HEADERS, 2 * index + 1, REQUEST),
      h2('reset', 0, 2 * index + 1, Buffer.from([0, 0, 0, 8])),
    ]);
    socket.write(Buffer.concat(frames.flat()));
    await closed(socket);
    // Nothing behind it was looked at.
    expect(lastStream).toBeLessThan(opened);
    expect(await serves()).toBe(true);
  };
  expect(await growth(attack)).toBeLessThan(20);
});

it('headers that never end (CONTINUATION flood) end the connection', async () => {
  await listen();
  const junk = Buffer.concat([Buffer.of(0x00), text('a'), text('b'.repeat(100))]);
  const attack = async (): Promise<void> => {
    const socket = await open();
    socket.write(h2('headers', 0, 1, REQUEST));
    expect(await floodUntilClosed(socket, () => h2('continuation', 0, 1, junk))).toBeLessThan(20_000);
    expect(await serves()).toBe(true);
  };
  expect(await growth(attack)).toBeLessThan(100);
});

it('a client that pings and reads no answer is cut off', async () => {
  await listen();
  const socket = await open('does not read');
  const pings = Buffer.concat(Array.from({ length: 200 }, () => h2('ping', 0, 0, Buffer.alloc(8))));
  const flooding = floodUntilClosed(socket, () => pings);
  expect(await serves()).toBe(true);
  // A connection that is not read is closed for us by its error, and by what we write into it.
  socket.on('readable', () => undefined);
  expect(await flooding).toBeLessThan(100_000);
});

it('no connection has more than the allowed number of streams, and streams without a message end in time', async () => {
  await listen({ concurrentStreamsMax: 50, requestTimeoutMs: 200 });
  const client = await RawGrpcClient.open(address);
  expect(await serves()).toBe(true);
  expect((await client.unary(TRACES, frame(Buffer.alloc(0)))).trailers['grpc-status']).toBe('0');
  expect(client.session.remoteSettings.maxConcurrentStreams).toBe(50);
  const idle = Array.from({ length: 50 }, () => client.call(TRACES));
  expect(await serves()).toBe(true);
  for (const { answer } of idle) expect((await answer).trailers['grpc-status']).toBe('4');
  client.close();
});

it('a stream over the limit is refused without reaching a handler', async () => {
  await listen({ concurrentStreamsMax: 10 });
  const socket = await open();
  const streams = Array.from({ length: 200 }, (_, index) => h2('headers', END_HEADERS, 2 * index + 1, REQUEST));
  socket.write(Buffer.concat(streams));
  expect(await serves()).toBe(true);
  expect(ingest.writes).toHaveLength(1);
  socket.destroy();
});

it('connections that say nothing, before or after the hello, are closed', async () => {
  await listen({ keepaliveTimeMs: 100, keepaliveTimeoutMs: 100 });
  const sockets = await Promise.all([open('is silent'), open('reads'), open('does not read')]);
  sockets[2].resume();
  await Promise.all(sockets.map(closed));
  expect(sockets.map((socket) => socket.destroyed)).toEqual([true, true, true]);
});

it('a message without end is refused at the limit and not kept', async () => {
  await listen({ messageBytesMax: MIB });
  const attack = async (): Promise<void> => {
    const client = await RawGrpcClient.open(address);
    const call = client.call(TRACES);
    const prefix = Buffer.alloc(5);
    prefix.writeUInt32BE(0xffff_ffff, 1);
    call.stream.write(prefix);
    const chunk = Buffer.alloc(64 * 1024, 1);
    const pump = (): void => {
      while (!call.stream.destroyed && !call.stream.closed && call.stream.write(chunk));
    };
    call.stream.on('drain', pump);
    pump();
    expect((await call.answer).trailers['grpc-status']).toBe('8');
    client.close();
  };
  expect(await growth(attack)).toBeLessThan(100);
  expect(ingest.peakInFlightBytes).toBeLessThanOrEqual(4 * MIB);
});
