/**
 * `Value` of ingest.proto: reading it, and its two forms in a record batch, JSON text and the entry of an attributes column
 * (core/table-schema.ts).
 */
import type { AttributesBuilder } from '../../columnar/attributes';
import { IngestError } from '../../core/errors';
import { LIMITS } from '../../core/limits';
import { ATTRIBUTE_KIND } from '../../core/table-schema';
import { jsonProblem } from '../arrow-values';
import { doubleText } from '../cell-text';
import { asciiText, isNumberText } from '../json-number';
import { malformed, tooDeep, type Wire } from '../wire';
import { type Span, spansOf, tagOf, textOf, WIRE } from './fields';

export type ValueKind =
  | 'null'
  | 'bool'
  | 'int'
  | 'uint'
  | 'double'
  | 'string'
  | 'bytes'
  | 'timestamp'
  | 'json'
  | 'list'
  | 'map'
  | 'decimal';

const TAGS: ReadonlyMap<number, ValueKind> = new Map([
  [tagOf(1, WIRE.varint), 'bool'],
  [tagOf(2, WIRE.varint), 'int'],
  [tagOf(3, WIRE.varint), 'uint'],
  [tagOf(4, WIRE.fixed64), 'double'],
  [tagOf(5, WIRE.delimited), 'string'],
  [tagOf(6, WIRE.delimited), 'bytes'],
  [tagOf(7, WIRE.delimited), 'timestamp'],
  [tagOf(8, WIRE.delimited), 'json'],
  [tagOf(9, WIRE.delimited), 'list'],
  [tagOf(10, WIRE.delimited), 'map'],
  [tagOf(11, WIRE.delimited), 'decimal'],
]);

/** The value read last: where it is, or what it is. */
export interface ReadValue {
  kind: ValueKind;
  /** Halves of an integer or of a time in nanoseconds; for a bool `low` is 0 or 1. */
  low: number;
  high: number;
  double: number;
  /** Content of what is delimited. */
  start: number;
  stop: number;
  /** A time that int64 nanoseconds do not hold, or whose nanoseconds are none. */
  badTime: boolean;
}

export const emptyValue = (): ReadValue => ({ kind: 'null', low: 0, high: 0, double: 0, start: 0, stop: 0, badTime: false });

/** Reads the `Value` in [start, stop) into `out`. Throws IngestError `invalid_argument`. */
export function readValue(wire: Wire, start: number, stop: number, out: ReadValue): void {
  out.kind = 'null';
  for (let p = start; p < stop; ) {
    p = wire.tag(p, stop);
    const tag = wire.low;
    const kind = TAGS.get(tag);
    if (kind === undefined) {
      p = wire.skip(tag, p, stop);
      continue;
    }
    out.kind = kind;
    switch (tag & 7) {
      case WIRE.varint:
        p = wire.varint(p, stop);
        readInteger(wire, out);
        break;
      case WIRE.fixed64:
        out.double = wire.fixed64(p, stop) === p ? 0 : wire.doubleAt(p);
        p += 8;
        break;
      default:
        out.start = wire.open(p, stop);
        out.stop = wire.stop;
        p = wire.stop;
        if (kind === 'timestamp') readTimestamp(wire, out);
    }
  }
}

function readInteger(wire: Wire, out: ReadValue): void {
  const { low, high } = wire;
  if (out.kind === 'int') {
    // Zigzag: the lowest bit is the sign.
    const sign = -(low & 1);
    out.low = ((low >>> 1) | (high << 31)) ^ sign;
    out.high = (high >>> 1) ^ sign;
  } else if (out.kind === 'uint') {
    out.low = low;
    out.high = high;
  } else {
    out.low = (low | high) === 0 ? 0 : 1;
    out.high = 0;
  }
}

const NS_PER_SECOND = 1_000_000_000n;

/** `google.protobuf.Timestamp`: seconds 1, nanos 2. */
function readTimestamp(wire: Wire, out: ReadValue): void {
  let seconds = 0n;
  let nanos = 0n;
  for (let p = out.start; p < out.stop; ) {
    p = wire.tag(p, out.stop);
    const tag = wire.low;
    if (tag !== tagOf(1, WIRE.varint) && tag !== tagOf(2, WIRE.varint)) {
      p = wire.skip(tag, p, out.stop);
      continue;
    }
    p = wire.varint(p, out.stop);
    if (tag === tagOf(1, WIRE.varint)) seconds = int64(wire.low, wire.high);
    else nanos = BigInt(wire.low);
  }
  const ns = seconds * NS_PER_SECOND + nanos;
  out.badTime = nanos < 0n || nanos >= NS_PER_SECOND || ns < LIMITS.timestampNsMin || ns > LIMITS.timestampNsMax;
  out.low = Number(BigInt.asUintN(32, ns));
  out.high = Number(BigInt.asUintN(32, ns >> 32n));
}

export const int64 = (low: number, high: number): bigint => (BigInt(high | 0) << 32n) | BigInt(low >>> 0);
const uint64 = (low: number, high: number): bigint => (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);

/** The items of a `ListValue`. */
export function itemsOf(wire: Wire, list: Span): Span[] {
  const items: Span[] = [];
  spansOf(wire, [list], (field, span) => {
    if (field === 1) items.push(span);
  });
  return items;
}

/** One entry of a `map<string, Value>`; without a value it is null. */
export function readEntry(wire: Wire, entry: Span): { key: Span; value: Span } {
  const none = { start: entry.start, stop: entry.start };
  let key = none;
  let value = none;
  spansOf(wire, [entry], (field, span) => {
    if (field === 1) key = span;
    else if (field === 2) value = span;
  });
  return { key, value };
}

/** A key that comes twice has its last value (PB3). */
function entriesOf(wire: Wire, map: Span): Map<string, Span> {
  const entries = new Map<string, Span>();
  spansOf(wire, [map], (field, span) => {
    if (field !== 1) return;
    const { key, value } = readEntry(wire, span);
    entries.set(textOf(wire, key), value);
  });
  return entries;
}

/** A value as JSON text. What JSON does not have is a string: NaN and the infinities, bytes (base64), times (RFC 3339). */
export function jsonOf(wire: Wire, span: Span, depth = 0): string {
  if (depth > LIMITS.nestingDepthMax) throw tooDeep(span.start);
  const value = emptyValue();
  readValue(wire, span.start, span.stop, value);
  switch (value.kind) {
    case 'null':
      return 'null';
    case 'bool':
      return String(value.low === 1);
    case 'int':
      return String(int64(value.low, value.high));
    case 'uint':
      return String(uint64(value.low, value.high));
    case 'double':
      return Number.isFinite(value.double) ? doubleText(value.double) : JSON.stringify(String(value.double));
    case 'json':
      return checkedJson(wire, value);
    case 'decimal':
      return checkedNumber(wire, value);
    case 'list':
    case 'map':
      return nestedJson(wire, value.kind, value, depth + 1);
    case 'string':
    case 'bytes':
    case 'timestamp':
    default:
      return JSON.stringify(plainText(wire, value));
  }
}

/** The content of a `ListValue` or a `MapValue` as JSON text. */
export function nestedJson(wire: Wire, kind: 'list' | 'map', span: Span, depth = 1): string {
  if (kind === 'list') {
    const items = itemsOf(wire, span).map((item) => jsonOf(wire, item, depth));
    return `[${items.join(',')}]`;
  }
  const members = Array.from(entriesOf(wire, span), ([key, item]) => `${JSON.stringify(key)}:${jsonOf(wire, item, depth)}`);
  return `{${members.join(',')}}`;
}

/** A JSON text from the request. Throws IngestError `invalid_argument` when it is none. */
function checkedJson(wire: Wire, span: Span): string {
  const text = textOf(wire, span);
  const problem = jsonProblem(wire.bytes.subarray(span.start, span.stop));
  if (problem !== undefined) throw new IngestError('invalid_argument', problem.message);
  return text;
}

/** The digits of a decimal number from the request. Throws IngestError `invalid_argument` when it is none. */
function checkedNumber(wire: Wire, { start, stop }: Span): string {
  if (!isNumberText(wire.bytes, start, stop)) throw new IngestError('invalid_argument', 'expected a decimal number');
  return asciiText(wire.bytes, start, stop);
}

function plainText(wire: Wire, value: ReadValue): string {
  if (value.kind === 'string') return textOf(wire, value);
  if (value.kind === 'bytes') return Buffer.from(wire.bytes.subarray(value.start, value.stop)).toString('base64');
  if (value.badTime) throw malformed('a time is out of range', value.start);
  return timeText(int64(value.low, value.high));
}

/** Nanoseconds since 1970 as RFC 3339. */
export function timeText(ns: bigint): string {
  const nanos = ((ns % NS_PER_SECOND) + NS_PER_SECOND) % NS_PER_SECOND;
  const seconds = new Date(Number((ns - nanos) / 1_000_000n)).toISOString().slice(0, -5);
  return `${seconds}.${String(nanos).padStart(9, '0')}Z`;
}

/** Writes the entries of a `MapValue` to the open row. Throws IngestError `invalid_argument`. */
export function writeEntries(wire: Wire, map: Span, out: AttributesBuilder): void {
  for (const [key, span] of entriesOf(wire, map)) writeEntry(key, attributeOf(wire, span), out);
}

/** An attribute's kind, one of ATTRIBUTE_KIND, and its text. */
export interface Attribute {
  readonly kind: number;
  readonly text: string;
}

/** Writes one entry to the open row. */
export function writeEntry(key: string, { kind, text }: Attribute, out: AttributesBuilder): void {
  out.key(out.keys.internString(key));
  out.text.writeString(text);
  out.endEntry(kind);
}

function attributeOf(wire: Wire, span: Span): Attribute {
  const value = emptyValue();
  readValue(wire, span.start, span.stop, value);
  switch (value.kind) {
    case 'null':
      return { kind: ATTRIBUTE_KIND.empty, text: '' };
    case 'bool':
      return { kind: ATTRIBUTE_KIND.bool, text: jsonOf(wire, span) };
    case 'int':
      return { kind: ATTRIBUTE_KIND.int, text: jsonOf(wire, span) };
    case 'uint':
      return { kind: value.high < 0 ? ATTRIBUTE_KIND.string : ATTRIBUTE_KIND.int, text: jsonOf(wire, span) };
    case 'double':
      return { kind: ATTRIBUTE_KIND.double, text: doubleText(value.double) };
    case 'bytes':
      return { kind: ATTRIBUTE_KIND.bytes, text: plainText(wire, value) };
    case 'json':
      return jsonAttribute(checkedJson(wire, value).trim());
    case 'decimal':
      return { kind: ATTRIBUTE_KIND.string, text: checkedNumber(wire, value) };
    case 'list':
      return { kind: ATTRIBUTE_KIND.array, text: jsonOf(wire, span) };
    case 'map':
      return { kind: ATTRIBUTE_KIND.kvlist, text: jsonOf(wire, span) };
    case 'string':
    case 'timestamp':
    default:
      return { kind: ATTRIBUTE_KIND.string, text: plainText(wire, value) };
  }
}

const JSON_KINDS: Readonly<Record<string, number>> = {
  '{': ATTRIBUTE_KIND.kvlist,
  '[': ATTRIBUTE_KIND.array,
  t: ATTRIBUTE_KIND.bool,
  f: ATTRIBUTE_KIND.bool,
};

/** The kind of a JSON document follows from its first character. */
export function jsonAttribute(text: string): Attribute {
  if (text === 'null') return { kind: ATTRIBUTE_KIND.empty, text: '' };
  if (text.startsWith('"')) return { kind: ATTRIBUTE_KIND.string, text: JSON.parse(text) as string };
  const kind = JSON_KINDS[text[0]] ?? (/^-?\d{1,18}$/.test(text) ? ATTRIBUTE_KIND.int : ATTRIBUTE_KIND.double);
  return { kind, text };
}
