/**
 * Rows per CPU-second of the binary COPY encoder, on rows as the OTLP decoders make them, run by hand:
 *
 *   node bench/run.cjs bench/encode-copy.ts [rows per batch]
 *
 * Prints one line of JSON a table: the median and the best of seven rounds after one to warm up.
 */
import { decodeLogs } from '../src/adapters/otlp/decode-logs';
import { decodeMetrics } from '../src/adapters/otlp/decode-metrics';
import { decodeTraces } from '../src/adapters/otlp/decode-traces';
import { logsPayload, metricsPayload, tracesPayload } from '../src/cli/bench-payloads';
import type { TableBatch } from '../src/core/batch';
import { BUILTIN_TABLES } from '../src/core/builtin-tables';
import { CopyEncoder } from '../src/sinks/postgres/encode-copy';

const ROUNDS = 7;
const ROUND_MS = 1_000;
const CONTEXT = { arrivalNs: 1_790_000_000_000_000_000n };

function encode({ table, batch }: TableBatch): number {
  const schema = BUILTIN_TABLES.find((candidate) => candidate.table === table)!;
  let bytes = 0;
  for (const chunk of new CopyEncoder(schema, batch).chunks()) bytes += chunk.length;
  return bytes;
}

function rowsPerCpuSecond(input: TableBatch): number {
  const before = process.cpuUsage();
  let rows = 0;
  for (const end = performance.now() + ROUND_MS; performance.now() < end; rows += input.batch.numRows) encode(input);
  const { user, system } = process.cpuUsage(before);
  return Math.round((rows * 1e6) / (user + system));
}

const rows = Number(process.argv[2] ?? 10_000);
const requests = [
  decodeLogs(logsPayload(rows), CONTEXT),
  decodeMetrics(metricsPayload(rows), CONTEXT),
  decodeTraces(tracesPayload(rows), CONTEXT),
];
for (const input of requests.flatMap(({ batches }) => batches)) {
  const bytes = encode(input);
  const rates = Array.from({ length: ROUNDS + 1 }, () => rowsPerCpuSecond(input)).slice(1);
  rates.sort((a, b) => a - b);
  const rowBytes = Math.round(bytes / input.batch.numRows);
  const result = {
    bench: 'encode-copy',
    table: input.table,
    bytes_per_row: rowBytes,
    median: rates[ROUNDS >> 1],
    best: rates[ROUNDS - 1],
  };
  process.stdout.write(`${JSON.stringify(result)}\n`);
}
