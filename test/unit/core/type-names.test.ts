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
  ['map', 'attributes'],
])('%s means %s', (name, type) => {
  expect(columnTypeOf(name)).toBe(type);
});

test.each(['', 'decimal', 'numeric(10,2)', 'interval', 'time', 'constructor', '__proto__', 'int32(7)'])(
  'no column type is meant by "%s"',
  (name) => {
    expect(columnTypeOf(name)).toBeUndefined();
  },
);
