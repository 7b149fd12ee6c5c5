/**
 * Growable typed buffers that become Arrow data without Arrow's own builders (146 times slower, measured).
 * Append values, call `finish`; the Arrow data views the builder's buffers, which is then thrown away. Or let `finish` copy them
 * into a slab, `reset` the builder and use it again.
 * Nothing here makes an object or a string per value. Validity bitmaps exist only in columns that have a null.
 */
import {
  Bool,
  type Data,
  type DataType,
  DateDay,
  Float32,
  Float64,
  Int16,
  Int32,
  Int64,
  TimestampNanosecond,
  Uint8,
  Uint32,
  Uint64,
} from 'apache-arrow';
import { LIMITS } from '../core/limits';
import { dataOf, type Keep, keepOwn } from './slab';

/** A column under construction. */
export interface ColumnBuilder {
  readonly length: number;
  readonly nullCount: number;
  appendNull(): void;
  /** `keep` is `keepOwn` unless the builder is used again. */
  finish(keep?: Keep): Data;
  /** Empties the builder, to be used again after `finish` has copied its buffers. */
  reset(): void;
}

/** Capacity for at least `needed` elements: doubles, so that appending stays linear. */
export function capacityFor(current: number, needed: number): number {
  let capacity = Math.max(current, 16);
  while (capacity < needed) capacity *= 2;
  return capacity;
}

/** A column that cannot be stored: the rows of one request must fit into one WAL frame. */
export class ColumnFullError extends RangeError {
  constructor() {
    super(`a column holds at most ${LIMITS.walFrameBytesMax} bytes`);
    this.name = 'ColumnFullError';
  }
}

export function growBytes(bytes: Uint8Array<ArrayBuffer>, needed: number): Uint8Array<ArrayBuffer> {
  if (needed <= bytes.length) return bytes;
  if (needed > LIMITS.walFrameBytesMax) throw new ColumnFullError();
  const grown = new Uint8Array(capacityFor(bytes.length, needed));
  grown.set(bytes);
  return grown;
}

/** Which rows are not null: one bit a row, least significant first (Arrow columnar format, "Validity bitmaps"). */
export class Validity {
  nullCount = 0;
  private bits: Uint8Array | undefined;

  /** Marks row `row` null; rows that were never marked are valid. */
  setNull(row: number): void {
    const byte = row >> 3;
    if (this.bits === undefined) this.bits = new Uint8Array(Math.max(64, byte + 1)).fill(0xff);
    if (byte >= this.bits.length) {
      const old = this.bits;
      this.bits = new Uint8Array(capacityFor(old.length, byte + 1)).fill(0xff);
      this.bits.set(old);
    }
    this.bits[byte] &= ~(1 << (row & 7));
    this.nullCount++;
  }

  /** Marks the rows [from, to) null. */
  setNulls(from: number, to: number): void {
    let row = from;
    while (row < to && (row & 7) !== 0) this.setNull(row++);
    const bytes = (to - row) >> 3;
    if (bytes > 0) {
      this.setNull(row + bytes * 8 - 1);
      this.bits!.fill(0, row >> 3, (row >> 3) + bytes);
      this.nullCount += bytes * 8 - 1;
      row += bytes * 8;
    }
    while (row < to) this.setNull(row++);
  }

  /** Null count and bitmap of `length` rows; no bitmap when no row is null. */
  finish(length: number, keep: Keep = keepOwn): { nullCount: number; nullBitmap?: Uint8Array } {
    if (this.nullCount === 0) return { nullCount: 0 };
    const bytes = (length + 7) >> 3;
    let bits = this.bits!;
    if (bits.length < bytes) {
      bits = new Uint8Array(bytes).fill(0xff);
      bits.set(this.bits!);
    }
    return { nullCount: this.nullCount, nullBitmap: keep(bits.subarray(0, bytes)) };
  }

  /** Makes all rows valid again, of which there were `length`. */
  reset(length: number): void {
    if (this.nullCount > 0) this.bits!.fill(0xff, 0, (length + 7) >> 3);
    this.nullCount = 0;
  }
}

/** int64, uint64 and timestamps as pairs of 32-bit halves, little endian: exact without a BigInt per value. */
export class Int64Builder implements ColumnBuilder {
  length = 0;
  readonly validity = new Validity();
  private halves: Uint32Array;

  constructor(
    private readonly type: Int64 | Uint64 | TimestampNanosecond,
    capacity = 16,
  ) {
    this.halves = new Uint32Array(capacity * 2);
  }

  append(low: number, high: number): void {
    const at = this.length * 2;
    if (at + 2 > this.halves.length) this.grow();
    this.halves[at] = low;
    this.halves[at + 1] = high;
    this.length++;
  }

  appendBigInt(value: bigint): void {
    this.append(Number(BigInt.asUintN(32, value)), Number(BigInt.asIntN(32, value >> 32n)));
  }

  get nullCount(): number {
    return this.validity.nullCount;
  }

  appendNull(): void {
    this.validity.setNull(this.length);
    this.append(0, 0);
  }

  /** Forgets the values from `length` on; they must not be null. */
  truncate(length: number): void {
    this.length = length;
  }

  private grow(): void {
    if (this.halves.byteLength * 2 > LIMITS.walFrameBytesMax) throw new ColumnFullError();
    const grown = new Uint32Array(Math.max(this.halves.length * 2, 16));
    grown.set(this.halves);
    this.halves = grown;
  }

  /** Appends nulls until there are `length` values. */
  padNulls(length: number): void {
    if (this.length >= length) return;
    this.validity.setNulls(this.length, length);
    while (length * 2 > this.halves.length) this.grow();
    this.halves.fill(0, this.length * 2, length * 2);
    this.length = length;
  }

  finish(keep: Keep = keepOwn): Data {
    const halves = keep(this.halves.subarray(0, this.length * 2));
    const { buffer, byteOffset } = halves;
    const values =
      this.type instanceof Uint64
        ? new BigUint64Array(buffer, byteOffset, this.length)
        : new BigInt64Array(buffer, byteOffset, this.length);
    return dataOf({ type: this.type, length: this.length, values, ...this.validity.finish(this.length, keep) });
  }

  reset(): void {
    this.validity.reset(this.length);
    this.length = 0;
  }
}

const TIMESTAMP = new TimestampNanosecond('UTC');
const INT64 = new Int64();
const UINT64 = new Uint64();

export const timestampBuilder = (capacity?: number): Int64Builder => new Int64Builder(TIMESTAMP, capacity);
export const int64Builder = (capacity?: number): Int64Builder => new Int64Builder(INT64, capacity);
export const uint64Builder = (capacity?: number): Int64Builder => new Int64Builder(UINT64, capacity);

type NumberArray = Float64Array | Float32Array | Int32Array | Uint32Array | Int16Array | Uint8Array;

/** Columns of numbers that JavaScript holds exactly. */
export class NumberBuilder<A extends NumberArray> implements ColumnBuilder {
  length = 0;
  readonly validity = new Validity();

  private constructor(
    private readonly type: DataType,
    private readonly make: (length: number) => A,
    private values: A,
  ) {}

  static float64(capacity = 16): NumberBuilder<Float64Array> {
    return new NumberBuilder(new Float64(), (n) => new Float64Array(n), new Float64Array(capacity));
  }

  static int32(capacity = 16): NumberBuilder<Int32Array> {
    return new NumberBuilder(new Int32(), (n) => new Int32Array(n), new Int32Array(capacity));
  }

  static uint32(capacity = 16): NumberBuilder<Uint32Array> {
    return new NumberBuilder(new Uint32(), (n) => new Uint32Array(n), new Uint32Array(capacity));
  }

  static float32(capacity = 16): NumberBuilder<Float32Array> {
    return new NumberBuilder(new Float32(), (n) => new Float32Array(n), new Float32Array(capacity));
  }

  static int16(capacity = 16): NumberBuilder<Int16Array> {
    return new NumberBuilder(new Int16(), (n) => new Int16Array(n), new Int16Array(capacity));
  }

  static uint8(capacity = 16): NumberBuilder<Uint8Array> {
    return new NumberBuilder(new Uint8(), (n) => new Uint8Array(n), new Uint8Array(capacity));
  }

  /** Days since 1970. */
  static date(capacity = 16): NumberBuilder<Int32Array> {
    return new NumberBuilder(new DateDay(), (n) => new Int32Array(n), new Int32Array(capacity));
  }

  append(value: number): void {
    if (this.length === this.values.length) {
      const grown = this.make(capacityFor(this.values.length, this.length + 1));
      grown.set(this.values);
      this.values = grown;
    }
    this.values[this.length++] = value;
  }

  /** Appends the same value `count` times. */
  appendRun(value: number, count: number): void {
    const end = this.length + count;
    if (end > this.values.length) {
      const grown = this.make(capacityFor(this.values.length, end));
      grown.set(this.values);
      this.values = grown;
    }
    this.values.fill(value, this.length, end);
    this.length = end;
  }

  valueAt(index: number): number {
    return this.values[index];
  }

  /** Forgets the values from `length` on; they must not be null. */
  truncate(length: number): void {
    this.length = length;
  }

  get nullCount(): number {
    return this.validity.nullCount;
  }

  appendNull(): void {
    this.validity.setNull(this.length);
    this.append(0);
  }

  appendNulls(count: number): void {
    this.validity.setNulls(this.length, this.length + count);
    this.appendRun(0, count);
  }

  /** Appends nulls until there are `length` values. */
  padNulls(length: number): void {
    if (this.length < length) this.appendNulls(length - this.length);
  }

  /** Appends zeros until there are `length` values. */
  padZeros(length: number): void {
    if (this.length < length) this.appendRun(0, length - this.length);
  }

  finish(keep: Keep = keepOwn): Data {
    const values = keep(this.values.subarray(0, this.length));
    return dataOf({ type: this.type, length: this.length, values, ...this.validity.finish(this.length, keep) });
  }

  reset(): void {
    this.validity.reset(this.length);
    this.length = 0;
  }
}

const BOOL = new Bool();

export class BoolBuilder implements ColumnBuilder {
  length = 0;
  readonly validity = new Validity();
  private bits = new Uint8Array(64);

  append(value: boolean): void {
    const byte = this.length >> 3;
    this.bits = growBytes(this.bits, byte + 1);
    if (value) this.bits[byte] |= 1 << (this.length & 7);
    this.length++;
  }

  get nullCount(): number {
    return this.validity.nullCount;
  }

  appendNull(): void {
    this.validity.setNull(this.length);
    this.append(false);
  }

  finish(keep: Keep = keepOwn): Data {
    const values = keep(this.bits.subarray(0, (this.length + 7) >> 3));
    return dataOf({ type: BOOL, length: this.length, values, ...this.validity.finish(this.length, keep) });
  }

  reset(): void {
    this.bits.fill(0, 0, (this.length + 7) >> 3);
    this.validity.reset(this.length);
    this.length = 0;
  }
}
