/**
 * Requests in every form the wire allows, made from a stream of entropy by reflection over the .proto files: fields in any
 * order and repeated, messages in pieces, packed and unpacked lists, unknown fields and groups, lengthened varints.
 * Most ids and times are valid so that most rows are accepted. An empty stream gives the simplest request.
 */
import { type Field, Type } from 'protobufjs';

/** Decisions read from bytes; 0 when they run out. */
export class Entropy {
  private at = 0;

  constructor(private readonly bytes: Uint8Array) {}

  /** A number in [0, below). */
  next(below: number): number {
    if (this.at >= this.bytes.length) return 0;
    let value = this.bytes[this.at++];
    if (below > 256) value = value * 256 + (this.bytes[this.at++] ?? 0);
    return value % below;
  }

  pick<T>(items: readonly T[]): T {
    return items[this.next(items.length)];
  }

  take(count: number): number[] {
    return Array.from({ length: count }, () => this.next(256));
  }
}

const WIRE_TYPES: Record<string, number> = {
  int32: 0,
  int64: 0,
  uint32: 0,
  uint64: 0,
  sint32: 0,
  bool: 0,
  fixed64: 1,
  sfixed64: 1,
  double: 1,
  string: 2,
  bytes: 2,
  fixed32: 5,
};

const STRINGS = [
  'a',
  '',
  'service.name',
  'host.name',
  'k8s.node.name',
  'é',
  '日本',
  '😀',
  '"\\/\b\f\n\r\t\u0001\u007f\u2028',
  '\0',
  '__proto__',
  'constructor',
  'a text that is a little longer than forty bytes, to be copied in one go',
  'x'.repeat(130),
  'ключ'.repeat(40),
];
/** A stray continuation byte, half a character, an overlong NUL, a surrogate. */
const BROKEN_STRINGS = [[0x80], [0x61, 0xc3], [0xc0, 0x80], [0xed, 0xa0, 0x80], [0xa9]];
const VARINTS = [
  0n,
  1n,
  2n,
  9n,
  127n,
  128n,
  300n,
  2n ** 31n - 1n,
  2n ** 31n,
  2n ** 32n - 1n,
  2n ** 53n + 1n,
  2n ** 63n - 1n,
  2n ** 63n,
  2n ** 64n - 1n,
  2n ** 64n - 128n,
];
const FIXED = [1n, 0n, 1_700_000_000_123_456_789n, 10n ** 9n, 10n ** 18n + 1n, 2n ** 63n - 1n, 2n ** 63n, 2n ** 64n - 1n];
const DOUBLES = [
  0,
  1,
  -0,
  0.1,
  1.5,
  -2.25,
  1e15,
  123_456.789,
  1e21,
  1e-7,
  5e-324,
  1.7976931348623157e308,
  Number.NaN,
  Infinity,
  -Infinity,
  2 ** 53 + 2,
  1 / 3,
];

export function varint(value: bigint, padding = 0): number[] {
  const bytes: number[] = [];
  let rest = value;
  do {
    bytes.push(Number(rest & 0x7fn) | 0x80);
    rest >>= 7n;
  } while (rest > 0n);
  while (bytes.length < 10 && padding-- > 0) bytes.push(0x80);
  bytes[bytes.length - 1] &= 0x7f;
  return bytes;
}

const little = (value: bigint, size: number): number[] =>
  Array.from({ length: size }, (_, i) => Number((value >> BigInt(8 * i)) & 0xffn));

const double = (value: number): number[] => [...new Uint8Array(new Float64Array([value]).buffer)];

/** Fields that a row needs to be accepted. */
const NEEDED: Record<string, readonly string[]> = {
  Span: ['traceId', 'spanId', 'startTimeUnixNano'],
  NumberDataPoint: ['timeUnixNano', 'asDouble'],
  HistogramDataPoint: ['timeUnixNano'],
  ExponentialHistogramDataPoint: ['timeUnixNano'],
  SummaryDataPoint: ['timeUnixNano'],
};

/** Fields to be found often. */
const USUAL: Record<string, readonly string[]> = {
  ExportLogsServiceRequest: ['resourceLogs'],
  ExportTraceServiceRequest: ['resourceSpans'],
  ExportMetricsServiceRequest: ['resourceMetrics'],
  ResourceLogs: ['scopeLogs'],
  ResourceSpans: ['scopeSpans'],
  ResourceMetrics: ['scopeMetrics'],
  ScopeLogs: ['logRecords'],
  ScopeSpans: ['spans'],
  ScopeMetrics: ['metrics'],
  Gauge: ['dataPoints'],
  Sum: ['dataPoints'],
  Histogram: ['dataPoints'],
  ExponentialHistogram: ['dataPoints'],
  Summary: ['dataPoints'],
  Metric: ['gauge', 'sum', 'histogram', 'exponentialHistogram', 'summary'],
};

export interface GeneratorOptions {
  /** May strings be invalid UTF-8 and lengths be wrong? */
  readonly broken: boolean;
}

/** The bytes of a message of this type. */
export function randomMessage(type: Type, entropy: Entropy, options: GeneratorOptions, depth = 0): number[] {
  const fields: number[][] = [];
  const usual = USUAL[type.name] ?? [];
  for (let i = 0; i < 12 && (fields.length < usual.length || entropy.next(8) !== 0); i++) {
    const names = type.fieldsArray.map((field) => field.name);
    const choice = entropy.next(10);
    if (choice === 9) fields.push(unknownField(entropy));
    else
      fields.push(
        randomField(
          type.fields[usual.length > 0 && choice < 7 ? entropy.pick(usual) : entropy.pick(names)],
          entropy,
          options,
          depth,
        ),
      );
  }
  for (const name of NEEDED[type.name] ?? []) {
    if (entropy.next(16) === 15) continue;
    fields.splice(entropy.next(fields.length + 1), 0, neededField(type.fields[name], entropy));
  }
  if (type.name === 'HistogramDataPoint' && entropy.next(4) !== 3) fields.push(buckets(entropy));
  return fields.flat();
}

const tag = (id: number, wireType: number, entropy: Entropy): number[] => {
  const bytes = varint(BigInt(id * 8 + wireType));
  return entropy.next(64) === 63 ? varint(BigInt(id * 8 + wireType), 5 - bytes.length) : bytes;
};

const delimited = (id: number, content: number[], entropy: Entropy, lie = 0): number[] => [
  ...tag(id, 2, entropy),
  ...varint(BigInt(Math.max(0, content.length + lie)), entropy.next(64) === 63 ? 1 : 0),
  ...content,
];

function neededField(field: Field, entropy: Entropy): number[] {
  if (field.type === 'bytes') {
    const content = entropy.take(field.name === 'traceId' ? 16 : 8);
    content[0] |= 1;
    return delimited(field.id, content, entropy);
  }
  if (field.type === 'double') return [...tag(field.id, 1, entropy), ...double(entropy.pick(DOUBLES))];
  return [...tag(field.id, 1, entropy), ...little(1_700_000_000_000_000_000n + BigInt(entropy.next(60_000)), 8)];
}

/** Bucket counts and bounds that fit together, packed or not. */
function buckets(entropy: Entropy): number[] {
  const count = entropy.next(4);
  const bounds = Array.from({ length: count }, (_, i) => double(i * 1.5 - 1));
  const counts = Array.from({ length: count === 0 ? entropy.next(2) : count + 1 }, () => little(entropy.pick(FIXED), 8));
  const list = (id: number, values: number[][]): number[] =>
    entropy.next(2) === 0
      ? values.flatMap((value) => [...tag(id, 1, entropy), ...value])
      : values.length === 0
        ? []
        : delimited(id, values.flat(), entropy);
  return [...list(6, counts), ...list(7, bounds)];
}

function unknownField(entropy: Entropy): number[] {
  const id = entropy.pick([1000, 99, 2047, 536_870_911]);
  switch (entropy.next(5)) {
    case 0:
      return [...tag(id, 0, entropy), ...varint(entropy.pick(VARINTS))];
    case 1:
      return [...tag(id, 1, entropy), ...entropy.take(8)];
    case 2:
      return delimited(id, entropy.take(entropy.next(20)), entropy);
    case 3:
      return [...tag(id, 5, entropy), ...entropy.take(4)];
    default:
      return [...tag(id, 3, entropy), ...(entropy.next(4) === 0 ? [] : unknownField(entropy)), ...tag(id, 4, entropy)];
  }
}

function randomField(field: Field, entropy: Entropy, options: GeneratorOptions, depth: number): number[] {
  const { resolvedType } = field;
  if (resolvedType instanceof Type) {
    const content = depth > 14 ? [] : randomMessage(resolvedType, entropy, options, depth + 1);
    return delimited(field.id, content, entropy, options.broken && entropy.next(200) === 199 ? entropy.pick([-1, 1, 1000]) : 0);
  }
  const type = resolvedType === null ? field.type : 'int32';
  // A known number with another wire type is an unknown field.
  if (entropy.next(100) === 99)
    return [...tag(field.id, WIRE_TYPES[type] === 5 ? 1 : 5, entropy), ...entropy.take(WIRE_TYPES[type] === 5 ? 8 : 4)];
  if (field.repeated && type !== 'string' && entropy.next(2) === 0) {
    const values = Array.from({ length: entropy.next(4) }, () => scalar(field, type, entropy, options)).flat();
    return delimited(field.id, options.broken && entropy.next(50) === 49 ? values.slice(1) : values, entropy);
  }
  const value = scalar(field, type, entropy, options);
  return WIRE_TYPES[type] === 2 ? delimited(field.id, value, entropy) : [...tag(field.id, WIRE_TYPES[type], entropy), ...value];
}

function scalar(field: Field, type: string, entropy: Entropy, options: GeneratorOptions): number[] {
  switch (type) {
    case 'string':
      if (options.broken && entropy.next(100) === 99) return entropy.pick(BROKEN_STRINGS);
      return [...Buffer.from(entropy.pick(STRINGS))];
    case 'bytes': {
      const length = field.name.endsWith('Id') ? entropy.pick([8, 16, 0, 7]) : entropy.next(10);
      return entropy.next(8) === 0 ? Array.from({ length }, () => 0) : entropy.take(length);
    }
    case 'double':
      return double(entropy.pick(DOUBLES));
    case 'fixed64':
    case 'sfixed64':
      return little(
        entropy.next(8) === 7 ? BigInt(`0x${Buffer.from([0, ...entropy.take(8)]).toString('hex')}`) : entropy.pick(FIXED),
        8,
      );
    case 'fixed32':
      return entropy.next(2) === 0 ? [1, 0, 0, 0] : entropy.take(4);
    default:
      return varint(entropy.next(4) === 0 ? BigInt(entropy.next(30)) : entropy.pick(VARINTS), entropy.next(20) === 19 ? 9 : 0);
  }
}
