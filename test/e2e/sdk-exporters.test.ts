/** The official OpenTelemetry JS exporters, three transports and three signals, against the built command with embedded stores. */
import { SpanKind, SpanStatusCode, TraceFlags, ValueType } from '@opentelemetry/api';
import { SeverityNumber } from '@opentelemetry/api-logs';
import { OTLPLogExporter as LogsGrpc } from '@opentelemetry/exporter-logs-otlp-grpc';
import { OTLPLogExporter as LogsJson } from '@opentelemetry/exporter-logs-otlp-http';
import { OTLPLogExporter as LogsProto } from '@opentelemetry/exporter-logs-otlp-proto';
import { OTLPMetricExporter as MetricsGrpc } from '@opentelemetry/exporter-metrics-otlp-grpc';
import { OTLPMetricExporter as MetricsJson } from '@opentelemetry/exporter-metrics-otlp-http';
import { OTLPMetricExporter as MetricsProto } from '@opentelemetry/exporter-metrics-otlp-proto';
import { OTLPTraceExporter as TracesGrpc } from '@opentelemetry/exporter-trace-otlp-grpc';
import { OTLPTraceExporter as TracesJson } from '@opentelemetry/exporter-trace-otlp-http';
import { OTLPTraceExporter as TracesProto } from '@opentelemetry/exporter-trace-otlp-proto';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { LoggerProvider, SimpleLogRecordProcessor } from '@opentelemetry/sdk-logs';
import { AggregationType, MeterProvider, PeriodicExportingMetricReader } from '@opentelemetry/sdk-metrics';
import { BasicTracerProvider, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base';
import { TestServer, temporaryDirectory } from '../support/server';

const TRANSPORTS = ['http/json', 'http/protobuf', 'grpc'] as const;
type Transport = (typeof TRANSPORTS)[number];

let server: TestServer;
let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
beforeAll(async () => {
  directory = await temporaryDirectory();
  server = await TestServer.start({ dataDir: directory.path });
}, 60_000);
afterAll(async () => {
  expect(await server.stop()).toBe(0);
  await directory.remove();
}, 60_000);

/** One application per transport, so that each can be found by its rows. */
const resource = (transport: Transport) =>
  resourceFromAttributes({ 'service.name': `shop ${transport}`, 'host.name': 'node-7', 'deployment.environment': 'ü-test' });

const urls = (path: string) => ({ url: `http://${server.http}${path}` });
const grpc = () => ({ url: `http://${server.grpc}` });

const ATTRIBUTES = {
  text: 'Grüße, 世界 "quoted"\n',
  integer: 9_007_199_254_740_991,
  negative: -42,
  double: 0.1,
  flag: true,
  list: ['a', 'b'],
  numbers: [1, 2.5],
};
describe.each(TRANSPORTS)('over %s', (transport) => {
  test('a span is found by SQL with every field it was sent with', async () => {
    const exporter =
      transport === 'grpc'
        ? new TracesGrpc(grpc())
        : transport === 'http/json'
          ? new TracesJson(urls('/v1/traces'))
          : new TracesProto(urls('/v1/traces'));
    const provider = new BasicTracerProvider({
      resource: resource(transport),
      spanProcessors: [new SimpleSpanProcessor(exporter)],
    });
    const linked = { traceId: '0af7651916cd43dd8448eb211c80319c', spanId: 'b7ad6b7169203331', traceFlags: TraceFlags.SAMPLED };
    const span = provider.getTracer('checkout', '1.2.3').startSpan('pay', {
      kind: SpanKind.SERVER,
      startTime: [1_790_000_000, 123_456_789],
      attributes: ATTRIBUTES,
      links: [{ context: linked, attributes: { why: 'retry' } }],
    });
    span.addEvent('charged', { amount: 12.5 }, [1_790_000_000, 200_000_001]);
    span.setStatus({ code: SpanStatusCode.ERROR, message: 'declined' });
    span.end([1_790_000_001, 1]);
    await provider.forceFlush();
    await provider.shutdown();

    const { traceId, spanId } = span.spanContext();
    await server.sqlUntil('hot', `SELECT count(*) FROM traces_spans WHERE trace_id = '${traceId}'`, 1);
    const { rows } = await server.sql(
      'hot',
      `SELECT start_time, start_time_ns, end_time, end_time_ns, duration_ns, span_id, parent_span_id, name, kind, status_code, status_message,
              app, host, attributes, events, links, resource, scope, flags
       FROM traces_spans WHERE trace_id = '${traceId}'`,
    );
    const [
      start,
      startNs,
      end,
      endNs,
      duration,
      id,
      parent,
      name,
      kind,
      code,
      message,
      app,
      host,
      attributes,
      events,
      links,
      origin,
      scope,
      flags,
    ] = rows[0];
    expect([start, startNs, end, endNs, duration]).toEqual([
      '2026-09-21T13:33:20.123456Z',
      789,
      '2026-09-21T13:33:21Z',
      1,
      '876543212',
    ]);
    expect([id, parent, name, kind, code, message, app, host]).toEqual([
      spanId,
      null,
      'pay',
      'server',
      'error',
      'declined',
      `shop ${transport}`,
      'node-7',
    ]);
    expect(attributes).toEqual(ATTRIBUTES);
    expect(events).toEqual([
      expect.objectContaining({ time_unix_nano: '1790000000200000001', name: 'charged', attributes: { amount: 12.5 } }),
    ]);
    expect(links).toEqual([
      expect.objectContaining({ trace_id: linked.traceId, span_id: linked.spanId, attributes: { why: 'retry' } }),
    ]);
    expect(origin).toMatchObject({ 'service.name': `shop ${transport}`, 'deployment.environment': 'ü-test' });
    expect(scope).toMatchObject({ name: 'checkout', version: '1.2.3' });
    expect(Number(flags) & 1).toBe(1);
  });

  test('a log record is found by SQL with every field it was sent with', async () => {
    const exporter =
      transport === 'grpc'
        ? new LogsGrpc(grpc())
        : transport === 'http/json'
          ? new LogsJson(urls('/v1/logs'))
          : new LogsProto(urls('/v1/logs'));
    const provider = new LoggerProvider({ resource: resource(transport), processors: [new SimpleLogRecordProcessor({ exporter })] });
    provider.getLogger('checkout', '1.2.3').emit({
      timestamp: [1_790_000_000, 123_456_789],
      observedTimestamp: [1_790_000_002, 5],
      severityNumber: SeverityNumber.ERROR2,
      severityText: 'error2',
      eventName: 'payment.declined',
      body: { reason: 'no money', cents: 1250, nested: { deep: [true, 'x', 2.5] } },
      attributes: { ...ATTRIBUTES, map: { a: 1 }, bytes: Uint8Array.of(1, 2, 255) },
    });
    await provider.forceFlush();
    await provider.shutdown();

    await server.sqlUntil('cold', `SELECT count() FROM logs_events WHERE app = 'shop ${transport}'`, 1);
    const { rows } = await server.sql(
      'cold',
      `SELECT timestamp, observed_timestamp, severity_number, severity_text, level, event_name, message, body_type, labels, resource, scope, host
       FROM logs_events WHERE app = 'shop ${transport}'`,
    );
    const [timestamp, observed, number, text, level, event, message, bodyType, labels, origin, scope, host] = rows[0];
    expect([timestamp, observed]).toEqual(['2026-09-21T13:33:20.123456789Z', '2026-09-21T13:33:22.000000005Z']);
    expect([number, text, level, event, bodyType, host]).toEqual([18, 'error2', 'ERROR', 'payment.declined', 'kvlist', 'node-7']);
    expect(JSON.parse(String(message))).toEqual({ reason: 'no money', cents: 1250, nested: { deep: [true, 'x', 2.5] } });
    expect(labels).toMatchObject({
      text: ATTRIBUTES.text,
      integer: '9007199254740991',
      negative: '-42',
      double: '0.1',
      flag: 'true',
      bytes: 'AQL/',
    });
    expect(JSON.parse((labels as Record<string, string>)['list'])).toEqual(['a', 'b']);
    expect(JSON.parse((labels as Record<string, string>)['map'])).toEqual({ a: 1 });
    expect(origin).toMatchObject({ 'service.name': `shop ${transport}`, 'deployment.environment': 'ü-test' });
    expect(scope).toMatchObject({ name: 'checkout', version: '1.2.3' });
    const view = await server.sql(
      'cold',
      `SELECT Timestamp, SeverityNumber, ServiceName, Body, ScopeName FROM otel_logs WHERE ServiceName = 'shop ${transport}'`,
    );
    expect(view.rows[0]).toEqual([timestamp, 18, `shop ${transport}`, message, 'checkout']);
  });

  test('metric points of every kind are found by SQL with their values', async () => {
    const options = { temporalityPreference: 0 };
    const exporter =
      transport === 'grpc'
        ? new MetricsGrpc({ ...grpc(), ...options })
        : transport === 'http/json'
          ? new MetricsJson({ ...urls('/v1/metrics'), ...options })
          : new MetricsProto({ ...urls('/v1/metrics'), ...options });
    const provider = new MeterProvider({
      resource: resource(transport),
      readers: [new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 3_600_000 })],
      views: [{ instrumentName: 'size', aggregation: { type: AggregationType.EXPONENTIAL_HISTOGRAM } }],
    });
    const meter = provider.getMeter('checkout', '1.2.3');
    meter
      .createCounter('orders', { unit: '{order}', description: 'orders so far', valueType: ValueType.INT })
      .add(9_007_199_254_740_991, { region: 'eu' });
    meter.createGauge('temperature', { unit: 'Cel' }).record(-0.25, { room: 'a' });
    meter.createHistogram('latency', { unit: 'ms', advice: { explicitBucketBoundaries: [10, 100] } }).record(50, { route: '/' });
    meter.createHistogram('size', { unit: 'By' }).record(3);
    await provider.forceFlush();
    await provider.shutdown();

    const app = `app = 'shop ${transport}'`;
    await server.sqlUntil(
      'hot',
      `SELECT (SELECT count(*) FROM metrics_events WHERE ${app}) + (SELECT count(*) FROM metrics_histograms WHERE ${app})`,
      4,
    );
    const numbers = await server.sql(
      'hot',
      `SELECT metric, kind, unit, description, temporality, monotonic, value_int, value, labels, scope->>'name' FROM metrics_events WHERE ${app} ORDER BY metric`,
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
      ['temperature', 'gauge', 'Cel', null, null, null, null, -0.25, { room: 'a' }, 'checkout'],
    ]);
    const histograms = await server.sql(
      'hot',
      `SELECT metric, kind, unit, count, sum, min, max, bucket_counts, explicit_bounds, zero_count, positive_bucket_counts FROM metrics_histograms WHERE ${app} ORDER BY metric`,
    );
    expect(histograms.rows[0]).toEqual(['latency', 'histogram', 'ms', '1', 50, 50, 50, ['0', '1', '0'], [10, 100], null, null]);
    expect(histograms.rows[1].slice(0, 7)).toEqual(['size', 'exponential_histogram', 'By', '1', 3, 3, 3]);
    expect(histograms.rows[1].slice(9)).toEqual(['0', ['1']]);
    const bucket = await server.sql(
      'hot',
      `SELECT count(*) FROM (SELECT time_bucket('1 minute', time) AS minute, count(*) FROM metrics_events GROUP BY minute) AS t`,
    );
    expect(Number(bucket.rows[0][0])).toBeGreaterThan(0);
  });
});
