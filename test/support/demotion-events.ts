import { recordBatch } from '../../src/columnar/record-batch';
import type { TableName } from '../../src/core/ids';
import type { ColumnSchema, TableSchema } from '../../src/core/table-schema';
import { columnOf } from './columns';
import { timestamps } from './log-batches';

export const DAY_MS = 86_400_000;
export const DAY_NS = 86_400_000_000_000n;
/** A day of which everything is older than two days. */
export const FIRST_DAY_MS = Date.UTC(2026, 0, 5);

export function schemaOf(table: string, columns: ColumnSchema[]): TableSchema {
  return {
    table: table as TableName,
    version: 1,
    columns: [{ name: 'time', type: 'timestamp', nullable: false }, ...columns],
    timeColumn: 'time',
    tier: 'hot',
  };
}

/** Rows of `count` metrics-like values over one day, in order. */
export const EVENTS = schemaOf('events', [
  { name: 'app', type: 'string', nullable: true, lowCardinality: true },
  { name: 'value', type: 'float64', nullable: true },
  { name: 'labels', type: 'attributes', nullable: true },
]);

export function eventsOf(dayMs: number, count: number, first = 0) {
  const rows = Array.from({ length: count }, (_, i) => first + i);
  const times = rows.map((row) => BigInt(dayMs) * 1_000_000n + (BigInt(row - first) * DAY_NS) / BigInt(count));
  return recordBatch([
    { name: 'time', data: timestamps(times) },
    {
      name: 'app',
      data: columnOf(
        'string',
        rows.map((row) => `app ${row % 3}`),
        'shared',
      ),
    },
    { name: 'value', data: columnOf('float64', rows, 'plain') },
    {
      name: 'labels',
      data: columnOf(
        'attributes',
        rows.map((row) => ({ row: `${row}` })),
        'plain',
      ),
    },
  ]);
}
