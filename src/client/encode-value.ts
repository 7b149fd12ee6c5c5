/** JavaScript values as `Value` of ingest.proto. */
import type { Writer } from 'protobufjs/minimal';

/** A time with nanoseconds. */
export class Timestamp {
  /** `unixNanos`: nanoseconds since 1970-01-01 UTC. */
  constructor(readonly unixNanos: bigint) {}
}

/** A JSON document as text. */
export class Json {
  constructor(readonly text: string) {}
}

const DECIMAL = /^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/;

/** An exact number in decimal notation: `-12.50`, `1e-3`. */
export class Decimal {
  /** Throws RangeError for a text that is no number. */
  constructor(readonly text: string) {
    if (!DECIMAL.test(text)) throw new RangeError(`${text} is not a decimal number`);
  }
}

/**
 * A value of a row. null and undefined are no value; a number is a double, a bigint an integer; a Date is a time; an array is a list;
 * any other object is a map: attributes or JSON, as the column asks.
 */
export type RowValue =
  | null
  | undefined
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | Date
  | Timestamp
  | Json
  | Decimal
  | readonly RowValue[]
  | { readonly [name: string]: RowValue };

const TAG = {
  bool: 8,
  int: 16,
  uint: 24,
  double: 33,
  string: 42,
  bytes: 50,
  timestamp: 58,
  json: 66,
  list: 74,
  map: 82,
  decimal: 90,
} as const;
const INT64_MIN = -(2n ** 63n);
const INT64_MAX = 2n ** 63n - 1n;
const UINT64_MAX = 2n ** 64n - 1n;
const NANOS_PER_SECOND = 1_000_000_000n;
const DEPTH_MAX = 100;

/** Throws TypeError or RangeError for what no column can hold. */
export function checkValue(value: RowValue, depth = 0): void {
  if (typeof value === 'function' || typeof value === 'symbol') throw new TypeError(`a ${typeof value} cannot be stored`);
  if (typeof value === 'bigint' && (value < INT64_MIN || value > UINT64_MAX)) throw new RangeError('an integer must fit 64 bits');
  if (
    typeof value !== 'object' ||
    value === null ||
    value instanceof Uint8Array ||
    value instanceof Json ||
    value instanceof Decimal
  )
    return;
  if (depth > DEPTH_MAX) throw new RangeError(`values are nested deeper than ${DEPTH_MAX} levels`);
  if (value instanceof Date) {
    if (Number.isNaN(value.getTime())) throw new RangeError('a date is not valid');
  } else if (!(value instanceof Timestamp)) {
    for (const item of Array.isArray(value) ? value : Object.values(value)) checkValue(item as RowValue, depth + 1);
  }
}

/** Writes the content of a `Value` that `checkValue` has passed. */
export function writeValue(value: RowValue, out: Writer): void {
  switch (typeof value) {
    case 'boolean':
      out.uint32(TAG.bool).bool(value);
      return;
    case 'number':
      out.uint32(TAG.double).double(value);
      return;
    case 'string':
      out.uint32(TAG.string).string(value);
      return;
    case 'bigint':
      writeInteger(value, out);
      return;
    case 'object':
      if (value !== null) writeObject(value, out);
      return;
    default:
  }
}

function writeInteger(value: bigint, out: Writer): void {
  if (value > INT64_MAX) out.uint32(TAG.uint).uint64(halves(value));
  else out.uint32(TAG.int).sint64(halves(value));
}

/** What the library takes for a 64-bit number beside doubles; its type only names the class of one package. */
function halves(value: bigint): number {
  const long = { low: Number(BigInt.asIntN(32, value)), high: Number(BigInt.asIntN(32, value >> 32n)), unsigned: false };
  return long as unknown as number;
}

function writeObject(value: object, out: Writer): void {
  if (value instanceof Uint8Array) out.uint32(TAG.bytes).bytes(value);
  else if (value instanceof Date) writeTime(BigInt(value.getTime()) * 1_000_000n, out);
  else if (value instanceof Timestamp) writeTime(value.unixNanos, out);
  else if (value instanceof Json) out.uint32(TAG.json).string(value.text);
  else if (value instanceof Decimal) out.uint32(TAG.decimal).string(value.text);
  else if (Array.isArray(value)) {
    out.uint32(TAG.list).fork();
    for (const item of value as readonly RowValue[]) {
      out.uint32(0x0a).fork();
      writeValue(item, out);
      out.ldelim();
    }
    out.ldelim();
  } else {
    out.uint32(TAG.map).fork();
    for (const [name, item] of Object.entries(value as Record<string, RowValue>)) {
      out.uint32(0x0a).fork().uint32(0x0a).string(name).uint32(0x12).fork();
      writeValue(item, out);
      out.ldelim().ldelim();
    }
    out.ldelim();
  }
}

/** `google.protobuf.Timestamp`: nanos count forward, also before 1970. */
function writeTime(unixNanos: bigint, out: Writer): void {
  const nanos = ((unixNanos % NANOS_PER_SECOND) + NANOS_PER_SECOND) % NANOS_PER_SECOND;
  const seconds = (unixNanos - nanos) / NANOS_PER_SECOND;
  out.uint32(TAG.timestamp).fork().uint32(0x08).int64(halves(seconds)).uint32(0x10).int32(Number(nanos)).ldelim();
}
