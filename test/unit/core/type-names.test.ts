import { columnTypeOf } from '../../../src/core/type-names';

test.each([
  ['timestamp', 'timestamp'],
  ['TIMESTAMPTZ', 'timestamp'],
  ['timestamp  with  time zone', 'timestamp'],
  ["DateTime64(9, 'UTC')", 'timestamp'],
  ['timestamp[us, tz=UTC]', 'timestamp'],
  ['double', 'float64'],
  ['Double Precision', 'float64'],
  ['float', 'float64'],
  ['real', 'float32'],
  ['jsonb', 'json'],
  ['text', 'string'],
  ['varchar(20)', 'string'],
  ['utf8', 'string'],
  ['bigint', 'int64'],
  ['int8', 'int64'],
  ['integer', 'int32'],
  ['smallint', 'int16'],
  ['uint16', 'int32'],
  ['boolean', 'bool'],
  ['bytea', 'binary'],
  ['date32[day]', 'date'],
  ['list< text >', 'list<string>'],
  ['text[]', 'list<string>'],
  ['double precision[]', 'list<float64>'],
  ['Array(UInt64)', 'list<uint64>'],
  ['Map(String, String)', undefined],
  ['decimal', 'decimal'],
  ['numeric(10,2)', 'decimal'],
  ['Decimal(76, 38)', 'decimal'],
  ['Decimal64(4)', 'decimal'],
  ['decimal128(18, 4)', 'decimal'],
  ['numeric(76, 10)', undefined],
  ['numeric(50, 40)', undefined],
  ['decimal(5,-2)', undefined],
  ['struct<a: int64, b: list<item: string>>', 'json'],
  ['list<item: int32>', 'list<int64>'],
  ['fixed_size_list<item: float>[3]', 'list<float64>'],
  ['large_list<item: uint8>', 'list<uint64>'],
  ['integer[]', 'list<int64>'],
  ['real[3]', 'list<float64>'],
  ['Array(Bool)', 'json'],
  ['numeric(4,1)[]', 'json'],
  ['Array(Nothing)', undefined],
  ['map', 'attributes'],
])('%s means %s', (name, type) => {
  expect(columnTypeOf(name)).toBe(type);
});

test.each(['', '[]', 'list<>', 'interval', 'time', 'constructor', '__proto__', 'int32(7)'])(
  'no column type is meant by "%s"',
  (name) => {
    expect(columnTypeOf(name)).toBeUndefined();
  },
);
