/** Rules OH1-OH17 of OTLP/HTTP, against the real listener. What is about bytes and time alone is in http-listener.test.ts. */
import { gunzipSync, gzipSync } from 'node:zlib';
import { HttpListener } from '../../src/adapters/http-listener';
import { OtlpHttpAdapter } from '../../src/adapters/otlp/http-adapter';
import { RestAdapter } from '../../src/adapters/rest/adapter';
import type { DecodedRequest } from '../../src/core/batch';
import { IngestError } from '../../src/core/errors';
import { LIMITS } from '../../src/core/limits';
import { silentLogger, Telemetry } from '../../src/telemetry';
import { DECODERS, spans } from '../support/adapter-subjects';
import { type HttpAnswer, send } from '../support/http-client';
import { otlpRoot } from '../support/otlp-proto';
import { encodeRequest, type Signal } from '../support/otlp-requests';
import { decoded, MemoryRegistry, RecordingIngest } from '../support/recording-ingest';
import { decodeRpcStatus } from '../support/rpc-status';

const PROTOBUF = 'application/x-protobuf';
const JSON_TYPE = 'application/json';
const SIGNALS: Signal[] = ['logs', 'metrics', 'traces'];
const ROOT = otlpRoot();

let ingest: RecordingIngest;
let telemetry: Telemetry;
let listener: HttpListener;
let address: string;

async function listen(decoders = DECODERS, responseBytesMax: number = LIMITS.responseBytesMax): Promise<void> {
  ingest = new RecordingIngest();
  telemetry = new Telemetry();
  listener = new HttpListener({
    host: '127.0.0.1',
    port: 0,
    logger: silentLogger(),
    adapters: [
      new OtlpHttpAdapter({ ingest, decoders, telemetry, responseBytesMax }),
      new RestAdapter({ ingest, registry: new MemoryRegistry(), telemetry }),
    ],
  });
  address = await listener.start();
}
beforeEach(() => listen());
afterEach(async () => {
  await listener.stop(0);
  if (ingest.inFlightBytes !== 0) throw new Error('room for a request was not given back');
});

const post = (path: string, type: string | undefined, body: Uint8Array | string, headers: Record<string, string> = {}) =>
  send(address, path, { body, headers: { ...(type === undefined ? {} : { 'content-type': type }), ...headers } });

const REQUESTS: Record<Signal, object> = {
  logs: { resourceLogs: [{ scopeLogs: [{ logRecords: [{ timeUnixNano: '1', body: { stringValue: 'a' } }] }] }] },
  metrics: {
    resourceMetrics: [
      { scopeMetrics: [{ metrics: [{ name: 'm', gauge: { dataPoints: [{ timeUnixNano: '1', asInt: '7' }] } }] }] },
    ],
  },
  traces: spans(1),
};
const JSON_REQUESTS: Record<Signal, object> = { ...REQUESTS, traces: spans(1, [], String) };

/** Decoders that make the given answer of any request. */
const answering = (answer: DecodedRequest): typeof DECODERS => {
  const decoder = { decode: () => answer, transcode: (body: Uint8Array) => body };
  return { logs: decoder, metrics: decoder, traces: decoder };
};

function statusOf(answer: HttpAnswer): { code: number; message: string } {
  return answer.headers['content-type'] === PROTOBUF
    ? decodeRpcStatus(answer.body)
    : (JSON.parse(answer.body.toString()) as { code: number; message: string });
}

describe('success', () => {
  it.each(SIGNALS)('OH1, OH4, OH13: %s in both encodings on one port, full success without partial_success', async (signal) => {
    const protobuf = await post(`/v1/${signal}`, PROTOBUF, encodeRequest(signal, REQUESTS[signal]));
    expect([protobuf.status, protobuf.headers['content-type'], protobuf.body.length]).toEqual([200, PROTOBUF, 0]);
    expect(protobuf.headers['content-length']).toBe('0');
    const json = await post(`/v1/${signal}`, JSON_TYPE, JSON.stringify(JSON_REQUESTS[signal]));
    expect([json.status, json.headers['content-type'], json.body.toString()]).toEqual([200, JSON_TYPE, '{}']);
    expect(Object.values(ingest.rows())).toEqual([2]);
  });

  it.each([
    ['application/json; charset=utf-8', '{}'],
    ['APPLICATION/JSON', '{}'],
    ['Application/X-Protobuf;v=1', ''],
  ])('OH3: content type %s is understood', async (type, body) => {
    const answer = await post('/v1/logs', type, body);
    expect([answer.status, answer.headers['content-type']]).toEqual([200, body === '' ? PROTOBUF : JSON_TYPE]);
  });

  it.each(SIGNALS)('OH5: an empty request of %s is a success', async (signal) => {
    const key = { logs: 'resourceLogs', metrics: 'resourceMetrics', traces: 'resourceSpans' }[signal];
    expect((await post(`/v1/${signal}`, PROTOBUF, '')).status).toBe(200);
    for (const body of ['{}', `{"${key}":[]}`, `{"${key}":[{}]}`]) {
      expect((await post(`/v1/${signal}`, JSON_TYPE, body)).status).toBe(200);
    }
    expect(ingest.writes).toEqual([]);
  });

  it.each(['gzip', 'identity'])('OH2: takes %s', async (encoding) => {
    const body = encodeRequest('traces', spans(3));
    const answer = await post('/v1/traces', PROTOBUF, encoding === 'gzip' ? gzipSync(body) : body, {
      'content-encoding': encoding,
    });
    expect(answer.status).toBe(200);
    expect(ingest.rows()).toEqual({ traces_spans: 3 });
  });

  it('OH16: takes a chunked request of gzip with several members', async () => {
    const body = encodeRequest('traces', spans(50));
    const members = [body.subarray(0, 100), body.subarray(100)].map((part) => gzipSync(part));
    const headers = { 'content-type': PROTOBUF, 'content-encoding': 'gzip' };
    expect((await send(address, '/v1/traces', { body: members, headers })).status).toBe(200);
    expect(ingest.rows()).toEqual({ traces_spans: 50 });
  });
});

describe('partial success', () => {
  const COUNTS = { logs: 'rejectedLogRecords', metrics: 'rejectedDataPoints', traces: 'rejectedSpans' };
  const TYPES = { logs: 'Logs', metrics: 'Metrics', traces: 'Trace' };

  it.each(SIGNALS)('OH6: the exact count of rejected rows of %s, with reasons', async (signal) => {
    await listener.stop(0);
    const rejections = [{ row: 3, code: 'out_of_range' as const, column: 'time', message: 'too late' }];
    await listen(answering(decoded({ acceptedRows: 7, rejectedRows: 5_000_000_000, rejections })));
    const json = await post(`/v1/${signal}`, JSON_TYPE, '{}');
    expect(json.status).toBe(200);
    expect(JSON.parse(json.body.toString())).toEqual({
      partialSuccess: {
        [COUNTS[signal]]: '5000000000',
        errorMessage: '5000000000 of 5000000007 rows rejected; row 3, time: out_of_range: too late; ...',
      },
    });
    const protobuf = await post(`/v1/${signal}`, PROTOBUF, '');
    const type = ROOT.lookupType(`Export${TYPES[signal]}ServiceResponse`);
    expect(type.toObject(type.decode(protobuf.body), { longs: String })).toEqual(JSON.parse(json.body.toString()));
  });

  it('OH6: metrics count data points, not metrics', async () => {
    const dataPoints = [{ asInt: '1' }, { asInt: '2' }, { timeUnixNano: '1', asInt: '3' }];
    const request = { resourceMetrics: [{ scopeMetrics: [{ metrics: [{ name: 'm', gauge: { dataPoints } }] }] }] };
    const answer = await post('/v1/metrics', JSON_TYPE, JSON.stringify(request));
    expect(JSON.parse(answer.body.toString())).toMatchObject({ partialSuccess: { rejectedDataPoints: '2' } });
    expect(ingest.rows()).toEqual({ metrics_events: 1 });
  });

  it('OH6: a request of which no row is good is still answered with the count', async () => {
    const answer = await post('/v1/traces', JSON_TYPE, JSON.stringify(spans(2, [0, 1], String)));
    expect([answer.status, JSON.parse(answer.body.toString())]).toMatchObject([200, { partialSuccess: { rejectedSpans: '2' } }]);
  });

  it('OH7: a warning is a message with a count of zero', async () => {
    await listener.stop(0);
    await listen(answering(decoded({ acceptedRows: 1, warnings: ['the clock is odd'] })));
    const json = await post('/v1/logs', JSON_TYPE, '{}');
    expect(JSON.parse(json.body.toString())).toEqual({ partialSuccess: { errorMessage: 'the clock is odd' } });
    const type = ROOT.lookupType('ExportLogsServiceResponse');
    const protobuf = await post('/v1/logs', PROTOBUF, '');
    expect(type.toObject(type.decode(protobuf.body))).toEqual({ partialSuccess: { errorMessage: 'the clock is odd' } });
  });

  it.each([PROTOBUF, JSON_TYPE])('OH11: the message shrinks to the response limit, the count stays (%s)', async (contentType) => {
    await listener.stop(0);
    const rejections = Array.from({ length: 100 }, (_, row) => ({
      row,
      code: 'invalid_value' as const,
      message: 'ü\u0001'.repeat(200),
    }));
    await listen(answering(decoded({ acceptedRows: 0, rejectedRows: 100, rejections })), 8_192);
    const answer = await post('/v1/logs', contentType, '');
    expect(answer.status).toBe(200);
    expect(answer.body.length).toBeLessThanOrEqual(8_192);
    expect(answer.body.length).toBeGreaterThan(1_000);
    const type = ROOT.lookupType('ExportLogsServiceResponse');
    const value =
      contentType === PROTOBUF ? type.toObject(type.decode(answer.body), { longs: String }) : JSON.parse(answer.body.toString());
    expect(value).toMatchObject({ partialSuccess: { rejectedLogRecords: '100' } });
  });

  it('OH14: compresses a long answer for a client that asked, and for no other', async () => {
    await listener.stop(0);
    const rejections = Array.from({ length: 100 }, (_, row) => ({ row, code: 'invalid_value' as const, message: 'wrong' }));
    await listen(answering(decoded({ rejectedRows: 100, rejections })));
    const plain = await post('/v1/logs', JSON_TYPE, '{}');
    expect(plain.headers['content-encoding']).toBeUndefined();
    for (const header of ['gzip', 'deflate, gzip;q=0.5', 'GZIP']) {
      const zipped = await post('/v1/logs', JSON_TYPE, '{}', { 'accept-encoding': header });
      expect(zipped.headers['content-encoding']).toBe('gzip');
      expect(gunzipSync(zipped.body).equals(plain.body)).toBe(true);
    }
    for (const header of ['gzip;q=0', 'br', '', 'identity', '*']) {
      const answer = await post('/v1/logs', JSON_TYPE, '{}', { 'accept-encoding': header });
      expect([header, answer.headers['content-encoding']]).toEqual([header, undefined]);
    }
  });
});

describe('errors', () => {
  it.each([
    [PROTOBUF, Buffer.from('0aff', 'hex')],
    [JSON_TYPE, Buffer.from('{"resourceLogs":[')],
    [JSON_TYPE, Buffer.from('[]')],
  ])('OH8, OH9: an undecodable %s body is 400 with a Status that holds BadRequest', async (type, body) => {
    const answer = await post('/v1/logs', type, body);
    expect([answer.status, answer.headers['content-type']]).toEqual([400, type]);
    expect(statusOf(answer)).toMatchObject({ code: 3, message: expect.stringMatching(/./) });
    const violations =
      type === PROTOBUF
        ? decodeRpcStatus(answer.body).violations
        : (JSON.parse(answer.body.toString()) as { details: { fieldViolations: object[] }[] }).details[0].fieldViolations;
    expect(violations).toEqual([{ field: expect.any(String), description: expect.stringMatching(/./) }]);
  });

  it.each([PROTOBUF, JSON_TYPE])('OH8: 404, 405, 413, 415, 429/503 carry a Status in %s', async (type) => {
    const answers = [
      await post('/v1/unknown', type, ''),
      await send(address, '/v1/logs', { method: 'PUT', headers: { 'content-type': type }, body: '' }),
      await post('/v1/logs', type, Buffer.alloc(LIMITS.requestBytesMax + 1)),
      await post('/v1/logs', type, 'x', { 'content-encoding': 'br' }),
    ];
    ingest.refusal = new IngestError('unavailable', 'full', { retryAfterMs: 1_200 });
    answers.push(await post('/v1/logs', type, ''));
    expect(answers.map(({ status }) => status)).toEqual([404, 405, 413, 415, 503]);
    expect(answers.map(({ headers }) => headers['content-type'])).toEqual(answers.map(() => type));
    expect(answers.map((answer) => statusOf(answer).code)).toEqual([5, 12, 8, 12, 14]);
    expect(answers.every((answer) => statusOf(answer).message.length > 0)).toBe(true);
  });

  it('OH12: overload is 503 with Retry-After in whole seconds, and RetryInfo', async () => {
    ingest.refusal = new IngestError('unavailable', 'full', { retryAfterMs: 1_200 });
    const protobuf = await post('/v1/logs', PROTOBUF, '');
    expect([protobuf.status, protobuf.headers['retry-after']]).toEqual([503, '2']);
    expect(decodeRpcStatus(protobuf.body).retryAfterMs).toBe(1_200);
    const json = await post('/v1/logs', JSON_TYPE, '{}');
    expect(JSON.parse(json.body.toString())).toEqual({
      code: 14,
      message: 'full',
      details: [{ '@type': 'type.googleapis.com/google.rpc.RetryInfo', retryDelay: '1.200s' }],
    });
  });

  it('OH10: 100 MB of zeros in gzip is 413, and memory stays bounded', async () => {
    const bomb = gzipSync(Buffer.alloc(100_000_000));
    const before = process.memoryUsage().rss;
    let peak = before;
    const watch = setInterval(() => (peak = Math.max(peak, process.memoryUsage().rss)), 2);
    const answer = await post('/v1/logs', PROTOBUF, bomb, { 'content-encoding': 'gzip' });
    clearInterval(watch);
    expect(answer.status).toBe(413);
    expect(answer.headers['retry-after']).toBeUndefined();
    expect(peak - before).toBeLessThan(LIMITS.requestBytesMax + 64 * 1024 * 1024);
  });

  it('OH15: no or an unknown Content-Type is 415, another method 405, both with what is allowed', async () => {
    for (const type of [undefined, 'text/plain', 'application/jsonn', 'application/grpc', '']) {
      const answer = await post('/v1/logs', type, '{}');
      expect([type, answer.status]).toEqual([type, 415]);
    }
    for (const method of ['GET', 'PUT', 'DELETE', 'PATCH']) {
      const answer = await send(address, '/v1/logs', { method });
      expect([answer.status, answer.headers.allow]).toEqual([405, 'POST']);
    }
  });

  it('OH15, OH16: gzip that is none, is cut or is followed by something is 400; an unknown or stacked encoding 415', async () => {
    const whole = gzipSync(encodeRequest('traces', spans(3)));
    for (const body of [
      Buffer.from('not gzip'),
      whole.subarray(0, -5),
      Buffer.concat([whole, Buffer.from('x')]),
      Buffer.alloc(0),
    ]) {
      expect((await post('/v1/traces', PROTOBUF, body, { 'content-encoding': 'gzip' })).status).toBe(400);
    }
    for (const encoding of ['br', 'gzip, gzip', 'nonsense']) {
      const answer = await post('/v1/traces', PROTOBUF, whole, { 'content-encoding': encoding });
      expect([answer.status, answer.headers['accept-encoding']]).toEqual([415, 'gzip, deflate, zstd, snappy']);
    }
    expect(ingest.writes).toEqual([]);
  });

  it('OH9: a bug of ours is 500 without its text, never retried', async () => {
    ingest.beforeAnswer = () => Promise.reject(new TypeError('secret'));
    const answer = await post('/v1/logs', PROTOBUF, encodeRequest('logs', REQUESTS.logs));
    expect([answer.status, statusOf(answer)]).toMatchObject([500, { code: 13, message: 'internal error' }]);
  });
});

describe('metrics', () => {
  it('counts requests by outcome, bytes, rejections by code and the time to the acknowledgement', async () => {
    const good = encodeRequest('traces', spans(2));
    await post('/v1/traces', PROTOBUF, good);
    await post('/v1/traces', JSON_TYPE, JSON.stringify(spans(3, [1], String)));
    await post('/v1/traces', PROTOBUF, 'garbage');
    const text = await telemetry.registry.metrics();
    expect(text).toContain('thermocline_requests_total{protocol="otlp_http",outcome="ok"} 1');
    expect(text).toContain('thermocline_requests_total{protocol="otlp_http",outcome="partial"} 1');
    expect(text).toContain('thermocline_requests_total{protocol="otlp_http",outcome="invalid_argument"} 1');
    expect(text).toContain('thermocline_rejected_rows_total{table="traces_spans",protocol="otlp_http",code="invalid_id"} 1');
    expect(text).toContain('thermocline_ack_duration_seconds_count{protocol="otlp_http"} 2');
    const bytes = good.length + JSON.stringify(spans(3, [1], String)).length + 7;
    expect(text).toContain(`thermocline_request_bytes_total{protocol="otlp_http"} ${bytes}`);
  });
});
