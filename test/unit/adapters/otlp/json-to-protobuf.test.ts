import * as fc from 'fast-check';
import type { Enum, Field, Type } from 'protobufjs';
import { ENUMS, MESSAGES, ONEOFS } from '../../../../src/adapters/otlp/json-fields';
import { transcodeLogs, transcodeMetrics, transcodeTraces } from '../../../../src/adapters/otlp/json-to-protobuf';
import { IngestError } from '../../../../src/core/errors';
import { otlpRoot, plainMessage, typesBelow } from '../../../support/otlp-proto';

const ROOT = otlpRoot();
const SIGNALS = [
  { name: 'Logs', type: ROOT.lookupType('ExportLogsServiceRequest'), transcode: transcodeLogs },
  { name: 'Trace', type: ROOT.lookupType('ExportTraceServiceRequest'), transcode: transcodeTraces },
  { name: 'Metrics', type: ROOT.lookupType('ExportMetricsServiceRequest'), transcode: transcodeMetrics },
] as const;
const LOGS = SIGNALS[0].type;
const TRACES = SIGNALS[1].type;
const METRICS = SIGNALS[2].type;

const HEX_IDS = new Set(['traceId', 'spanId', 'parentSpanId']);
const isEnum = (field: Field): boolean => field.resolvedType !== null && 'values' in field.resolvedType;
const isMessage = (field: Field): boolean => field.resolvedType !== null && 'fieldsArray' in field.resolvedType;

/** The type of a field in the notation of the field table. */
function tableType(field: Field): string {
  const base = field.resolvedType?.name ?? (HEX_IDS.has(field.name) ? 'id' : field.type);
  return field.repeated ? `${base}[]` : base;
}

test('the field table is what the .proto files say: names, numbers, types, oneofs, enums', () => {
  const types = new Map<string, Type>();
  for (const { type } of SIGNALS) typesBelow(type, types);
  const messages = [...types.values()].map((type) => [
    type.name,
    Object.fromEntries(type.fieldsArray.map((field) => [field.jsonName, [field.id, tableType(field)]])),
  ]);
  expect(MESSAGES).toEqual(Object.fromEntries(messages));

  const oneofs = [...types.values()].flatMap((type) =>
    type.oneofsArray
      .filter((oneof) => !oneof.name.startsWith('_'))
      .map((oneof) => [type.name, oneof.fieldsArray.map((f) => f.jsonName)]),
  );
  expect(ONEOFS).toEqual(Object.fromEntries(oneofs));

  const enums = [...types.values()]
    .flatMap((type) => type.fieldsArray)
    .filter(isEnum)
    .map((field) => field.resolvedType as Enum);
  const names = enums.map((type) => [type.name, Object.entries(type.values).sort(([, a], [, b]) => a - b)] as const);
  for (const [, values] of names) expect(values.map(([, number]) => number)).toEqual([...values.keys()]);
  expect(ENUMS).toEqual(Object.fromEntries(names.map(([name, values]) => [name, values.map(([value]) => value)])));
});

/** One generated value: what protobufjs takes, and the JSON text that must mean the same. */
interface Generated {
  value: unknown;
  json: string;
}

const quotedOrBare = (digits: fc.Arbitrary<string>): fc.Arbitrary<[string, string]> =>
  fc.tuple(digits, fc.boolean()).map(([text, quoted]) => [text, quoted ? `"${text}"` : text]);

const long = (min: bigint, max: bigint): fc.Arbitrary<Generated> =>
  quotedOrBare(fc.bigInt({ min, max }).map(String)).map(([text, json]) => ({
    value: text,
    json,
  }));
const small = (min: number, max: number): fc.Arbitrary<Generated> =>
  quotedOrBare(fc.integer({ min, max }).map(String)).map(([text, json]) => ({ value: Number(text), json }));

const SCALARS: Record<string, fc.Arbitrary<Generated>> = {
  string: fc
    .string({ unit: fc.constantFrom('a', 'é', '"', '\\', '\n', '😀', '\0', ' ') })
    .map((text) => ({ value: text, json: JSON.stringify(text) })),
  bool: fc.boolean().map((value) => ({ value, json: String(value) })),
  double: fc.double().map((value) => {
    const finite = Number.isFinite(value);
    return { value, json: finite ? (Object.is(value, -0) ? '-0.0' : JSON.stringify(value)) : `"${value}"` };
  }),
  fixed64: long(0n, 2n ** 64n - 1n),
  uint64: long(0n, 2n ** 64n - 1n),
  sfixed64: long(-(2n ** 63n), 2n ** 63n - 1n),
  int64: long(-(2n ** 63n), 2n ** 63n - 1n),
  fixed32: small(0, 2 ** 32 - 1),
  uint32: small(0, 2 ** 32 - 1),
  sint32: small(-(2 ** 31), 2 ** 31 - 1),
  bytes: fc
    .tuple(fc.uint8Array({ maxLength: 8 }), fc.constantFrom('base64', 'base64url' as const))
    .map(([value, encoding]) => ({ value, json: JSON.stringify(Buffer.from(value).toString(encoding as BufferEncoding)) })),
};
const HEX = fc
  .tuple(fc.uint8Array({ maxLength: 20 }), fc.boolean())
  .map(([value, upper]) => ({ value, hex: Buffer.from(value).toString('hex'), upper }))
  .map(({ value, hex, upper }) => ({ value, json: JSON.stringify(upper ? hex.toUpperCase() : hex) }));
const ENUM = small(-(2 ** 31), 2 ** 31 - 1);

function generateField(field: Field, depth: number): fc.Arbitrary<Generated> {
  const one = isMessage(field)
    ? generate(field.resolvedType as Type, depth - 1)
    : isEnum(field)
      ? ENUM
      : HEX_IDS.has(field.name)
        ? HEX
        : SCALARS[field.type];
  if (!field.repeated) return one;
  return fc
    .array(one, { maxLength: depth > 6 ? 2 : 3 })
    .map((items) => ({ value: items.map((item) => item.value), json: `[${items.map((item) => item.json).join(' , ')}]` }));
}

/** A message with a random subset of its fields in a random order, among unknown members. */
function generate(type: Type, depth: number): fc.Arbitrary<Generated> {
  const oneof = new Set(type.oneofsArray.filter((o) => !o.name.startsWith('_')).flatMap((o) => o.fieldsArray));
  const usable = type.fieldsArray.filter((field) => depth > 0 || !isMessage(field));
  return fc
    .tuple(fc.shuffledSubarray(usable), fc.constantFrom('', '"x":{"y":[null,1e3]},', ' "__proto__" : null ,\n'))
    .chain(([fields, unknown]) => {
      const [, ...tooMany] = fields.filter((field) => oneof.has(field));
      const kept = fields.filter((field) => !tooMany.includes(field));
      return fc.tuple(...kept.map((field) => generateField(field, depth))).map((values) => ({
        value: Object.fromEntries(kept.map((field, i) => [field.name, values[i].value])),
        json: `{${[unknown.replace(/,\s*$/, ''), ...kept.map((field, i) => `"${field.jsonName}":${values[i].json}`)].filter(Boolean).join(',')}}`,
      }));
    });
}

/** What becomes of a body: nothing but an IngestError may be thrown by us, and protobufjs must read what we write. */
function outcome(type: Type, transcode: (body: Uint8Array) => Uint8Array, body: Uint8Array): string {
  let bytes: Uint8Array;
  try {
    bytes = transcode(body);
  } catch (error) {
    if (error instanceof IngestError) return error.code;
    throw error;
  }
  type.decode(bytes);
  return 'decoded';
}

describe.each(SIGNALS)('$name', ({ type, transcode }) => {
  test('the same message is read from our bytes and from those of protobufjs', () => {
    fc.assert(
      fc.property(generate(type, 7), ({ value, json }) => {
        const expected = plainMessage(type, type.encode(type.fromObject(value as object)).finish());
        expect(plainMessage(type, transcode(Buffer.from(json)))).toEqual(expected);
      }),
      { numRuns: 150 },
    );
  });

  test('a body cut or changed anywhere is transcoded or refused as invalid, and never anything else', () => {
    fc.assert(
      fc.property(generate(type, 7), fc.nat(), fc.nat({ max: 255 }), ({ json }, position, byte) => {
        const body = Buffer.from(json);
        const at = position % body.length;
        const changed = Buffer.from(body);
        changed[at] = byte;
        for (const input of [changed, body.subarray(0, at)])
          expect(['decoded', 'invalid_argument']).toContain(outcome(type, transcode, input));
      }),
      { numRuns: 300 },
    );
  });

  test('OJ8: the top level must be an object', () => {
    for (const text of ['null', '[]', '1', '"x"', 'true', '', ' ', '{}{}', '{} x', '\ufeff{}', 'NaN', '{"a":NaN}']) {
      expect(() => transcode(Buffer.from(text))).toThrow(IngestError);
    }
    expect(transcode(Buffer.from(' {} \n'))).toHaveLength(0);
  });
});

const record = (members: string): unknown =>
  field(plainMessage(LOGS, transcodeLogs(Buffer.from(`{"resourceLogs":[{"scopeLogs":[{"logRecords":[{${members}}]}]}]}`))), [
    'resourceLogs',
    'scopeLogs',
    'logRecords',
  ]);
const span = (members: string): unknown =>
  field(plainMessage(TRACES, transcodeTraces(Buffer.from(`{"resourceSpans":[{"scopeSpans":[{"spans":[{${members}}]}]}]}`))), [
    'resourceSpans',
    'scopeSpans',
    'spans',
  ]);
const metric = (members: string): unknown =>
  field(
    plainMessage(METRICS, transcodeMetrics(Buffer.from(`{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{${members}}]}]}]}`))),
    ['resourceMetrics', 'scopeMetrics', 'metrics'],
  );
const field = (message: unknown, path: string[]): unknown =>
  path.reduce((value, name) => (value as Record<string, unknown[]>)[name][0], message);

const double = (value: string): unknown =>
  (record(`"body":{"doubleValue":${value}}`) as { body: { doubleValue: number } }).body.doubleValue;

const nested = (levels: number): string =>
  `${'{"kvlistValue":{"values":[{"key":"k","value":'.repeat(levels)}{}${'}]}}'.repeat(levels)}`;

const wrapped = (levels: number): Buffer =>
  Buffer.from(`{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":${nested(levels)}}]}]}]}`);

describe('OTLP/JSON rules', () => {
  test('OJ1: ids are hex in any case, 32 digits make 16 bytes', () => {
    const hex = '5B8EFFF798038103D269B633813FC60C';
    expect(span(`"traceId":"${hex}","spanId":"eee19b7ec3c1b174","parentSpanId":"EEE19b7ec3c1b173"`)).toEqual({
      traceId: { hex: hex.toLowerCase() },
      spanId: { hex: 'eee19b7ec3c1b174' },
      parentSpanId: { hex: 'eee19b7ec3c1b173' },
    });
    expect(span('"traceId":"\\u0061b"')).toEqual({ traceId: { hex: 'ab' } });
  });

  test('OJ1, OD2: an id that is not hex stays present and invalid, an empty one is empty, one that is not a string is refused', () => {
    for (const text of ['xyz', 'abc', 'zz', 'a', '\u00e9\u00e9'])
      expect(span(`"traceId":"${text}"`)).toEqual({ traceId: { hex: '00' } });
    expect(span('"traceId":""')).toEqual({});
    expect(span(`"traceId":"${'ab'.repeat(100)}"`)).toEqual({ traceId: { hex: 'ab'.repeat(100) } });
    expect(() => span('"traceId":12')).toThrow('traceId must be a string of hex digits');
  });

  test('OJ2, OJ9: bytes are base64, standard or URL-safe, padded or not', () => {
    for (const text of ['-_8=', '-_8', '+/8=', '+/8'])
      expect(record(`"body":{"bytesValue":"${text}"}`)).toMatchObject({ body: { bytesValue: { hex: 'fbff' } } });
    for (const text of ['a', 'a===', '=', 'ab=', '@@@@', 'ab=c', '====', 'é']) {
      expect(() => record(`"body":{"bytesValue":"${text}"}`)).toThrow('bytesValue must be a base64 string');
    }
  });

  test('OJ3: enums are integers, known or not; names are tolerated; an unknown name is refused', () => {
    expect(span('"kind":2')).toEqual({ kind: 2 });
    expect(span('"kind":"2"')).toEqual({ kind: 2 });
    expect(span('"kind":77')).toEqual({ kind: 77 });
    expect(span('"kind":-1')).toEqual({ kind: -1 });
    expect(span('"kind":"SPAN_KIND_CONSUMER"')).toEqual({ kind: 5 });
    expect(record('"severityNumber":"SEVERITY_NUMBER_FATAL4"')).toEqual({ severityNumber: 24 });
    for (const value of ['"SPAN_KIND_X"', '""', '2147483648', '1.5', 'true'])
      expect(() => span(`"kind":${value}`)).toThrow(IngestError);
  });

  test('OJ4: unknown members are ignored at every level, whatever their value', () => {
    for (const value of ['{"a":{"b":[1,{}]}}', '[[],{}]', 'null', '1e5', '"\\u00e9"', 'true']) {
      expect(record(`"unknown":${value},"severityText":"x","more":${value}`)).toEqual({ severityText: 'x' });
      expect(plainMessage(LOGS, transcodeLogs(Buffer.from(`{"x":${value},"resourceLogs":[{"y":${value}}]}`)))).toEqual({
        resourceLogs: [{}],
      });
    }
    expect(() => record('"unknown":[1,]')).toThrow(IngestError);
  });

  test('OJ5: snake_case names are unknown names', () => {
    expect(record('"severity_text":"x","time_unix_nano":"broken"')).toEqual({});
  });

  test('OJ6: 64-bit integers are exact, quoted or bare', () => {
    for (const quote of ['', '"']) {
      expect(record(`"timeUnixNano":${quote}1544712660300000001${quote}`)).toEqual({ timeUnixNano: '1544712660300000001' });
      expect(record(`"timeUnixNano":${quote}18446744073709551615${quote}`)).toEqual({ timeUnixNano: '18446744073709551615' });
      expect(record(`"body":{"intValue":${quote}-9223372036854775808${quote}}`)).toMatchObject({
        body: { intValue: '-9223372036854775808' },
      });
      expect(record(`"body":{"intValue":${quote}9223372036854775807${quote}}`)).toMatchObject({
        body: { intValue: '9223372036854775807' },
      });
      expect(record(`"flags":${quote}1e5${quote}`)).toEqual({ flags: 100000 });
      expect(record(`"flags":${quote}100000.000${quote}`)).toEqual({ flags: 100000 });
    }
  });

  test.each([
    '9223372036854775808',
    '"-9223372036854775809"',
    '1.5',
    '"1.5"',
    '""',
    '" 1"',
    '"1 "',
    '"01"',
    '"+1"',
    '"0x1"',
    'true',
    '{}',
    '[]',
    '"NaN"',
  ])('OJ6: intValue %s is refused', (value) => {
    expect(() => record(`"body":{"intValue":${value}}`)).toThrow('intValue must be');
  });

  test.each(['-1', '4294967296', '"4294967296"', '0.5', '01'])('OJ6: the 32-bit flags %s are refused', (value) => {
    expect(() => record(`"flags":${value}`)).toThrow(IngestError);
  });

  test('OJ6: the counts of histograms are exact', () => {
    const max = '18446744073709551615';
    expect(
      metric(
        `"exponentialHistogram":{"dataPoints":[{"zeroCount":${max},"scale":"-2147483648","positive":{"offset":-3,"bucketCounts":["${max}",${max},0]}}]}`,
      ),
    ).toMatchObject({
      exponentialHistogram: {
        dataPoints: [{ zeroCount: max, scale: -2147483648, positive: { offset: -3, bucketCounts: [max, max, '0'] } }],
      },
    });
    expect(
      metric(`"histogram":{"dataPoints":[{"bucketCounts":[1,"2"],"explicitBounds":["-Infinity",0.5,"1e3"]}]}`),
    ).toMatchObject({
      histogram: { dataPoints: [{ bucketCounts: ['1', '2'], explicitBounds: [-Infinity, 0.5, 1000] }] },
    });
  });

  test('OJ7: doubles are numbers, quoted numbers, NaN and the infinities as strings', () => {
    expect(double('"NaN"')).toBeNaN();
    expect(double('"-Infinity"')).toBe(-Infinity);
    expect(double('"Infinity"')).toBe(Infinity);
    expect(double('"1.5e3"')).toBe(1500);
    expect(double('12')).toBe(12);
    expect(double('-0.0')).toBe(-0);
    for (const value of ['1e400', '"-1e400"', '"nan"', '"inf"', '""', '"1,5"', 'true'])
      expect(() => double(value)).toThrow('doubleValue must be');
  });

  test('OJ8: null is an absent field, null in an array is refused', () => {
    expect(record('"body":null,"attributes":null,"timeUnixNano":null,"traceId":null,"severityNumber":null')).toEqual({});
    expect(() => record('"attributes":[null]')).toThrow('attributes must be an array without null');
    expect(() => metric('"histogram":{"dataPoints":[{"bucketCounts":[1,null]}]}')).toThrow(IngestError);
  });

  test('OJ8: a field of the wrong JSON type is refused', () => {
    const wrong = [
      '"attributes":{}',
      '"body":"text"',
      '"body":[]',
      '"severityText":1',
      '"severityText":{}',
      '"attributes":["x"]',
      '"body":{"boolValue":"true"}',
    ];
    for (const members of wrong) expect(() => record(members)).toThrow(IngestError);
  });

  test('OJ10: two values of a oneof, and a message or an array that comes twice, are refused', () => {
    expect(() => record('"body":{"stringValue":"a","intValue":1}')).toThrow('intValue is a second value of AnyValue');
    expect(() => record('"body":{"stringValue":"a","stringValue":"b"}')).toThrow(IngestError);
    expect(() => metric('"gauge":{},"sum":{}')).toThrow(IngestError);
    expect(() => metric('"gauge":{"dataPoints":[{"asInt":1,"asDouble":1}]}')).toThrow(IngestError);
    expect(() => record('"body":{"stringValue":"a"},"body":{"intValue":1}')).toThrow('body comes twice in LogRecord');
    expect(() => record('"attributes":[],"attributes":[]')).toThrow('attributes comes twice in LogRecord');
    expect(record('"body":{"stringValue":null,"intValue":1}')).toMatchObject({ body: { intValue: '1' } });
  });

  test('a scalar that comes twice has its last value, also when that is the default', () => {
    expect(record('"severityText":"a","severityText":"","flags":1,"flags":2')).toEqual({ flags: 2 });
  });

  test('OJ10: lone surrogates, a byte order mark and invalid UTF-8 are refused', () => {
    expect(() => record('"severityText":"\\ud800"')).toThrow('a lone surrogate');
    expect(() => transcodeLogs(Buffer.concat([Buffer.from('{"a":"'), Buffer.from([0xc0, 0x80]), Buffer.from('"}')]))).toThrow(
      'not valid UTF-8',
    );
  });

  test('OJ11: presence is kept: empty values of AnyValue, zero that is not absent', () => {
    expect(record('"body":{"stringValue":""}')).toMatchObject({ body: { value: 'stringValue', stringValue: '' } });
    expect(record('"body":{"arrayValue":{}}')).toMatchObject({ body: { value: 'arrayValue' } });
    expect(record('"body":{"kvlistValue":{}}')).toMatchObject({ body: { value: 'kvlistValue' } });
    expect(record('"body":{"boolValue":false}')).toMatchObject({ body: { value: 'boolValue', boolValue: false } });
    expect(record('"body":{}')).toEqual({ body: {} });
    expect(metric('"histogram":{"dataPoints":[{"sum":0,"min":0}]}')).toMatchObject({
      histogram: { dataPoints: [{ sum: 0, min: 0 }] },
    });
    expect(metric('"histogram":{"dataPoints":[{}]}')).toEqual({ data: 'histogram', histogram: { dataPoints: [{}] } });
  });

  test('OJ12: __proto__ and constructor are keys like any other', () => {
    const json =
      '{"key":"__proto__","value":{"stringValue":"x"}},{"key":"constructor","value":{"kvlistValue":{"values":[{"key":"__proto__"}]}}}';
    expect(record(`"__proto__":{"polluted":true},"constructor":1,"attributes":[${json}]`)).toMatchObject({
      attributes: [{ key: '__proto__' }, { key: 'constructor', value: { kvlistValue: { values: [{ key: '__proto__' }] } } }],
    });
    expect(({} as Record<string, unknown>).polluted).toBeUndefined();
  });

  test('row 22: 100 levels of AnyValue pass, far too many are refused at once and without a stack overflow', () => {
    expect(() => transcodeLogs(wrapped(99))).not.toThrow();
    for (const levels of [20_000, 300_000]) {
      const body = wrapped(levels);
      const start = process.cpuUsage();
      expect(() => transcodeLogs(body)).toThrow('nested deeper');
      expect(process.cpuUsage(start).user / 1e3).toBeLessThan(50);
    }
  });

  test('lengths of one to four bytes are right, at every depth', () => {
    for (const size of [0, 100, 127, 128, 16_383, 16_384, 2_100_000]) {
      const text = 'x'.repeat(size);
      const levels = '{"arrayValue":{"values":['.repeat(40);
      expect(JSON.stringify(record(`"body":${levels}{"stringValue":"${text}"}${']}}'.repeat(40)}`))).toContain(text);
      expect(record(`"body":{"stringValue":"${text}"}`)).toMatchObject({ body: { stringValue: text } });
    }
  });
});
