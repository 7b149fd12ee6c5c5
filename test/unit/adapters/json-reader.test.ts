import * as fc from 'fast-check';
import { isPlainInteger, parseDouble, parseInt64, parseUint64, scanNumber } from '../../../src/adapters/json-number';
import { JSON_BYTE, JsonReader } from '../../../src/adapters/json-reader';
import { IngestError } from '../../../src/core/errors';

/** A whole document as a JavaScript value: numbers as their text, so that the comparison is exact. */
function readDocument(body: Uint8Array): unknown {
  const reader = new JsonReader(body);
  const value = readValue(reader);
  reader.expectEnd();
  return value;
}

function readValue(reader: JsonReader): unknown {
  const byte = reader.peek();
  if (byte === JSON_BYTE.openObject) {
    const members = new Map<string, unknown>();
    reader.beginObject();
    for (let first = true; reader.nextMember(first); first = false) members.set(takeText(reader), readValue(reader));
    return members;
  }
  if (byte === JSON_BYTE.openArray) {
    const elements: unknown[] = [];
    reader.beginArray();
    for (let first = true; reader.nextElement(first); first = false) elements.push(readValue(reader));
    return elements;
  }
  if (byte === JSON_BYTE.quote) {
    reader.string();
    return takeText(reader);
  }
  if (byte === JSON_BYTE.t || byte === JSON_BYTE.f || byte === JSON_BYTE.n) {
    reader.word();
    return byte === JSON_BYTE.n ? null : byte === JSON_BYTE.t;
  }
  if (byte !== JSON_BYTE.minus && !(byte >= 0x30 && byte <= 0x39)) reader.unexpected('a value');
  reader.number();
  return parseDouble(reader.text, reader.textStart, reader.textEnd);
}

const takeText = (reader: JsonReader): string => Buffer.from(reader.text.subarray(reader.textStart, reader.textEnd)).toString();

/** What JSON.parse makes of a document, objects as maps so that `__proto__` is a key like any other. */
function asMaps(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(asMaps);
  if (value !== null && typeof value === 'object')
    return new Map(Object.entries(value).map(([key, item]) => [key, asMaps(item)]));
  return value;
}

function outcome(read: () => unknown): unknown {
  try {
    return { value: read() };
  } catch (error) {
    if (error instanceof SyntaxError || (error instanceof IngestError && error.code === 'invalid_argument')) return 'refused';
    throw error;
  }
}

const skipDocument = (body: Uint8Array): void => {
  const reader = new JsonReader(body);
  reader.skipValue();
  reader.expectEnd();
};

const refused = (body: Uint8Array): string => {
  try {
    readDocument(body);
  } catch (error) {
    return (error as IngestError).at ?? '';
  }
  return 'accepted';
};

const nested = (levels: number): Buffer => Buffer.from('['.repeat(levels) + ']'.repeat(levels));

describe('the JSON reader', () => {
  test('reads the values that JSON.parse reads', () => {
    fc.assert(
      fc.property(fc.jsonValue({ noUnicodeString: false }), fc.constantFrom(undefined, 1, '\t'), (value, space) => {
        const text = JSON.stringify(value, null, space);
        expect(readDocument(Buffer.from(text))).toEqual(asMaps(JSON.parse(text)));
        skipDocument(Buffer.from(text));
      }),
      { numRuns: 500 },
    );
  });

  test('accepts and refuses the documents that JSON.parse accepts and refuses', () => {
    const fragment = fc.constantFrom(
      '{',
      '}',
      '[',
      ']',
      ',',
      ':',
      '"a"',
      '"',
      '\\',
      '\\n',
      '\\u00e9',
      '\\ud83d\\ude00',
      '0',
      '-',
      '1',
      '.5',
      'e3',
      'E+',
      '01',
      'true',
      'false',
      'null',
      'nul',
      'NaN',
      ' ',
      '\n',
      '\t',
      '\f',
      '\u00a0',
      '\u0001',
      'é',
      "'",
      '/',
      '//',
      '+1',
      '1.',
      '{}',
      '[]',
    );
    fc.assert(
      fc.property(fc.array(fragment, { minLength: 0, maxLength: 8 }), (parts) => {
        const text = parts.join('');
        const expected = outcome(() => asMaps(JSON.parse(text)));
        expect(outcome(() => readDocument(Buffer.from(text)))).toEqual(expected);
        expect(outcome(() => skipDocument(Buffer.from(text))) === 'refused').toBe(expected === 'refused');
      }),
      { numRuns: 3000 },
    );
  });

  test('a document cut or changed at any byte is refused or read, and never anything else', () => {
    const text = Buffer.from('{"a":[1,-2.5e3,true,null,"x\\u00e9\\n"],"b":{"c":"\\ud83d\\ude00 é"}}');
    for (let at = 0; at < text.length; at++) {
      expect(outcome(() => readDocument(text.subarray(0, at)))).toBe('refused');
      for (let bit = 0; bit < 8; bit++) {
        const changed = Buffer.from(text);
        changed[at] ^= 1 << bit;
        outcome(() => readDocument(changed));
        outcome(() => skipDocument(changed));
      }
    }
  });

  test('row 25: invalid UTF-8, a byte order mark and lone surrogates are refused with their position', () => {
    expect(refused(Buffer.from([0x22, 0x61, 0xff, 0x22]))).toBe('byte 2');
    expect(refused(Buffer.from([0x22, 0xed, 0xa0, 0x80, 0x22]))).toBe('byte 1');
    expect(refused(Buffer.from('\ufeff{}'))).toBe('byte 0');
    for (const text of ['"\\ud800"', '"\\udc00"', '"\\ud800\\ud800"', '"\\ud800x"', '"\\ud800\\n"']) {
      expect(refused(Buffer.from(text))).toBe('byte 1');
    }
    expect(refused(Buffer.from('{} x'))).toBe('byte 3');
  });

  test('row 22: 100 levels are read, 101 are refused, and a million levels are refused in less than 50 ms of CPU', () => {
    skipDocument(nested(100));
    expect(outcome(() => skipDocument(nested(101)))).toBe('refused');
    const deep = [Buffer.from('['.repeat(1e6)), Buffer.from('{"a":'.repeat(1e6)), nested(1e6)];
    for (const body of deep) {
      const start = process.cpuUsage();
      expect(outcome(() => skipDocument(body))).toBe('refused');
      expect(process.cpuUsage(start).user / 1e3).toBeLessThan(50);
    }
  });

  test('unescaped strings stay valid when later strings make the scratch buffer grow', () => {
    const reader = new JsonReader(Buffer.from(`["\\u0041b","${'\\n'.repeat(5000)}"]`));
    reader.beginArray();
    reader.nextElement(true);
    reader.peek();
    reader.string();
    const { text, textStart, textEnd } = reader;
    reader.nextElement(false);
    reader.peek();
    reader.string();
    expect(Buffer.from(text.subarray(textStart, textEnd)).toString()).toBe('Ab');
    expect(reader.textEnd - reader.textStart).toBe(5000);
  });
});

const parse = (kind: typeof parseInt64, text: string): bigint | string => {
  const out = { low: 0, high: 0 };
  const bytes = Buffer.from(text);
  const problem = kind(bytes, 0, bytes.length, out);
  if (problem !== undefined) return problem;
  const bits = (BigInt(out.high) << 32n) | BigInt(out.low);
  return kind === parseInt64 ? BigInt.asIntN(64, bits) : bits;
};

/** The value of a number as an exact fraction of a power of ten. */
const exact = (text: string): bigint | string => {
  const [mantissa, exponent = '0'] = text.toLowerCase().split('e');
  const [whole, fraction = ''] = mantissa.split('.');
  const digits = BigInt(`${whole.replace('-', '')}${fraction}`) * (text.startsWith('-') ? -1n : 1n);
  const scale = Number(exponent) - fraction.length;
  if (digits === 0n) return 0n;
  if (scale >= 0) return digits * 10n ** BigInt(scale);
  const divisor = 10n ** BigInt(-scale);
  return digits % divisor === 0n ? digits / divisor : 'not_an_integer';
};

const expected = (text: string, min: bigint, max: bigint): bigint | string => {
  const value = exact(text);
  return typeof value === 'bigint' && (value < min || value > max) ? 'out_of_range' : value;
};

describe('JSON numbers', () => {
  test('OJ6: every form of an integer gives its exact value or the right refusal', () => {
    const digits = fc.bigInt({ min: -(2n ** 66n), max: 2n ** 66n }).map(String);
    const scaled = fc
      .tuple(
        fc.bigInt({ min: -(10n ** 12n), max: 10n ** 12n }),
        fc.stringMatching(/^[0-9]{0,4}$/),
        fc.integer({ min: -6, max: 12 }),
      )
      .map(([whole, fraction, exponent]) => `${whole}${fraction && `.${fraction}`}e${exponent}`);
    fc.assert(
      fc.property(fc.oneof(digits, scaled), (text) => {
        expect(parse(parseInt64, text)).toBe(expected(text, -(2n ** 63n), 2n ** 63n - 1n));
        expect(parse(parseUint64, text)).toBe(expected(text, 0n, 2n ** 64n - 1n));
      }),
      { numRuns: 3000 },
    );
  });

  test.each([
    ['9223372036854775807', 9223372036854775807n],
    ['-9223372036854775808', -9223372036854775808n],
    ['9223372036854775808', 'out_of_range'],
    ['-9223372036854775809', 'out_of_range'],
    ['-0', 0n],
    ['1.0', 1n],
    ['1e5', 100000n],
    ['922337203685477580.7e1', 9223372036854775807n],
    ['0e999999999999', 0n],
    ['1e999999999999', 'out_of_range'],
    ['1e-999999999999', 'not_an_integer'],
    ['1.5', 'not_an_integer'],
    [`1${'0'.repeat(400)}e-400`, 1n],
    [`0.${'0'.repeat(400)}1e401`, 1n],
  ])('the int64 %s is %s', (text, value) => {
    expect(parse(parseInt64, text)).toBe(value);
  });

  test('doubles are the nearest ones, as JavaScript reads them', () => {
    const text = fc.oneof(
      fc.double({ noNaN: true, noDefaultInfinity: true }).map((value) => JSON.stringify(value)),
      fc
        .tuple(fc.bigInt({ min: -(10n ** 20n), max: 10n ** 20n }), fc.stringMatching(/^[0-9]{0,25}$/))
        .map(([whole, fraction]) => `${whole}${fraction && `.${fraction}`}`),
    );
    fc.assert(
      fc.property(text, (number) => {
        const bytes = Buffer.from(number);
        expect(scanNumber(bytes, 0, bytes.length)).toBe(bytes.length);
        expect(parseDouble(bytes, 0, bytes.length)).toBe(Number(number));
        expect(isPlainInteger(bytes, 0, bytes.length)).toBe(/^-?\d+$/.test(number));
      }),
      { numRuns: 3000 },
    );
  });
});
