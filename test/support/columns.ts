import { type Data, Decimal, makeData, vectorFromArray } from 'apache-arrow';
import * as fc from 'fast-check';
import { arrowType } from '../../src/columnar/arrow-type';
import { LIMITS } from '../../src/core/limits';
import type { ColumnType } from '../../src/core/table-schema';
import { attributes, dictionary, timestamps } from './log-batches';

/** A value of any column type, as tests write it down. */
export type ColumnValue =
  | null
  | string
  | number
  | bigint
  | boolean
  | Uint8Array
  | readonly (string | number | bigint)[]
  | Readonly<Record<string, string>>;

/** How a column lies in a record batch. `shared`: dictionary-encoded, with a dictionary that holds equal values twice. */
export type ColumnForm = 'plain' | 'shared';

export function columnOf(type: ColumnType, values: readonly ColumnValue[], form: ColumnForm): Data {
  if (form === 'plain') return plain(type, values);
  const present = values.filter((value) => value !== null);
  let next = 0;
  return dictionary(
    values.map((value) => (value === null ? null : next++)),
    plain(type, [...present, ...present]),
  );
}

function plain(type: ColumnType, values: readonly ColumnValue[]): Data {
  if (type === 'attributes') return attributes(values.map((value) => (value ?? {}) as Record<string, string>));
  if (type === 'timestamp') return timestamps(values as (bigint | null)[]);
  if (type === 'decimal') return decimals(values as (string | null)[]);
  const days = (value: ColumnValue): ColumnValue | Date => (typeof value === 'number' ? new Date(value * 86_400_000) : value);
  const data = vectorFromArray(type === 'date' ? values.map(days) : [...values], arrowType(type)).data[0];
  return data ?? vectorFromArray([null], arrowType(type)).data[0].slice(0, 0);
}

/** Digits behind the point of a decimal column. */
export const SCALE = 38;

/** Decimal256(76, 38) of numbers as text, by BigInt. */
export function decimals(values: readonly (string | null)[]): Data {
  const words = new BigUint64Array(values.length * 4);
  for (const [row, text] of values.entries()) {
    for (let i = 0; i < 4; i++) words[row * 4 + i] = BigInt.asUintN(64, unscaled(text ?? '0') >> BigInt(i * 64));
  }
  const nullBitmap = Uint8Array.from({ length: (values.length + 7) >> 3 }, (_, byte) =>
    Array.from({ length: 8 }, (_bit, bit) => (values[byte * 8 + bit] === null ? 0 : 1 << bit)).reduce((a, b) => a | b),
  );
  const nullCount = values.filter((value) => value === null).length;
  const data = new Uint32Array(words.buffer);
  return makeData({ type: new Decimal(SCALE, SCALE * 2, 256), length: values.length, data, nullCount, nullBitmap });
}

/** The number times 10^38. */
export function unscaled(text: string): bigint {
  const [whole = '', fraction = ''] = text.split('.');
  return BigInt(whole + fraction.padEnd(SCALE, '0'));
}

/** A value of a decimal column as text, without zeros at the end of its fraction. */
export function decimalOf(value: bigint): string {
  const digits = String(value < 0n ? -value : value).padStart(SCALE + 1, '0');
  const text = `${digits.slice(0, -SCALE)}.${digits.slice(-SCALE)}`.replace(/\.?0+$/, '');
  return value < 0n ? `-${text}` : text;
}

const DECIMAL_MAX = 10n ** 76n - 1n;

const signed = (bits: bigint): fc.Arbitrary<bigint> => fc.bigInt({ min: -(2n ** (bits - 1n)), max: 2n ** (bits - 1n) - 1n });
const edges = <T>(values: readonly T[], rest: fc.Arbitrary<T>): fc.Arbitrary<T> => fc.oneof(fc.constantFrom(...values), rest);
/** Any Unicode text, NUL and quotes among it. */
const text = edges(['', '\0', "it's", 'a\tb\n\\N', '日本語', '𝒳'], fc.string({ unit: 'binary', maxLength: 12 }));
const int64 = edges([0n, -1n, 2n ** 63n - 1n, -(2n ** 63n), 2n ** 53n + 1n], signed(64n));
const uint64 = edges([0n, 2n ** 64n - 1n, 2n ** 63n], fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }));
const float64 = edges([0, -0, Number.NaN, Infinity, -Infinity, 5e-324, 1.7976931348623157e308, 0.1], fc.double());

/** Values of a column type with its edges, never null. */
export const COLUMN_VALUES: Readonly<Record<ColumnType, fc.Arbitrary<Exclude<ColumnValue, null>>>> = {
  timestamp: edges(
    [LIMITS.timestampNsMin, LIMITS.timestampNsMax, 0n, -1n],
    fc.bigInt({ min: LIMITS.timestampNsMin, max: LIMITS.timestampNsMax }),
  ),
  string: text,
  json: fc.json({ maxDepth: 2 }),
  attributes: fc.dictionary(fc.constantFrom('k', 'key two', 'ключ', '__proto__', ''), text, { noNullPrototype: true }),
  bool: fc.boolean(),
  int16: edges([32_767, -32_768], fc.integer({ min: -32_768, max: 32_767 })),
  int32: edges([2 ** 31 - 1, -(2 ** 31)], fc.integer()),
  int64,
  uint8: edges([0, 255], fc.integer({ min: 0, max: 255 })),
  uint32: edges([0, 2 ** 32 - 1], fc.integer({ min: 0, max: 2 ** 32 - 1 })),
  uint64,
  decimal: edges(
    [0n, 1n, -1n, DECIMAL_MAX, -DECIMAL_MAX, 10n ** 75n, -(10n ** 38n), 10n ** 38n - 1n, 5n * 10n ** 37n],
    fc.oneof(
      fc.bigInt({ min: -DECIMAL_MAX, max: DECIMAL_MAX }),
      fc.tuple(signed(64n), fc.integer({ min: 0, max: 56 })).map(([value, power]) => value * 10n ** BigInt(power)),
    ),
  ).map(decimalOf),
  float32: edges([0, Number.NaN, Infinity], fc.float()),
  float64,
  binary: fc.uint8Array({ maxLength: 8 }),
  date: edges([-25_567, 0, 120_529], fc.integer({ min: -25_567, max: 120_529 })),
  'list<uint64>': fc.array(uint64, { maxLength: 4 }),
  'list<int64>': fc.array(int64, { maxLength: 4 }),
  'list<float64>': fc.array(float64, { maxLength: 4 }),
  'list<string>': fc.array(text, { maxLength: 4 }),
};
