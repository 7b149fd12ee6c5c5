import * as fc from 'fast-check';
import { decodeJsonRows } from '../../../../src/adapters/rest/decode-json';
import { inferColumns } from '../../../../src/adapters/rest/infer';
import type { JsonKind } from '../../../../src/adapters/rest/rows-json';
import type { DecodedRequest } from '../../../../src/core/batch';
import { LOGS_EVENTS, METRICS_EVENTS, TRACES_SPANS } from '../../../../src/core/builtin-tables';
import { IngestError } from '../../../../src/core/errors';
import type { TableName } from '../../../../src/core/ids';
import type { ColumnSchema, ColumnType, TableSchema } from '../../../../src/core/table-schema';
import { plainRows } from '../../../support/plain-rows';

const ARRIVAL = 1_800_000_000_000_000_000n;
const context = { arrivalNs: ARRIVAL };

const decode = (text: string | Uint8Array, schema: TableSchema, kind: JsonKind = 'json'): DecodedRequest =>
  decodeJsonRows(Buffer.from(text as string), kind, schema, context);
const rowsOf = (decoded: DecodedRequest): Record<string, unknown>[] => plainRows(decoded.batches[0]?.batch);

const table = (columns: Record<string, ColumnType>, required: string[] = []): TableSchema => ({
  table: 'events' as TableName,
  version: 3,
  columns: [
    { name: 'time', type: 'timestamp', nullable: false },
    ...Object.entries(columns).map(([name, type]): ColumnSchema => ({ name, type, nullable: !required.includes(name) })),
  ],
  timeColumn: 'time',
  tier: 'hot',
});
/** One value in a column of a type: the stored value, or the code of the refusal. */
const cell = (type: ColumnType, json: string): unknown => {
  const decoded = decode(`{"v":${json}}`, table({ v: type }));
  expect(decoded.acceptedRows + decoded.rejectedRows).toBe(1);
  return decoded.rejections[0]?.code ?? rowsOf(decoded)[0].v ?? null;
};
/** A new table made from the body, and the body's rows in it. */
const inferred = (text: string, kind: JsonKind = 'json'): { schema: TableSchema; decoded: DecodedRequest } => {
  const { columns, timeColumn } = inferColumns(Buffer.from(text), kind, undefined);
  const schema: TableSchema = { table: 'events' as TableName, version: 1, columns, timeColumn, tier: 'hot' };
  return { schema, decoded: decode(text, schema, kind) };
};
const typesOf = (text: string): Record<string, string> =>
  Object.fromEntries(inferred(text).schema.columns.map(({ name, type }) => [name, type]));

const nested = (levels: number): string => `{"v":${'['.repeat(levels - 1)}${']'.repeat(levels - 1)}}`;

describe('the forms of a body', () => {
  const schema = table({ a: 'int64' });
  const expected = [
    { time: ARRIVAL, a: 1n },
    { time: ARRIVAL, a: 2n },
  ];

  test.each([
    ['an array', 'json', '[{"a":1},{"a":2}]'],
    ['lines', 'ndjson', '{"a":1}\n{"a":2}\n'],
    ['lines with blanks and \\r\\n', 'ndjson', '\r\n{"a":1}\r\n\n  \n{"a":2}'],
    ['lines called application/json', 'json', '{"a":1}\n{"a":2}\n'],
    ['values on one line', 'json', '{"a":1}{"a":2}'],
    ['values over several lines', 'json', '{\n"a":1\n}\n{\n"a":2\n}\n'],
  ] as const)('%s give one row each', (_, kind, text) => {
    const decoded = decode(text, schema, kind);
    expect(rowsOf(decoded)).toEqual(expected);
    expect(decoded).toMatchObject({ acceptedRows: 2, rejectedRows: 0, rejections: [] });
    expect(decoded.batches[0]).toMatchObject({ table: 'events', schemaVersion: 3 });
  });

  test('one object is one row, an empty array and empty lines are none', () => {
    expect(rowsOf(decode('{"a":1}', schema))).toEqual([expected[0]]);
    for (const [kind, text] of [
      ['json', '[]'],
      ['ndjson', ''],
      ['ndjson', '\n\n'],
    ] as const) {
      expect(decode(text, schema, kind)).toEqual({ batches: [], acceptedRows: 0, rejectedRows: 0, rejections: [] });
    }
  });

  test('a body that is not JSON is refused as a whole', () => {
    for (const text of ['', ' ', '[{"a":1},]', '[{"a":1}', '{"a":1', '[{"a":1}] x', '{"a":1}{', '\ufeff{"a":1}', '{"a":01}']) {
      expect(() => decode(text, schema)).toThrow(IngestError);
      expect(() => inferColumns(Buffer.from(text), 'json', undefined)).toThrow(IngestError);
    }
    expect(() => decode(Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]), schema)).toThrow('not valid UTF-8');
  });

  test('a broken line costs that line only, and leaves nothing behind', () => {
    const body = Buffer.concat([
      Buffer.from('{"a":1}\n{"a":7,"b":\n{"a":7} x\nnot json\n{"a":"'),
      Buffer.from([0xff]),
      Buffer.from('"}\n5\n{"a":2}\n'),
    ]);
    const decoded = decode(body, schema, 'ndjson');
    expect(rowsOf(decoded)).toEqual(expected);
    expect(decoded.rejectedRows).toBe(5);
    expect(decoded.rejections.map(({ row, code }) => [row, code])).toEqual([
      [1, 'invalid_json'],
      [2, 'invalid_json'],
      [3, 'invalid_json'],
      [4, 'invalid_json'],
      [5, 'not_an_object'],
    ]);
    expect(inferColumns(body, 'ndjson', undefined).columns.map(({ name, type }) => [name, type])).toEqual([
      ['time', 'timestamp'],
      ['a', 'int64'],
    ]);
  });

  test('row 22: a row nested 100 levels is stored, 101 are refused', () => {
    const json = table({ v: 'json' });
    expect(decode(nested(100), json).acceptedRows).toBe(1);
    expect(decode(`[${nested(100)}]`, json).acceptedRows).toBe(1);
    expect(() => decode(nested(102), json)).toThrow('nested deeper');
    expect(decode(`${nested(101)}\n{}`, json, 'ndjson')).toMatchObject({
      acceptedRows: 1,
      rejections: [{ code: 'invalid_json' }],
    });
  });
});

const ns = (text: string): bigint => BigInt(Date.parse(text)) * 1_000_000n;

describe('values by column type', () => {
  test.each([
    ['int64', '9223372036854775807', 9223372036854775807n],
    ['int64', '"-9223372036854775808"', -9223372036854775808n],
    ['int64', '1e3', 1000n],
    ['decimal', '0.1', '0.1'],
    ['decimal', '"-0012.50"', 'type_mismatch'],
    ['decimal', '"-12.50"', '-12.5'],
    [
      'decimal',
      '123456789012345678901234567890.12345678901234567890123456789',
      '123456789012345678901234567890.12345678901234567890123456789',
    ],
    ['decimal', '1e37', `1${'0'.repeat(37)}`],
    ['decimal', '1e38', 'out_of_range'],
    ['decimal', '1e-38', `0.${'0'.repeat(37)}1`],
    ['decimal', '1e-39', 'out_of_range'],
    ['decimal', '"NaN"', 'type_mismatch'],
    ['decimal', 'true', 'type_mismatch'],
    ['int64', '9223372036854775808', 'out_of_range'],
    ['int64', '1.5', 'type_mismatch'],
    ['int64', '"x"', 'type_mismatch'],
    ['int64', 'true', 'type_mismatch'],
    ['uint64', '18446744073709551615', 18446744073709551615n],
    ['uint64', '-1', 'out_of_range'],
    ['int32', '-2147483648', -2147483648],
    ['int32', '2147483648', 'out_of_range'],
    ['int16', '-32769', 'out_of_range'],
    ['int16', '-32768', -32768],
    ['uint8', '255', 255],
    ['uint8', '256', 'out_of_range'],
    ['uint32', '4294967295', 4294967295],
    ['uint32', '"1"', 'type_mismatch'],
    ['float64', '0.1', 0.1],
    ['float64', '-0.0', -0],
    ['float64', '"NaN"', Number.NaN],
    ['float64', '"-Infinity"', -Infinity],
    ['float64', '1e400', 'out_of_range'],
    ['float64', '"1"', 'type_mismatch'],
    ['float32', '1.5', 1.5],
    ['float32', '1e39', 'out_of_range'],
    ['bool', 'true', true],
    ['bool', '1', 'type_mismatch'],
    ['string', '"a\\u00e9\\n"', 'aé\n'],
    ['string', '1.50', '1.50'],
    ['string', 'false', 'false'],
    ['string', '{}', 'type_mismatch'],
    ['json', '{"a" : [1.50,null]}', '{"a" : [1.50,null]}'],
    ['json', '"x"', '"x"'],
    ['binary', '"-_8"', 'fbff'],
    ['binary', '"?"', 'invalid_value'],
    ['binary', '1', 'type_mismatch'],
    ['date', '"2024-02-29"', 19782],
    ['date', '"2023-02-29"', 'invalid_time'],
    ['date', '-1', -1],
    ['date', '2147483648', 'out_of_range'],
    ['list<int64>', '[1,"-2"]', [1n, -2n]],
    ['list<uint64>', '[18446744073709551615]', [18446744073709551615n]],
    ['list<uint64>', '[-1]', 'out_of_range'],
    ['list<float64>', '[1,"NaN",2.5]', [1, Number.NaN, 2.5]],
    ['list<float64>', '[1,null]', 'type_mismatch'],
    ['list<string>', '["a",""]', ['a', '']],
    ['list<string>', '[1]', 'type_mismatch'],
    ['list<string>', '"a"', 'type_mismatch'],
    ['attributes', '[]', 'type_mismatch'],
    ['int64', 'null', null],
    ['timestamp', 'null', null],
  ] as [ColumnType, string, unknown][])('%s from %s is %p', (type, json, expected) => {
    expect(cell(type, json)).toEqual(expected);
  });

  test('attributes keep the kind of every value', () => {
    const text = `{"s":"x","b":false,"i":9223372036854775807,"big":9223372036854775808,"d":1.50,"e":1e3,"z":-0.0,"n":null,"a":[1, 2],"o":{"k" : 1},"__proto__":1,"":2}`;
    expect(cell('attributes', text)).toEqual([
      ['s', 1, 'x'],
      ['b', 2, 'false'],
      ['i', 3, '9223372036854775807'],
      ['big', 4, '9223372036854776000.0'],
      ['d', 4, '1.5'],
      ['e', 4, '1000.0'],
      ['z', 4, '-0.0'],
      ['n', 0, ''],
      ['a', 5, '[1, 2]'],
      ['o', 6, '{"k" : 1}'],
      ['__proto__', 3, '1'],
      ['', 3, '2'],
    ]);
    expect(cell('attributes', '{"d":1e999}')).toBe('out_of_range');
    expect(cell('attributes', '{"k":1,"k":"last"}')).toEqual([['k', 1, 'last']]);
  });

  test.each([
    ['"2024-02-29T12:34:56.123456789Z"', ns('2024-02-29T12:34:56Z') + 123456789n],
    ['"2024-02-29t12:34:56z"', ns('2024-02-29T12:34:56Z')],
    ['"2024-02-29T12:34:56+05:30"', ns('2024-02-29T12:34:56+05:30')],
    ['"2024-02-29 12:34:56.5"', ns('2024-02-29T12:34:56.5Z')],
    ['"2024-02-29 12:34:56-00:30"', ns('2024-02-29T12:34:56-00:30')],
    ['"2024-02-29"', ns('2024-02-29T00:00:00Z')],
    ['"2016-12-31T23:59:60Z"', ns('2017-01-01T00:00:00Z')],
    ['"1969-12-31T23:59:59.999999999Z"', -1n],
    ['"1900-01-01T00:00:00Z"', -2_208_988_800_000_000_000n],
    ['"1899-12-31T23:59:59.999999999Z"', 'out_of_range'],
    ['"2262-04-11T23:47:16.854775807Z"', 9_223_372_036_854_775_807n],
    ['"2262-04-11T23:47:16.854775808Z"', 'out_of_range'],
    ['"9999-12-31T23:59:59Z"', 'out_of_range'],
    ['"2024-02-30T00:00:00Z"', 'invalid_time'],
    ['"2024-13-01T00:00:00Z"', 'invalid_time'],
    ['"2024-01-01T24:00:00Z"', 'invalid_time'],
    ['"2024-01-01T00:00Z"', 'invalid_time'],
    ['"2024-01-01T00:00:00.1234567890Z"', 'invalid_time'],
    ['"2024-01-01T00:00:00.Z"', 'invalid_time'],
    ['"yesterday"', 'invalid_time'],
    ['""', 'invalid_time'],
    ['true', 'type_mismatch'],
    ['0', 0n],
    ['-1', -1_000_000_000n],
    ['1700000000', 1_700_000_000_000_000_000n],
    ['1700000000.123456789', 1_700_000_000_123_456_789n],
    ['1700000000000', 1_700_000_000_000_000_000n],
    ['1700000000000.5', 1_700_000_000_000_500_000n],
    ['1700000000000001', 1_700_000_000_000_001_000n],
    ['1700000000000000001', 1_700_000_000_000_000_001n],
    ['"1700000000000000001"', 1_700_000_000_000_000_001n],
    ['"1700000000"', 1_700_000_000_000_000_000n],
    ['1.7e9', 1_700_000_000_000_000_000n],
    ['1700000000.1234567891', 'invalid_time'],
    ['1.5e-3', 'invalid_time'],
    ['99999999999', 'out_of_range'],
    ['9223372036854775807', 9_223_372_036_854_775_807n],
    ['9223372036854775808', 'out_of_range'],
    ['-2208988800', -2_208_988_800_000_000_000n],
    ['-2208988801', 'out_of_range'],
    ['1e30', 'out_of_range'],
  ] as [string, unknown][])('the time %s is %p', (json, expected) => {
    expect(cell('timestamp', json)).toEqual(expected);
  });

  test('row 26: any time of the range goes through its RFC 3339 text unchanged', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: -2_208_988_800_000_000_000n, max: 9_223_372_036_854_775_807n }), (value) => {
        const seconds = (value - (((value % 1_000_000_000n) + 1_000_000_000n) % 1_000_000_000n)) / 1_000_000_000n;
        const fraction = String(value - seconds * 1_000_000_000n).padStart(9, '0');
        const text = new Date(Number(seconds) * 1000).toISOString().replace(/\.\d+Z$/, `.${fraction}Z`);
        expect(cell('timestamp', JSON.stringify(text))).toBe(value);
      }),
      { numRuns: 500 },
    );
  });

  test('row 26: int64 and double values go through unchanged', () => {
    fc.assert(
      fc.property(
        fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
        fc.double({ noNaN: true, noDefaultInfinity: true }),
        (int, double) => {
          const text = Object.is(double, -0) ? '-0.0' : JSON.stringify(double);
          const decoded = decode(`{"i":${int},"d":${text}}`, table({ i: 'int64', d: 'float64' }));
          expect(rowsOf(decoded)[0]).toEqual({ time: ARRIVAL, i: int, d: double });
        },
      ),
    );
  });
});

describe('rows', () => {
  const schema = table({ id: 'int64', name: 'string', tags: 'attributes', list: 'list<int64>' }, ['id']);

  test('a refused row leaves no trace in any column, whatever came before the fault', () => {
    const text = `[
      {"id":1,"name":"a","tags":{"k":1},"list":[1]},
      {"tags":{"lost":1,"k":2},"list":[8,9],"name":"lost","time":5,"id":"x"},
      {"name":"no id","list":[7]},
      {"id":2,"list":[true]},
      {"id":3,"unknown":1},
      5,
      {"id":4,"list":[2,3],"tags":{"z":true}}
    ]`;
    const decoded = decode(text, schema);
    expect(rowsOf(decoded)).toEqual([
      { time: ARRIVAL, id: 1n, name: 'a', tags: [['k', 3, '1']], list: [1n] },
      { time: ARRIVAL, id: 4n, tags: [['z', 2, 'true']], list: [2n, 3n] },
    ]);
    expect(decoded).toMatchObject({ acceptedRows: 2, rejectedRows: 5 });
    expect(decoded.rejections.map(({ row, code, column }) => [row, code, column])).toEqual([
      [1, 'type_mismatch', 'id'],
      [2, 'missing_column', 'id'],
      [3, 'type_mismatch', 'list'],
      [4, 'unknown_column', 'unknown'],
      [5, 'not_an_object', undefined],
    ]);
  });

  test('columns without a value are left out; a column that starts late is null before', () => {
    const decoded = decode('[{"id":1},{"id":2,"name":"x"},{"id":3,"name":null}]', schema);
    expect(decoded.batches[0].batch.schema.fields.map((field) => field.name)).toEqual(['time', 'id', 'name']);
    expect(rowsOf(decoded).map((row) => row.name)).toEqual([undefined, 'x', undefined]);
  });

  test('a member that comes twice has its last value', () => {
    expect(rowsOf(decode('{"id":1,"id":2,"name":"a","name":null,"list":[1],"list":[2]}', schema))).toEqual([
      { time: ARRIVAL, id: 2n, list: [2n] },
    ]);
  });

  test('the first 100 rejections are listed, all are counted', () => {
    const decoded = decode(`[${'{"id":"x"},'.repeat(250)}{"id":1}]`, schema);
    expect(decoded).toMatchObject({ acceptedRows: 1, rejectedRows: 250 });
    expect(decoded.rejections).toHaveLength(100);
  });

  test('row 27: reserved and impossible names are refused with the row', () => {
    for (const name of ['_batch_hi', 'time_ns', '', 'x'.repeat(1025), '_overflow', 'a\\u0000b', 'ctid']) {
      expect(decode(`{"id":1,"${name}":1}`, schema).rejections).toMatchObject([{ row: 0, code: 'invalid_name' }]);
    }
  });

  test('a row of random members is wholly in or wholly out', () => {
    const value = fc.constantFrom('1', '"x"', '{"k":1}', '[1,2]', 'null', '1.5', '[1,"x"]', '{"k":1e999}');
    const member = fc.tuple(fc.constantFrom('id', 'name', 'tags', 'list', 'time'), value);
    fc.assert(
      fc.property(fc.array(fc.array(member, { maxLength: 6 }), { maxLength: 6 }), (rows) => {
        const texts = rows.map((members) => `{${members.map(([name, json]) => `"${name}":${json}`).join(',')}}`);
        const all = decode(`[${texts.join(',')}]`, schema);
        const alone = texts.map((text) => decode(text, schema));
        expect(rowsOf(all).map(({ tags, ...rest }) => ({ tags: tags ?? [], ...rest }))).toEqual(
          alone.flatMap(rowsOf).map(({ tags, ...rest }) => ({ tags: tags ?? [], ...rest })),
        );
        expect(all.rejectedRows).toBe(alone.reduce((sum, one) => sum + one.rejectedRows, 0));
      }),
      { numRuns: 300 },
    );
  });
});

describe('the built-in tables', () => {
  test('the example of a log row is stored, unknown members become labels with their kind', () => {
    const decoded = decode(
      '{"app":"auth","trace_id":"t-1","message":"log","ts":1700000000000,"user":7,"ok":true,"labels":{"a":"b"}}',
      LOGS_EVENTS,
    );
    expect(rowsOf(decoded)).toEqual([
      {
        timestamp: 1_700_000_000_000_000_000n,
        app: 'auth',
        trace_id: 't-1',
        message: 'log',
        body_type: 'string',
        labels: [
          ['user', 3, '7'],
          ['ok', 2, 'true'],
          ['a', 1, 'b'],
        ],
      },
    ]);
  });

  test.each([
    ['time', '1700000000'],
    ['timestamp', '"2023-11-14T22:13:20Z"'],
    ['event_time', '1700000000000000000'],
  ])('a log may call its time %s', (name, json) => {
    expect(rowsOf(decode(`{"${name}":${json}}`, LOGS_EVENTS))).toEqual([{ timestamp: 1_700_000_000_000_000_000n }]);
  });

  test('a log body may be of any kind and has friendly names', () => {
    const rows = rowsOf(
      decode(
        '[{"msg":"a","severity":"info"},{"body":{"k":[1]}},{"message":[1]},{"message":5},{"message":5.5},{"message":true}]',
        LOGS_EVENTS,
      ),
    );
    expect(rows.map(({ message, body_type, level }) => [message, body_type, level])).toEqual([
      ['a', 'string', 'info'],
      ['{"k":[1]}', 'kvlist', undefined],
      ['[1]', 'array', undefined],
      ['5', 'int', undefined],
      ['5.5', 'double', undefined],
      ['true', 'bool', undefined],
    ]);
  });

  test('when a column comes by its own and by a friendly name, nothing is lost', () => {
    for (const text of [
      '{"name":"alias","metric":"own","ts":5,"time":6,"value":1}',
      '{"metric":"own","name":"alias","time":6,"ts":5,"value":1}',
    ]) {
      expect(rowsOf(decode(text, METRICS_EVENTS))).toEqual([
        {
          time: 6_000_000_000n,
          metric: 'own',
          value: 1,
          value_int: 1n,
          labels: [
            ['name', 1, 'alias'],
            ['ts', 3, '5'],
          ],
        },
      ]);
    }
  });

  test('an integer metric is kept exactly beside its double', () => {
    const rows = rowsOf(
      decode(
        '[{"metric":"m","value":9007199254740993},{"value":1.5},{"value_int":9007199254740993},{"value":2,"value_int":3},{"value":1e3}]',
        METRICS_EVENTS,
      ),
    );
    expect(rows.map(({ value, value_int }) => [value, value_int])).toEqual([
      [9007199254740992, 9007199254740993n],
      [1.5, undefined],
      [9007199254740992, 9007199254740993n],
      [2, 3n],
      [1000, undefined],
    ]);
  });

  test('a span gets its duration, unknown members become attributes', () => {
    expect(
      rowsOf(decode('{"trace_id":"a","start_time":1700000000,"end_time":1700000000.5,"http.method":"GET"}', TRACES_SPANS)),
    ).toEqual([
      {
        trace_id: 'a',
        start_time: 1_700_000_000_000_000_000n,
        end_time: 1_700_000_000_500_000_000n,
        duration_ns: 500_000_000n,
        attributes: [['http.method', 1, 'GET']],
      },
    ]);
  });

  test('row 33: __proto__ and constructor are labels like any other', () => {
    expect(rowsOf(decode('{"message":"x","__proto__":{"polluted":1},"constructor":1}', LOGS_EVENTS))[0].labels).toEqual([
      ['__proto__', 6, '{"polluted":1}'],
      ['constructor', 3, '1'],
    ]);
    expect(({} as Record<string, unknown>).polluted).toBeUndefined();
  });

  test('they never grow', () => {
    expect(inferColumns(Buffer.from('{"new":1}'), 'json', LOGS_EVENTS)).toEqual({ columns: [], timeColumn: 'timestamp' });
  });
});

const timeOf = (text: string): unknown => {
  const { schema, decoded } = inferred(text);
  return [schema.timeColumn, schema.columns[0], rowsOf(decoded)[0][schema.timeColumn]];
};

const column = (name: string): ColumnSchema => ({ name, type: 'timestamp', nullable: false });

describe('inference', () => {
  test('a column has the type that holds all its values', () => {
    const text = `[
      {"i":1,"f":1,"u":1,"b":true,"s":"x","n":null,"o":{"a":1},"m":1,"l":[1],"t":"2024-01-01T00:00:00Z","d":"2024-01-01T00:00:00Z"},
      {"i":-5,"f":1.5,"u":18446744073709551615,"b":false,"s":"2024-01-01T00:00:00Z","m":"x","t":"2024-01-01T00:00:00.5+01:00","d":"later"}
    ]`;
    expect(typesOf(text)).toEqual({
      time: 'timestamp',
      i: 'int64',
      f: 'float64',
      u: 'uint64',
      b: 'bool',
      s: 'string',
      o: 'json',
      m: 'json',
      l: 'json',
      t: 'timestamp',
      d: 'string',
    });
    expect(inferred(text).decoded).toMatchObject({ acceptedRows: 2, rejectedRows: 0 });
  });

  test('the time column is the first time-like name that holds times, or an added one', () => {
    expect(timeOf('{"a":1,"ts":1700000000000}')).toEqual(['ts', column('ts'), 1_700_000_000_000_000_000n]);
    expect(timeOf('{"event_time":1,"timestamp":"2024-01-01"}')).toEqual([
      'timestamp',
      column('timestamp'),
      1_704_067_200_000_000_000n,
    ]);
    expect(timeOf('{"a":1}')).toEqual(['time', column('time'), ARRIVAL]);
    expect(timeOf('{"time":"noon"}')).toEqual(['timestamp', column('timestamp'), ARRIVAL]);
    expect(timeOf('{"time":true,"timestamp_ns":1}')).toEqual(['ts', column('ts'), ARRIVAL]);
  });

  test('one bad time among good ones is refused, it does not change the column', () => {
    const { decoded } = inferred('[{"time":"2024-01-01T00:00:00Z"},{"time":"noon"}]');
    expect(decoded).toMatchObject({ acceptedRows: 1, rejections: [{ row: 1, code: 'invalid_time', column: 'time' }] });
  });

  test('a known table gets new columns only; reserved names and names of nanoseconds never become columns', () => {
    const known = table({ a: 'int64', at: 'timestamp' });
    const body = Buffer.from('{"a":"x","b":1,"at_ns":1,"_batch_x":1,"new":"2024-01-01T00:00:00Z","new_ns":5,"n":null,"ctid":1}');
    expect(inferColumns(body, 'json', known)).toEqual({
      columns: [
        { name: 'b', type: 'int64', nullable: true },
        { name: 'new', type: 'timestamp', nullable: true },
      ],
      timeColumn: 'time',
    });
  });

  test('rows of random JSON are stored in the table inferred from them, or refused for a reason', () => {
    fc.assert(
      fc.property(
        fc.array(fc.dictionary(fc.string({ maxLength: 5 }), fc.jsonValue({ maxDepth: 2 })), { minLength: 1, maxLength: 5 }),
        (rows) => {
          const { decoded } = inferred(JSON.stringify(rows));
          expect(decoded.acceptedRows + decoded.rejectedRows).toBe(rows.length);
          for (const { code } of decoded.rejections) expect(['invalid_name', 'invalid_time', 'out_of_range']).toContain(code);
        },
      ),
      { numRuns: 300 },
    );
  });

  test('a body cut or changed anywhere is read or refused as invalid, and never anything else', () => {
    const text = Buffer.from(
      '[{"time":"2024-01-01T00:00:00.5Z","a":[1,{"b":null}],"c":"\\u00e9","d":-1.5e3},{"e":true}]\n{"x":1}',
    );
    for (let at = 0; at < text.length; at++) {
      for (let bit = 0; bit < 8; bit++) {
        const changed = Buffer.from(text);
        changed[at] ^= 1 << bit;
        for (const kind of ['json', 'ndjson'] as const) {
          for (const body of bit === 0 ? [changed, text.subarray(0, at)] : [changed]) {
            const outcome = tryInferred(body, kind);
            expect(['ok', 'invalid_argument']).toContain(outcome);
          }
        }
      }
    }
  });
});

function tryInferred(body: Uint8Array, kind: JsonKind): string {
  try {
    const { columns, timeColumn } = inferColumns(body, kind, undefined);
    decodeJsonRows(body, kind, { table: 'events' as TableName, version: 1, columns, timeColumn, tier: 'hot' }, context);
    return 'ok';
  } catch (error) {
    if (error instanceof IngestError) return error.code;
    throw error;
  }
}
