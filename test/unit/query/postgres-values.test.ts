import { jsonValue, typeName } from '../../../src/query/postgres-values';

test.each([
  ['int8 keeps every digit as a string', '9223372036854775807', 20, '"9223372036854775807"'],
  ['numeric keeps every digit as a string', '18446744073709551615', 1700, '"18446744073709551615"'],
  ['int4 is a number', '-5', 23, '-5'],
  ['float8 is a number', '1e+300', 701, '1e+300'],
  ['NaN is a string', 'NaN', 701, '"NaN"'],
  ['infinity is a string', '-Infinity', 701, '"-Infinity"'],
  ['bool is a boolean', 't', 16, 'true'],
  ['jsonb stays verbatim', '{"a": 9223372036854775807}', 3802, '{"a": 9223372036854775807}'],
  ['timestamptz is ISO 8601 with every digit', '2026-01-02 03:04:05.123456+00', 1184, '"2026-01-02T03:04:05.123456Z"'],
  ['timestamptz without a fraction', '2026-01-02 03:04:05+00', 1184, '"2026-01-02T03:04:05Z"'],
  ['timestamp has no zone', '2026-01-02 03:04:05', 1114, '"2026-01-02T03:04:05"'],
  ['infinity of a timestamp stays', 'infinity', 1184, '"infinity"'],
  ['an array of floats', '{1.5,NULL,NaN}', 1022, '[1.5,null,"NaN"]'],
  ['an array of numerics', '{18446744073709551615}', 1231, '["18446744073709551615"]'],
  ['an array of texts', '{a,"b,\\"c\\\\","NULL",NULL,""}', 1009, '["a","b,\\"c\\\\","NULL",null,""]'],
  ['an empty array', '{}', 1009, '[]'],
  ['text with quotes', 'say "hi"', 25, '"say \\"hi\\""'],
  ['null is null', null, 25, 'null'],
])('%s', (_what, text, oid, expected) => {
  expect(jsonValue(text, oid)).toBe(expected);
});

test('types have their PostgreSQL names', () => {
  expect([20, 25, 1184, 3802, 1022, 1231, 99_999].map(typeName)).toEqual([
    'int8',
    'text',
    'timestamptz',
    'jsonb',
    'float8[]',
    'numeric[]',
    'oid:99999',
  ]);
});
