/** Arrow columns of nested types and decimals as columns of a table, and what goes into the batch without being touched. */
import {
  Vector as ArrowVector,
  Bool,
  type Data,
  type DataType,
  DateDay,
  Decimal,
  Dictionary,
  Field,
  FixedSizeList,
  Float32,
  Float64,
  Int8,
  Int16,
  Int32,
  Int64,
  List,
  Map_,
  makeData,
  Struct,
  Table,
  TimestampMicrosecond,
  TimestampNanosecond,
  tableToIPC,
  Uint8,
  Uint64,
  Utf8,
  type Vector,
  vectorFromArray,
} from 'apache-arrow';
import * as fc from 'fast-check';
import { arrowColumns, decodeArrowStream } from '../../../src/adapters/rest/decode-arrow';
import { COLUMN_TYPES } from '../../../src/columnar/arrow-type';
import { encodeIpc } from '../../../src/columnar/ipc';
import { recordBatch } from '../../../src/columnar/record-batch';
import { readForeignStream } from '../../../src/columnar/validate';
import type { DecodedRequest } from '../../../src/core/batch';
import { LOGS_EVENTS } from '../../../src/core/builtin-tables';
import type { TableName } from '../../../src/core/ids';
import type { ColumnSchema, ColumnType, TableSchema } from '../../../src/core/table-schema';
import { COLUMN_VALUES, columnOf, unscaled } from '../../support/columns';
import { timestamps } from '../../support/log-batches';
import { plainRows } from '../../support/plain-rows';

const CONTEXT = { arrivalNs: 1n };

const tableOf = (columns: readonly ColumnSchema[]): TableSchema => ({
  table: 'events' as TableName,
  version: 1,
  columns: [{ name: 'time', type: 'timestamp', nullable: false }, ...columns],
  timeColumn: 'time',
  tier: 'hot',
});

const stream = (columns: Record<string, Vector>): Uint8Array => tableToIPC(new Table(columns as never), 'stream');
const decode = (v: Vector, column: Partial<ColumnSchema> & { type: ColumnType }, others: ColumnSchema[] = []): DecodedRequest =>
  decodeArrowStream(stream({ v }), tableOf([{ name: 'v', nullable: true, ...column }, ...others]), CONTEXT);
const inferred = (v: Vector): ColumnType | undefined =>
  arrowColumns(stream({ v }), undefined).columns.find(({ name }) => name === 'v')?.type;
const valuesOf = ({ batches }: DecodedRequest, name = 'v'): unknown[] =>
  batches.flatMap(({ batch }) => plainRows(batch)).map((row) => row[name] ?? null);
const refusals = ({ rejections }: DecodedRequest): unknown[] => rejections.map(({ row, column, code }) => [row, column, code]);

/** Decimals of a width; undefined is null. */
function decimals(values: readonly (bigint | undefined)[], scale: number, bits: 32 | 64 | 128 | 256, precision?: number): Vector {
  const count = bits / 32;
  const data = new Uint32Array(values.length * count);
  const nullBitmap = new Uint8Array((values.length + 7) >> 3);
  for (const [row, value] of values.entries()) {
    if (value === undefined) continue;
    nullBitmap[row >> 3] |= 1 << (row & 7);
    for (let i = 0; i < count; i++) data[row * count + i] = Number(BigInt.asUintN(32, value >> BigInt(i * 32)));
  }
  const type = new Decimal(scale, precision ?? { 32: 9, 64: 18, 128: 38, 256: 76 }[bits], bits);
  const nullCount = values.filter((value) => value === undefined).length;
  return new ArrowVector([makeData({ type, length: values.length, nullCount, nullBitmap, data })]);
}

const struct = (...fields: [name: string, type: DataType][]): Struct =>
  new Struct(fields.map(([name, type]) => new Field(name, type, true)));
const list = (item: DataType): List => new List(new Field('item', item, true));
const map = (key: DataType, value: DataType): Map_ => {
  const entries = new Struct([new Field('key', key, false), new Field('value', value, true)]);
  return new Map_(new Field('entries', entries, false) as never);
};

describe('decimals', () => {
  test.each([32, 64, 128, 256] as const)('of %i bits and any scale are decimals of the column, digit by digit', (bits) => {
    const digits = { 32: 9, 64: 18, 128: 38, 256: 76 }[bits];
    const most = 10n ** BigInt(digits) - 1n;
    const scales = fc.integer({ min: 0, max: Math.min(digits, 38) });
    const values = fc.array(fc.option(fc.bigInt({ min: -most, max: most }), { nil: undefined }), { minLength: 1, maxLength: 20 });
    fc.assert(
      fc.property(scales, values, (scale, integers) => {
        const vector = decimals(integers, scale, bits);
        expect(inferred(vector)).toBe('decimal');
        const decoded = decode(vector, { type: 'decimal' });
        const exact = integers.map((value) => (value === undefined ? undefined : value * 10n ** BigInt(38 - scale)));
        const fits = (value: bigint | undefined): boolean => value === undefined || (value < 10n ** 76n && value > -(10n ** 76n));
        expect(valuesOf(decoded).map((text) => (text === null ? undefined : unscaled(text as string)))).toEqual(
          exact.filter(fits),
        );
        const bad = exact.flatMap((value, row) => (fits(value) ? [] : [[row, 'v', 'out_of_range']]));
        expect(refusals(decoded)).toEqual(bad);
      }),
    );
  });

  test('of negative scales are multiplied out, and those of more digits behind the point must not need them', () => {
    expect(valuesOf(decode(decimals([12n, -5n], -3, 128), { type: 'decimal' }))).toEqual(['12000', '-5000']);
    const many = decode(decimals([10n ** 40n, 1n], 50, 256), { type: 'decimal' });
    expect([valuesOf(many), refusals(many)]).toEqual([['0.0000000001'], [[1, 'v', 'out_of_range']]]);
  });

  test('of the form of the column may still be beyond its digits', () => {
    const decoded = decode(decimals([1n, 10n ** 76n, undefined, -(2n ** 255n)], 38, 256, 50), { type: 'decimal' });
    expect(refusals(decoded)).toEqual([
      [1, 'v', 'out_of_range'],
      [3, 'v', 'out_of_range'],
    ]);
    expect(valuesOf(decoded)).toEqual([`0.${'0'.repeat(37)}1`, null]);
  });

  test.each([
    ['int64', [1250n, -700n], 2, [[0, 'v', 'type_mismatch']], [-7n]],
    ['int16', [3_276_800n, 3_276_700n], 2, [[0, 'v', 'out_of_range']], [32_767]],
    ['float64', [125n, -1n], 2, [], [1.25, -0.01]],
    ['string', [1250n, -700n], 2, [], ['12.5', '-7']],
    ['json', [1250n, -700n], 2, [], ['12.5', '-7']],
    ['bool', [1n], 0, [[0, 'v', 'type_mismatch']], []],
  ] as const)(
    'in a column of %s are there exactly, as its numbers are, or not at all',
    (type, values, scale, refused, stored) => {
      const decoded = decode(decimals(values, scale, 128), { type });
      expect([refusals(decoded), valuesOf(decoded)]).toEqual([refused, stored]);
    },
  );

  test('take the numbers of every other type, doubles by the digits that were written', () => {
    const max = vectorFromArray([2n ** 64n - 1n, 0n], new Uint64());
    expect(valuesOf(decode(max, { type: 'decimal' }))).toEqual(['18446744073709551615', '0']);
    expect(valuesOf(decode(vectorFromArray([-128], new Int8()), { type: 'decimal' }))).toEqual(['-128']);
    const doubles = decode(vectorFromArray([0.1, -0, 1e-39, Number.NaN], new Float64()), { type: 'decimal' });
    expect([valuesOf(doubles), refusals(doubles)]).toEqual([
      ['0.1', '0'],
      [
        [2, 'v', 'out_of_range'],
        [3, 'v', 'type_mismatch'],
      ],
    ]);
    const texts = decode(vectorFromArray(['12.50', '1,5'], new Utf8()), { type: 'decimal' });
    expect([valuesOf(texts), refusals(texts)]).toEqual([['12.5'], [[1, 'v', 'type_mismatch']]]);
  });

  test('widen a column of integers that meets one of them', () => {
    expect(decode(decimals([15n], 1, 128), { type: 'int64' }).conflicts).toEqual(new Map([['v', 'decimal']]));
    expect(decode(vectorFromArray([2n ** 63n], new Uint64()), { type: 'int64' }).conflicts).toEqual(new Map([['v', 'decimal']]));
  });
});

describe('structs, lists and maps', () => {
  const point = struct(
    ['x', new Int64()],
    ['say "hi"', new Utf8()],
    ['tags', list(new Utf8())],
    ['in', struct(['f', new Float32()])],
  );
  const rows = [
    { x: 2n ** 63n - 1n, 'say "hi"': 'a\n"\u0000é', tags: ['u', null], in: { f: 0.5 } },
    null,
    { x: null, 'say "hi"': null, tags: null, in: null },
    { x: -1n, 'say "hi"': '', tags: [], in: { f: Number.NaN } },
  ];
  const texts = [
    '{"x":9223372036854775807,"say \\"hi\\"":"a\\n\\"\\u0000é","tags":["u",null],"in":{"f":0.5}}',
    null,
    '{"x":null,"say \\"hi\\"":null,"tags":null,"in":null}',
    '{"x":-1,"say \\"hi\\"":"","tags":[],"in":{"f":"NaN"}}',
  ];

  test('a struct is JSON with all its members, a null one is null', () => {
    const vector = vectorFromArray(rows, point);
    expect(inferred(vector)).toBe('json');
    expect(valuesOf(decode(vector, { type: 'json' }))).toEqual(texts);
  });

  test('what has no JSON type is a string that keeps every digit', () => {
    const type = struct(
      ['ns', new TimestampNanosecond('UTC')],
      ['us', new TimestampMicrosecond()],
      ['day', new DateDay()],
      ['yes', new Bool()],
    );
    const vector = vectorFromArray([{ ns: 1_700_000_000_123, us: -1, day: new Date('2024-02-29'), yes: true }], type);
    const { children } = vector.data[0];
    (children[0].values as BigInt64Array)[0] = 1_700_000_000_123_456_789n;
    (children[1].values as BigInt64Array)[0] = -1n;
    expect(valuesOf(decode(vector, { type: 'json' }))).toEqual([
      '{"ns":"2023-11-14T22:13:20.123456789Z","us":"1969-12-31T23:59:59.999999Z","day":"2024-02-29","yes":true}',
    ]);
  });

  test.each([
    ['list<int64>', list(new Int16()), [[1, -2], [], null], [[1n, -2n], [], null]],
    ['list<uint64>', list(new Uint8()), [[255]], [[255n]]],
    ['list<float64>', list(new Float32()), [[0.5, -1]], [[0.5, -1]]],
    ['list<string>', list(new Dictionary(new Utf8(), new Int32())), [['a', 'b', 'a']], [['a', 'b', 'a']]],
    [
      'list<int64>',
      new FixedSizeList(2, new Field('item', new Int32(), true)),
      [[1, 2], null, [3, 4]],
      [[1n, 2n], null, [3n, 4n]],
    ],
    ['json', list(new Bool()), [[true, null], null], ['[true,null]', null]],
    ['json', list(list(new Int64())), [[[1n], []]], ['[[1],[]]']],
    ['json', list(struct(['a', new Int32()])), [[{ a: 1 }, { a: null }]], ['[{"a":1},{"a":null}]']],
    ['json', new FixedSizeList(1, new Field('item', new Bool(), true)), [[false]], ['[false]']],
    ['json', map(new Int32(), new Utf8()), [new Map([[7, 'x']])], ['{"7":"x"}']],
    [
      'attributes',
      map(new Utf8(), new Int64()),
      [{ a: 1n, b: null }, null],
      [
        [
          ['a', 3, '1'],
          ['b', 0, ''],
        ],
        null,
      ],
    ],
    ['attributes', map(new Utf8(), list(new Int32())), [{ a: [1, 2] }], [[['a', 5, '[1,2]']]]],
    ['attributes', map(new Utf8(), struct(['f', new Float64()])), [{ a: { f: 1 } }], [[['a', 6, '{"f":1.0}']]]],
  ] as const)('%s is what becomes of %s', (type, arrow, values, stored) => {
    const vector = vectorFromArray(values as never, arrow as never) as Vector;
    expect(inferred(vector)).toBe(type);
    expect(valuesOf(decode(vector, { type }))).toEqual(stored);
  });

  test('values shared by a dictionary become JSON once', () => {
    const values = vectorFromArray([{ a: 1 }, null], struct(['a', new Int32()]));
    const type = new Dictionary(values.type, new Int32());
    const indexes = Int32Array.of(0, 0, 1, 0);
    const vector = new ArrowVector([makeData({ type, length: 4, nullCount: 0, data: indexes, dictionary: values })]);
    const decoded = decode(vector, { type: 'json' });
    expect(valuesOf(decoded)).toEqual(['{"a":1}', '{"a":1}', null, '{"a":1}']);
    expect((decoded.batches[0].batch.data.children[0].dictionary as Vector).length).toBe(2);
  });

  test('a struct in a column of attributes has its members there, and those of a log what the table has no column for', () => {
    const vector = vectorFromArray([{ a: 1, b: null }, null], struct(['a', new Int32()], ['b', new Utf8()]));
    expect(valuesOf(decode(vector, { type: 'attributes' }))).toEqual([[['a', 3, '1']], null]);
    const log = decodeArrowStream(stream({ labels: vector, extra: vector, d: decimals([5n, 6n], 1, 128) }), LOGS_EVENTS, CONTEXT);
    expect(valuesOf(log, 'labels')).toEqual([
      [
        ['a', 3, '1'],
        ['extra', 6, '{"a":1,"b":null}'],
        ['d', 1, '0.5'],
      ],
      [['d', 1, '0.6']],
    ]);
  });

  test('a column of another type refuses them, unless its policy takes them as text or beside it', () => {
    const vector = vectorFromArray(rows, point);
    const present = [0, 2, 3];
    expect(refusals(decode(vector, { type: 'int64' }))).toEqual(present.map((row) => [row, 'v', 'type_mismatch']));
    expect(refusals(decode(vector, { type: 'string' }))).toEqual(present.map((row) => [row, 'v', 'type_mismatch']));
    expect(valuesOf(decode(vector, { type: 'string', conflict: 'coerce' }))).toEqual(texts);
    const beside = decode(vector, { type: 'int64', conflict: 'side_column' }, [
      { name: '_conflicts', type: 'json', nullable: true },
    ]);
    expect(valuesOf(beside, '_conflicts')).toEqual(texts.map((text) => (text === null ? null : `{"v":${text}}`)));
  });
});

/** Every buffer of a column. */
function* buffersOf(data: Data): Generator<NodeJS.TypedArray> {
  const own = [data.valueOffsets, data.values, data.nullBitmap] as (NodeJS.TypedArray | undefined)[];
  for (const buffer of own) if (buffer !== undefined && buffer.byteLength > 0) yield buffer;
  for (const child of data.children) yield* buffersOf(child);
}

const untouched = (data: Data, body: Uint8Array): boolean => [...buffersOf(data)].every(({ buffer }) => buffer === body.buffer);

test('columns of a type that is stored as it is are the bytes of the request; only the others are made anew', () => {
  const types = COLUMN_TYPES.filter((type) => type !== 'timestamp');
  const [valueOf] = [(type: ColumnType) => fc.sample(COLUMN_VALUES[type], { numRuns: 50, seed: 7 })];
  const columns = types.map((type) => ({ name: type, data: columnOf(type, valueOf(type), 'plain') }));
  const small = vectorFromArray(
    Array.from({ length: 50 }, () => 1),
    new Int8(),
  ).data[0] as Data;
  const body = encodeIpc(
    recordBatch([
      { name: 'time', data: timestamps(Array.from({ length: 50 }, () => 5n)) },
      { name: 'small', data: small },
      ...columns,
    ]),
  );
  const schema = tableOf(
    [...types, 'int16' as const].map((type, i) => ({ name: i < types.length ? type : 'small', type, nullable: true })),
  );
  const decoded = decodeArrowStream(body, schema, CONTEXT);
  expect(decoded).toMatchObject({ acceptedRows: 50, rejectedRows: 0 });
  const [{ batch }] = decoded.batches;
  const made = batch.schema.fields.filter((_, i) => !untouched(batch.data.children[i], body)).map(({ name }) => name);
  expect(made).toEqual(['small']);
  const [given] = readForeignStream(body).batches;
  for (const { name } of columns) {
    const index = (fields: readonly Field[]): number => fields.findIndex((field) => field.name === name);
    const before = given.data.children[index(given.schema.fields)];
    const after = batch.data.children[index(batch.schema.fields)];
    expect([name, [...buffersOf(after)].map(({ byteOffset, byteLength }) => [byteOffset, byteLength])]).toEqual([
      name,
      [...buffersOf(before)].map(({ byteOffset, byteLength }) => [byteOffset, byteLength]),
    ]);
  }
});
