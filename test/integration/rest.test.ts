/** REST of DESIGN section 4, against the real listener. What every adapter must do is in adapter-contract.test.ts. */
import { deflateSync, gzipSync } from 'node:zlib';
import { Table, tableToIPC, vectorFromArray } from 'apache-arrow';
import { HttpListener } from '../../src/adapters/http-listener';
import { OtlpHttpAdapter } from '../../src/adapters/otlp/http-adapter';
import { RestAdapter } from '../../src/adapters/rest/adapter';
import { IngestError } from '../../src/core/errors';
import type { TableName } from '../../src/core/ids';
import { LIMITS } from '../../src/core/limits';
import { silentLogger, Telemetry } from '../../src/telemetry';
import { DECODERS } from '../support/adapter-subjects';
import { zstdStream } from '../support/compressed-arrow';
import { type HttpAnswer, send } from '../support/http-client';
import { plainRows } from '../support/plain-rows';
import { MemoryRegistry, RecordingIngest } from '../support/recording-ingest';

const NOW_NS = 1_790_000_000_123_000_000n;

let ingest: RecordingIngest;
let registry: MemoryRegistry;
let listener: HttpListener;
let address: string;
beforeEach(async () => {
  ingest = new RecordingIngest();
  registry = new MemoryRegistry();
  const telemetry = new Telemetry();
  listener = new HttpListener({
    host: '127.0.0.1',
    port: 0,
    logger: silentLogger(),
    adapters: [
      new OtlpHttpAdapter({ ingest, decoders: DECODERS, telemetry }),
      new RestAdapter({ ingest, registry, telemetry, nowNs: () => NOW_NS }),
    ],
  });
  address = await listener.start();
});
afterEach(() => listener.stop(0));

const write = (table: string, body: Uint8Array | string, headers: Record<string, string> = {}) =>
  send(address, `/write/${table}`, { body, headers: { 'content-type': 'application/json', ...headers } });

const json = (answer: HttpAnswer): unknown => JSON.parse(answer.body.toString());
const rowsOf = (index = 0) => plainRows(ingest.writes[index].batches[0].batch);

describe('POST /write/{table}', () => {
  it('takes an object, an array and NDJSON, and answers what was accepted', async () => {
    expect(json(await write('cars', '{"speed":1}'))).toEqual({
      batch: 'batch-1',
      table: 'cars',
      accepted: 1,
      rejected: 0,
      rejections: [],
    });
    expect(json(await write('cars', '[{"speed":2},{"speed":3}]'))).toMatchObject({ batch: 'batch-2', accepted: 2 });
    const ndjson = await write('cars', '{"speed":4}\n{"speed":5}\n', { 'content-type': 'application/x-ndjson' });
    expect(json(ndjson)).toMatchObject({ batch: 'batch-3', accepted: 2 });
    expect(ingest.rows()).toEqual({ cars: 5 });
    expect(rowsOf(1)).toEqual([
      { time: NOW_NS, speed: 2n },
      { time: NOW_NS, speed: 3n },
    ]);
  });

  it('takes an Arrow IPC stream', async () => {
    const table = new Table({ speed: vectorFromArray([1.5, null, 3.5]), name: vectorFromArray(['a', 'b', null]) });
    const answer = await write('cars', tableToIPC(table, 'stream'), { 'content-type': 'application/vnd.apache.arrow.stream' });
    expect([answer.status, json(answer)]).toMatchObject([200, { accepted: 3, rejected: 0 }]);
    expect(rowsOf().map(({ speed = null, name = null }) => [speed, name])).toEqual([
      [1.5, 'a'],
      [null, 'b'],
      [3.5, null],
    ]);
  });

  it('takes an Arrow IPC stream with compressed bodies, if the server has room for what they unpack to', async () => {
    const n = vectorFromArray(Array.from({ length: 100_000 }, () => 0n));
    const body = zstdStream(new Table({ n }));
    const headers = { 'content-type': 'application/vnd.apache.arrow.stream' };
    expect(body.length).toBeLessThan(10_000);
    expect(json(await write('cars', body, headers))).toMatchObject({ accepted: 100_000, rejected: 0 });
    expect(ingest.peakInFlightBytes).toBeGreaterThan(800_000);
    ingest.bytesMax = 400_000;
    expect((await write('cars', body, headers)).status).toBe(503);
    expect([ingest.writes.length, ingest.inFlightBytes]).toEqual([1, 0]);
  });

  it('refuses an Arrow body that is empty, cut or of another kind', async () => {
    const whole = Buffer.from(tableToIPC(new Table({ a: vectorFromArray([1, 2, 3]) }), 'stream'));
    for (const body of [Buffer.alloc(0), whole.subarray(0, whole.length - 20), Buffer.from('[{"a":1}]')]) {
      const answer = await write('cars', body, { 'content-type': 'application/vnd.apache.arrow.stream' });
      expect([answer.status, json(answer)]).toMatchObject([400, { error: { code: 'invalid_argument' } }]);
    }
    expect(ingest.writes).toEqual([]);
  });

  it.each([
    ['metrics', 'metrics_events', { name: 'cpu', value: 0.5 }],
    ['logs', 'logs_events', { message: 'hello', level: 'info' }],
    [
      'traces',
      'traces_spans',
      { start_time: '2026-01-02T03:04:05.123456789Z', name: 'op', trace_id: 'a'.repeat(32), span_id: 'b'.repeat(16) },
    ],
    ['logs_events', 'logs_events', { body: 'hello' }],
  ])('/write/%s are rows of %s', async (path, table, row) => {
    const answer = await write(path, JSON.stringify([row]));
    expect([answer.status, json(answer)]).toMatchObject([200, { table, accepted: 1, rejected: 0 }]);
    expect(ingest.rows()).toEqual({ [table]: 1 });
  });

  it('rejects single rows with number, code and column; 400 with the same body when none is left', async () => {
    const good = { timestamp: '2026-01-02T03:04:05Z', message: 'ok' };
    const bad = { timestamp: 'yesterday', message: 'no' };
    const some = await write('logs', JSON.stringify([good, bad, good]));
    expect([some.status, json(some)]).toMatchObject([
      200,
      {
        accepted: 2,
        rejected: 1,
        rejections: [{ row: 1, code: 'invalid_time', column: 'timestamp', message: expect.any(String) }],
      },
    ]);
    const none = await write('logs', JSON.stringify([bad]));
    expect([none.status, json(none)]).toMatchObject([
      400,
      { table: 'logs_events', accepted: 0, rejected: 1, rejections: [{ row: 0 }] },
    ]);
    expect(ingest.rows()).toEqual({ logs_events: 2 });
  });

  it('makes no table and no column for a request of which nothing is accepted', async () => {
    expect((await write('cars', '[1,2,3]')).status).toBe(400);
    for (const body of ['', '[]', ' ']) await write('cars', body);
    expect(registry.get('cars' as TableName)).toBeUndefined();
  });

  it('accepts no rows as zero rows', async () => {
    for (const [body, type] of [
      ['', 'application/json'],
      ['[]', 'application/json'],
      ['', 'application/x-ndjson'],
      ['\n\n', 'application/x-ndjson'],
    ]) {
      const answer = await write('logs', body, { 'content-type': type });
      expect([answer.status, json(answer)]).toMatchObject([200, { accepted: 0, rejected: 0 }]);
    }
    expect(ingest.writes).toEqual([]);
  });

  it('adds columns as rows bring them and stamps batches with the version in force', async () => {
    await write('cars', '{"speed":1}');
    await write('cars', '{"speed":2,"color":"red"}');
    await write('cars', '{"speed":3}');
    expect(ingest.writes.map(({ batches }) => batches[0].schemaVersion)).toEqual([1, 2, 2]);
    expect(registry.get('cars' as TableName)?.columns.map(({ name, type }) => [name, type])).toEqual([
      ['time', 'timestamp'],
      ['speed', 'int64'],
      ['color', 'string'],
    ]);
  });

  it('reads the rows again when another request made the column with another type meanwhile', async () => {
    await write('cars', '{"speed":1}');
    const evolve = registry.evolve.bind(registry);
    registry.evolve = async (table, columns, options) => {
      await evolve(table, [{ name: 'color', type: 'bool', nullable: true }], options);
      return evolve(table, columns, options);
    };
    const answer = await write('cars', '[{"color":"red"},{"color":null,"speed":2}]');
    expect(json(answer)).toMatchObject({ accepted: 1, rejected: 1, rejections: [{ row: 0, column: 'color' }] });
  });

  it.each([
    'pg_catalog',
    '_ingest_batches',
    'table_registry',
    'otel_logs',
    '1a',
    'a'.repeat(64),
    'a-b',
    "a';drop",
    'cars%00',
    '..%2Fwal',
  ])('refuses the table name %s', async (name) => {
    const answer = await write(name, '{"a":1}');
    expect([answer.status, json(answer)]).toMatchObject([400, { error: { code: 'invalid_argument', at: 'table' } }]);
  });

  it.each([
    ['gzip', gzipSync],
    ['deflate', deflateSync],
  ])('takes bodies in %s', async (encoding, encode) => {
    const answer = await write('logs', encode('{"message":"hi"}'), { 'content-encoding': encoding });
    expect(json(answer)).toMatchObject({ accepted: 1 });
  });
});

describe('errors', () => {
  it('have one form: code, message and where', async () => {
    const answers: [number, string, HttpAnswer][] = [
      [400, 'invalid_argument', await write('cars', '{"a":')],
      [404, 'not_found', await send(address, '/writ', { body: 'x' })],
      [404, 'not_found', await send(address, '/schema/nothing', { method: 'GET' })],
      [405, 'method_not_allowed', await send(address, '/write/cars', { method: 'GET' })],
      [413, 'payload_too_large', await write('cars', Buffer.alloc(LIMITS.requestBytesMax + 1))],
      [415, 'unsupported_media_type', await write('cars', 'a=1', { 'content-type': 'application/x-www-form-urlencoded' })],
      [415, 'unsupported_encoding', await write('cars', '{}', { 'content-encoding': 'br' })],
    ];
    for (const [status, code, answer] of answers) {
      expect([answer.status, json(answer)]).toMatchObject([status, { error: { code, message: expect.stringMatching(/./) } }]);
      expect(answer.headers['content-type']).toBe('application/json');
    }
  });

  it('tell an overloaded client when to come back', async () => {
    ingest.refusal = new IngestError('unavailable', 'full', { retryAfterMs: 2_400 });
    const answer = await write('cars', '{"a":1}');
    expect([answer.status, answer.headers['retry-after'], json(answer)]).toEqual([
      503,
      '3',
      { error: { code: 'unavailable', message: 'full' } },
    ]);
  });

  it('keep keys like __proto__ as names and leave objects alone', async () => {
    await write('logs', '{"message":"x","__proto__":{"polluted":1},"constructor":"c"}');
    expect(({} as { polluted?: unknown }).polluted).toBeUndefined();
    const [{ labels }] = rowsOf() as { labels: [string, number, string][] }[];
    expect(labels.map(([key]) => key).sort()).toEqual(['__proto__', 'constructor']);
  });
});

describe('GET /schema', () => {
  it('lists the tables, and shows one by its name or short name', async () => {
    await write('cars', '{"speed":1}');
    const all = json(await send(address, '/schema', { method: 'GET' })) as { tables: { table: string }[] };
    expect(all.tables.map(({ table }) => table)).toEqual(registry.list().map(({ table }) => table));
    expect(json(await send(address, '/schema/cars', { method: 'GET' }))).toEqual({
      table: 'cars',
      version: 1,
      tier: 'hot',
      policy: 'evolve',
      time_column: 'time',
      columns: [
        { name: 'time', type: 'timestamp', nullable: false, low_cardinality: false, conflict: 'widen' },
        { name: 'speed', type: 'int64', nullable: true, low_cardinality: false, conflict: 'widen' },
      ],
    });
    expect(json(await send(address, '/schema/logs', { method: 'GET' }))).toMatchObject({ table: 'logs_events', tier: 'cold' });
  });
});
