"""Sends spans, log records and metrics with the OpenTelemetry Python SDK, and prints as JSON what the caller cannot know.

usage: send.py {grpc|http} ENDPOINT {none|gzip} APP
"""

import json
import sys

from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.metrics import Observation
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

PROTOCOL, ENDPOINT, COMPRESSION, APP = sys.argv[1:5]

SECOND = 1_790_000_000_000_000_000
ATTRIBUTES = {
    "text": 'Grüße, 世界 "quoted"\n\t\\',
    "empty": "",
    "largest": 2**63 - 1,
    "smallest": -(2**63),
    "double": 0.1,
    "tiny": 5e-324,
    "huge": 1.7976931348623157e308,
    "true": True,
    "false": False,
    "strings": ["a", "", "ü"],
    "integers": [1, -2, 2**53 + 1],
    "doubles": [0.5, -0.25],
    "bools": [True, False],
    "__proto__": "a key like any other",
    "key with 'quotes', \"more\" and dots.": "x",
}
NESTED = {"reason": "no money", "cents": 1250, "deep": [True, "x", 2.5, {"more": None, "bytes": b"\x00\x01\xff"}]}


def exporters():
    if PROTOCOL == "grpc":
        from grpc import Compression
        from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

        compression = Compression.Gzip if COMPRESSION == "gzip" else Compression.NoCompression
        options = {"endpoint": ENDPOINT, "insecure": True, "compression": compression, "timeout": 20}
        return OTLPSpanExporter(**options), OTLPLogExporter(**options), OTLPMetricExporter(**options)

    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    options = {"compression": Compression.Gzip if COMPRESSION == "gzip" else Compression.NoCompression, "timeout": 20}
    return (
        OTLPSpanExporter(endpoint=f"{ENDPOINT}/v1/traces", **options),
        OTLPLogExporter(endpoint=f"{ENDPOINT}/v1/logs", **options),
        OTLPMetricExporter(endpoint=f"{ENDPOINT}/v1/metrics", **options),
    )


def send_spans(provider):
    """A parent, and a child with everything a span can have."""
    tracer = provider.get_tracer("interop.python", "1.2.3", schema_url="https://example.com/schema/1", attributes={"scope": 1})
    parent = tracer.start_span("parent", kind=SpanKind.CLIENT, start_time=SECOND)
    context = set_span_in_context(parent)
    linked = SpanContext(
        trace_id=0x0AF7651916CD43DD8448EB211C80319C,
        span_id=0xB7AD6B7169203331,
        is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
        trace_state=TraceState([("vendor", "opaque")]),
    )
    child = tracer.start_span(
        "child",
        context=context,
        kind=SpanKind.CONSUMER,
        attributes=ATTRIBUTES,
        links=[Link(linked, {"why": "retry", "attempt": 2})],
        start_time=SECOND + 123_456_789,
    )
    child.add_event("charged", {"amount": 12.5, "parts": [1, 2]}, timestamp=SECOND + 200_000_001)
    child.record_exception(ValueError("broken"), timestamp=SECOND + 200_000_002)
    child.set_status(Status(StatusCode.ERROR, "declined"))
    child.end(end_time=SECOND + 1_000_000_001)
    parent.end(end_time=SECOND + 2_000_000_000)
    ids = parent.get_span_context(), child.get_span_context()
    return {
        "trace_id": f"{ids[0].trace_id:032x}",
        "parent_span_id": f"{ids[0].span_id:016x}",
        "child_span_id": f"{ids[1].span_id:016x}",
    }


def send_logs(provider):
    """One record for every kind of body."""
    logger = provider.get_logger("interop.python", "1.2.3", attributes={"scope": 1})
    bodies = ["plain ü", 2**63 - 1, 0.1, True, b"\x00\x01\xff", ["a", 1, None], NESTED, None]
    context = set_span_in_context(
        NonRecordingSpan(SpanContext(0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331, False, TraceFlags(1)))
    )
    for index, body in enumerate(bodies):
        logger.emit(
            LogRecord(
                timestamp=SECOND + index,
                observed_timestamp=SECOND + 5_000_000_000 + index,
                context=context,
                severity_number=SeverityNumber.ERROR2,
                severity_text="error2",
                body=body,
                attributes={**ATTRIBUTES, "map": NESTED, "bytes": b"\x00\x01\xff"},
                event_name="payment.declined",
            )
        )
    return {"logs": len(bodies)}


def send_metrics(provider):
    meter = provider.get_meter("interop.python", "1.2.3")
    meter.create_counter("orders", unit="{order}", description="orders so far").add(2**62 + 1, {"region": "eu", "tier": 3})
    meter.create_up_down_counter("open").add(-7, {"ok": True})
    meter.create_observable_gauge("temperature", callbacks=[lambda _: [Observation(-0.25, {"room": "a"})]], unit="Cel")
    latency = meter.create_histogram("latency", unit="ms", explicit_bucket_boundaries_advisory=[10.0, 100.0])
    for value in (5, 50, 500.5):
        latency.record(value, {"route": "/"})
    size = meter.create_histogram("size", unit="By")
    for value in (0, 1, 4, 1000):
        size.record(value)


def main():
    spans, logs, metrics = exporters()
    resource = Resource.create({"service.name": APP, "host.name": "node-7", "answer": 42, "roles": ["a", "b"]})
    view = View(instrument_name="size", aggregation=ExponentialBucketHistogramAggregation())
    traces_provider = TracerProvider(resource=resource)
    traces_provider.add_span_processor(SimpleSpanProcessor(spans))
    logs_provider = LoggerProvider(resource=resource)
    logs_provider.add_log_record_processor(SimpleLogRecordProcessor(logs))
    reader = PeriodicExportingMetricReader(metrics, export_interval_millis=3_600_000)
    metrics_provider = MeterProvider(metric_readers=[reader], resource=resource, views=[view])

    sent = {**send_spans(traces_provider), **send_logs(logs_provider)}
    send_metrics(metrics_provider)
    # The metrics provider exports once, when it is shut down.
    flushed = [provider.force_flush() for provider in (traces_provider, logs_provider)]
    for provider in (traces_provider, logs_provider, metrics_provider):
        provider.shutdown()
    print(json.dumps({**sent, "flushed": all(flushed)}))


main()
