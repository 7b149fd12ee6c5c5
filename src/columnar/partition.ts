import type { RecordBatch } from 'apache-arrow';
import { DAY_MS, dayName } from '../core/utc-day';
import { halvesOf } from './read';
import { columnData } from './record-batch';

const DAY_NS = 86_400_000_000_000n;

/**
 * The rows of each UTC day (YYYYMMDD) by the given timestamp column, as runs in row order; days in order of first appearance.
 * Exact to the nanosecond at the borders of a day.
 */
export function runsByDay(batch: RecordBatch, timeColumn: string): Map<string, Int32Array> {
  const data = columnData(batch, timeColumn);
  if (data === undefined || data.nullCount > 0) throw new RangeError(`every row needs a value in ${timeColumn}`);
  const halves = halvesOf(data);
  const runs = new Map<string, number[]>();
  let day: DayRange | undefined;
  let current: number[] = [];
  for (let row = 0; row < data.length; row++) {
    const low = halves[row * 2];
    const high = halves[row * 2 + 1] | 0;
    if (day !== undefined && contains(day, low, high)) continue;
    if (day !== undefined) current.push(row);
    day = dayOf(low, high);
    current = runs.get(day.name) ?? [];
    runs.set(day.name, current);
    current.push(row);
  }
  if (day !== undefined) current.push(data.length);
  return new Map([...runs].map(([name, pairs]) => [name, Int32Array.from(pairs)]));
}

/** A UTC day as int64 halves: first nanosecond inclusive, last nanosecond inclusive. */
interface DayRange {
  readonly name: string;
  readonly firstLow: number;
  readonly firstHigh: number;
  readonly lastLow: number;
  readonly lastHigh: number;
}

function contains(day: DayRange, low: number, high: number): boolean {
  const afterFirst = high > day.firstHigh || (high === day.firstHigh && low >= day.firstLow);
  return afterFirst && (high < day.lastHigh || (high === day.lastHigh && low <= day.lastLow));
}

function dayOf(low: number, high: number): DayRange {
  const ns = (BigInt(high) << 32n) | BigInt(low);
  const days = ns >= 0n ? ns / DAY_NS : (ns - DAY_NS + 1n) / DAY_NS;
  const first = days * DAY_NS;
  const last = first + DAY_NS - 1n;
  return {
    name: dayName(Number(days) * DAY_MS),
    firstLow: Number(BigInt.asUintN(32, first)),
    firstHigh: Number(BigInt.asIntN(32, first >> 32n)),
    lastLow: Number(BigInt.asUintN(32, last)),
    lastHigh: Number(BigInt.asIntN(32, last >> 32n)),
  };
}
