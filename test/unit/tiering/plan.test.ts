import * as fc from 'fast-check';
import { NumberBuilder, timestampBuilder } from '../../../src/columnar/builders';
import { encodeIpc } from '../../../src/columnar/ipc';
import { recordBatch } from '../../../src/columnar/record-batch';
import { lsn, type TableName } from '../../../src/core/ids';
import type { Tier } from '../../../src/core/table-schema';
import type { WalEntry } from '../../../src/core/wal';
import { batchOf, entriesWithin, matchesPlan, partsOf, planFor, planInForce } from '../../../src/tiering/plan';

const DAY_NS = 86_400_000_000_000n;
const RULE = { partitioning: 'day' as const, timeColumnOf: () => 'time' };

/** Rows as (day, id); the id tells the rows apart. */
type Row = [day: number, id: number];

function entry(at: number, batches: { table: string; tiers: Tier[]; rows: Row[] }[]): WalEntry {
  return {
    lsn: lsn(at),
    appendedAtMs: 0,
    sizeBytes: 100,
    note: undefined,
    batches: batches.map(({ table, tiers, rows }) => {
      const time = timestampBuilder();
      const id = NumberBuilder.float64();
      for (const [day, n] of rows) {
        time.appendBigInt(BigInt(day) * DAY_NS + 5n);
        id.append(n);
      }
      const batch = recordBatch([
        { name: 'time', data: time.finish() },
        { name: 'id', data: id.finish() },
      ]);
      return { table: table as TableName, schemaVersion: 1, tiers, rows: rows.length, ipc: [encodeIpc(batch)] };
    }),
  };
}

const batchArbitrary = fc.record({
  table: fc.constantFrom('a', 'b'),
  tiers: fc.constantFrom<Tier[]>(['hot'], ['cold'], ['hot', 'cold']),
  rows: fc.array(fc.tuple(fc.nat(3), fc.nat()), { minLength: 1, maxLength: 8 }),
});

test('every row of the tier is in exactly one part, the one of its table and day, in order', () => {
  fc.assert(
    fc.property(
      fc.array(fc.array(batchArbitrary, { minLength: 1, maxLength: 3 }), { minLength: 1, maxLength: 5 }),
      (requests) => {
        const parts = partsOf(
          requests.map((batches, i) => entry(i + 1, batches)),
          'cold',
          RULE,
        );
        const expected = new Map<string, number[]>();
        for (const { table, tiers, rows } of requests.flat()) {
          if (!tiers.includes('cold')) continue;
          for (const [day, id] of rows) {
            const key = `${table}/1970010${day + 1}`;
            expected.set(key, [...(expected.get(key) ?? []), id]);
          }
        }
        const found = parts.map(
          (part) => [`${part.table}/${part.partition}`, [...(batchOf(part).getChild('id') ?? [])]] as const,
        );
        expect(new Map(found)).toEqual(expected);
        expect(parts.map((part) => part.rows)).toEqual(found.map(([, ids]) => ids.length));
      },
    ),
    { numRuns: 100 },
  );
});

test('the same entries make the durable plan again, other entries do not', () => {
  const entries = [
    entry(1, [
      {
        table: 'a',
        tiers: ['cold'],
        rows: [
          [0, 1],
          [1, 2],
          [0, 3],
        ],
      },
    ]),
  ];
  const plan = planFor(entries, partsOf(entries, 'cold', RULE));
  expect(plan).toMatchObject({
    fromLsn: 1,
    toLsn: 1,
    parts: [
      { partition: '19700101', rows: 2 },
      { partition: '19700102', rows: 1 },
    ],
  });
  expect(matchesPlan(plan, partsOf(entries, 'cold', RULE))).toBe(true);
  expect(matchesPlan(plan, partsOf([entry(1, [{ table: 'a', tiers: ['cold'], rows: [[0, 1]] }])], 'cold', RULE))).toBe(false);
});

test('a sink without partitions gets all rows of a table in one part', () => {
  const entries = [
    entry(1, [
      {
        table: 'a',
        tiers: ['hot'],
        rows: [
          [0, 1],
          [1, 2],
        ],
      },
    ]),
  ];
  expect(partsOf(entries, 'hot', { ...RULE, partitioning: 'none' }).map(({ partition, rows }) => [partition, rows])).toEqual([
    ['', 2],
  ]);
});

test('a plan takes entries up to its bounds, and always the first', () => {
  const entries = [1, 2, 3].map((at) =>
    entry(at, [
      {
        table: 'a',
        tiers: ['hot'],
        rows: [
          [0, at],
          [0, at],
        ],
      },
    ]),
  );
  expect(entriesWithin(entries, 'hot', { rowsMax: 4, bytesMax: 1_000 })).toBe(2);
  expect(entriesWithin(entries, 'hot', { rowsMax: 1, bytesMax: 1_000 })).toBe(1);
  expect(entriesWithin(entries, 'hot', { rowsMax: 100, bytesMax: 250 })).toBe(2);
  expect(entriesWithin(entries, 'cold', { rowsMax: 1, bytesMax: 1_000 })).toBe(3);
});

test('a plan whose entries were lost in a repair is what is left of it; without that reason another plan is an error', () => {
  const entries = [1, 2, 3].map((at) => entry(at, [{ table: 'a', tiers: ['cold'], rows: [[at % 2, at]] }]));
  const plan = planFor(entries, partsOf(entries, 'cold', RULE));
  plan.parts[0].done = true;
  const lost = { ...entries[1], batches: [] };
  const left = [entries[0], lost, entries[2]];
  expect(planInForce(plan, left, partsOf(left, 'cold', RULE))).toEqual({
    ...plan,
    repaired: true,
    parts: [{ table: 'a', partition: '19700102', rows: 2, done: true }],
  });
  expect(planInForce(plan, entries, partsOf(entries, 'cold', RULE))).toBe(plan);
  const fewer = [entries[0], entries[2]];
  expect(() => planInForce(plan, fewer, partsOf(fewer, 'cold', RULE))).toThrow(/no longer make the durable plan/);
});
