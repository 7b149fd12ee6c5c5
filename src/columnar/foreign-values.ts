/** Values of foreign columns: their Arrow types, checks and conversions, without their place in a batch. */
import { isAscii, isUtf8 } from 'node:buffer';
import {
  Bool,
  type Data,
  type DataType,
  DateDay,
  DateMillisecond,
  Decimal,
  Field,
  Float32,
  Float64,
  Int8,
  Int16,
  Int32,
  Int64,
  makeData,
  Struct,
  TimestampMicrosecond,
  TimestampMillisecond,
  TimestampNanosecond,
  TimestampSecond,
  Uint8,
  Uint16,
  Uint32,
  Uint64,
} from 'apache-arrow';
import { type AnyArray, type ArrayType, type FixedArray, isValid, type Node, validity } from './foreign-buffers';
import { corrupt } from './foreign-error';
import type { ForeignField } from './foreign-schema';

/** A column of nulls; `bits` are zeros, as many as there are rows, which columns may share. */
export const nothing = (length: number, bits: Uint8Array): Data =>
  makeData({ type: new Bool(), length, nullCount: length, data: bits, nullBitmap: bits });

export function structData(field: ForeignField, node: Node, children: Data[]): Data {
  const fields = children.map((child, i) => new Field(field.children[i].name, child.type, true));
  const trimmed = children.map((child) => (child.length === node.length ? child : child.slice(0, node.length)));
  return makeData({ type: new Struct(fields), length: node.length, children: trimmed, ...validity(node) });
}

/** All bytes at once, and no value may start inside a character; only what lies under nulls may be anything. */
export function checkUtf8(bytes: Uint8Array, offsets: Int32Array, node: Node, path: string): void {
  const first = offsets[0];
  const last = offsets[node.length];
  const all = bytes.subarray(first, last);
  if (isAscii(all)) return;
  let valid = isUtf8(all);
  for (let row = 0; row < node.length && valid; row++) valid = offsets[row] === last || (bytes[offsets[row]] & 0xc0) !== 0x80;
  if (valid) return;
  for (let row = 0; row < node.length; row++) {
    if (isValid(node, row) && !isUtf8(bytes.subarray(offsets[row], offsets[row + 1]))) {
      throw corrupt(`column ${path} is not valid UTF-8 in row ${row}`);
    }
  }
}

const INT_ARRAYS = {
  8: [Int8Array, Uint8Array],
  16: [Int16Array, Uint16Array],
  32: [Int32Array, Uint32Array],
  64: [BigInt64Array, BigUint64Array],
} as const;
const INT_TYPES = { 8: [Int8, Uint8], 16: [Int16, Uint16], 32: [Int32, Uint32], 64: [Int64, Uint64] } as const;
const TIMESTAMPS = { s: TimestampSecond, ms: TimestampMillisecond, us: TimestampMicrosecond, ns: TimestampNanosecond } as const;

export const intArray = (bits: 8 | 16 | 32 | 64, signed: boolean): ArrayType<FixedArray> => INT_ARRAYS[bits][signed ? 0 : 1];

/** Null positions become 0: what they hold means nothing. */
export function nanoseconds(raw: Int32Array | BigInt64Array, tickNs: bigint, node: Node, path: string): BigInt64Array {
  const values = new BigInt64Array(raw.length);
  for (let i = 0; i < raw.length; i++) {
    if (!isValid(node, i)) continue;
    const value = BigInt(raw[i]) * tickNs;
    if (BigInt.asIntN(64, value) !== value) throw corrupt(`column ${path} has a duration beyond 64-bit nanoseconds`);
    values[i] = value;
  }
  return values;
}

/** IEEE 754 binary16; every value of it is a float32. */
export function halfToNumber(bits: number): number {
  const sign = (bits & 0x8000) === 0 ? 1 : -1;
  const exponent = (bits >>> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 0x1f) return fraction === 0 ? sign * Infinity : Number.NaN;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** Decimals of `words` 32-bit words as such of four, sign and all. */
export function widenDecimals(raw: Int32Array, words: number): Int32Array {
  const wide = new Int32Array((raw.length / words) * 4);
  for (let i = 0; i < wide.length; i++) {
    const word = i & 3;
    const value = (i >> 2) * words;
    wide[i] = word < words ? raw[value + word] : raw[value + words - 1] >> 31;
  }
  return wide;
}

/** The Arrow type of values of fixed width, the array of their elements, and how many elements each has. */
export interface FixedType {
  readonly arrow: DataType;
  readonly array: ArrayType<AnyArray>;
  readonly stride: number;
}

const fixed = (arrow: DataType, array: ArrayType<AnyArray>, stride = 1): FixedType => ({ arrow, array, stride });

export function fixedType({ type }: ForeignField): FixedType {
  switch (type.kind) {
    case 'int':
      return fixed(new INT_TYPES[type.bits][type.signed ? 0 : 1](), intArray(type.bits, type.signed));
    case 'float':
      return type.bits === 32 ? fixed(new Float32(), Float32Array) : fixed(new Float64(), Float64Array);
    case 'decimal':
      return fixed(new Decimal(type.scale, type.precision, type.bits), Uint32Array, type.bits / 32);
    case 'timestamp':
      return fixed(new TIMESTAMPS[type.unit]('UTC'), BigInt64Array);
    case 'date':
      return type.unit === 'day' ? fixed(new DateDay(), Int32Array) : fixed(new DateMillisecond(), BigInt64Array);
    case 'null':
    case 'bool':
    case 'utf8':
    case 'binary':
    case 'fixed_binary':
    case 'list':
    case 'map':
    case 'struct':
    default:
      throw new Error(`${type.kind} is no type of fixed width`);
  }
}
