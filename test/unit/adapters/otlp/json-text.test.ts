import * as fc from 'fast-check';
import {
  writeBase64,
  writeDouble,
  writeHex,
  writeInt64,
  writeJsonDouble,
  writeJsonString,
  writeUint64,
} from '../../../../src/adapters/otlp/json-text';
import { type BytesBuilder, utf8Builder } from '../../../../src/columnar/bytes-builder';

function textOf(write: (out: BytesBuilder) => void): string {
  const out = utf8Builder();
  write(out);
  out.endValue();
  return Buffer.from(out.valueAt(0)).toString();
}

const low = (value: bigint): number => Number(BigInt.asIntN(32, value));
const high = (value: bigint): number => Number(BigInt.asIntN(32, value >> 32n));
const near = (...values: bigint[]): fc.Arbitrary<bigint> =>
  fc.tuple(fc.constantFrom(...values), fc.bigInt(-20n, 20n)).map(([value, by]) => value + by);

test('PB6: 64-bit integers are exact to the last digit', () => {
  const powers = Array.from({ length: 19 }, (_, i) => 10n ** BigInt(i));
  const signed = fc.oneof(fc.bigInt(-(2n ** 63n), 2n ** 63n - 1n), near(0n, 2n ** 31n, 2n ** 32n, 2n ** 53n, ...powers));
  fc.assert(
    fc.property(signed, (value) => {
      for (const v of [value, -value]) {
        expect(textOf((out) => writeInt64(out, low(v), high(v)))).toBe(String(BigInt.asIntN(64, v)));
      }
    }),
  );
  const unsigned = fc.oneof(fc.bigInt(0n, 2n ** 64n - 1n), near(2n ** 63n, 2n ** 64n - 21n, 18_446_744_073n * 10n ** 9n - 25n));
  fc.assert(
    fc.property(unsigned, (value) => expect(textOf((out) => writeUint64(out, low(value), high(value)))).toBe(String(value))),
  );
  const edges = [-(2n ** 63n), 2n ** 63n - 1n];
  expect(edges.map((v) => textOf((out) => writeInt64(out, low(v), high(v))))).toEqual(edges.map(String));
});

/** The shortest form, with `.0` where JavaScript leaves it out. */
const expected = (value: number): string => {
  if (Object.is(value, -0)) return '-0.0';
  return /[.eNI]/.test(String(value)) ? String(value) : `${value}.0`;
};

test('doubles are the shortest text that reads back as the same double, with a point or an exponent', () => {
  const decimals = fc
    .tuple(fc.integer({ min: -(10 ** 9), max: 10 ** 9 }), fc.integer({ min: 0, max: 12 }))
    .map(([m, e]) => m / 10 ** e);
  const edges = fc.constantFrom(
    0,
    -0,
    1e15,
    1e15 - 1,
    999_999_999.999_999,
    1e9,
    1e-6,
    1e-7,
    9.999_999e-7,
    123e-9,
    5e-324,
    1e21,
    1e20,
    2 ** 53,
    NaN,
    Infinity,
  );
  fc.assert(
    fc.property(fc.oneof(fc.double(), decimals, edges, fc.maxSafeInteger()), (value) => {
      for (const v of [value, -value]) {
        expect(textOf((out) => writeDouble(out, v))).toBe(expected(v));
        expect(JSON.parse(textOf((out) => writeJsonDouble(out, v)))).toBe(Number.isFinite(v) ? v : String(v));
      }
    }),
    { numRuns: 3000 },
  );
});

test('strings are escaped as JSON.stringify does', () => {
  const text = fc.oneof(
    fc.string({ unit: 'grapheme' }),
    fc.string({ unit: fc.nat(0x7f).map((code) => String.fromCharCode(code)) }),
  );
  fc.assert(
    fc.property(text, (value) => {
      const bytes = Buffer.from(`<${value}>`);
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
      expect(textOf((out) => writeJsonString(out, { bytes, view }, 1, bytes.length - 1))).toBe(JSON.stringify(value));
    }),
    { numRuns: 1000 },
  );
});

test('bytes are written as padded base64 and as lower-case hex', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
      expect(textOf((out) => writeBase64(out, bytes, 0, bytes.length))).toBe(Buffer.from(bytes).toString('base64'));
      expect(textOf((out) => writeHex(out, bytes, 0, bytes.length))).toBe(Buffer.from(bytes).toString('hex'));
    }),
  );
});
