/** What differs between the three signals of OTLP, and the decoders that the adapters are given. */
import type { DecodedRequest } from '../../core/batch';
import { LOGS_EVENTS, METRICS_EVENTS, type Signal, TRACES_SPANS } from '../../core/builtin-tables';
import type { TableName } from '../../core/ids';

export interface SignalNames {
  readonly httpPath: string;
  readonly grpcService: string;
  /** Name of the count in `partialSuccess`, JSON form (OH6: metrics count data points). */
  readonly rejectedJson: string;
  /** Where rejected rows are counted that do not name their table. */
  readonly table: TableName;
}

export const SIGNALS: Readonly<Record<Signal, SignalNames>> = {
  logs: {
    httpPath: '/v1/logs',
    grpcService: 'opentelemetry.proto.collector.logs.v1.LogsService',
    rejectedJson: 'rejectedLogRecords',
    table: LOGS_EVENTS.table,
  },
  metrics: {
    httpPath: '/v1/metrics',
    grpcService: 'opentelemetry.proto.collector.metrics.v1.MetricsService',
    rejectedJson: 'rejectedDataPoints',
    table: METRICS_EVENTS.table,
  },
  traces: {
    httpPath: '/v1/traces',
    grpcService: 'opentelemetry.proto.collector.trace.v1.TraceService',
    rejectedJson: 'rejectedSpans',
    table: TRACES_SPANS.table,
  },
};

export const SIGNAL_LIST = Object.keys(SIGNALS) as Signal[];

export interface SignalDecoder {
  /** An `Export<Signal>ServiceRequest` as record batches. Throws IngestError `invalid_argument` when the bytes are not one. */
  decode(body: Uint8Array, options: { arrivalNs: bigint }): DecodedRequest;
  /** The same request from OTLP/JSON to protobuf. Throws IngestError `invalid_argument`. */
  transcode(body: Uint8Array): Uint8Array;
}

export type OtlpDecoders = Readonly<Record<Signal, SignalDecoder>>;

/** Wall clock, nanoseconds since 1970. */
export const wallClockNs = (): bigint => BigInt(Date.now()) * 1_000_000n;
