import { columnsOfFields } from '../../../src/adapters/arrow-types';
import type { ForeignField } from '../../../src/columnar/foreign-schema';

const field = (name: string, ticks?: ForeignField['ticks']): ForeignField => ({
  name,
  type: { kind: 'int', bits: 64, signed: true },
  isLarge: false,
  byteWidth: 8,
  ...(ticks && { ticks }),
  children: [],
  dictionary: undefined,
});

test('an int64 with the name of a time is a timestamp, a time of day or a duration with that name is not', () => {
  expect(columnsOfFields([field('time')], undefined)).toEqual({
    columns: [{ name: 'time', type: 'timestamp', nullable: false }],
    timeColumn: 'time',
  });
  const { columns, timeColumn } = columnsOfFields([field('time', { ns: 1_000n, bits: 64 })], undefined);
  expect(columns.find(({ name }) => name === 'time')).toMatchObject({ type: 'int64', nullable: true });
  expect(timeColumn).not.toBe('time');
});
