/** Requests as the OpenTelemetry SDK for JavaScript encodes them. */
import { SpanKind, SpanStatusCode, TraceFlags, ValueType } from '@opentelemetry/api';
import { SeverityNumber } from '@opentelemetry/api-logs';
import { ProtobufLogsSerializer, ProtobufMetricsSerializer, ProtobufTraceSerializer } from '@opentelemetry/otlp-transformer';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { InMemoryLogRecordExporter, LoggerProvider, SimpleLogRecordProcessor } from '@opentelemetry/sdk-logs';
import {
  AggregationTemporality,
  AggregationType,
  InMemoryMetricExporter,
  MeterProvider,
  PeriodicExportingMetricReader,
} from '@opentelemetry/sdk-metrics';
import { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base';
import { decodeRows } from '../../../support/otlp-decode';

const resource = resourceFromAttributes({ 'service.name': 'shop', 'host.name': 'h1', list: ['a', 'é'], pi: 3.25 });
const ORIGIN = {
  app: 'shop',
  host: 'h1',
  resource: [
    ['service.name', 1, 'shop'],
    ['host.name', 1, 'h1'],
    ['list', 5, '["a","é"]'],
    ['pi', 4, '3.25'],
  ],
  scope: [
    ['name', 1, 'lib'],
    ['version', 1, '1.2'],
  ],
};

test('log records of the SDK', async () => {
  const exporter = new InMemoryLogRecordExporter();
  const provider = new LoggerProvider({ resource, processors: [new SimpleLogRecordProcessor({ exporter })] });
  provider.getLogger('lib', '1.2').emit({
    body: { nested: { list: [1, 'x', { y: -5 }], double: 1.5 } },
    severityNumber: SeverityNumber.INFO,
    severityText: 'INFO',
    timestamp: [1_700_000_000, 123_456_789],
    observedTimestamp: [1_700_000_000, 123_456_790],
    attributes: { a: 1, b: [true], big: Number.MAX_SAFE_INTEGER, negative: -7, bytes: Uint8Array.of(1, 255) },
    eventName: 'login',
  });
  await provider.forceFlush();
  const { rows } = decodeRows('logs', ProtobufLogsSerializer.serializeRequest(exporter.getFinishedLogRecords())!);
  expect(rows.logs_events).toEqual([
    {
      ...ORIGIN,
      timestamp: 1_700_000_000_123_456_789n,
      observed_timestamp: 1_700_000_000_123_456_790n,
      message: '{"nested":{"list":[1,"x",{"y":-5}],"double":1.5}}',
      body_type: 'kvlist',
      severity_number: 9,
      severity_text: 'INFO',
      level: 'INFO',
      labels: [
        ['a', 3, '1'],
        ['b', 5, '[true]'],
        ['big', 3, '9007199254740991'],
        ['negative', 3, '-7'],
        ['bytes', 7, 'Af8='],
      ],
      event_name: 'login',
      flags: 0,
      dropped_attributes_count: 0,
    },
  ]);
  await provider.shutdown();
});

test('spans of the SDK', async () => {
  const exporter = new InMemorySpanExporter();
  const provider = new BasicTracerProvider({ resource, spanProcessors: [new SimpleSpanProcessor(exporter)] });
  const span = provider.getTracer('lib', '1.2').startSpan('GET /', {
    kind: SpanKind.SERVER,
    startTime: [1_700_000_000, 1],
    attributes: { 'http.status': 200 },
    links: [
      { context: { traceId: '0123456789abcdef0123456789abcdef', spanId: '0123456789abcdef', traceFlags: TraceFlags.SAMPLED } },
    ],
  });
  span.addEvent('retry', { attempt: 2 }, [1_700_000_000, 2]);
  span.setStatus({ code: SpanStatusCode.ERROR, message: 'boom' });
  span.end([1_700_000_001, 2]);
  const { traceId, spanId } = span.spanContext();
  const { rows } = decodeRows('traces', ProtobufTraceSerializer.serializeRequest(exporter.getFinishedSpans())!);
  expect(rows.traces_spans).toMatchObject([
    {
      ...ORIGIN,
      start_time: 1_700_000_000_000_000_001n,
      end_time: 1_700_000_001_000_000_002n,
      duration_ns: 1_000_000_001n,
      trace_id: traceId,
      span_id: spanId,
      name: 'GET /',
      kind: 'server',
      status_code: 'error',
      status_message: 'boom',
      attributes: [['http.status', 3, '200']],
      events: '[{"time_unix_nano":"1700000000000000002","name":"retry","attributes":{"attempt":2}}]',
    },
  ]);
  expect(JSON.parse(rows.traces_spans[0].links as string)).toMatchObject([
    { trace_id: '0123456789abcdef0123456789abcdef', span_id: '0123456789abcdef', attributes: {} },
  ]);
  await provider.shutdown();
});

test('gauges, sums, histograms and exponential histograms of the SDK', async () => {
  const exporter = new InMemoryMetricExporter(AggregationTemporality.DELTA);
  const reader = new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 1_000_000 });
  const views = [{ instrumentName: 'exp', aggregation: { type: AggregationType.EXPONENTIAL_HISTOGRAM as const } }];
  const provider = new MeterProvider({ resource, readers: [reader], views });
  const meter = provider.getMeter('lib', '1.2');
  meter.createCounter('requests', { unit: '1', description: 'Requests', valueType: ValueType.INT }).add(5, { route: '/' });
  meter.createGauge('load').record(0.5);
  const histogram = meter.createHistogram('latency', { advice: { explicitBucketBoundaries: [1, 10] } });
  for (const value of [0.5, 5, 50]) histogram.record(value);
  meter.createHistogram('exp').record(4);
  await provider.forceFlush();
  const { rows, request } = decodeRows('metrics', ProtobufMetricsSerializer.serializeRequest(exporter.getMetrics()[0])!);
  expect(request).toMatchObject({ acceptedRows: 4, rejectedRows: 0 });
  expect(rows.metrics_events).toMatchObject([
    {
      ...ORIGIN,
      metric: 'requests',
      description: 'Requests',
      unit: '1',
      kind: 'sum',
      temporality: 'delta',
      monotonic: true,
      value: 5,
      value_int: 5n,
    },
    { ...ORIGIN, metric: 'load', kind: 'gauge', value: 0.5, labels: [] },
  ]);
  expect(rows.metrics_events[0].labels).toEqual([['route', 1, '/']]);
  const byName = rows.metrics_histograms.toSorted((a, b) => String(b.metric).localeCompare(String(a.metric)));
  expect(byName).toMatchObject([
    {
      ...ORIGIN,
      metric: 'latency',
      kind: 'histogram',
      count: 3n,
      sum: 55.5,
      min: 0.5,
      max: 50,
      bucket_counts: [1n, 1n, 1n],
      explicit_bounds: [1, 10],
    },
    { ...ORIGIN, metric: 'exp', kind: 'exponential_histogram', count: 1n, sum: 4, zero_count: 0n, positive_bucket_counts: [1n] },
  ]);
  await provider.shutdown();
});
