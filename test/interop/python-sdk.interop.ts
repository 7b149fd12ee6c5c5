/** The OpenTelemetry Python SDK straight to the built command with embedded stores. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { TestServer, temporaryDirectory } from '../support/server';
import { hasPython, PYTHON, PYTHON_SENDER } from './support/toolchains';

const describeWithPython = hasPython() ? describe : describe.skip;

interface Sent {
  readonly trace_id: string;
  readonly parent_span_id: string;
  readonly child_span_id: string;
  readonly logs: number;
  readonly flushed: boolean;
}

/** What send.py gives as attributes, as text; numbers that text may spell in more than one way stand apart. */
const TEXTS: readonly (readonly [string, string])[] = [
  ['text', 'Grüße, 世界 "quoted"\n\t\\'],
  ['empty', ''],
  ['largest', '9223372036854775807'],
  ['smallest', '-9223372036854775808'],
  ['double', '0.1'],
  ['true', 'true'],
  ['false', 'false'],
  ['__proto__', 'a key like any other'],
  ['key with \'quotes\', "more" and dots.', 'x'],
];
const NUMBERS = [
  ['tiny', 5e-324],
  ['huge', 1.7976931348623157e308],
] as const;
const LISTS = [
  ['strings', '["a","","ü"]'],
  ['integers', '[1,-2,9007199254740993]'],
  ['doubles', '[0.5,-0.25]'],
  ['bools', '[true,false]'],
] as const;
const compact = (json: string | undefined) => json?.replaceAll(/(?<=[,:]) /g, '');
/** A text that was not given may be stored as null or as empty. */
const normal = (row: unknown[]) => row.map((value) => (value === '' ? null : value));

function expectAttributes(entries: readonly (readonly [string, string])[]): void {
  const found = new Map(entries);
  for (const [key, value] of TEXTS) expect([key, found.get(key)]).toEqual([key, value]);
  for (const [key, value] of NUMBERS) expect([key, Number(found.get(key))]).toEqual([key, value]);
  for (const [key, value] of LISTS) expect([key, compact(found.get(key))]).toEqual([key, value]);
}

let server: TestServer;
let data: Awaited<ReturnType<typeof temporaryDirectory>>;
beforeAll(async () => {
  if (!hasPython()) return;
  data = await temporaryDirectory();
  server = await TestServer.start({ dataDir: data.path });
}, 120_000);
afterAll(async () => {
  if (!hasPython()) return;
  await server.stop();
  await data.remove();
}, 60_000);

describeWithPython.each([
  ['grpc', 'none'],
  ['grpc', 'gzip'],
  ['http', 'none'],
  ['http', 'gzip'],
])('the Python SDK over %s, compression %s', (protocol, compression) => {
  const app = `python ${protocol} ${compression}`;
  const where = `WHERE app = '${app}'`;
  let sent: Sent;
  let before = 0;
  beforeAll(async () => {
    before = Date.now();
    const endpoint = `http://${protocol === 'grpc' ? server.grpc : server.http}`;
    const { stdout, stderr } = await promisify(execFile)(PYTHON, [PYTHON_SENDER, protocol, endpoint, compression, app], {
      timeout: 60_000,
    });
    if (stderr !== '') throw new Error(stderr);
    sent = JSON.parse(stdout) as Sent;
    if (!sent.flushed) throw new Error('the SDK could not send everything');
  }, 90_000);

  test('delivers spans with every field exact', async () => {
    await server.sqlUntil('hot', `SELECT count(*) FROM traces_spans ${where}`, 2);
    const { rows } = await server.sql(
      'hot',
      `SELECT name, kind, trace_id, span_id, coalesce(parent_span_id, ''), start_time, start_time_ns, end_time, end_time_ns, duration_ns,
              status_code, coalesce(status_message, ''), host, scope->>'name', scope->>'version', scope->>'schema_url', scope->'attributes'->>'scope',
              resource->>'answer', resource->'roles', resource->>'telemetry.sdk.language', links, events,
              (SELECT jsonb_agg(jsonb_build_array(key, value)) FROM jsonb_each_text(attributes)) FROM traces_spans ${where} ORDER BY name`,
    );
    const [child, parent] = rows as [unknown[], unknown[]];
    const origin = ['node-7', 'interop.python', '1.2.3', 'https://example.com/schema/1', '1', '42', ['a', 'b'], 'python'];
    const { trace_id: trace, parent_span_id: parentId, child_span_id: childId } = sent;
    expect(parent.slice(0, 12)).toEqual([
      'parent',
      'client',
      trace,
      parentId,
      '',
      '2026-09-21T14:13:20Z',
      0,
      '2026-09-21T14:13:22Z',
      0,
      '2000000000',
      'unset',
      '',
    ]);
    expect(parent.slice(12, 20)).toEqual(origin);
    expect(child.slice(0, 12)).toEqual([
      'child',
      'consumer',
      trace,
      childId,
      parentId,
      '2026-09-21T14:13:20.123456Z',
      789,
      '2026-09-21T14:13:21Z',
      1,
      '876543212',
      'error',
      'declined',
    ]);
    expect(child.slice(12, 20)).toEqual(origin);
    expect(child[20]).toEqual([
      expect.objectContaining({
        trace_id: '0af7651916cd43dd8448eb211c80319c',
        span_id: 'b7ad6b7169203331',
        // The SDK sends neither the trace state nor the sampled flag of a link; 0x300 says that the context is remote.
        flags: 0x300,
        attributes: { why: 'retry', attempt: 2 },
      }),
    ]);
    expect(child[21]).toEqual([
      expect.objectContaining({
        time_unix_nano: '1790000000200000001',
        name: 'charged',
        attributes: { amount: 12.5, parts: [1, 2] },
      }),
      expect.objectContaining({
        time_unix_nano: '1790000000200000002',
        name: 'exception',
        attributes: expect.objectContaining({ 'exception.type': 'ValueError', 'exception.message': 'broken' }) as unknown,
      }),
    ]);
    expectAttributes(child[22] as [string, string][]);
  });

  test('delivers log records with every field exact', async () => {
    await server.sqlUntil('cold', `SELECT count() FROM logs_events ${where}`, sent.logs);
    const { rows } = await server.sql(
      'cold',
      `SELECT timestamp, observed_timestamp, body_type, message, severity_number, severity_text, level, event_name, trace_id, span_id, flags, host,
              scope['name'], resource['answer'], mapKeys(labels), mapValues(labels) FROM logs_events ${where} ORDER BY timestamp`,
    );
    const nested = { reason: 'no money', cents: 1250, deep: [true, 'x', 2.5, { more: null, bytes: 'AAH/' }] };
    const bodies = [
      ['string', 'plain ü'],
      ['int', '9223372036854775807'],
      ['double', '0.1'],
      ['bool', 'true'],
      ['bytes', 'AAH/'],
      ['array', '["a",1,null]'],
      ['kvlist', JSON.stringify(nested)],
      ['empty', ''],
    ];
    for (const [index, row] of rows.entries()) {
      const [keys, values] = row.slice(14) as [string[], string[]];
      const fraction = `.00000000${index}`;
      expect(row.slice(0, 2)).toEqual([`2026-09-21T14:13:20${fraction}Z`, `2026-09-21T14:13:25${fraction}Z`]);
      expect(row.slice(2, 4)).toEqual(bodies[index]);
      expect(row.slice(4, 11)).toEqual([
        18,
        'error2',
        'ERROR',
        'payment.declined',
        '0af7651916cd43dd8448eb211c80319c',
        'b7ad6b7169203331',
        1,
      ]);
      expect(row.slice(11, 14)).toEqual(['node-7', 'interop.python', '42']);
      const labels = keys.map((key, i) => [key, values[i]] as const);
      expectAttributes(labels);
      expect(new Map(labels).get('bytes')).toBe('AAH/');
      expect(JSON.parse(new Map(labels).get('map')!)).toEqual(nested);
    }
  });

  test('delivers metric points with their exact values', async () => {
    const count = (table: string) => `(SELECT count(*) FROM ${table} ${where})`;
    await server.sqlUntil('hot', `SELECT ${count('metrics_events')} + ${count('metrics_histograms')}`, 5);
    const events = await server.sql(
      'hot',
      `SELECT metric, kind, unit, description, temporality, monotonic, value_int, value, labels FROM metrics_events ${where} ORDER BY metric`,
    );
    expect(events.rows.map(normal)).toEqual([
      ['open', 'sum', null, null, 'cumulative', false, '-7', -7, { ok: true }],
      [
        'orders',
        'sum',
        '{order}',
        'orders so far',
        'cumulative',
        true,
        '4611686018427387905',
        4_611_686_018_427_388_000,
        { region: 'eu', tier: 3 },
      ],
      ['temperature', 'gauge', 'Cel', null, null, null, null, -0.25, { room: 'a' }],
    ]);
    const histograms = await server.sql(
      'hot',
      `SELECT metric, kind, unit, count, sum, min, max, bucket_counts, explicit_bounds, zero_count,
              (SELECT sum(n) FROM unnest(positive_bucket_counts) AS n), labels FROM metrics_histograms ${where} ORDER BY metric`,
    );
    expect(histograms.rows).toEqual([
      ['latency', 'histogram', 'ms', '3', 555.5, 5, 500.5, ['1', '1', '1'], [10, 100], null, null, { route: '/' }],
      ['size', 'exponential_histogram', 'By', '4', 1005, 0, 1000, null, null, '1', '3', {}],
    ]);
    const { rows } = await server.sql('hot', `SELECT min(time), max(time) FROM metrics_events ${where}`);
    for (const time of rows[0] as string[]) {
      expect(Date.parse(time)).toBeGreaterThanOrEqual(before - 1);
      expect(Date.parse(time)).toBeLessThanOrEqual(Date.now() + 1);
    }
  });
});
