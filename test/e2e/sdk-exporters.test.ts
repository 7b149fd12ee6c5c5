/** The official OpenTelemetry JS exporters, three transports and three signals, against the built command with embedded stores. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { TestServer, temporaryDirectory } from '../support/server';

const SUPPORT = join(__dirname, '..', 'support');

const ATTRIBUTES = {
  text: 'Grüße, 世界 "quoted"\n',
  integer: 9_007_199_254_740_991,
  negative: -42,
  double: 0.1,
  flag: true,
  list: ['a', 'b'],
  numbers: [1, 2.5],
};

let server: TestServer;
let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
beforeAll(async () => {
  directory = await temporaryDirectory();
  server = await TestServer.start({ dataDir: directory.path });
}, 60_000);
afterAll(async () => {
  await server.stop();
  await directory.remove();
}, 60_000);

describe.each(['http/json', 'http/protobuf', 'grpc'])(
  'what the SDK sends over %s is found by SQL, every field with its value',
  (transport) => {
    const app = `app = 'shop ${transport}'`;
    let span: { traceId: string; spanId: string };
    beforeAll(async () => {
      const script = ['-r', join(SUPPORT, 'run-typescript.cjs'), join(SUPPORT, 'sdk-client.ts')];
      const args = [transport, `http://${server.http}`, `http://${server.grpc}`, JSON.stringify(ATTRIBUTES)];
      const { stdout } = await promisify(execFile)(process.execPath, [...script, ...args]);
      span = JSON.parse(stdout) as typeof span;
      await server.drained();
    }, 60_000);

    test('a span', async () => {
      const { rows } = await server.sql(
        'hot',
        `SELECT start_time, start_time_ns, end_time, end_time_ns, duration_ns, span_id, parent_span_id, name, kind, status_code,
              status_message, app, host, attributes, events, links, resource, scope, flags
       FROM traces_spans WHERE trace_id = '${span.traceId}'`,
      );
      expect(rows).toHaveLength(1);
      expect(rows[0].slice(0, 13)).toEqual([
        '2026-09-21T14:13:20.123456Z',
        789,
        '2026-09-21T14:13:21Z',
        1,
        '876543212',
        span.spanId,
        null,
        'pay',
        'server',
        'error',
        'declined',
        `shop ${transport}`,
        'node-7',
      ]);
      const [attributes, events, links, resource, scope, flags] = rows[0].slice(13);
      expect(attributes).toEqual(ATTRIBUTES);
      expect(events).toEqual([
        expect.objectContaining({ time_unix_nano: '1790000000200000001', name: 'charged', attributes: { amount: 12.5 } }),
      ]);
      const linked = { trace_id: '0af7651916cd43dd8448eb211c80319c', span_id: 'b7ad6b7169203331', attributes: { why: 'retry' } };
      expect(links).toEqual([expect.objectContaining(linked)]);
      expect(resource).toMatchObject({ 'service.name': `shop ${transport}`, 'deployment.environment': 'ü-test' });
      expect(scope).toMatchObject({ name: 'checkout', version: '1.2.3' });
      expect(Number(flags) & 1).toBe(1);
    });

    test('a log record, also through the view otel_logs', async () => {
      const { rows } = await server.sql(
        'cold',
        `SELECT timestamp, observed_timestamp, severity_number, severity_text, level, event_name, body_type, host,
              message, labels, resource, scope FROM logs_events WHERE ${app}`,
      );
      expect(rows).toHaveLength(1);
      expect(rows[0].slice(0, 8)).toEqual([
        '2026-09-21T14:13:20.123456789Z',
        '2026-09-21T14:13:22.000000005Z',
        18,
        'error2',
        'ERROR',
        'payment.declined',
        'kvlist',
        'node-7',
      ]);
      const [message, labels, resource, scope] = rows[0].slice(8) as [string, Record<string, string>, object, object];
      expect(JSON.parse(message)).toEqual({ reason: 'no money', cents: 1250, nested: { deep: [true, 'x', 2.5] } });
      const { list, map, numbers, ...scalars } = labels;
      expect(scalars).toEqual({
        text: ATTRIBUTES.text,
        integer: '9007199254740991',
        negative: '-42',
        double: '0.1',
        flag: 'true',
        bytes: 'AQL/',
      });
      expect([list, map, numbers].map((text) => JSON.parse(text) as unknown)).toEqual([['a', 'b'], { a: 1 }, [1, 2.5]]);
      expect(resource).toMatchObject({ 'service.name': `shop ${transport}`, 'deployment.environment': 'ü-test' });
      expect(scope).toMatchObject({ name: 'checkout', version: '1.2.3' });
      const view = await server.sql(
        'cold',
        `SELECT Timestamp, SeverityNumber, ServiceName, Body, ScopeName FROM otel_logs WHERE ServiceName = 'shop ${transport}'`,
      );
      expect(view.rows).toEqual([[rows[0][0], 18, `shop ${transport}`, message, 'checkout']]);
    });

    test('metric points of every kind that an SDK makes', async () => {
      const numbers = await server.sql(
        'hot',
        `SELECT metric, kind, unit, coalesce(description, ''), temporality, monotonic, value_int, value, labels, scope->>'name'
       FROM metrics_events WHERE ${app} ORDER BY metric`,
      );
      expect(numbers.rows).toEqual([
        [
          'orders',
          'sum',
          '{order}',
          'orders so far',
          'delta',
          true,
          '9007199254740991',
          9_007_199_254_740_991,
          { region: 'eu' },
          'checkout',
        ],
        ['temperature', 'gauge', 'Cel', '', null, null, null, -0.25, { room: 'a' }, 'checkout'],
      ]);
      const histograms = await server.sql(
        'hot',
        `SELECT metric, kind, unit, count, sum, min, max, bucket_counts, explicit_bounds, zero_count, positive_bucket_counts
       FROM metrics_histograms WHERE ${app} ORDER BY metric`,
      );
      expect(histograms.rows).toEqual([
        ['latency', 'histogram', 'ms', '1', 50, 50, 50, ['0', '1', '0'], [10, 100], null, null],
        ['size', 'exponential_histogram', 'By', '1', 3, 3, 3, null, null, '0', ['1']],
      ]);
      const minutes = await server.sql(
        'hot',
        `SELECT count(DISTINCT time_bucket('1 minute', time)) FROM metrics_events WHERE ${app}`,
      );
      expect(Number(minutes.rows[0][0])).toBeGreaterThan(0);
    });
  },
);
