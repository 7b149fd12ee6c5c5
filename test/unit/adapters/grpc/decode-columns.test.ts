/** Columns of a write, encoded by protobufjs, as record batches. */
import * as fc from 'fast-check';
import { IngestError } from '../../../../src/core/errors';
import { COLUMN_VALUES } from '../../../support/columns';
import { ARRIVAL_NS, decodeWrite } from '../../../support/ingest-decode';
import { encodeIngest } from '../../../support/ingest-proto';
import { plainRows } from '../../../support/plain-rows';

/** One kind of array: how values are written down in the message, and how they come out of the record batch. */
interface Kind {
  readonly values: fc.Arbitrary<unknown>;
  readonly message: (values: unknown[]) => object;
  readonly plain?: (value: never) => unknown;
}

const digits = (values: unknown[]): string[] => values.map((value) => String((value ?? 0) as bigint));
const or = (values: unknown[], filler: unknown): unknown[] => values.map((value) => value ?? filler);

const KINDS: Readonly<Record<string, Kind>> = {
  bools: { values: COLUMN_VALUES.bool, message: (values) => ({ bools: { values: or(values, true) } }) },
  int32s: { values: COLUMN_VALUES.int32, message: (values) => ({ int32s: { values: or(values, 1) } }) },
  int64s: { values: COLUMN_VALUES.int64, message: (values) => ({ int64s: { values: digits(values) } }) },
  uint32s: { values: COLUMN_VALUES.uint32, message: (values) => ({ uint32s: { values: or(values, 1) } }) },
  uint64s: { values: COLUMN_VALUES.uint64, message: (values) => ({ uint64s: { values: digits(values) } }) },
  floats: { values: COLUMN_VALUES.float32, message: (values) => ({ floats: { values: or(values, 1) } }) },
  doubles: { values: COLUMN_VALUES.float64, message: (values) => ({ doubles: { values: or(values, 1) } }) },
  strings: { values: COLUMN_VALUES.string, message: (values) => ({ strings: { values: or(values, 'filler') } }) },
  dictionary: {
    values: fc.constantFrom('', 'red', 'blue', 'ü'),
    message: (values) => {
      const distinct = [...new Set(values.filter((value) => value !== null))];
      return {
        dictionary: {
          values: distinct,
          indexes: values.map((value) => (value === null ? 4_000_000_000 : distinct.indexOf(value))),
        },
      };
    },
  },
  bytes: {
    values: COLUMN_VALUES.binary,
    message: (values) => ({ bytes: { values: or(values, Buffer.of(1)) } }),
    plain: (value: Uint8Array) => Buffer.from(value).toString('hex'),
  },
  timestamps: { values: COLUMN_VALUES.timestamp, message: (values) => ({ timestamps: { unixNanos: digits(values) } }) },
  dates: { values: COLUMN_VALUES.date, message: (values) => ({ dates: { days: or(values, 1) } }) },
  jsons: { values: COLUMN_VALUES.json, message: (values) => ({ jsons: { values: or(values, 'no json') } }) },
  decimals: { values: COLUMN_VALUES.decimal, message: (values) => ({ decimals: { values: or(values, 'no number') } }) },
  lists: {
    values: COLUMN_VALUES['list<int64>'],
    message: (values) => {
      const lists = or(values, []) as bigint[][];
      return { lists: { lengths: lists.map((list) => list.length), int64s: { values: lists.flat().map(String) } } };
    },
  },
  stringLists: {
    values: COLUMN_VALUES['list<string>'],
    message: (values) => {
      const lists = or(values, []) as string[][];
      return { lists: { lengths: lists.map((list) => list.length), strings: { values: lists.flat() } } };
    },
  },
};

test('a decimal that is none costs its row only', async () => {
  const values = ['1.50', '1,5', '1e99', '-0'];
  const { batches, rejections } = await decodeWrite({
    table: 'cars',
    columns: { columns: [{ name: 'd', decimals: { values } }] },
  });
  expect(plainRows(batches[0]?.batch).map(({ d }) => d)).toEqual(['1.5', '0']);
  expect(rejections.map(({ row, column: name, code }) => [row, name, code])).toEqual([
    [1, 'd', 'type_mismatch'],
    [2, 'd', 'out_of_range'],
  ]);
});

/** Least significant bit first. */
function bitmap(values: readonly unknown[]): Buffer {
  const bits = Buffer.alloc((values.length + 7) >> 3);
  for (const [i, value] of values.entries()) if (value !== null) bits[i >> 3] |= 1 << (i & 7);
  return bits;
}

const column = (name: string, { message }: Kind, values: unknown[]): object => ({
  name,
  ...message(values),
  ...(values.includes(null) ? { validity: bitmap(values) } : {}),
});

describe('columns', () => {
  it('come out with every value and every null, whatever the kinds', async () => {
    const columns = fc
      .integer({ min: 1, max: 40 })
      .chain((rows) =>
        fc.record(
          Object.fromEntries(
            Object.entries(KINDS).map(([name, { values }]) => [
              name,
              fc.array(fc.option(values, { freq: 4 }), { minLength: rows, maxLength: rows }),
            ]),
          ),
          { requiredKeys: ['bools'] },
        ),
      );
    await fc.assert(
      fc.asyncProperty(columns, async (given) => {
        const named = Object.entries(given as Record<string, unknown[]>);
        const request = { table: 't', columns: { columns: named.map(([name, values]) => column(name, KINDS[name], values)) } };
        const { batches, rejectedRows } = await decodeWrite(request);
        expect(rejectedRows).toBe(0);
        const expected = given['bools'].map((_, row) =>
          Object.fromEntries([
            ['time', ARRIVAL_NS],
            ...named
              .filter(([, values]) => values[row] !== null)
              .map(([name, values]) => [name, KINDS[name].plain?.(values[row] as never) ?? values[row]]),
          ]),
        );
        const rows = plainRows(batches[0]?.batch);
        expect(rows).toEqual(expected);
      }),
      { numRuns: 80 },
    );
  });

  it('become attributes with the kind of each value', async () => {
    const entries = {
      text: { stringValue: 'ü' },
      flag: { boolValue: true },
      int: { intValue: '-9223372036854775808' },
      large: { uintValue: '18446744073709551615' },
      double: { doubleValue: 3 },
      bytes: { bytesValue: Buffer.of(1, 2) },
      time: { timestampValue: { seconds: -1, nanos: 5 } },
      list: { listValue: { values: [{ intValue: 1 }, { doubleValue: Number.NaN }, {}, { jsonValue: '{"a":[]}' }] } },
      map: { mapValue: { entries: { __proto__x: { stringValue: '"' } } } },
      json: { jsonValue: ' [1, 2] ' },
      null: {},
    };
    const { batches } = await decodeWrite({
      table: 't',
      columns: { columns: [{ name: 'attributes', maps: { values: [{ entries }, {}] } }] },
    });
    const [row, empty] = plainRows(batches[0]?.batch);
    expect(Object.fromEntries((row['attributes'] as [string, number, string][]).map(([key, ...rest]) => [key, rest]))).toEqual({
      text: [1, 'ü'],
      flag: [2, 'true'],
      int: [3, '-9223372036854775808'],
      large: [1, '18446744073709551615'],
      double: [4, '3.0'],
      bytes: [7, 'AQI='],
      time: [1, '1969-12-31T23:59:59.000000005Z'],
      list: [5, '[1,"NaN",null,{"a":[]}]'],
      map: [6, '{"__proto__x":"\\""}'],
      json: [5, '[1, 2]'],
      null: [0, ''],
    });
    expect(empty['attributes']).toEqual([]);
  });

  it('are read packed and one by one, in pieces, and with fields that nobody knows (PB1, PB2, PB3)', async () => {
    const name = Buffer.from('0a0161', 'hex');
    const single = Buffer.from('22050d01000000', 'hex');
    const packed = Buffer.from('220a0a080200000003000000', 'hex');
    const unknown = Buffer.from('f80601', 'hex');
    const body = Buffer.concat([unknown, name, single, packed]);
    const columns = Buffer.concat([Buffer.of(0x0a, body.length), body]);
    const message = Buffer.concat([encodeIngest('WriteRequest', { table: 't' }), Buffer.of(0x1a, columns.length), columns]);
    const { batches } = await decodeWrite(message);
    expect(plainRows(batches[0]?.batch).map(({ a }) => a)).toEqual([1, 2, 3]);
  });

  it('reject the rows whose times no store can hold', async () => {
    const columns = { columns: [{ name: 'at', timestamps: { unixNanos: ['-9223372036854775808', '5'] } }] };
    const { rejections, acceptedRows } = await decodeWrite({ table: 't', columns });
    expect(acceptedRows).toBe(1);
    expect(rejections).toEqual([expect.objectContaining({ row: 0, column: 'at', code: 'out_of_range' })]);
  });

  it('refuse text that is not UTF-8 (PB5)', async () => {
    const message = encodeIngest('WriteRequest', {
      table: 't',
      columns: { columns: [{ name: 'a', strings: { values: ['abcd'] } }] },
    });
    message[message.indexOf('abcd')] = 0xff;
    await expect(decodeWrite(message)).rejects.toMatchObject({ code: 'invalid_argument' });
  });

  it('of any changed or missing byte are decoded or refused, and never anything else (PB4)', async () => {
    const columns = Object.entries(KINDS).map(([name, kind]) =>
      column(name, kind, fc.sample(kind.values, { numRuns: 3, seed: 7 })),
    );
    const maps = { name: 'maps', maps: { values: [{ entries: { a: { listValue: { values: [{ intValue: 3 }] } } } }, {}, {}] } };
    const message = encodeIngest('WriteRequest', { table: 't', columns: { columns: [...columns, maps] } });
    expect((await decodeWrite(message)).acceptedRows).toBe(3);
    for (let at = 0; at < message.length; at++) {
      const changed = Buffer.from(message);
      changed[at] ^= 1 << (at & 7);
      for (const bytes of [changed, message.subarray(0, at)]) {
        const problem: unknown = await decodeWrite(bytes).then(
          () => undefined,
          (error: unknown) => error,
        );
        if (problem !== undefined && !(problem instanceof IngestError)) throw problem;
      }
    }
  });
});
