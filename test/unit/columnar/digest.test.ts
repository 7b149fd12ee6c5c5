import type { RecordBatch } from 'apache-arrow';
import * as fc from 'fast-check';
import { COLUMN_TYPES } from '../../../src/columnar/arrow-type';
import { concatRows } from '../../../src/columnar/concat';
import { Digest, digestDifference } from '../../../src/columnar/digest';
import { recordBatch } from '../../../src/columnar/record-batch';
import type { DigestSums } from '../../../src/core/demotion';
import type { TableName } from '../../../src/core/ids';
import type { TableSchema } from '../../../src/core/table-schema';
import { COLUMN_VALUES, type ColumnValue, columnOf } from '../../support/columns';
import { timestamps } from '../../support/log-batches';

const SCHEMA: TableSchema = {
  table: 'things' as TableName,
  version: 1,
  columns: [
    { name: 'time', type: 'timestamp', nullable: false },
    ...COLUMN_TYPES.map((type) => ({ name: type, type, nullable: true })),
  ],
  timeColumn: 'time',
  tier: 'hot',
};

type Row = Record<string, ColumnValue>;

const ROW: fc.Arbitrary<Row> = fc.record(
  Object.fromEntries(
    COLUMN_TYPES.map((type) => [type, fc.option(COLUMN_VALUES[type] as fc.Arbitrary<ColumnValue>, { freq: 5, nil: null })]),
  ),
);

const batchOf = (rows: readonly Row[], form: 'plain' | 'shared' = 'plain'): RecordBatch =>
  recordBatch([
    { name: 'time', data: timestamps(rows.map(() => 5n)) },
    ...COLUMN_TYPES.map((type) => ({
      name: type,
      // A null among plain attributes is an empty map in this support.
      data: columnOf(
        type,
        rows.map((row) => (type === 'attributes' ? (row[type] ?? {}) : row[type])),
        form,
      ),
    })),
  ]);

function sumsOf(...batches: RecordBatch[]): DigestSums {
  const digest = new Digest(SCHEMA);
  for (const batch of batches) digest.add(batch);
  return digest.sums;
}

test('is the same whatever the order of rows, the cuts into batches and the sharing of values', () => {
  fc.assert(
    fc.property(fc.array(ROW, { minLength: 1, maxLength: 12 }), fc.nat(), (rows, cut) => {
      const expected = sumsOf(batchOf(rows));
      const at = cut % rows.length;
      expect(sumsOf(batchOf([...rows].reverse(), 'shared'))).toEqual(expected);
      const whole = batchOf(rows);
      const pieces = [Int32Array.of(at, rows.length), Int32Array.of(0, at)].filter((runs) => runs[1] > runs[0]);
      expect(sumsOf(...pieces.map((runs) => concatRows([{ batch: whole, runs }])))).toEqual(expected);
      const first = new Digest(SCHEMA);
      first.add(whole);
      const onwards = new Digest(SCHEMA, first.sums);
      onwards.add(whole);
      expect(onwards.sums).toEqual(sumsOf(whole, whole));
    }),
    { numRuns: 15 },
  );
});

test('tells which column has another value, a row too few, and values that stand in other rows', () => {
  fc.assert(
    fc.property(ROW, ROW, fc.constantFrom(...COLUMN_TYPES), (a, b, type) => {
      const before = sumsOf(batchOf([a, b]));
      const changed = { ...a, [type]: b[type] };
      const after = sumsOf(batchOf([changed, b]));
      const isSame = sumsOf(batchOf([a])).columns[type] === sumsOf(batchOf([changed])).columns[type];
      expect(digestDifference(before, after)).toBe(isSame ? undefined : `column ${type}`);
      expect(digestDifference(before, sumsOf(batchOf([a])))).toBe('2 rows against 1');
      const swapped = sumsOf(batchOf([changed, { ...b, [type]: a[type] }]));
      const others = COLUMN_TYPES.some(
        (other) => other !== type && sumsOf(batchOf([{ ...a, [other]: b[other] }])).rows !== sumsOf(batchOf([a])).rows,
      );
      expect(digestDifference(before, swapped)).toBe(isSame || !others ? undefined : 'values that stand in other rows');
    }),
    { numRuns: 15 },
  );
});

test('null is no value, -0 is not 0, and a column that a batch lacks is null', () => {
  const column = (type: 'float64' | 'string', value: ColumnValue): string =>
    sumsOf(
      recordBatch([
        { name: 'time', data: timestamps([5n]) },
        { name: type, data: columnOf(type, [value], 'plain') },
      ]),
    ).columns[type];
  const lacking = sumsOf(recordBatch([{ name: 'time', data: timestamps([5n]) }]));
  const values = [null, 0, -0, Number.NaN, 1].map((value) => column('float64', value));
  expect(new Set(values).size).toBe(5);
  expect(values[0]).toBe(lacking.columns['float64']);
  expect(new Set([null, '', '\0', 'a', 'a\0'].map((value) => column('string', value))).size).toBe(5);
});

test('a column that one side did not have is not compared', () => {
  const all = sumsOf(batchOf([]));
  const { bool: _bool, ...columns } = all.columns;
  expect(digestDifference({ ...all, rows: '1' }, { ...all, columns })).toBeUndefined();
  expect(digestDifference({ ...all, rows: '0000000000000001' }, all)).toBe('values that stand in other rows');
});
