import { decodeLogs } from '../../src/adapters/otlp/decode-logs';
import { decodeMetrics } from '../../src/adapters/otlp/decode-metrics';
import { decodeTraces } from '../../src/adapters/otlp/decode-traces';
import type { DecodedRequest } from '../../src/core/batch';
import { encodeRequest, type Signal } from './otlp-requests';
import { plainRows } from './plain-rows';

export const ARRIVAL_NS = 1_750_000_000_000_000_001n;

const DECODERS = { logs: decodeLogs, traces: decodeTraces, metrics: decodeMetrics };

export const decodeBytes = (signal: Signal, body: Uint8Array): DecodedRequest =>
  DECODERS[signal](body, { arrivalNs: ARRIVAL_NS });

export interface Decoded {
  /** Rows by table; a null column is left out. */
  readonly rows: Record<string, Record<string, unknown>[]>;
  readonly request: DecodedRequest;
}

export function decodeRows(signal: Signal, body: Uint8Array): Decoded {
  const request = decodeBytes(signal, body);
  return { rows: Object.fromEntries(request.batches.map(({ table, batch }) => [table, plainRows(batch)])), request };
}

const ENVELOPES = {
  logs: ['resourceLogs', 'scopeLogs', 'logRecords'],
  traces: ['resourceSpans', 'scopeSpans', 'spans'],
  metrics: ['resourceMetrics', 'scopeMetrics', 'metrics'],
} as const;

/** Rows below one resource and one scope, encoded by protobufjs. */
export function requestOf(signal: Signal, rows: readonly object[], resource: object = {}, scope: object = {}): Uint8Array {
  const [resources, scopes, records] = ENVELOPES[signal];
  return encodeRequest(signal, { [resources]: [{ resource, [scopes]: [{ scope, [records]: rows }] }] });
}

/** A length-delimited field by hand. */
export function delimited(id: number, ...content: readonly (number | Uint8Array | readonly number[])[]): Uint8Array {
  const bytes = Buffer.concat(content.map((part) => Uint8Array.from(typeof part === 'number' ? [part] : part)));
  const head: number[] = [];
  for (const value of [id * 8 + 2, bytes.length]) {
    let rest = value;
    for (; rest > 0x7f; rest = Math.floor(rest / 128)) head.push((rest % 128) | 0x80);
    head.push(rest);
  }
  return Buffer.concat([Uint8Array.from(head), bytes]);
}

/** One log record from its bytes. */
export const logRequest = (...fields: readonly Uint8Array[]): Uint8Array => delimited(1, delimited(2, delimited(2, ...fields)));
