import * as fc from 'fast-check';
import { recordBatch } from '../../../../src/columnar/record-batch';
import {
  daysAhead,
  daysOf,
  isCovered,
  missingDays,
  NEW_PARTITIONS_MAX,
  PARTITIONS_MAX,
  readPartitions,
} from '../../../../src/sinks/postgres/partitions';
import { dictionary, timestamps } from '../../../support/log-batches';

const DAY_NS = 86_400_000_000_000n;
const floorDay = (ns: bigint): number => Number((ns - (((ns % DAY_NS) + DAY_NS) % DAY_NS)) / DAY_NS);
const dayOf = (text: string): number => Date.parse(`${text}T00:00:00Z`) / 86_400_000;
const anyTime = fc.oneof(
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  fc.tuple(fc.bigInt({ min: -30_000n, max: 90_000n }), fc.constantFrom(-1n, 0n, 1n)).map(([day, by]) => day * DAY_NS + by),
);

test('the days of a batch are exact to the nanosecond, before 1970 too, and rows without a time have none', () => {
  fc.assert(
    fc.property(fc.array(fc.option(anyTime, { freq: 5 }), { maxLength: 30 }), (times) => {
      const expected = new Set(times.filter((time) => time !== null).map(floorDay));
      expect(daysOf(recordBatch([{ name: 'at', data: timestamps(times) }]), 'at')).toEqual(expected);
      const present = times.filter((time) => time !== null);
      let next = 0;
      const shared = dictionary(
        times.map((time) => (time === null ? null : next++)),
        timestamps(present),
      );
      expect(daysOf(recordBatch([{ name: 'at', data: shared }]), 'at')).toEqual(expected);
    }),
  );
});

test('partitions are made from yesterday to seven days from now', () => {
  const today = floorDay(BigInt(Date.UTC(2026, 0, 15)) * 1_000_000n);
  for (const nowMs of [Date.UTC(2026, 0, 15), Date.UTC(2026, 0, 16) - 1]) {
    expect(daysAhead(nowMs)).toEqual([-1, 0, 1, 2, 3, 4, 5, 6, 7].map((by) => today + by));
  }
});

test('partitions that others made count, with any bounds', () => {
  const { defaultName, ranges } = readPartitions([
    { name: 'stray', bound: 'DEFAULT' },
    { name: 'old', bound: `FOR VALUES FROM (MINVALUE) TO ('2025-12-01 00:00:00+00')` },
    { name: 'january', bound: `FOR VALUES FROM ('2026-01-01 00:00:00+00') TO ('2026-02-01 00:00:00+00')` },
    { name: 'noon', bound: `FOR VALUES FROM ('2026-02-01 12:00:00+00') TO ('2026-02-01 13:00:00+00')` },
  ]);
  expect(defaultName).toBe('stray');
  const covered = (text: string): boolean => isCovered(dayOf(text), ranges);
  expect(['1969-01-01', '2025-11-30', '2026-01-01', '2026-01-31', '2026-02-01'].map(covered)).toEqual([
    true,
    true,
    true,
    true,
    true,
  ]);
  expect(['2025-12-01', '2025-12-31', '2026-02-02'].map(covered)).toEqual([false, false, false]);
});

test('of many missing days the newest are chosen, and a table has a greatest number of partitions', () => {
  const days = Array.from({ length: 100 }, (_, i) => i);
  expect(missingDays(days, [])).toEqual(days.slice(-NEW_PARTITIONS_MAX).toReversed());
  const far = Array.from({ length: PARTITIONS_MAX - 1 }, (_, i) => ({ fromMs: -2 - i, toMs: -1 - i }));
  expect(missingDays(days.slice(1), far)).toEqual([99]);
  expect(missingDays(days.slice(1), [...far, ...far])).toEqual([]);
});
