import type { RecordBatch } from 'apache-arrow';
import { NumberBuilder } from '../../src/columnar/builders';
import { recordBatch } from '../../src/columnar/record-batch';
import { METRICS_EVENTS } from '../../src/core/builtin-tables';
import type { Lsn, WalId } from '../../src/core/ids';
import type { SinkWrite } from '../../src/core/sink';
import type { TableSchema } from '../../src/core/table-schema';
import { attributes, dictionary, timestamps, utf8 } from './log-batches';
import { NOTHING_REFUSED } from './refusals';

/** Rows of metrics_events at the given times; `value` counts the rows. */
export function metricBatch(timesNs: readonly bigint[]): RecordBatch {
  const value = NumberBuilder.float64();
  for (const row of timesNs.keys()) value.append(row);
  const rows = [...timesNs.keys()];
  return recordBatch([
    { name: 'time', data: timestamps(timesNs) },
    {
      name: 'app',
      data: dictionary(
        rows.map((row) => row % 2),
        utf8(['checkout', 'cart']),
      ),
    },
    {
      name: 'host',
      data: dictionary(
        rows.map(() => 0),
        utf8(['node-1']),
      ),
    },
    { name: 'labels', data: attributes(rows.map((row) => ({ route: `/orders/${row}` }))) },
    { name: 'value', data: value.finish() },
    {
      name: 'metric',
      data: dictionary(
        rows.map(() => 0),
        utf8(['requests']),
      ),
    },
  ]);
}

/** `count` times from `startNs` on, a microsecond apart. */
export const timesFrom = (startNs: bigint, count: number): bigint[] =>
  Array.from({ length: count }, (_, i) => startNs + BigInt(i) * 1000n);

export function writeOf(walId: string, lsn: number, batch: RecordBatch, schema: TableSchema = METRICS_EVENTS): SinkWrite {
  return {
    id: { walId: walId as WalId, lsn: lsn as Lsn, lastLsn: lsn as Lsn, table: schema.table, partition: '' },
    schema,
    batch,
    mayHaveRun: false,
    ...NOTHING_REFUSED,
  };
}
