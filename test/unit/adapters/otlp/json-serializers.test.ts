import { SpanKind, SpanStatusCode, TraceFlags } from '@opentelemetry/api';
import {
  JsonLogsSerializer,
  JsonMetricsSerializer,
  JsonTraceSerializer,
  ProtobufLogsSerializer,
  ProtobufMetricsSerializer,
  ProtobufTraceSerializer,
} from '@opentelemetry/otlp-transformer';
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
import { transcodeLogs, transcodeMetrics, transcodeTraces } from '../../../../src/adapters/otlp/json-to-protobuf';
import { otlpRoot, plainMessage } from '../../../support/otlp-proto';

const ROOT = otlpRoot();
const resource = resourceFromAttributes({ 'service.name': 'checkout', 'host.name': 'é"\\', weights: [1, 2], on: true, pi: 3.25 });

/** The same SDK data as JSON through our transcoder and as protobuf, both read by protobufjs. */
function expectSame(typeName: string, transcoded: Uint8Array, protobuf: Uint8Array | undefined): void {
  const type = ROOT.lookupType(typeName);
  expect(plainMessage(type, transcoded)).toEqual(plainMessage(type, protobuf!));
}

describe('the serializers of the OpenTelemetry SDK', () => {
  test('logs are the same from JSON and from protobuf', async () => {
    const exporter = new InMemoryLogRecordExporter();
    const provider = new LoggerProvider({ resource, processors: [new SimpleLogRecordProcessor({ exporter })] });
    const logger = provider.getLogger('lib', '1.2', { schemaUrl: 'https://example.org/schema' });
    logger.emit({
      body: 'text é\n',
      severityText: 'INFO',
      timestamp: 1_700_000_000_123,
      attributes: { a: 1, b: [true], c: null },
    });
    logger.emit({
      body: { nested: { list: [1, 'x', { y: -5 }], double: 1.5 } },
      eventName: 'event',
      timestamp: [1_700_000_000, 999_999_999],
    });
    logger.emit({ body: new Uint8Array([0, 255, 254]), attributes: { ['__proto__']: 'x', big: Number.MAX_SAFE_INTEGER } });
    await provider.forceFlush();
    const records = exporter.getFinishedLogRecords();
    expect(records).toHaveLength(3);
    expectSame(
      'ExportLogsServiceRequest',
      transcodeLogs(JsonLogsSerializer.serializeRequest(records)!),
      ProtobufLogsSerializer.serializeRequest(records),
    );
    await provider.shutdown();
  });

  test('spans are the same from JSON and from protobuf', () => {
    const exporter = new InMemorySpanExporter();
    const provider = new BasicTracerProvider({ resource, spanProcessors: [new SimpleSpanProcessor(exporter)] });
    const tracer = provider.getTracer('lib');
    const link = { traceId: '5b8efff798038103d269b633813fc60c', spanId: 'eee19b7ec3c1b174', traceFlags: TraceFlags.SAMPLED };
    const span = tracer.startSpan('work', {
      kind: SpanKind.SERVER,
      attributes: { 'http.status_code': 200, ratio: 0.5 },
      links: [{ context: link, attributes: { l: 'x' } }],
    });
    span.addEvent('event', { e: 'x' }, [1_700_000_000, 1]);
    span.setStatus({ code: SpanStatusCode.ERROR, message: 'broken' });
    span.end();
    const spans = exporter.getFinishedSpans();
    expect(spans).toHaveLength(1);
    expectSame(
      'ExportTraceServiceRequest',
      transcodeTraces(JsonTraceSerializer.serializeRequest(spans)!),
      ProtobufTraceSerializer.serializeRequest(spans),
    );
  });

  test('metrics of every kind that the SDK has are the same from JSON and from protobuf', async () => {
    const exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE);
    const reader = new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 3_600_000 });
    const exponential = {
      instrumentName: 'exponential',
      aggregation: { type: AggregationType.EXPONENTIAL_HISTOGRAM, options: {} },
    } as const;
    const provider = new MeterProvider({ resource, readers: [reader], views: [exponential] });
    const meter = provider.getMeter('lib');
    meter.createCounter('counter').add(5, { k: 'v' });
    meter.createCounter('double').add(1.25);
    meter.createUpDownCounter('updown').add(-3);
    meter.createGauge('gauge').record(2.5);
    for (const name of ['histogram', 'exponential'])
      for (const value of [0, 1, 2, 1000]) meter.createHistogram(name).record(value);
    await reader.forceFlush();
    const metrics = exporter.getMetrics()[0];
    expect(metrics.scopeMetrics[0].metrics).toHaveLength(6);
    expectSame(
      'ExportMetricsServiceRequest',
      transcodeMetrics(JsonMetricsSerializer.serializeRequest(metrics)!),
      ProtobufMetricsSerializer.serializeRequest(metrics),
    );
    await provider.shutdown();
  });
});
