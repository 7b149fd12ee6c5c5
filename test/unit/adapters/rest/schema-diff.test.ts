import { compare, diffSchema } from '../../../../src/adapters/rest/schema-diff';
import { LOGS_EVENTS } from '../../../../src/core/builtin-tables';

const expected = new Map([
  ['time', 'timestamp with time zone'],
  ['value', 'double precision'],
  ['unit', 'text'],
]);

test('a store is compared column by column; what only the store has is no difference', () => {
  const found = new Map([
    ['time', 'timestamp with time zone'],
    ['value', 'integer'],
    ['added_by_hand', 'text'],
  ]);
  expect(compare('hot', expected, found)).toEqual([
    { tier: 'hot', kind: 'other_type', column: 'value', expected: 'double precision', found: 'integer' },
    { tier: 'hot', kind: 'missing_column', column: 'unit', expected: 'text' },
  ]);
  expect(compare('cold', expected, undefined)).toEqual([{ tier: 'cold', kind: 'missing_table' }]);
});

test('a store that does not answer is named, the other is compared all the same', async () => {
  const explain = (): string[] => [];
  const down = { tier: 'hot' as const, columnsOf: () => expected, explain, describe: () => Promise.reject(new Error('down')) };
  const up = { tier: 'cold' as const, columnsOf: () => expected, explain, describe: () => Promise.resolve(expected) };
  expect(await diffSchema(LOGS_EVENTS, [down, up])).toEqual([{ tier: 'hot', kind: 'not_readable', found: 'down' }]);
});
