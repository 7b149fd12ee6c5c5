/**
 * `_demotions`: the state of every demotion (core/demotion.ts). Writers and readers look at two flags only:
 *
 * - `closed`: rows of the range no longer go to PostgreSQL. It is set in a transaction that waits for every write to the partition, and
 *   a write reads it holding its lock on the table, so that a write either ends before the range is closed or sees that it is.
 * - `hidden`: rows with this id do not count in ClickHouse. It changes only in a transaction that holds ACCESS EXCLUSIVE on the table;
 *   a reader of both tiers holds ACCESS SHARE from before its snapshot until it has its answer from ClickHouse.
 */
import type { RecordBatch } from 'apache-arrow';
import type { PoolClient } from 'pg';
import { halvesOf, positionOf, viewColumn } from '../../columnar/read';
import { columnData } from '../../columnar/record-batch';
import type { Range } from './partitions';

export const CREATE_DEMOTIONS: readonly string[] = [
  `CREATE TABLE IF NOT EXISTS _demotions (
    id            text PRIMARY KEY CHECK (id ~ '^[0-9a-f]{16}$'),
    table_name    text NOT NULL,
    partition     text NOT NULL,
    from_ms       bigint NOT NULL,
    to_ms         bigint NOT NULL,
    state         text NOT NULL,
    closed        boolean NOT NULL DEFAULT false,
    hidden        boolean NOT NULL DEFAULT true,
    layout        jsonb,
    next_chunk    integer NOT NULL DEFAULT 0,
    digest        jsonb,
    rows_estimate bigint NOT NULL,
    size_bytes    bigint NOT NULL,
    cursor_ns     bigint,
    rows_back     bigint NOT NULL DEFAULT 0,
    error         text,
    revision      integer NOT NULL DEFAULT 0,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now()
  )`,
  'CREATE INDEX IF NOT EXISTS _demotions_closed ON _demotions (table_name, to_ms) WHERE closed',
  'CREATE INDEX IF NOT EXISTS _demotions_hidden ON _demotions (table_name) WHERE hidden',
  `CREATE OR REPLACE FUNCTION _thermocline_refuse_write() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE EXCEPTION 'partition % is being moved to the cold tier', TG_TABLE_NAME USING ERRCODE = 'object_in_use'; END $$`,
];

const CLOSED_RANGES = 'SELECT from_ms, to_ms FROM _demotions WHERE closed AND table_name = $1 AND to_ms > $2 AND from_ms < $3';

const MS_MAX = 9_007_199_254_740_991;

/** Closed ranges of a table that meet [fromMs, toMs), in order, those that touch as one. */
export async function closedRanges(client: PoolClient, table: string, fromMs = -MS_MAX, toMs = MS_MAX): Promise<Range[]> {
  const { rows } = await client.query<{ from_ms: string; to_ms: string }>(CLOSED_RANGES, [table, fromMs, toMs]);
  return joinRanges(rows.map((row) => ({ fromMs: Number(row.from_ms), toMs: Number(row.to_ms) })));
}

export function joinRanges(ranges: readonly Range[]): Range[] {
  const joined: { fromMs: number; toMs: number }[] = [];
  for (const { fromMs, toMs } of [...ranges].sort((a, b) => a.fromMs - b.fromMs)) {
    const last = joined.at(-1);
    if (last !== undefined && fromMs <= last.toMs) last.toMs = Math.max(last.toMs, toMs);
    else joined.push({ fromMs, toMs });
  }
  return joined;
}

const MS_NS = 1_000_000n;

/** Rows of the batch whose time lies in one of the ranges, ascending. */
export function rowsWithin(batch: RecordBatch, timeColumn: string, ranges: readonly Range[], among: Int32Array): number[] {
  const data = columnData(batch, timeColumn);
  if (data === undefined || ranges.length === 0) return [];
  const view = viewColumn(data);
  const halves = halvesOf(view.values);
  const bounds = ranges.map(({ fromMs, toMs }) => ({ from: BigInt(fromMs) * MS_NS, to: BigInt(toMs) * MS_NS }));
  const rows: number[] = [];
  for (const row of among) {
    const position = positionOf(view, row);
    if (position < 0) continue;
    const ns = (BigInt(halves[position * 2 + 1] | 0) << 32n) | BigInt(halves[position * 2]);
    if (bounds.some(({ from, to }) => ns >= from && ns < to)) rows.push(row);
  }
  return rows;
}
