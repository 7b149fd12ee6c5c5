import { type Data, Decimal, makeData } from 'apache-arrow';
import * as fc from 'fast-check';
import { parseDecimal } from '../../../src/adapters/decimal-number';
import {
  DECIMAL_WORDS,
  DecimalBuilder,
  decimalText,
  decimalTextAt,
  toDecimalScale,
  WideInteger,
} from '../../../src/columnar/decimal';

const MAX = 10n ** 76n - 1n;
const SCALE = 38n;

/** `value` as two's complement in words. */
const wordsOf = (value: bigint, count: number): Uint32Array =>
  Uint32Array.from({ length: count }, (_, i) => Number(BigInt.asUintN(32, value >> BigInt(i * 32))));

function stored(value: WideInteger): bigint {
  const words = new Uint32Array(DECIMAL_WORDS);
  value.store(words, 0);
  return BigInt.asIntN(
    256,
    Array.from(words, BigInt).reduceRight((sum, word) => (sum << 32n) | word, 0n),
  );
}

/** What a number times 10^38 is, by BigInt; undefined when it is no whole number or has more than 76 digits. */
function expected(digits: bigint, scale: number): bigint | undefined {
  const power = SCALE - BigInt(scale);
  if (power < 0n && digits % 10n ** -power !== 0n) return undefined;
  const value = power < 0n ? digits / 10n ** -power : digits * 10n ** power;
  return value > MAX || value < -MAX ? undefined : value;
}

const EDGES = [
  0n,
  1n,
  -1n,
  10n ** 38n - 1n,
  -(10n ** 38n - 1n),
  10n ** 38n,
  2n ** 127n - 1n,
  -(2n ** 127n),
  2n ** 64n,
  -(2n ** 32n),
];
const int128 = fc.oneof(fc.constantFrom(...EDGES), fc.bigInt({ min: -(2n ** 127n), max: 2n ** 127n - 1n }));
const int256 = fc.oneof(
  fc.constantFrom(...EDGES, MAX, -MAX, MAX + 1n, -MAX - 1n, 2n ** 255n - 1n, -(2n ** 255n)),
  int128,
  fc.bigInt({ min: -(2n ** 255n), max: 2n ** 255n - 1n }),
);

test.each([
  [4, int128],
  [8, int256],
])('integers of %i words of every scale get that of the column type exactly, or not at all', (count, integers) => {
  const value = new WideInteger();
  fc.assert(
    fc.property(integers, fc.integer({ min: -76, max: 76 }), (digits, scale) => {
      value.load(wordsOf(digits, count), 0, count);
      expect(value.toBigInt()).toBe(digits);
      const isExact = toDecimalScale(value, scale);
      expect(isExact ? stored(value) : undefined).toBe(expected(digits, scale));
    }),
    { numRuns: 3000 },
  );
});

test('a number in decimal notation is the decimal of its digits, wherever its point and its exponent are', () => {
  const value = new WideInteger();
  const notation = fc.record({
    negative: fc.boolean(),
    whole: fc.oneof(fc.constant('0'), fc.stringMatching(/^[1-9][0-9]{0,45}$/)),
    fraction: fc.oneof(fc.constant(''), fc.stringMatching(/^[0-9]{1,45}$/), fc.stringMatching(/^[0-9]{1,10}0{0,60}$/)),
    exponent: fc.option(fc.integer({ min: -90, max: 90 })),
    letter: fc.constantFrom('e', 'E', 'e+'),
  });
  fc.assert(
    fc.property(notation, ({ negative, whole, fraction, exponent, letter }) => {
      const sign = negative ? '-' : '';
      const power = exponent === null ? '' : `${exponent < 0 ? 'e' : letter}${exponent}`;
      const text = `${sign}${whole}${fraction === '' ? '' : `.${fraction}`}${power}`;
      const bytes = Buffer.from(`[${text}]`);
      const isExact = parseDecimal(bytes, 1, bytes.length - 1, value);
      const digits = BigInt(whole + fraction) * (negative ? -1n : 1n);
      const wanted = digits === 0n ? 0n : expected(digits, fraction.length - (exponent ?? 0));
      expect([text, isExact ? stored(value) : undefined]).toEqual([text, wanted]);
    }),
    { numRuns: 3000 },
  );
});

test.each([
  ['-0', 0n],
  ['-0.000e5', 0n],
  ['0e999999999999', 0n],
  ['1e999999999999', undefined],
  ['1e-999999999999', undefined],
  [`1${'0'.repeat(1000)}e-1000`, 10n ** SCALE],
  [`0.${'0'.repeat(1000)}1e1001`, 10n ** SCALE],
])('%s is read as what it is', (text, wanted) => {
  const value = new WideInteger();
  const bytes = Buffer.from(text);
  expect(parseDecimal(bytes, 0, bytes.length, value) ? stored(value) : undefined).toBe(wanted);
});

test.each([
  [0n, 38, '0'],
  [-5n * 10n ** 37n, 38, '-0.5'],
  [10n ** 38n, 38, '1'],
  [MAX, 38, `${'9'.repeat(38)}.${'9'.repeat(38)}`],
  [1200n, 2, '12'],
  [-1250n, 2, '-12.5'],
  [-12n, 0, '-12'],
  [-12n, -3, '-12000'],
])('%s with %i digits behind the point is written %s', (unscaled, scale, text) => {
  expect(decimalText(unscaled, scale)).toBe(text);
  const data = makeData({ type: new Decimal(scale, 76, 256), length: 1, nullCount: 0, data: wordsOf(unscaled, 8) });
  expect(decimalTextAt(data, 0)).toBe(text);
});

test('a builder keeps its values and nulls, also when it is used again', () => {
  const builder = new DecimalBuilder(1);
  const value = new WideInteger();
  const fill = (values: readonly (bigint | null)[]): Data => {
    builder.reset();
    for (const unscaled of values) {
      if (unscaled === null) {
        builder.appendNull();
        continue;
      }
      value.load(wordsOf(unscaled, 8), 0, 8);
      builder.append(value);
    }
    return builder.finish((view) => view.slice() as typeof view);
  };
  const texts = (data: Data): (string | null)[] =>
    Array.from({ length: data.length }, (_, row) => {
      const isNull = data.nullCount > 0 && ((data.nullBitmap[row >> 3] >> (row & 7)) & 1) === 0;
      return isNull ? null : decimalTextAt(data, row);
    });
  const many = Array.from({ length: 100 }, (_, i) => (i % 7 === 0 ? null : BigInt(i - 50) * 10n ** SCALE));
  const first = fill(many);
  const second = fill([MAX, -MAX, 0n]);
  expect(texts(first)).toEqual(many.map((unscaled) => (unscaled === null ? null : String(unscaled / 10n ** SCALE))));
  expect(texts(second)).toEqual([decimalText(MAX), decimalText(-MAX), '0']);
});
