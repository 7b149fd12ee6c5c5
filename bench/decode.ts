/**
 * Micro-benchmark of the OTLP decoders, run by hand:
 *
 *   node bench/run.cjs bench/decode.ts [rows per request] [seconds per round] [signal]
 *
 * Prints rows per CPU-second (user and system of this process) from protobuf bytes to Arrow record batches, the median and the
 * best of seven rounds after one to warm up.
 */

import type { DecodeContext } from '../src/adapters/otlp/context';
import { decodeLogs } from '../src/adapters/otlp/decode-logs';
import { decodeMetrics } from '../src/adapters/otlp/decode-metrics';
import { decodeTraces } from '../src/adapters/otlp/decode-traces';
import { logsPayload, metricsPayload, tracesPayload } from '../src/cli/bench-payloads';
import type { DecodedRequest } from '../src/core/batch';

const SIGNALS = {
  logs: { payload: logsPayload, decode: decodeLogs },
  metrics: { payload: metricsPayload, decode: decodeMetrics },
  traces: { payload: tracesPayload, decode: decodeTraces },
} as const;

const ROUNDS = 7;
const CONTEXT: DecodeContext = { arrivalNs: 1_790_000_000_000_000_000n };

type Decode = (body: Uint8Array, context: DecodeContext) => DecodedRequest;

/** Million rows per CPU-second over `seconds` of wall time. */
function measure(decode: Decode, body: Uint8Array, seconds: number): number {
  const before = process.cpuUsage();
  const until = performance.now() + seconds * 1000;
  let rows = 0;
  while (performance.now() < until) rows += decode(body, CONTEXT).acceptedRows;
  const { user, system } = process.cpuUsage(before);
  return rows / (user + system);
}

const [rowsText = '1000', secondsText = '1', only] = process.argv.slice(2);
for (const [name, { payload, decode }] of Object.entries(SIGNALS)) {
  if (only !== undefined && only !== name) continue;
  const rows = Number(rowsText);
  const body = payload(rows);
  measure(decode, body, Number(secondsText));
  const rates = Array.from({ length: ROUNDS }, () => measure(decode, body, Number(secondsText))).sort((a, b) => a - b);
  const median = rates[ROUNDS >> 1];
  console.log(
    `${name.padEnd(8)} ${(body.length / rows).toFixed(0).padStart(4)} B/row  ` +
      `median ${median.toFixed(2)}  best ${rates[ROUNDS - 1].toFixed(2)} M rows/CPU-s  ${((median * body.length) / rows).toFixed(0)} MB/CPU-s`,
  );
}
