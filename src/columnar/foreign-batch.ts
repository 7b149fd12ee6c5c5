/**
 * The columns of a foreign record batch as Arrow data that the rest of the server can trust (Arrow columnar format,
 * "Physical Memory
 * Layout" and "Security Considerations"). Checked: lengths, null counts against bitmaps, buffers inside the body, offsets in
 * order
 * and in range, UTF-8 of every value, dictionary indexes. Values are views into the body where they are aligned, copies
 * otherwise.
 * 64-bit offsets become 32-bit ones, fixed-size binary becomes binary, dictionary indexes become int32.
 */
import { isAscii, isUtf8 } from 'node:buffer';
import {
  Binary,
  Bool,
  type Data,
  type DataType,
  DateDay,
  DateMillisecond,
  Field,
  Float32,
  Float64,
  Int8,
  Int16,
  Int32,
  Int64,
  List,
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
  Utf8,
} from 'apache-arrow';
import { LIMITS } from '../core/limits';
import { mapData } from './attributes';
import { corrupt } from './foreign-error';
import { type ForeignDictionary, type ForeignField, HALF_BYTES } from './foreign-schema';
import { dictionaryData } from './nested-builders';

/** Nodes and buffers of a batch, in the order of the flattened schema. */
export interface BatchSource {
  readonly body: Uint8Array;
  /** Pairs of length and null count. */
  readonly nodes: Float64Array;
  /** Pairs of offset and length. */
  readonly buffers: Float64Array;
}

/** Where a batch without values comes from. */
export const EMPTY_SOURCE: BatchSource = { body: new Uint8Array(0), nodes: new Float64Array(0), buffers: new Float64Array(0) };

/** Leaves room for rounding up to bytes in 32 bits. */
const LENGTH_MAX = 0x7ffffff0;

interface Node {
  readonly length: number;
  readonly nullCount: number;
  /** Present only when there is a null. */
  readonly nullBitmap: Uint8Array | undefined;
}

type FixedArray = Int8Array | Int16Array | Int32Array | BigInt64Array | Uint8Array | Uint16Array | Uint32Array | BigUint64Array;
type AnyArray = FixedArray | Float32Array | Float64Array;
interface ArrayType<A> {
  readonly BYTES_PER_ELEMENT: number;
  new (buffer: ArrayBufferLike, byteOffset: number, length: number): A;
}

/** Reads the columns of one batch, field by field. Throws IngestError `invalid_argument`. */
export class BatchReader {
  private node = 0;
  private buffer = 0;

  constructor(
    private readonly source: BatchSource,
    /** The values of a dictionary. */
    private readonly dictionaryOf: (id: number, field: ForeignField) => Data,
  ) {
    let total = 0;
    for (let i = 0; i < source.buffers.length; i += 2) {
      const offset = source.buffers[i];
      const length = source.buffers[i + 1];
      if (offset < 0 || length < 0 || offset + length > source.body.length) throw corrupt('a buffer lies outside of the body');
      total += length;
    }
    // Buffers that share bytes would make small bodies large.
    if (total > source.body.length) throw corrupt('the buffers overlap');
  }

  /** The next field. `lengthMin`: how many values there must be at least. */
  read(field: ForeignField, path: string, lengthMin: number): Data {
    const data = field.dictionary === undefined ? this.plain(field, path) : this.indexed(field, field.dictionary, path);
    if (data.length < lengthMin) throw corrupt(`column ${path} has ${data.length} values where ${lengthMin} are needed`);
    return data;
  }

  /** Values of a field as if it had no dictionary. */
  plain(field: ForeignField, path: string): Data {
    const { type } = field;
    switch (type.kind) {
      case 'null':
        return nothing(this.nextNode(path, false).length);
      case 'utf8':
      case 'binary':
        return this.variable(field, path);
      case 'fixed_binary':
        return this.fixedBinary(field, path);
      case 'list':
      case 'map':
        return this.nested(field, path);
      case 'struct': {
        const node = this.nextNode(path, true);
        const children = field.children.map((child) => this.read(child, `${path}.${child.name}`, node.length));
        return structData(field, node, children);
      }
      case 'bool': {
        const node = this.nextNode(path, true);
        const bits = this.nextBuffer(path, (node.length + 7) >> 3);
        return makeData({ type: new Bool(), length: node.length, data: bits, ...validity(node) });
      }
      case 'int':
      case 'float':
      case 'timestamp':
      case 'date': {
        const node = this.nextNode(path, true);
        if (type.kind === 'float' && field.byteWidth === HALF_BYTES) {
          const data = Float32Array.from(this.nextArray(path, Uint16Array, node.length), halfToNumber);
          return makeData({ type: new Float32(), length: node.length, data, ...validity(node) });
        }
        if (field.ticks !== undefined) {
          const { bits, ns } = field.ticks;
          const raw =
            bits === 32 ? this.nextArray(path, Int32Array, node.length) : this.nextArray(path, BigInt64Array, node.length);
          const data = nanoseconds(raw, ns, node.nullBitmap, path);
          return makeData({ type: new Int64(), length: node.length, data, ...validity(node) });
        }
        const { arrow, array } = fixedType(field);
        const data = this.nextArray(path, array, node.length);
        return makeData({ type: arrow as Float64, length: node.length, data: data as Float64Array, ...validity(node) });
      }
      default:
        throw new Error(`column ${path} has a type that the schema does not let through`);
    }
  }

  /** The batch must not hold more than the schema says. */
  finish(): void {
    const { nodes, buffers } = this.source;
    if (this.source !== EMPTY_SOURCE && (this.node * 2 !== nodes.length || this.buffer * 2 !== buffers.length)) {
      throw corrupt('the batch does not have the nodes and buffers of its schema');
    }
  }

  private indexed(field: ForeignField, dictionary: ForeignDictionary, path: string): Data {
    const node = this.nextNode(path, true);
    const raw = this.nextArray(path, intArray(dictionary.bits, dictionary.signed), node.length);
    const values = this.dictionaryOf(dictionary.id, field);
    const indexes = new Int32Array(node.length);
    for (let row = 0; row < node.length; row++) {
      if (!isValid(node, row)) continue;
      const index = Number(raw[row]);
      if (!(index >= 0 && index < values.length))
        throw corrupt(`column ${path} has the index ${index} into ${values.length} values`);
      indexes[row] = index;
    }
    return dictionaryData(makeData({ type: new Int32(), length: node.length, data: indexes, ...validity(node) }), values);
  }

  private variable(field: ForeignField, path: string): Data {
    const node = this.nextNode(path, true);
    const valueOffsets = this.nextOffsets(field, path, node.length);
    const data = this.nextBuffer(path, valueOffsets[node.length]);
    const isText = field.type.kind === 'utf8';
    if (isText) checkUtf8(data, valueOffsets, node, path);
    const type = isText ? new Utf8() : new Binary();
    return makeData({ type: type as Utf8, length: node.length, valueOffsets, data, ...validity(node) });
  }

  private fixedBinary(field: ForeignField, path: string): Data {
    const node = this.nextNode(path, true);
    const data = this.nextBuffer(path, node.length * field.byteWidth);
    const valueOffsets = Int32Array.from({ length: node.length + 1 }, (_, i) => i * field.byteWidth);
    return makeData({ type: new Binary(), length: node.length, valueOffsets, data, ...validity(node) });
  }

  private nested(field: ForeignField, path: string): Data {
    const node = this.nextNode(path, true);
    const valueOffsets = this.nextOffsets(field, path, node.length);
    const [item] = field.children;
    const child = this.read(item, `${path}.${item.name}`, valueOffsets[node.length]);
    if (field.type.kind === 'list') {
      const type = new List(new Field('item', child.type, true));
      return makeData({ type, length: node.length, valueOffsets, child, ...validity(node) });
    }
    const [key, value] = child.children;
    if (child.nullCount > 0 || key.nullCount > 0) throw corrupt(`column ${path} has a null among its entries or keys`);
    const map = mapData(node.length, valueOffsets, key, value);
    if (node.nullBitmap === undefined) return map;
    const buffers = [map.valueOffsets, map.values, node.nullBitmap, map.typeIds];
    return map.clone(map.type, 0, node.length, node.nullCount, buffers as never);
  }

  private nextNode(path: string, hasBitmap: boolean): Node {
    if (this.source === EMPTY_SOURCE) return { length: 0, nullCount: 0, nullBitmap: undefined };
    const { nodes } = this.source;
    const at = this.node++ * 2;
    if (at >= nodes.length) throw corrupt(`the batch has no data for column ${path}`);
    const length = nodes[at];
    const nullCount = nodes[at + 1];
    if (length < 0 || length > LENGTH_MAX || nullCount < 0 || nullCount > length)
      throw corrupt(`column ${path} has a wrong length`);
    // Nulls take no bytes in the body, so only their number bounds them.
    if (!hasBitmap && length > LIMITS.rowsPerRequestMax) throw corrupt(`column ${path} has too many rows`);
    if (!hasBitmap) return { length, nullCount: length, nullBitmap: undefined };
    const bitmap = this.nextBuffer(path, 0);
    if (bitmap.length === 0) {
      if (nullCount > 0) throw corrupt(`column ${path} has nulls but no validity bitmap`);
      return { length, nullCount: 0, nullBitmap: undefined };
    }
    if (bitmap.length < (length + 7) >> 3) throw corrupt(`the validity bitmap of column ${path} is too short`);
    if (length - countBits(bitmap, length) !== nullCount)
      throw corrupt(`the null count of column ${path} is not that of its bitmap`);
    return { length, nullCount, nullBitmap: nullCount > 0 ? bitmap.subarray(0, (length + 7) >> 3) : undefined };
  }

  private nextBuffer(path: string, bytesMin: number): Uint8Array {
    if (this.source === EMPTY_SOURCE) return EMPTY_SOURCE.body;
    const { body, buffers } = this.source;
    const at = this.buffer++ * 2;
    if (at >= buffers.length) throw corrupt(`the batch has no data for column ${path}`);
    const offset = buffers[at];
    if (buffers[at + 1] < bytesMin) throw corrupt(`a buffer of column ${path} is too short`);
    return body.subarray(offset, offset + buffers[at + 1]);
  }

  private nextArray<A extends AnyArray>(path: string, array: ArrayType<A>, length: number): A {
    const width = array.BYTES_PER_ELEMENT;
    const bytes = this.nextBuffer(path, length * width);
    // A Buffer's own slice would not copy.
    const aligned = bytes.byteOffset % width === 0 ? bytes : Uint8Array.prototype.slice.call(bytes, 0, length * width);
    return new array(aligned.buffer, aligned.byteOffset, length);
  }

  /** Offsets as int32, in order; their last is checked by the caller against what they point into. */
  private nextOffsets(field: ForeignField, path: string, length: number): Int32Array {
    // A column without rows may leave them out.
    if (length === 0) {
      this.nextBuffer(path, 0);
      return new Int32Array(1);
    }
    const raw = field.isLarge ? this.nextArray(path, BigInt64Array, length + 1) : this.nextArray(path, Int32Array, length + 1);
    const offsets =
      raw instanceof Int32Array
        ? raw
        : Int32Array.from(raw, (offset) => (offset > LENGTH_MAX || offset < 0 ? -1 : Number(offset)));
    let previous = 0;
    for (let i = 0; i <= length; i++) {
      if (offsets[i] < previous) throw corrupt(`the offsets of column ${path} are not in order`);
      previous = offsets[i];
    }
    return offsets;
  }
}

const validity = ({ nullCount, nullBitmap }: Node): { nullCount: number; nullBitmap?: Uint8Array } =>
  nullBitmap === undefined ? { nullCount: 0 } : { nullCount, nullBitmap };

const isValid = ({ nullBitmap }: Node, row: number): boolean =>
  nullBitmap === undefined || ((nullBitmap[row >> 3] >> (row & 7)) & 1) === 1;

/** A column of nulls. */
function nothing(length: number): Data {
  const bytes = (length + 7) >> 3;
  return makeData({
    type: new Bool(),
    length,
    nullCount: length,
    data: new Uint8Array(bytes),
    nullBitmap: new Uint8Array(bytes),
  });
}

function structData(field: ForeignField, node: Node, children: Data[]): Data {
  const fields = children.map((child, i) => new Field(field.children[i].name, child.type, true));
  const trimmed = children.map((child) => (child.length === node.length ? child : child.slice(0, node.length)));
  return makeData({ type: new Struct(fields), length: node.length, children: trimmed, ...validity(node) });
}

function countBits(bitmap: Uint8Array, length: number): number {
  let count = 0;
  for (let row = 0; row < length; row++) count += (bitmap[row >> 3] >> (row & 7)) & 1;
  return count;
}

/** All bytes at once, and no value may start inside a character; only what lies under nulls may be anything. */
function checkUtf8(bytes: Uint8Array, offsets: Int32Array, node: Node, path: string): void {
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

const intArray = (bits: 8 | 16 | 32 | 64, signed: boolean): ArrayType<FixedArray> => INT_ARRAYS[bits][signed ? 0 : 1];

/** Null positions become 0: what they hold means nothing. */
function nanoseconds(
  raw: Int32Array | BigInt64Array,
  tickNs: bigint,
  bitmap: Uint8Array | undefined,
  path: string,
): BigInt64Array {
  const values = new BigInt64Array(raw.length);
  for (let i = 0; i < raw.length; i++) {
    if (bitmap !== undefined && (bitmap[i >> 3] & (1 << (i & 7))) === 0) continue;
    const value = BigInt(raw[i]) * tickNs;
    if (BigInt.asIntN(64, value) !== value) throw corrupt(`column ${path} has a duration beyond 64-bit nanoseconds`);
    values[i] = value;
  }
  return values;
}

/** IEEE 754 binary16; every value of it is a float32. */
function halfToNumber(bits: number): number {
  const sign = (bits & 0x8000) === 0 ? 1 : -1;
  const exponent = (bits >>> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 0x1f) return fraction === 0 ? sign * Infinity : Number.NaN;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

function fixedType({ type }: ForeignField): { arrow: DataType; array: ArrayType<AnyArray> } {
  switch (type.kind) {
    case 'int':
      return { arrow: new INT_TYPES[type.bits][type.signed ? 0 : 1](), array: intArray(type.bits, type.signed) };
    case 'float':
      return type.bits === 32 ? { arrow: new Float32(), array: Float32Array } : { arrow: new Float64(), array: Float64Array };
    case 'timestamp':
      return { arrow: new TIMESTAMPS[type.unit]('UTC'), array: BigInt64Array };
    case 'date':
      return type.unit === 'day'
        ? { arrow: new DateDay(), array: Int32Array }
        : { arrow: new DateMillisecond(), array: BigInt64Array };
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
