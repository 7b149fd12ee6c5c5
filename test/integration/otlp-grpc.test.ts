/** Rules OG1-OG10 of OTLP/gRPC and GR1-GR11 of the transport, against the real listener. */
import { once } from 'node:events';
import { constants } from 'node:http2';
import { dirname, join } from 'node:path';
import { deflateSync, gzipSync } from 'node:zlib';
import { Client, credentials, loadPackageDefinition, type ServiceClientConstructor } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { protoPath as healthProtoPath, service as healthService } from 'grpc-health-check';
import { asBytes } from '../../src/adapters/grpc-contract';
import { GrpcListener, type GrpcListenerOptions } from '../../src/adapters/grpc-listener';
import { OtlpGrpcAdapter } from '../../src/adapters/otlp/grpc-adapter';
import type { DecodedRequest } from '../../src/core/batch';
import { IngestError } from '../../src/core/errors';
import { LIMITS } from '../../src/core/limits';
import { silentLogger, Telemetry } from '../../src/telemetry';
import { DECODERS, spans } from '../support/adapter-subjects';
import { Gate } from '../support/gate';
import { frame, RawGrpcClient } from '../support/grpc-raw';
import { otlpRoot } from '../support/otlp-proto';
import { encodeRequest } from '../support/otlp-requests';
import { decoded, RecordingIngest } from '../support/recording-ingest';
import { decodeRpcStatus } from '../support/rpc-status';

const TRACES = '/opentelemetry.proto.collector.trace.v1.TraceService/Export';
const LOGS = '/opentelemetry.proto.collector.logs.v1.LogsService/Export';
const METRICS = '/opentelemetry.proto.collector.metrics.v1.MetricsService/Export';
const THREE_SPANS = encodeRequest('traces', spans(3));

let ingest: RecordingIngest;
let telemetry: Telemetry;
let listener: GrpcListener;
let address: string;
let client: RawGrpcClient;

interface Setup extends Partial<GrpcListenerOptions> {
  readonly decoders?: typeof DECODERS;
  readonly responseBytesMax?: number;
}

async function listen({
  decoders = DECODERS,
  responseBytesMax = LIMITS.responseBytesMax,
  ...options
}: Setup = {}): Promise<void> {
  ingest = new RecordingIngest();
  telemetry = new Telemetry();
  const { services } = new OtlpGrpcAdapter({ ingest, decoders, telemetry, responseBytesMax });
  listener = new GrpcListener({ host: '127.0.0.1', port: 0, services, logger: silentLogger(), ...options });
  address = await listener.start();
  client = await RawGrpcClient.open(address);
}
async function close(): Promise<void> {
  client.close();
  await listener.stop(0);
  expect(ingest.inFlightBytes).toBe(0);
}
afterEach(close);

const answering = (answer: DecodedRequest): typeof DECODERS => {
  const decoder = { decode: () => answer, transcode: (body: Uint8Array) => body };
  return { logs: decoder, metrics: decoder, traces: decoder };
};

const detailsOf = (trailers: Record<string, unknown>) =>
  decodeRpcStatus(Buffer.from(String(trailers['grpc-status-details-bin']), 'base64'));

describe('OTLP/gRPC', () => {
  it('OG1, OG7: the three Export services; full success is a message without fields', async () => {
    await listen();
    const bodies = {
      [TRACES]: THREE_SPANS,
      [LOGS]: encodeRequest('logs', { resourceLogs: [{ scopeLogs: [{ logRecords: [{ timeUnixNano: '1' }] }] }] }),
      [METRICS]: encodeRequest('metrics', {
        resourceMetrics: [
          { scopeMetrics: [{ metrics: [{ name: 'm', sum: { dataPoints: [{ timeUnixNano: '1', asDouble: 1 }] } }] }] },
        ],
      }),
    };
    for (const [path, body] of Object.entries(bodies)) {
      const answer = await client.unary(path, frame(body));
      expect([answer.trailers['grpc-status'], answer.body]).toEqual(['0', frame(Buffer.alloc(0))]);
    }
    expect(ingest.rows()).toEqual({ traces_spans: 3, logs_events: 1, metrics_events: 1 });
  });

  it('OG7: a message of zero length is an empty request', async () => {
    await listen();
    for (const path of [TRACES, LOGS, METRICS]) {
      const answer = await client.unary(path, frame(Buffer.alloc(0)));
      expect([answer.trailers['grpc-status'], answer.body.length]).toEqual(['0', 5]);
    }
    expect(ingest.writes).toEqual([]);
  });

  it('OG7: partial success has the exact count, a warning a count of zero', async () => {
    await listen({ decoders: answering(decoded({ rejectedRows: 3_000_000_000, acceptedRows: 1, warnings: ['odd'] })) });
    const type = otlpRoot().lookupType('ExportTraceServiceResponse');
    const partial = await client.unary(TRACES, frame(Buffer.alloc(0)));
    expect(type.toObject(type.decode(partial.body.subarray(5)), { longs: String })).toMatchObject({
      partialSuccess: { rejectedSpans: '3000000000' },
    });
    await close();
    await listen({ decoders: answering(decoded({ acceptedRows: 1, warnings: ['odd'] })) });
    const warning = await client.unary(TRACES, frame(Buffer.alloc(0)));
    expect(type.toObject(type.decode(warning.body.subarray(5)))).toEqual({ partialSuccess: { errorMessage: 'odd' } });
  });

  it.each([
    ['identity', (body: Uint8Array) => frame(body)],
    ['gzip', (body: Uint8Array) => frame(gzipSync(body), 1)],
    ['deflate', (body: Uint8Array) => frame(deflateSync(body), 1)],
    ['gzip', (body: Uint8Array) => frame(body, 0)],
  ])('OG2: takes %s', async (encoding, encode) => {
    await listen();
    const answer = await client.unary(TRACES, encode(THREE_SPANS), { 'grpc-encoding': encoding });
    expect(answer.trailers['grpc-status']).toBe('0');
    expect(ingest.rows()).toEqual({ traces_spans: 3 });
  });

  it('OG3: a message over the limit, plain or unpacked, is RESOURCE_EXHAUSTED without RetryInfo', async () => {
    await listen({ messageBytesMax: 1_000_000 });
    const plain = await client.unary(TRACES, frame(Buffer.alloc(1_000_001)));
    const bomb = await client.unary(TRACES, frame(gzipSync(Buffer.alloc(1_000_001)), 1), { 'grpc-encoding': 'gzip' });
    for (const { trailers } of [plain, bomb]) expect(trailers['grpc-status']).toBe('8');
    expect(detailsOf(bomb.trailers)).toMatchObject({ code: 8, retryAfterMs: undefined });
    expect(plain.trailers['grpc-status-details-bin']).toBeUndefined();
  });

  it('OG3: the limit is 64 MiB, and 100 MB of zeros in gzip leave memory bounded', async () => {
    await listen();
    const large = Buffer.concat([Buffer.from('8201', 'hex'), Buffer.from('80808010', 'hex'), Buffer.alloc(32 * 1024 * 1024)]);
    expect((await client.unary(TRACES, frame(large))).trailers['grpc-status']).toBe('0');
    const bomb = gzipSync(Buffer.alloc(100_000_000));
    const before = process.memoryUsage().rss;
    let peak = before;
    const watch = setInterval(() => (peak = Math.max(peak, process.memoryUsage().rss)), 2);
    const answer = await client.unary(TRACES, frame(bomb, 1), { 'grpc-encoding': 'gzip' });
    clearInterval(watch);
    expect(answer.trailers['grpc-status']).toBe('8');
    expect(peak - before).toBeLessThan(LIMITS.requestBytesMax + 64 * 1024 * 1024);
  });

  it('OG4, OG5: overload is UNAVAILABLE with RetryInfo; code and message equal the trailers', async () => {
    await listen();
    ingest.refusal = new IngestError('unavailable', 'zu voll: 100 %', { retryAfterMs: 1_250 });
    const { trailers } = await client.unary(TRACES, frame(THREE_SPANS));
    expect(trailers['grpc-status']).toBe('14');
    const details = detailsOf(trailers);
    expect(details).toMatchObject({ code: 14, retryAfterMs: 1_250 });
    expect(details.message).toBe(decodeURIComponent(String(trailers['grpc-message'])));
  });

  it('OG4, OG6: bad data is INVALID_ARGUMENT with BadRequest, and so is broken gzip', async () => {
    await listen();
    const bad = await client.unary(TRACES, frame(Buffer.from('0aff', 'hex')));
    expect(bad.trailers['grpc-status']).toBe('3');
    expect(detailsOf(bad.trailers).violations).toHaveLength(1);
    for (const body of [Buffer.from('no gzip'), gzipSync(THREE_SPANS).subarray(0, -4)]) {
      const answer = await client.unary(TRACES, frame(body, 1), { 'grpc-encoding': 'gzip' });
      expect(answer.trailers['grpc-status']).toBe('3');
    }
  });

  it('OG8: the message of a partial success shrinks to the response limit', async () => {
    const rejections = Array.from({ length: 100 }, (_, row) => ({
      row,
      code: 'invalid_value' as const,
      message: 'x'.repeat(200),
    }));
    await listen({ decoders: answering(decoded({ rejectedRows: 100, rejections })), responseBytesMax: 4_096 });
    const answer = await client.unary(TRACES, frame(Buffer.alloc(0)));
    expect(answer.trailers['grpc-status']).toBe('0');
    expect(answer.body.length).toBeLessThanOrEqual(4_096);
    expect(answer.body.length).toBeGreaterThan(1_000);
  });

  it('OG9: calls on one connection are served at the same time, the slow one does not hold up the others', async () => {
    await listen();
    const gate = new Gate();
    let calls = 0;
    ingest.beforeAnswer = () => (calls++ === 0 ? gate.pass() : Promise.resolve());
    const slow = client.unary(TRACES, frame(THREE_SPANS));
    await gate.arrived;
    const others = await Promise.all(Array.from({ length: 200 }, () => client.unary(TRACES, frame(THREE_SPANS))));
    expect(others.every(({ trailers }) => trailers['grpc-status'] === '0')).toBe(true);
    gate.open();
    expect((await slow).trailers['grpc-status']).toBe('0');
    expect(client.session.remoteSettings.maxConcurrentStreams).toBeGreaterThanOrEqual(100);
  });

  it('counts requests that never reach the handler too', async () => {
    await listen();
    ingest.refusal = new IngestError('unavailable', 'full', { retryAfterMs: 1_000 });
    await client.unary(TRACES, frame(THREE_SPANS));
    expect(await telemetry.registry.metrics()).toContain(
      'thermocline_requests_total{protocol="otlp_grpc",outcome="unavailable"} 1',
    );
  });
});

describe('gRPC transport', () => {
  it('GR1: a content type that is not gRPC is HTTP 415', async () => {
    await listen();
    for (const type of ['application/json', 'text/plain', 'application/x-protobuf']) {
      expect((await client.unary(TRACES, frame(THREE_SPANS), { 'content-type': type })).headers[':status']).toBe(415);
    }
    const proto = await client.unary(TRACES, frame(THREE_SPANS), { 'content-type': 'application/grpc+proto' });
    expect(proto.trailers['grpc-status']).toBe('0');
  });

  it('GR2: errors have HTTP status 200 and the gRPC status in trailers; unknown services are UNIMPLEMENTED at once', async () => {
    await listen();
    for (const path of ['/no.such.Service/Export', '/opentelemetry.proto.collector.trace.v1.TraceService/Nothing', '/']) {
      const answer = await client.unary(path, frame(Buffer.alloc(0)));
      expect([answer.headers[':status'], answer.trailers['grpc-status']]).toEqual([200, '12']);
    }
    const bad = await client.unary(TRACES, frame(Buffer.from('0aff', 'hex')));
    expect([bad.headers[':status'], bad.trailers['grpc-status']]).toEqual([200, '3']);
  });

  it('GR3: grpc-message is percent-encoded UTF-8', async () => {
    await listen();
    ingest.refusal = new IngestError('unavailable', 'Größe\n100 % \ud800 世界');
    const { trailers } = await client.unary(TRACES, frame(THREE_SPANS));
    const message = String(trailers['grpc-message']);
    expect(message).toMatch(/^[\x20-\x7e]+$/);
    expect(decodeURIComponent(message)).toBe('Größe\n100 % \ufffd 世界');
  });

  it('GR4: -bin metadata is taken padded and not, joined or repeated, and sent without padding', async () => {
    await listen();
    for (const value of ['YQ==', 'YQ', 'YQ==,Yg', 'YQ,Yg==']) {
      expect((await client.unary(TRACES, frame(THREE_SPANS), { 'trace-proto-bin': value })).trailers['grpc-status']).toBe('0');
    }
    ingest.refusal = new IngestError('unavailable', 'x', { retryAfterMs: 1 });
    for (const text of ['x', 'xx', 'xxx']) {
      ingest.refusal = new IngestError('unavailable', text, { retryAfterMs: 1 });
      const { trailers } = await client.unary(TRACES, frame(THREE_SPANS));
      expect(trailers['grpc-status-details-bin']).not.toMatch(/=/);
      expect(detailsOf(trailers).message).toBe(text);
    }
  });

  it.each(['zstd', 'snappy', 'zstdarrow5', 'br'])(
    'GR5: %s is UNIMPLEMENTED, with what is supported instead',
    async (encoding) => {
      await listen();
      const { trailers } = await client.unary(TRACES, frame(THREE_SPANS, 1), { 'grpc-encoding': encoding });
      expect(trailers['grpc-status']).toBe('12');
      expect(trailers['grpc-accept-encoding']).toBe('identity,deflate,gzip');
      const plain = await client.unary(TRACES, frame(THREE_SPANS, 0), { 'grpc-encoding': encoding });
      expect(plain.trailers['grpc-status']).toBe('0');
    },
  );

  it('GR6: a compressed message without grpc-encoding is INTERNAL', async () => {
    await listen();
    for (const headers of [{}, { 'grpc-encoding': 'identity' }]) {
      const answer = await client.unary(TRACES, frame(gzipSync(THREE_SPANS), 1), headers);
      expect(answer.trailers['grpc-status']).toBe('13');
    }
    expect(ingest.writes).toEqual([]);
  });

  it('GR7: messages may be cut into DATA frames anywhere', async () => {
    await listen();
    const whole = frame(gzipSync(THREE_SPANS), 1);
    for (const cuts of [[1], [3], [5], [6], [1, 2, 3, 4, 5, 6], [whole.length - 1]]) {
      const call = client.call(TRACES, { 'grpc-encoding': 'gzip' });
      let from = 0;
      for (const cut of [...cuts, whole.length]) {
        await new Promise((resolve) => call.stream.write(whole.subarray(from, cut), resolve));
        from = cut;
      }
      call.stream.end();
      expect((await call.answer).trailers['grpc-status']).toBe('0');
    }
  });

  it('GR8: an answer before the end of the request is followed by RST_STREAM with NO_ERROR', async () => {
    await listen({ messageBytesMax: 1000 });
    const call = client.call(TRACES);
    call.stream.write(frame(Buffer.alloc(2000)).subarray(0, 100));
    const answer = await call.answer;
    expect(answer.trailers['grpc-status']).toBe('8');
    expect(answer.rstCode).toBe(constants.NGHTTP2_NO_ERROR);
  });

  it('GR9: grpc-timeout ends a call with DEADLINE_EXCEEDED; a cancelled call gives its room back', async () => {
    await listen();
    const gate = new Gate();
    ingest.beforeAnswer = () => gate.pass();
    const answer = await client.unary(TRACES, frame(THREE_SPANS), { 'grpc-timeout': '100m' });
    expect(answer.trailers['grpc-status']).toBe('4');
    gate.open();
    const call = client.call(TRACES);
    call.stream.write(frame(Buffer.alloc(5000)).subarray(0, 1000));
    while (ingest.inFlightBytes < 5000) await new Promise(setImmediate);
    call.stream.close(constants.NGHTTP2_CANCEL);
    while (ingest.inFlightBytes > 0) await new Promise(setImmediate);
    expect(ingest.writes.length).toBeLessThanOrEqual(1);
  });

  it('ends a call whose message does not arrive in time', async () => {
    await listen({ requestTimeoutMs: 150 });
    const silent = client.call(TRACES);
    silent.stream.write(Buffer.from([0, 0]));
    const slow = client.call(TRACES);
    slow.stream.write(frame(THREE_SPANS).subarray(0, 20));
    for (const { answer } of [silent, slow]) expect((await answer).trailers['grpc-status']).toBe('4');
    expect(ingest.inFlightBytes).toBe(0);
  });

  it('refuses a large message from its prefix on, before it is sent', async () => {
    await listen();
    ingest.refusal = new IngestError('unavailable', 'full', { retryAfterMs: 1_000 });
    const call = client.call(TRACES);
    call.stream.write(frame(Buffer.alloc(50_000_000)).subarray(0, 100));
    expect((await call.answer).trailers['grpc-status']).toBe('14');
  });

  it('GR10: a stop sends GOAWAY, finishes accepted calls and refuses connections', async () => {
    await listen();
    const gate = new Gate();
    ingest.beforeAnswer = () => gate.pass();
    const open = client.unary(TRACES, frame(THREE_SPANS));
    await gate.arrived;
    const goaway = once(client.session, 'goaway');
    const stopped = listener.stop(20_000);
    expect((await goaway)[0]).toBe(constants.NGHTTP2_NO_ERROR);
    await expect(RawGrpcClient.open(address)).rejects.toThrow(/ECONNREFUSED/);
    gate.open();
    expect((await open).trailers['grpc-status']).toBe('0');
    await stopped;
  });

  it('GR11: a header list over the limit does not reach a handler', async () => {
    await listen();
    expect((await client.unary(TRACES, frame(Buffer.alloc(0)))).trailers['grpc-status']).toBe('0');
    expect(ingest.clients).toEqual(['127.0.0.1']);
    expect(client.session.remoteSettings.maxHeaderListSize).toBe(LIMITS.httpHeaderBytesMax);
    const headers = Object.fromEntries(Array.from({ length: 30 }, (_, i) => [`x-${i}`, 'y'.repeat(4_000)]));
    const call = client.call(TRACES, headers);
    call.stream.end(frame(THREE_SPANS));
    const answer = await call.answer;
    expect(answer.trailers['grpc-status']).not.toBe('0');
    expect(ingest.writes).toEqual([]);
  });

  it('opens its receive windows beyond the 64 KB of HTTP/2, so that uploads do not wait', async () => {
    await listen();
    expect((await client.unary(TRACES, frame(THREE_SPANS))).trailers['grpc-status']).toBe('0');
    expect(client.session.remoteSettings.initialWindowSize).toBeGreaterThanOrEqual(1024 * 1024);
    expect(client.session.state.remoteWindowSize).toBeGreaterThan(1024 * 1024);
  });
});

function health(server: string, service: string): Promise<{ status?: string; code?: number }> {
  const Health = loadPackageDefinition(
    loadSync(healthProtoPath, { enums: String, includeDirs: [join(dirname(healthProtoPath), '../..')] }),
  );
  const Constructor = (Health.grpc as unknown as { health: { v1: { Health: ServiceClientConstructor } } }).health.v1.Health;
  const stub = new Constructor(server, credentials.createInsecure());
  return new Promise((resolve) => {
    stub.check?.({ service }, (error: { code: number } | null, value?: { status: string }) => {
      stub.close();
      resolve(error === null ? { status: value?.status as string } : { code: error.code });
    });
  });
}

describe('health and reflection', () => {
  const SERVICES = [TRACES, LOGS, METRICS].map((path) => path.split('/')[1]);

  it('says SERVING of the server and of each service when told, and NOT_FOUND of others', async () => {
    await listen();
    for (const name of ['', ...SERVICES]) expect(await health(address, name)).toEqual({ status: 'NOT_SERVING' });
    listener.setServing(true);
    for (const name of ['', ...SERVICES]) expect(await health(address, name)).toEqual({ status: 'SERVING' });
    expect(await health(address, 'no.such.Service')).toEqual({ code: 5 });
    expect(healthService.Check?.path).toBe('/grpc.health.v1.Health/Check');
  });

  it('a health watch does not hold up a stop', async () => {
    await listen();
    const watcher = new Client(address, credentials.createInsecure());
    const stream = watcher.makeServerStreamRequest('/grpc.health.v1.Health/Watch', asBytes, asBytes, Buffer.alloc(0));
    const ended = new Promise<number>((resolve) =>
      stream.on('error', (error) => resolve((error as unknown as { code: number }).code)),
    );
    await once(stream, 'data');
    const startedAt = performance.now();
    await listener.stop(20_000);
    expect(performance.now() - startedAt).toBeLessThan(10_000);
    expect(await ended).toBe(14);
    watcher.close();
  });

  it.each(['v1', 'v1alpha'])('lists the services by reflection %s', async (version) => {
    await listen();
    // ServerReflectionRequest{list_services: ''}
    const call = client.call(`/grpc.reflection.${version}.ServerReflection/ServerReflectionInfo`);
    call.stream.end(frame(Buffer.from('3a00', 'hex')));
    const answer = await call.answer;
    expect(answer.trailers['grpc-status']).toBe('0');
    for (const name of [...SERVICES, 'grpc.health.v1.Health']) expect(answer.body.toString('latin1')).toContain(name);
  });
});
