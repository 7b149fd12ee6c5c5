import { decodeLogs } from './decode-logs';
import { decodeMetrics } from './decode-metrics';
import { decodeTraces } from './decode-traces';
import { transcodeLogs, transcodeMetrics, transcodeTraces } from './json-to-protobuf';
import type { OtlpDecoders } from './signal';

/** The decoder of each signal. */
export const OTLP_DECODERS: OtlpDecoders = {
  logs: { decode: decodeLogs, transcode: transcodeLogs },
  metrics: { decode: decodeMetrics, transcode: transcodeMetrics },
  traces: { decode: decodeTraces, transcode: transcodeTraces },
};
