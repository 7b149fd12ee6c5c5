/**
 * Native partitions by UTC day. A day is its number since 1970-01-01. Rows of days without a partition go to the DEFAULT one;
 * when their day gets one, they move into it.
 */
import type { RecordBatch } from 'apache-arrow';
import { halvesOf, positionOf, viewColumn } from '../../columnar/read';
import { columnData } from '../../columnar/record-batch';
import { quoteIdentifier, quoteLiteral } from '../../core/postgres-sql';
import type { TableSchema } from '../../core/table-schema';
import { DAY_MS, dayName } from '../../core/utc-day';
import { derivedName, pgColumns } from './ddl';

const DAY_NS = 86_400_000_000_000n;

/** Partitions that one write may make; the rows of further days go to the DEFAULT partition. */
export const NEW_PARTITIONS_MAX = 64;
/** Partitions of one table above which none are made for stray days: planning a query visits each of them. */
export const PARTITIONS_MAX = 2_000;

/** Yesterday, today and the week to come. */
export function daysAhead(nowMs: number): number[] {
  const today = Math.floor(nowMs / DAY_MS);
  return Array.from({ length: 9 }, (_, i) => today - 1 + i);
}

/** The days on which rows fall, exact to the nanosecond. Rows without a time are left to PostgreSQL, which refuses them. */
export function daysOf(batch: RecordBatch, timeColumn: string): Set<number> {
  const days = new Set<number>();
  const data = columnData(batch, timeColumn);
  if (data === undefined) return days;
  const view = viewColumn(data);
  const halves = halvesOf(view.values);
  let first = 0n;
  let firstLow = 1;
  let firstHigh = 0;
  let lastLow = 0;
  let lastHigh = 0;
  for (let row = 0; row < data.length; row++) {
    const position = positionOf(view, row);
    if (position < 0) continue;
    const low = halves[position * 2];
    const high = halves[position * 2 + 1] | 0;
    const fromFirst = high > firstHigh || (high === firstHigh && low >= firstLow);
    if (fromFirst && (high < lastHigh || (high === lastHigh && low <= lastLow))) continue;
    const ns = (BigInt(high) << 32n) | BigInt(low);
    const day = (ns - (((ns % DAY_NS) + DAY_NS) % DAY_NS)) / DAY_NS;
    days.add(Number(day));
    first = day * DAY_NS;
    const last = first + DAY_NS - 1n;
    firstLow = Number(BigInt.asUintN(32, first));
    firstHigh = Number(BigInt.asIntN(32, first >> 32n));
    lastLow = Number(BigInt.asUintN(32, last));
    lastHigh = Number(BigInt.asIntN(32, last >> 32n));
  }
  return days;
}

/** A range of time that a partition covers, milliseconds since 1970, from inclusive, to exclusive. */
export interface Range {
  readonly fromMs: number;
  readonly toMs: number;
}

export const dayRange = (day: number): Range => ({ fromMs: day * DAY_MS, toMs: (day + 1) * DAY_MS });

export const isCovered = (day: number, ranges: readonly Range[]): boolean =>
  ranges.some(({ fromMs, toMs }) => fromMs < (day + 1) * DAY_MS && toMs > day * DAY_MS);

/** Which partitions to make for these days: the newest first, within the bounds. */
export function missingDays(days: Iterable<number>, ranges: readonly Range[]): number[] {
  const room = Math.min(NEW_PARTITIONS_MAX, PARTITIONS_MAX - ranges.length);
  const missing = [...days].filter((day) => !isCovered(day, ranges));
  return missing.sort((a, b) => b - a).slice(0, Math.max(0, room));
}

/** Name and bounds of the partitions of table $1, DEFAULT included; the session's time zone must be UTC. */
export const LIST_PARTITIONS = `SELECT c.relname AS name, pg_get_expr(c.relpartbound, c.oid) AS bound
  FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = $1::regclass`;

/** As LIST_PARTITIONS, with size and rows; names are quoted and qualified as need be. */
export const LIST_RANGES = `SELECT c.oid::regclass::text AS name, pg_get_expr(c.relpartbound, c.oid) AS bound,
  greatest(c.reltuples, 0)::float8 AS rows, pg_total_relation_size(c.oid)::float8 AS bytes
  FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = to_regclass($1) AND c.relkind = 'r'`;

/** Reads the rows of LIST_RANGES, without the DEFAULT partition. A side without a bound is infinite. */
export function readRanges(rows: readonly { name: string; bound: string | null; rows: number; bytes: number }[]) {
  return rows.flatMap(({ name, bound, rows: rowsEstimate, bytes: sizeBytes }) => {
    const range = bound === null ? undefined : rangeOf(bound);
    return range === undefined ? [] : [{ name, ...range, rowsEstimate, sizeBytes }];
  });
}

export interface Partitions {
  /** Name of the DEFAULT partition, if there is one. */
  readonly defaultName: string | undefined;
  readonly ranges: readonly Range[];
}

/** Reads the rows of LIST_PARTITIONS. Partitions made by others count too: ours must not overlap with them. */
export function readPartitions(rows: readonly { name: string; bound: string }[]): Partitions {
  const ranges: Range[] = [];
  let defaultName: string | undefined;
  for (const { name, bound } of rows) {
    if (bound === 'DEFAULT') {
      defaultName = name;
      continue;
    }
    ranges.push(rangeOf(bound) ?? { fromMs: -Infinity, toMs: Infinity });
  }
  return { defaultName, ranges };
}

function rangeOf(bound: string): Range | undefined {
  const [found, from, to] = /FROM \((.*)\) TO \((.*)\)/.exec(bound) ?? [];
  return found === undefined ? undefined : { fromMs: boundMs(from, -Infinity), toMs: boundMs(to, Infinity) };
}

function boundMs(text: string | undefined, otherwise: number): number {
  // '2026-01-31 00:00:00+00': the offset needs its minutes to be ISO 8601.
  const time = /^'(.*)([+-]\d\d)'$/.exec(text ?? '');
  return time === null ? otherwise : Date.parse(`${time[1].replace(' ', 'T')}${time[2]}:00`);
}

export const createDefaultPartition = (schema: TableSchema): string =>
  `CREATE TABLE IF NOT EXISTS ${quoteIdentifier(derivedName('_default_', schema.table))}
    PARTITION OF ${quoteIdentifier(schema.table)} DEFAULT`;

/**
 * Makes the partition of one day and moves the rows of that day out of the DEFAULT partition. The new table is attached, not
 * created as a partition: that lets other writes and queries of the parent go on. Run it in one transaction.
 */
export function createPartition(schema: TableSchema, day: number, defaultName: string): string[] {
  const { fromMs, toMs } = dayRange(day);
  const from = new Date(fromMs).toISOString();
  const to = new Date(toMs).toISOString();
  const parent = quoteIdentifier(schema.table);
  const time = quoteIdentifier(schema.timeColumn);
  const stray = quoteIdentifier(defaultName);
  const partition = quoteIdentifier(derivedName(`_p${dayName(fromMs)}_`, schema.table));
  const columns = pgColumns(schema)
    .map(({ name }) => quoteIdentifier(name))
    .join(', ');
  return [
    `CREATE TABLE ${partition} (LIKE ${parent} INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE INCLUDING COMPRESSION)`,
    `WITH moved AS (
      DELETE FROM ONLY ${stray} WHERE ${time} >= ${quoteLiteral(from)} AND ${time} < ${quoteLiteral(to)} RETURNING ${columns}
    ) INSERT INTO ${partition} (${columns}) SELECT ${columns} FROM moved`,
    `ALTER TABLE ${parent} ATTACH PARTITION ${partition} FOR VALUES FROM (${quoteLiteral(from)}) TO (${quoteLiteral(to)})`,
  ];
}
