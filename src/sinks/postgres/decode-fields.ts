/** One column of a binary COPY as Arrow data: the inverse of the writers in encode-copy.ts. */
import type { Data } from 'apache-arrow';
import { AttributesBuilder } from '../../columnar/attributes';
import {
  BoolBuilder,
  type ColumnBuilder,
  type Int64Builder,
  int64Builder,
  NumberBuilder,
  timestampBuilder,
  uint64Builder,
} from '../../columnar/builders';
import type { ByteSource } from '../../columnar/byte-source';
import { type BytesBuilder, binaryBuilder, utf8Builder } from '../../columnar/bytes-builder';
import { DECIMAL_SCALE, DecimalBuilder, toDecimalScale, WideInteger } from '../../columnar/decimal';
import { Interner } from '../../columnar/interner';
import { dictionaryData, ListBuilder } from '../../columnar/nested-builders';
import type { ColumnSchema, ColumnType } from '../../core/table-schema';
import { appendAttributes, compactJson } from './jsonb';

/** Takes the values of one column. `read` gets the bytes of a value, which is not null. */
export interface FieldDecoder {
  read(source: ByteSource, at: number, length: number): void;
  readNull(): void;
  /** Only of timestamps: the field with the nanoseconds, which comes right behind. `at` is negative when it is null. */
  readNanos?(source: ByteSource, at: number): void;
  finish(): Data;
}

const DAYS_1970_TO_2000 = 10_957;
/** 2000-01-01 in nanoseconds since 1970, as two halves. */
const EPOCH_2000_NS = 946_684_800_000_000_000n;
const EPOCH_LOW = Number(EPOCH_2000_NS & 0xffff_ffffn);
const EPOCH_HIGH = Number(EPOCH_2000_NS >> 32n);
const TWO_32 = 4_294_967_296;
const NUMERIC_BASE = 10_000n;
const NUMERIC_DIGIT = 10_000;
const NUMERIC_DIGITS = 4;
const NEGATIVE = 0x4000;
const UINT64_MAX = 2n ** 64n - 1n;
/** Distinct strings or jsonb texts of one batch that are shared. */
const SHARED_MAX = 65_536;

export function fieldDecoder(column: ColumnSchema): FieldDecoder {
  if (column.type === 'timestamp') return new TimestampDecoder();
  if (column.type === 'attributes') return new AttributesDecoder();
  if (column.type === 'string' && column.lowCardinality === true) return new SharedTextDecoder();
  return plainDecoder(column.type);
}

type Read<B> = (builder: B, source: ByteSource, at: number, length: number) => void;

function decoder<B extends ColumnBuilder>(builder: B, read: Read<B>): FieldDecoder {
  return {
    read: (source, at, length) => read(builder, source, at, length),
    readNull: () => builder.appendNull(),
    finish: () => builder.finish(),
  };
}

const readShort: Read<NumberBuilder<Int16Array> | NumberBuilder<Uint8Array>> = (builder, { view }, at) =>
  builder.append(view.getInt16(at));
const readLong: Read<Int64Builder> = (builder, { view }, at) => builder.append(view.getInt32(at + 4), view.getInt32(at));
const readText: Read<BytesBuilder> = (builder, source, at, length) => builder.appendFrom(source, at, at + length);
const readDouble: Read<NumberBuilder<Float64Array>> = (builder, { view }, at) => builder.append(view.getFloat64(at));
const readNumeric: Read<Int64Builder> = (builder, { view }, at) => builder.appendBigInt(uint64Of(view, at));

function plainDecoder(type: ColumnType): FieldDecoder {
  switch (type) {
    case 'string':
      return decoder(utf8Builder(), readText);
    case 'json':
      return decoder(utf8Builder(), (builder, { bytes }, at, length) => {
        checkJsonVersion(bytes[at]);
        const to = builder.reserve(length);
        builder.used = to + compactJson(bytes, at + 1, at + length, builder.bytes, to);
        builder.endValue();
      });
    case 'binary':
      return decoder(binaryBuilder(), readText);
    case 'bool':
      return decoder(new BoolBuilder(), (builder, { bytes }, at) => builder.append(bytes[at] !== 0));
    case 'int16':
      return decoder(NumberBuilder.int16(), readShort);
    case 'uint8':
      return decoder(NumberBuilder.uint8(), (builder, { view }, at) => builder.append(within(view.getInt16(at), 0, 255)));
    case 'int32':
      return decoder(NumberBuilder.int32(), (builder, { view }, at) => builder.append(view.getInt32(at)));
    case 'date':
      return decoder(NumberBuilder.date(), (builder, { view }, at) => builder.append(view.getInt32(at) + DAYS_1970_TO_2000));
    case 'uint32':
      return decoder(NumberBuilder.uint32(), (builder, { view }, at) => {
        within(view.getInt32(at), 0, 0);
        builder.append(view.getUint32(at + 4));
      });
    case 'int64':
      return decoder(int64Builder(), readLong);
    case 'uint64':
      return decoder(uint64Builder(), readNumeric);
    case 'decimal':
      return decoder(new DecimalBuilder(), (builder, { view }, at) => builder.append(decimalOf(view, at)));
    case 'float32':
      return decoder(NumberBuilder.float32(), (builder, { view }, at) => builder.append(view.getFloat32(at)));
    case 'float64':
      return decoder(NumberBuilder.float64(), readDouble);
    case 'list<int64>':
      return listDecoder(int64Builder(), readLong);
    case 'list<uint64>':
      return listDecoder(uint64Builder(), readNumeric);
    case 'list<float64>':
      return listDecoder(NumberBuilder.float64(), readDouble);
    case 'list<string>':
      return listDecoder(utf8Builder(), readText);
    default:
      throw new RangeError(`columns of type ${type} cannot be read back`);
  }
}

function within(value: number, min: number, max: number): number {
  if (value < min || value > max) throw new RangeError(`a number is outside of ${min} to ${max} in its first part`);
  return value;
}

function checkJsonVersion(version: number | undefined): void {
  if (version !== 1) throw new RangeError(`jsonb comes in version ${version}, expected 1`);
}

const scratch = new WideInteger();

/** A decimal from numeric's binary form. */
function decimalOf(view: DataView, at: number): WideInteger {
  const digits = view.getInt16(at);
  const sign = view.getUint16(at + 4);
  scratch.clear();
  let fits = sign === 0 || sign === NEGATIVE;
  const scale = (digits - 1 - view.getInt16(at + 2)) * NUMERIC_DIGITS;
  // Digits of the last group behind the last one that a decimal has: only zeros, which would take more than 256 bits.
  const excess = Math.min(Math.max(scale - DECIMAL_SCALE, 0), NUMERIC_DIGITS);
  for (let i = 0; i < digits; i++) {
    const unit = i === digits - 1 ? 10 ** excess : 1;
    const group = view.getUint16(at + 8 + i * 2) / unit;
    fits &&= Number.isInteger(group) && scratch.multiplyAdd(NUMERIC_DIGIT / unit, group);
  }
  if (!fits || !toDecimalScale(scratch, scale - excess))
    throw new RangeError('a numeric has more digits than a decimal can hold');
  scratch.isNegative = sign === NEGATIVE;
  return scratch;
}

/** An unsigned integer from numeric's binary form (PostgreSQL, numeric_send). */
function uint64Of(view: DataView, at: number): bigint {
  const digits = view.getInt16(at);
  const weight = view.getInt16(at + 2);
  let value = 0n;
  for (let i = 0; i <= weight; i++) value = value * NUMERIC_BASE + (i < digits ? BigInt(view.getUint16(at + 8 + i * 2)) : 0n);
  const isWhole = digits <= Math.max(weight + 1, 0);
  if (view.getUint16(at + 4) !== 0 || !isWhole || value > UINT64_MAX)
    throw new RangeError('a numeric is no unsigned 64-bit integer');
  return value;
}

interface Items extends ColumnBuilder {
  truncate(length: number): void;
}

function listDecoder<B extends Items>(items: B, readItem: Read<B>): FieldDecoder {
  return decoder(new ListBuilder(items), (list, source, start) => {
    const { view } = source;
    const dimensions = view.getInt32(start);
    if (dimensions > 1) throw new RangeError('an array has more than one dimension');
    let at = start + 20;
    for (let left = dimensions === 0 ? 0 : view.getInt32(start + 12); left > 0; left--) {
      const length = view.getInt32(at);
      at += 4;
      if (length < 0) items.appendNull();
      else readItem(items, source, at, length);
      at += Math.max(length, 0);
    }
    list.endRow();
  });
}

/** Microseconds since 2000 and the nanoseconds below make nanoseconds since 1970, exact without a BigInt per value. */
class TimestampDecoder implements FieldDecoder {
  private readonly builder = timestampBuilder();
  /** Microseconds since 2000, upper half (signed) and lower half. */
  private high = 0;
  private low = 0;
  private isNull = false;

  read({ view }: ByteSource, at: number): void {
    this.isNull = false;
    this.high = view.getInt32(at);
    this.low = view.getUint32(at + 4);
  }

  readNull(): void {
    this.isNull = true;
  }

  readNanos({ view }: ByteSource, at: number): void {
    if (this.isNull) return this.builder.appendNull();
    const product = this.low * 1000 + (at < 0 ? 0 : view.getInt16(at)) + EPOCH_LOW;
    const carry = Math.floor(product / TWO_32);
    const top = this.high * 1000 + EPOCH_HIGH + carry;
    if (top < -0x8000_0000 || top > 0x7fff_ffff) throw new RangeError('a timestamp is outside of 64-bit nanoseconds');
    this.builder.append(product - carry * TWO_32, top);
  }

  finish(): Data {
    return this.builder.finish();
  }
}

/** Rows as numbers of shared values. */
class Shared {
  readonly interner = new Interner(SHARED_MAX);
  private readonly ids = NumberBuilder.int32();

  read({ bytes }: ByteSource, from: number, to: number): void {
    this.ids.append(this.interner.intern(bytes, from, to));
  }

  readNull(): void {
    this.ids.appendNull();
  }

  finish(values: Data): Data {
    return dictionaryData(this.ids.finish(), values);
  }
}

class SharedTextDecoder implements FieldDecoder {
  private readonly shared = new Shared();

  read(source: ByteSource, at: number, length: number): void {
    this.shared.read(source, at, at + length);
  }

  readNull(): void {
    this.shared.readNull();
  }

  finish(): Data {
    return this.shared.finish(this.shared.interner.values.finish());
  }
}

/** Equal jsonb texts are parsed once. */
class AttributesDecoder implements FieldDecoder {
  private readonly shared = new Shared();

  read(source: ByteSource, at: number, length: number): void {
    checkJsonVersion(source.bytes[at]);
    this.shared.read(source, at + 1, at + length);
  }

  readNull(): void {
    this.shared.readNull();
  }

  finish(): Data {
    const { values, size } = this.shared.interner;
    const maps = new AttributesBuilder();
    for (let i = 0; i < size; i++) appendAttributes(Buffer.from(values.valueAt(i)).toString('utf8'), maps);
    return this.shared.finish(maps.finish());
  }
}
