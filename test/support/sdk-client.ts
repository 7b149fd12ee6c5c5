/**
 * An application that sends one span, one log record and four metrics through the official OpenTelemetry exporters, and prints the
 * ids of its span. Arguments: transport, URL of OTLP/HTTP, URL of OTLP/gRPC. A process of its own, as an application is (the
 * exporters cannot be loaded inside jest).
 */
import { type Attributes, SpanKind, SpanStatusCode, TraceFlags, ValueType } from '@opentelemetry/api';
import { SeverityNumber } from '@opentelemetry/api-logs';
import { OTLPLogExporter as LogsGrpc } from '@opentelemetry/exporter-logs-otlp-grpc';
import { OTLPLogExporter as LogsJson } from '@opentelemetry/exporter-logs-otlp-http';
import { OTLPLogExporter as LogsProto } from '@opentelemetry/exporter-logs-otlp-proto';
import { OTLPMetricExporter as MetricsGrpc } from '@opentelemetry/exporter-metrics-otlp-grpc';
import { AggregationTemporalityPreference, OTLPMetricExporter as MetricsJson } from '@opentelemetry/exporter-metrics-otlp-http';
import { OTLPMetricExporter as MetricsProto } from '@opentelemetry/exporter-metrics-otlp-proto';
import { OTLPTraceExporter as TracesGrpc } from '@opentelemetry/exporter-trace-otlp-grpc';
import { OTLPTraceExporter as TracesJson } from '@opentelemetry/exporter-trace-otlp-http';
import { OTLPTraceExporter as TracesProto } from '@opentelemetry/exporter-trace-otlp-proto';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { LoggerProvider, SimpleLogRecordProcessor } from '@opentelemetry/sdk-logs';
import { AggregationType, MeterProvider, PeriodicExportingMetricReader } from '@opentelemetry/sdk-metrics';
import { BasicTracerProvider, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base';

const [transport, httpUrl, grpcUrl, attributesJson] = process.argv.slice(2);
const attributes = JSON.parse(attributesJson) as Attributes;
/** One application per transport, so that each can be found by its rows. */
const resource = resourceFromAttributes({
  'service.name': `shop ${transport}`,
  'host.name': 'node-7',
  'deployment.environment': 'ü-test',
});

/** The exporter of the transport. */
function exporterOf<G, J, P>(
  path: string,
  Grpc: new (o: object) => G,
  Json: new (o: object) => J,
  Proto: new (o: object) => P,
  options = {},
): G | J | P {
  if (transport === 'grpc') return new Grpc({ url: grpcUrl, ...options });
  const url = { url: httpUrl + path, ...options };
  return transport === 'http/json' ? new Json(url) : new Proto(url);
}

async function sendSpan(): Promise<{ traceId: string; spanId: string }> {
  const exporter = exporterOf('/v1/traces', TracesGrpc, TracesJson, TracesProto);
  const provider = new BasicTracerProvider({ resource, spanProcessors: [new SimpleSpanProcessor(exporter)] });
  const linked = { traceId: '0af7651916cd43dd8448eb211c80319c', spanId: 'b7ad6b7169203331', traceFlags: TraceFlags.SAMPLED };
  const span = provider.getTracer('checkout', '1.2.3').startSpan('pay', {
    kind: SpanKind.SERVER,
    startTime: [1_790_000_000, 123_456_789],
    attributes,
    links: [{ context: linked, attributes: { why: 'retry' } }],
  });
  span.addEvent('charged', { amount: 12.5 }, [1_790_000_000, 200_000_001]);
  span.setStatus({ code: SpanStatusCode.ERROR, message: 'declined' });
  span.end([1_790_000_001, 1]);
  await provider.forceFlush();
  await provider.shutdown();
  return span.spanContext();
}

async function sendLog(): Promise<void> {
  const exporter = exporterOf('/v1/logs', LogsGrpc, LogsJson, LogsProto);
  const provider = new LoggerProvider({ resource, processors: [new SimpleLogRecordProcessor({ exporter })] });
  provider.getLogger('checkout', '1.2.3').emit({
    timestamp: [1_790_000_000, 123_456_789],
    observedTimestamp: [1_790_000_002, 5],
    severityNumber: SeverityNumber.ERROR2,
    severityText: 'error2',
    eventName: 'payment.declined',
    body: { reason: 'no money', cents: 1250, nested: { deep: [true, 'x', 2.5] } },
    attributes: { ...attributes, map: { a: 1 }, bytes: Uint8Array.of(1, 2, 255) },
  });
  await provider.forceFlush();
  await provider.shutdown();
}

async function sendMetrics(): Promise<void> {
  const exporter = exporterOf('/v1/metrics', MetricsGrpc, MetricsJson, MetricsProto, {
    temporalityPreference: AggregationTemporalityPreference.DELTA,
  });
  const provider = new MeterProvider({
    resource,
    readers: [new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 3_600_000 })],
    views: [{ instrumentName: 'size', aggregation: { type: AggregationType.EXPONENTIAL_HISTOGRAM } }],
  });
  const meter = provider.getMeter('checkout', '1.2.3');
  const orders = meter.createCounter('orders', { unit: '{order}', description: 'orders so far', valueType: ValueType.INT });
  orders.add(9_007_199_254_740_991, { region: 'eu' });
  meter.createGauge('temperature', { unit: 'Cel' }).record(-0.25, { room: 'a' });
  meter.createHistogram('latency', { unit: 'ms', advice: { explicitBucketBoundaries: [10, 100] } }).record(50, { route: '/' });
  meter.createHistogram('size', { unit: 'By' }).record(3);
  await provider.forceFlush();
  await provider.shutdown();
}

async function main(): Promise<void> {
  const { traceId, spanId } = await sendSpan();
  await sendLog();
  await sendMetrics();
  process.stdout.write(JSON.stringify({ traceId, spanId }));
}

void main();
