import { Reader, type Type } from 'protobufjs';
import { otlpRoot } from './otlp-proto';

export type Signal = 'logs' | 'traces' | 'metrics';

const REQUEST: Record<Signal, string> = {
  logs: 'ExportLogsServiceRequest',
  traces: 'ExportTraceServiceRequest',
  metrics: 'ExportMetricsServiceRequest',
};

const ROOT = otlpRoot();

// A value 100 levels deep is 300 messages deep; the limit under test is ours.
Reader.recursionLimit = 1000;

/** The protobufjs type of a signal's export request. Field names are in camelCase. */
export const requestType = (signal: Signal): Type => ROOT.lookupType(REQUEST[signal]);

/** Encodes a plain object (64-bit integers as strings or numbers) as an export request. */
export function encodeRequest(signal: Signal, object: object): Uint8Array {
  const type = requestType(signal);
  return Uint8Array.from(type.encode(type.fromObject(object)).finish());
}
