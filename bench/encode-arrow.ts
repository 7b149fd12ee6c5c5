/**
 * Rows per CPU-second of the ClickHouse encoder, on log rows as the OTLP decoder makes them. Prints one line of JSON.
 */
import { LOGS_EVENTS } from '../src/core/builtin-tables';
import { lsn, type WalId } from '../src/core/ids';
import { encodeArrow } from '../src/sinks/clickhouse/encode-arrow';
import { logBatch } from '../test/support/log-batches';

const ROWS = 100_000;
const ROUNDS = 30;

const write = {
  id: { walId: '0'.repeat(32) as WalId, lsn: lsn(1), lastLsn: lsn(1), table: LOGS_EVENTS.table, partition: '20260101' },
  schema: LOGS_EVENTS,
  batch: logBatch({ rows: ROWS, startNs: 1_767_225_600_000_000_000n }),
};

encodeArrow(write);
const before = process.cpuUsage();
let bytes = 0;
for (let round = 0; round < ROUNDS; round++) bytes = encodeArrow(write).bytes.length;
const { user, system } = process.cpuUsage(before);
const seconds = (user + system) / 1e6;
process.stdout.write(
  `${JSON.stringify({ bench: 'encode-arrow', rows_per_cpu_second: Math.round((ROWS * ROUNDS) / seconds), bytes_per_row: bytes / ROWS })}\n`,
);
