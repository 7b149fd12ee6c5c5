import * as fc from 'fast-check';
import { COLUMN_TYPES } from '../../../src/columnar/arrow-type';
import { concatRows, wholeBatch } from '../../../src/columnar/concat';
import { columnData, recordBatch } from '../../../src/columnar/record-batch';
import { widenBatch } from '../../../src/columnar/widen';
import type { TableName } from '../../../src/core/ids';
import { mergeColumns } from '../../../src/core/merge-schema';
import type { ColumnSchema, ColumnType, TableSchema } from '../../../src/core/table-schema';
import { isNumeric, joinTypes } from '../../../src/core/type-lattice';
import { COLUMN_VALUES, columnOf } from '../../support/columns';
import { timestamps } from '../../support/log-batches';
import { plainRows } from '../../support/plain-rows';

const time: ColumnSchema = { name: 'time', type: 'timestamp', nullable: false };
const schemaOf = (columns: readonly ColumnSchema[]): TableSchema => ({
  table: 't' as TableName,
  version: 2,
  columns: [time, ...columns],
  timeColumn: 'time',
  tier: 'hot',
});

/** Values as texts. */
function valuesOf(batch: ReturnType<typeof recordBatch>, name: string): (string | null)[] {
  if (columnData(batch, name) === undefined) return [];
  return plainRows(batch).map(({ [name]: value }) => (value === undefined ? null : String(value as string | number | bigint)));
}

const numeric = COLUMN_TYPES.filter(isNumeric);

test('numbers of every type keep their value in every wider type, null stays null', () => {
  const pair = fc.constantFrom(...numeric).chain((from) =>
    fc.record({
      from: fc.constant(from),
      other: fc.constantFrom(...numeric),
      values: fc.array(fc.option(COLUMN_VALUES[from]), { minLength: 1, maxLength: 5 }),
      form: fc.constantFrom('plain' as const, 'shared' as const),
    }),
  );
  fc.assert(
    fc.property(pair, ({ from, other, values, form }) => {
      const type = joinTypes(from, other);
      const columns = mergeColumns([{ name: 'v', type: from, nullable: true }], [{ name: 'v', type: other, nullable: true }]);
      const times = { name: 'time', data: timestamps(values.map(() => 1n)) };
      const batch = recordBatch([times, { name: 'v', data: columnOf(from, values, form) }]);
      const widened = widenBatch(batch, schemaOf(columns));
      expect(widened === batch).toBe(from === type);
      const expected = valuesOf(batch, 'v');
      const isExact = columns.length === 2 && from !== type && from !== 'float32';
      const doubles = expected.map((value) => (value === null ? null : String(Number(value))));
      expect(valuesOf(widened, 'v')).toEqual(type === 'float64' ? doubles : expected);
      expect(valuesOf(widened, 'v_int')).toEqual(isExact ? expected : []);
    }),
  );
});

test('batches of two versions can be joined once they have the form of one schema', () => {
  const columns: ColumnSchema[] = [
    { name: 'v', type: 'float64', nullable: true },
    { name: 'v_int', type: 'int64', nullable: true, exactOf: 'v' },
  ];
  const batchOf = (type: ColumnType, value: number | bigint) =>
    recordBatch([
      { name: 'time', data: timestamps([1n]) },
      { name: 'v', data: columnOf(type, [value], 'plain') },
    ]);
  const big = 2n ** 53n + 1n;
  const pieces = [batchOf('int64', big), batchOf('float64', 0.7)].map((batch) =>
    wholeBatch(widenBatch(batch, schemaOf(columns))),
  );
  const joined = concatRows(pieces);
  expect(valuesOf(joined, 'v')).toEqual([String(Number(big)), '0.7']);
  expect(valuesOf(joined, 'v_int')).toEqual([String(big), null]);
});

test('rows that were accepted for another time column get the one that is in force', () => {
  const batch = recordBatch([{ name: 'at', data: timestamps([5n]) }]);
  const widened = widenBatch(batch, schemaOf([{ name: 'at', type: 'timestamp', nullable: true }]));
  expect(columnData(widened, 'time')).toBe(columnData(batch, 'at'));
});
