/** Rows of a write, encoded by protobufjs, as record batches. */
import * as fc from 'fast-check';
import { Writer } from 'protobufjs/minimal';
import { IngestError } from '../../../../src/core/errors';
import type { TableName } from '../../../../src/core/ids';
import type { ColumnType } from '../../../../src/core/table-schema';
import { COLUMN_VALUES } from '../../../support/columns';
import { ARRIVAL_NS, decodeWrite } from '../../../support/ingest-decode';
import { encodeIngest } from '../../../support/ingest-proto';
import { plainRows } from '../../../support/plain-rows';
import { MemoryRegistry } from '../../../support/recording-ingest';

type Fields = Record<string, object>;

async function cars(columns: Record<string, ColumnType>): Promise<MemoryRegistry> {
  const registry = new MemoryRegistry();
  const schemas = Object.entries({ time: 'timestamp' as const, ...columns }).map(([name, type]) => ({
    name,
    type,
    nullable: name !== 'time',
  }));
  await registry.evolve('cars' as TableName, schemas, { timeColumn: 'time' });
  return registry;
}

const rowsOf = (...fields: Fields[]): object => ({ table: 'cars', rows: { rows: fields.map((row) => ({ fields: row })) } });

/** The column `a` of the rows with these values, and why the others are refused. */
async function decodeA(type: ColumnType, values: object[]): Promise<{ values: unknown[]; refused: [number, string][] }> {
  const { batches, rejections } = await decodeWrite(rowsOf(...values.map((a) => ({ a }))), await cars({ a: type }));
  return {
    values: plainRows(batches[0]?.batch).map(({ a }) => a),
    refused: rejections.map(({ row, code }): [number, string] => [row, code]),
  };
}

const inferred = async (...fields: Fields[]): Promise<Record<string, string>> => {
  const registry = new MemoryRegistry();
  await decodeWrite(rowsOf(...fields), registry);
  return Object.fromEntries(registry.get('cars' as TableName)?.columns.map(({ name, type }) => [name, type]) ?? []);
};

describe('rows', () => {
  const KINDS: Readonly<
    Record<string, { values: fc.Arbitrary<unknown>; message: (value: never) => object; plain?: (value: never) => unknown }>
  > = {
    bool: { values: COLUMN_VALUES.bool, message: (boolValue) => ({ boolValue }) },
    int: { values: COLUMN_VALUES.int64, message: (value) => ({ intValue: String(value) }) },
    uint: { values: fc.bigInt({ min: 2n ** 63n, max: 2n ** 64n - 1n }), message: (value) => ({ uintValue: String(value) }) },
    double: { values: COLUMN_VALUES.float64, message: (doubleValue) => ({ doubleValue }) },
    string: { values: COLUMN_VALUES.string, message: (stringValue) => ({ stringValue }) },
    decimal: { values: COLUMN_VALUES.decimal, message: (decimalValue) => ({ decimalValue }) },
    json: { values: COLUMN_VALUES.json, message: (jsonValue) => ({ jsonValue }) },
    bytes: {
      values: COLUMN_VALUES.binary,
      message: (value: Uint8Array) => ({ bytesValue: Buffer.from(value) }),
      plain: (value: Uint8Array) => Buffer.from(value).toString('hex'),
    },
    at: {
      values: COLUMN_VALUES.timestamp,
      message: (value: bigint) => {
        const nanos = ((value % 1_000_000_000n) + 1_000_000_000n) % 1_000_000_000n;
        return { timestampValue: { seconds: String((value - nanos) / 1_000_000_000n), nanos: Number(nanos) } };
      },
    },
  };
  const kindNames = Object.keys(KINDS);
  const anyRow = fc.record(Object.fromEntries(kindNames.map((name) => [name, fc.option(KINDS[name].values, { freq: 3 })])));

  it('come out with every value, given by name or by position', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(anyRow, fc.boolean()), { minLength: 1, maxLength: 20 }), async (given) => {
        const value = (of: Record<string, unknown>, name: string): object =>
          of[name] === null ? {} : KINDS[name].message(of[name] as never);
        const rows = given.map(([of, byName]) =>
          byName
            ? { fields: Object.fromEntries(kindNames.map((name) => [name, value(of, name)])) }
            : { values: kindNames.map((name) => value(of, name)) },
        );
        const { batches, rejectedRows } = await decodeWrite({ table: 'cars', rows: { columns: kindNames, rows } });
        expect(rejectedRows).toBe(0);
        expect(plainRows(batches[0]?.batch)).toEqual(
          given.map(([of]) => ({
            time: ARRIVAL_NS,
            ...Object.fromEntries(
              kindNames
                .filter((name) => of[name] !== null)
                .map((name) => [name, KINDS[name].plain?.(of[name] as never) ?? of[name]]),
            ),
          })),
        );
      }),
      { numRuns: 80 },
    );
  });

  it('have decimals digit by digit wherever the column takes them, and a text that is no number costs its row', async () => {
    const given = ['-12.50', '7', '1e38', 'x', '1e-38'].map((decimalValue) => ({ decimalValue }));
    expect(await decodeA('decimal', given)).toEqual({
      values: ['-12.5', '7', `0.${'0'.repeat(37)}1`],
      refused: [
        [2, 'out_of_range'],
        [3, 'type_mismatch'],
      ],
    });
    const numbers = given.slice(0, 2);
    expect(await decodeA('float64', numbers)).toEqual({ values: [-12.5, 7], refused: [] });
    expect(await decodeA('string', numbers)).toEqual({ values: ['-12.5', '7'], refused: [] });
    expect((await decodeA('json', [{ listValue: { values: given.slice(0, 3) } }])).values).toEqual(['[-12.50,7,1e38]']);
    const mixed = [{ decimalValue: '0.1' }, { doubleValue: 0.25 }, { intValue: -3 }, { uintValue: '18446744073709551615' }];
    expect(await inferred(...mixed.map((a) => ({ a })))).toMatchObject({ a: 'decimal' });
    expect((await decodeA('decimal', mixed)).values).toEqual(['0.1', '0.25', '-3', '18446744073709551615']);
    expect((await decodeA('attributes', [{ mapValue: { entries: { d: given[0] } } }])).values).toEqual([[['d', 1, '-12.50']]]);
  });

  it('make columns of what their values are', async () => {
    const types = await inferred(
      { int: { intValue: 1 }, number: { intValue: 1 }, large: { uintValue: '18446744073709551615' }, mixed: { intValue: 1 } },
      {
        number: { doubleValue: 0.7 },
        large: { uintValue: 1 },
        mixed: { stringValue: 'x' },
        ts: { stringValue: '2026-01-02T03:04:05Z' },
      },
      { any: { listValue: {} }, map: { mapValue: {} }, at: { timestampValue: {} }, both: { uintValue: '9223372036854775808' } },
      {
        both: { intValue: -1 },
        flag: { boolValue: false },
        bytes: { bytesValue: Buffer.of(1) },
        small: { uintValue: 5 },
        nothing: {},
      },
    );
    expect(types).toEqual({
      ts: 'timestamp',
      int: 'int64',
      number: 'float64',
      large: 'uint64',
      mixed: 'string',
      any: 'json',
      map: 'json',
      at: 'timestamp',
      both: 'decimal',
      flag: 'bool',
      bytes: 'binary',
      small: 'int64',
    });
  });

  it('keep every value of a column that has several kinds', async () => {
    expect(await decodeA('float64', [{ intValue: 0 }, { doubleValue: 0.7 }, { uintValue: 3 }, {}])).toEqual({
      values: [0, 0.7, 3, undefined],
      refused: [],
    });
    expect(await decodeA('string', [{ intValue: '-5' }, { stringValue: 'x' }, { boolValue: true }])).toEqual({
      values: ['-5', 'x', 'true'],
      refused: [],
    });
    expect(
      await decodeA('timestamp', [
        { stringValue: '1970-01-01T00:00:01Z' },
        { intValue: 2 },
        { timestampValue: { seconds: 3, nanos: 4 } },
      ]),
    ).toEqual({ values: [1_000_000_000n, 2_000_000_000n, 3_000_000_004n], refused: [] });
  });

  it.each<[ColumnType, object[], unknown[], [number, string][]]>([
    ['int16', [{ intValue: 32_767 }, { bytesValue: Buffer.of(1) }], [32_767], [[1, 'type_mismatch']]],
    ['bool', [{ boolValue: true }, { intValue: 1 }], [true], [[1, 'type_mismatch']]],
    [
      'json',
      [{ jsonValue: '{"a":1}' }, { jsonValue: '{' }, { stringValue: '"x"' }, { listValue: { values: [{ jsonValue: '!' }] } }],
      ['{"a":1}', '"x"'],
      [
        [1, 'invalid_json'],
        [3, 'invalid_value'],
      ],
    ],
    [
      'timestamp',
      [{ timestampValue: { seconds: '-99999999999' } }, { timestampValue: { nanos: -1 } }, { stringValue: 'soon' }],
      [],
      [
        [0, 'out_of_range'],
        [1, 'out_of_range'],
        [2, 'invalid_time'],
      ],
    ],
    [
      'list<int64>',
      [
        { listValue: { values: [{ intValue: '-1' }, { uintValue: 2 }] } },
        { listValue: { values: [{ stringValue: 'x' }] } },
        { listValue: { values: [{ intValue: 1 }, {}] } },
        { intValue: 1 },
        { listValue: {} },
      ],
      [[-1n, 2n], []],
      [
        [1, 'type_mismatch'],
        [2, 'type_mismatch'],
        [3, 'type_mismatch'],
      ],
    ],
    [
      'list<float64>',
      [{ listValue: { values: [{ doubleValue: 0.5 }, { uintValue: '18446744073709551615' }] } }],
      [[0.5, 18446744073709552000]],
      [],
    ],
    [
      'list<uint64>',
      [{ listValue: { values: [{ uintValue: '18446744073709551615' }] } }, { listValue: { values: [{ intValue: -1 }] } }],
      [[2n ** 64n - 1n]],
      [[1, 'out_of_range']],
    ],
    ['list<string>', [{ listValue: { values: [{ stringValue: 'ü' }] } }, { mapValue: {} }], [['ü']], [[1, 'type_mismatch']]],
    [
      'attributes',
      [{ mapValue: { entries: { k: { intValue: 1 } } } }, { stringValue: 'x' }],
      [[['k', 3, '1']]],
      [[1, 'type_mismatch']],
    ],
  ])('are refused one by one when they do not fit into %s', async (type, given, values, refused) => {
    expect(await decodeA(type, given)).toEqual({ values, refused });
  });

  it('widen an integer column when one request brings integers and doubles, and nothing is refused', async () => {
    const registry = await cars({ a: 'int64' });
    const rows = rowsOf({ a: { intValue: 0 } }, { a: { doubleValue: 0.7 } });
    const { batches, rejectedRows } = await decodeWrite(rows, registry);
    expect([rejectedRows, plainRows(batches[0]?.batch).map(({ a }) => a)]).toEqual([0, [0, 0.7]]);
    expect(registry.get('cars' as TableName)?.columns.find(({ name }) => name === 'a')?.type).toBe('float64');
  });

  it('are refused for a name that cannot be a column, alone', async () => {
    const { acceptedRows, rejections } = await decodeWrite(
      rowsOf({ a: { intValue: 1 } }, { _batch: { intValue: 1 } }, { '': { intValue: 1 } }),
    );
    expect(acceptedRows).toBe(1);
    expect(rejections.map(({ row, code }) => [row, code])).toEqual([
      [1, 'invalid_name'],
      [2, 'invalid_name'],
    ]);
  });

  it('of a built-in table have friendly names, and attributes for what it does not have', async () => {
    const rows = [
      {
        body: { stringValue: 'hi' },
        labels: { mapValue: { entries: { a: { intValue: 1 } } } },
        extra: { doubleValue: 2 },
        list: { listValue: {} },
      },
      { message: { stringValue: 'own name' }, extra: { stringValue: 'text' }, big: { uintValue: '18446744073709551615' } },
      {
        at: { timestampValue: { seconds: 1 } },
        flag: { boolValue: true },
        raw: { bytesValue: Buffer.of(255) },
        json: { jsonValue: '{"x":1}' },
      },
      { broken: { jsonValue: '{' } },
      { labels: { stringValue: 'none' } },
    ].map((fields) => ({ fields }));
    const { batches, rejections } = await decodeWrite({ table: 'logs_events', rows: { rows } });
    const labels = (row: Record<string, unknown>): unknown =>
      Object.fromEntries((row['labels'] as [string, number, string][]).map(([key, ...rest]) => [key, rest]));
    const [first, second, third] = plainRows(batches[0]?.batch);
    expect(labels(first)).toEqual({ a: [3, '1'], extra: [4, '2.0'], list: [5, '[]'], body: [1, 'hi'] });
    expect(second).toMatchObject({ message: 'own name', body_type: 'string' });
    expect(labels(second)).toEqual({ extra: [1, 'text'], big: [1, '18446744073709551615'] });
    expect(labels(third)).toEqual({
      at: [1, '1970-01-01T00:00:01.000000000Z'],
      flag: [2, 'true'],
      raw: [7, '/w=='],
      json: [6, '{"x":1}'],
    });
    expect(rejections.map(({ row, column, code }) => [row, column, code])).toEqual([
      [3, 'broken', 'invalid_json'],
      [4, 'labels', 'type_mismatch'],
    ]);
  });

  it('of metrics keep integers exactly, also beside doubles', async () => {
    const rows = [{ value: { intValue: '9007199254740993' } }, { value: { doubleValue: 0.5 } }].map((fields) => ({ fields }));
    const { batches } = await decodeWrite({ table: 'metrics_events', rows: { rows } });
    expect(plainRows(batches[0]?.batch)).toEqual([
      { time: ARRIVAL_NS, value: 9007199254740992, value_int: 9_007_199_254_740_993n },
      { time: ARRIVAL_NS, value: 0.5 },
    ]);
  });

  it('have their last value where a name comes twice (PB3)', async () => {
    const entry = (value: number): Buffer => Buffer.concat([Buffer.from('0a090a016112041080', 'hex'), Buffer.of(0x80, value)]);
    const inner = Buffer.concat([entry(1), entry(2)]);
    const rows = Buffer.concat([Buffer.of(0x12, inner.length), inner]);
    const message = Buffer.concat([encodeIngest('WriteRequest', { table: 't' }), Buffer.of(0x22, rows.length), rows]);
    const { batches } = await decodeWrite(message);
    expect(plainRows(batches[0]?.batch).map(({ a }) => a)).toEqual([16_384n]);
  });

  it('have a bounded number of different names, and of bytes', async () => {
    const names = rowsOf(...Array.from({ length: 5_000 }, (_, i) => ({ [`name${i}`]: { intValue: 1 } })));
    await expect(decodeWrite(names)).rejects.toMatchObject({ code: 'payload_too_large' });
    const wide = Object.fromEntries(Array.from({ length: 1_400 }, (_, i) => [`name${i}`, { intValue: 1 }]));
    const tall = { table: 'cars', rows: { rows: [{ fields: wide }, ...Array.from({ length: 60_000 }, () => ({}))] } };
    await expect(decodeWrite(tall)).rejects.toMatchObject({ code: 'payload_too_large' });
  });

  it('nested too deep are refused alone', async () => {
    const wrap = (tag: number, content: Uint8Array): Uint8Array => Writer.create().uint32(tag).bytes(content).finish();
    let value = encodeIngest('Value', { intValue: 1 }) as Uint8Array;
    for (let depth = 0; depth < 150; depth++) value = wrap(0x4a, wrap(0x0a, value));
    const deep = wrap(0x12, wrap(0x0a, Buffer.concat([wrap(0x0a, Buffer.from('a')), wrap(0x12, value)])));
    const rows = wrap(0x22, Buffer.concat([deep, encodeIngest('Rows', { rows: [{ fields: { b: { intValue: 1 } } }] })]));
    const message = Buffer.concat([encodeIngest('WriteRequest', { table: 't' }), rows]);
    const { rejections, acceptedRows } = await decodeWrite(message);
    expect([acceptedRows, rejections[0]]).toEqual([1, expect.objectContaining({ row: 0, code: 'invalid_value' })]);
  });

  it('of any changed or missing byte are decoded or refused, and never anything else (PB4)', async () => {
    const message = encodeIngest('WriteRequest', {
      table: 'logs_events',
      rows: {
        columns: ['level', 'x'],
        rows: [
          {
            values: [{ stringValue: 'ERROR' }, { jsonValue: '[1]' }],
            fields: { message: { stringValue: 'hi' }, n: { intValue: 300 } },
          },
          {
            fields: {
              labels: { mapValue: { entries: { a: { listValue: { values: [{ doubleValue: 1 }] } } } } },
              t: { timestampValue: { seconds: 5, nanos: 6 } },
            },
          },
        ],
      },
    });
    expect((await decodeWrite(message)).acceptedRows).toBe(2);
    for (let at = 0; at < message.length; at++) {
      for (let bit = 0; bit < 8; bit++) {
        const changed = Buffer.from(message);
        changed[at] ^= 1 << bit;
        for (const bytes of bit === 0 ? [changed, message.subarray(0, at)] : [changed]) {
          const problem: unknown = await decodeWrite(bytes).then(
            () => undefined,
            (error: unknown) => error,
          );
          if (problem !== undefined && !(problem instanceof IngestError)) throw problem;
        }
      }
    }
  });
});
