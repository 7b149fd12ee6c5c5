/**
 * The columns of a table as a row of JSON fills them: a value is first read into a cell (converted and checked), and only
 * when the
 * whole row is sound the cells are appended, so a refused row leaves no trace. One column object per column, none per row.
 */
import type { Data } from 'apache-arrow';
import type { AttributesBuilder } from '../../columnar/attributes';
import type { BoolBuilder, ColumnBuilder, Int64Builder } from '../../columnar/builders';
import type { BytesBuilder } from '../../columnar/bytes-builder';
import { type DecimalBuilder, WideInteger } from '../../columnar/decimal';
import type { ColumnSchema, ColumnType } from '../../core/table-schema';
import { decodeBase64 } from '../base64';
import { type CellProblem, mismatch, NOT_A_DECIMAL, outOfRange, timeProblem, wouldFit } from '../cell-problem';
import { parseDecimal } from '../decimal-number';
import {
  type Int64Halves,
  isNumberText,
  isPlainInteger,
  namedDouble,
  parseDouble,
  parseInt64,
  parseUint64,
} from '../json-number';
import { JSON_BYTE, type JsonReader } from '../json-reader';
import { parseDate, parseEpoch, parseTimeText } from '../row-time';
import { isNumberStart, NOT_AN_OBJECT, readEntries } from './attribute-entries';

export abstract class Column<B extends ColumnBuilder = ColumnBuilder> {
  /** Is there a value, not null, for the open row? */
  isSet = false;

  constructor(
    readonly schema: ColumnSchema,
    protected readonly builder: B,
  ) {}

  /** Reads the value at the reader (not null, first byte `byte`) into the cell. All of it is consumed, also after a problem. */
  abstract read(reader: JsonReader, byte: number): CellProblem | undefined;

  /** Appends the cell. */
  protected abstract append(): void;

  /** Appends the cell or, without one, null, and opens the next row. */
  commit(): void {
    if (this.isSet) this.append();
    else this.builder.appendNull();
    this.isSet = false;
  }

  /** Appends rows without a value until there are `rows`. */
  fill(rows: number): void {
    while (this.builder.length < rows) this.builder.appendNull();
  }

  /** Forgets the open row. */
  drop(): void {
    this.isSet = false;
  }

  finish(): Data {
    return this.builder.finish();
  }
}

/** Skips a value that is not what the column wants. */
export function refuse(reader: JsonReader, problem: CellProblem): CellProblem {
  reader.skipValue();
  return problem;
}

export class TimestampColumn extends Column<Int64Builder> {
  readonly value: Int64Halves = { low: 0, high: 0 };

  read(reader: JsonReader, byte: number): CellProblem | undefined {
    let problem: 'invalid_time' | 'out_of_range' | undefined;
    if (byte === JSON_BYTE.quote) {
      reader.string();
      problem = parseTimeText(reader.text, reader.textStart, reader.textEnd, this.value);
    } else if (isNumberStart(byte)) {
      reader.number();
      problem = parseEpoch(reader.text, reader.textStart, reader.textEnd, this.value);
    } else {
      return refuse(reader, mismatch('a time'));
    }
    return problem === undefined ? undefined : timeProblem(problem);
  }

  setNs(ns: bigint): void {
    this.value.low = Number(BigInt.asUintN(32, ns));
    this.value.high = Number(BigInt.asUintN(32, ns >> 32n));
    this.isSet = true;
  }

  ns(): bigint {
    return BigInt.asIntN(64, (BigInt(this.value.high) << 32n) | BigInt(this.value.low));
  }

  protected append(): void {
    this.builder.append(this.value.low, this.value.high);
  }
}

/** int64 and uint64: exact, bare or quoted. */
export class Int64Column extends Column<Int64Builder> {
  readonly value: Int64Halves = { low: 0, high: 0 };

  read(reader: JsonReader, byte: number): CellProblem | undefined {
    return readInt64(reader, byte, this.schema.type === 'uint64', this.value);
  }

  protected append(): void {
    this.builder.append(this.value.low, this.value.high);
  }
}

/** Reads a bare or quoted 64-bit integer. */
export function readInt64(reader: JsonReader, byte: number, unsigned: boolean, out: Int64Halves): CellProblem | undefined {
  const type = unsigned ? 'uint64' : 'int64';
  if (byte === JSON_BYTE.quote) {
    reader.string();
    if (!isNumberText(reader.text, reader.textStart, reader.textEnd)) return mismatch('an integer');
  } else if (isNumberStart(byte)) {
    reader.number();
  } else {
    return refuse(reader, mismatch('an integer'));
  }
  const { text, textStart, textEnd } = reader;
  const problem = unsigned ? parseUint64(text, textStart, textEnd, out) : parseInt64(text, textStart, textEnd, out);
  if (problem === undefined) return undefined;
  if (problem === 'not_an_integer') return wouldFit(mismatch('an integer'), 'float64');
  const isInteger = isPlainInteger(text, textStart, textEnd);
  return wouldFit(outOfRange(type), isInteger ? 'decimal' : 'float64');
}

/** Decimals, bare or quoted, from their digits: never by way of a double. */
export class DecimalColumn extends Column<DecimalBuilder> {
  private readonly value = new WideInteger();

  read(reader: JsonReader, byte: number): CellProblem | undefined {
    if (byte === JSON_BYTE.quote) {
      reader.string();
      if (!isNumberText(reader.text, reader.textStart, reader.textEnd)) return mismatch('a decimal number');
    } else if (isNumberStart(byte)) {
      reader.number();
    } else {
      return refuse(reader, mismatch('a decimal number'));
    }
    return parseDecimal(reader.text, reader.textStart, reader.textEnd, this.value) ? undefined : NOT_A_DECIMAL;
  }

  protected append(): void {
    this.builder.append(this.value);
  }
}

const SMALL_RANGES: Partial<Record<ColumnType, readonly [min: number, max: number]>> = {
  int16: [-0x8000, 0x7fff],
  int32: [-0x80000000, 0x7fffffff],
  uint8: [0, 0xff],
  uint32: [0, 0xffffffff],
};

export type AnyNumberBuilder = ColumnBuilder & { append(value: number): void };

/** Integers of up to 32 bits. */
export class SmallIntColumn extends Column<AnyNumberBuilder> {
  private value = 0;
  private readonly scratch: Int64Halves = { low: 0, high: 0 };

  read(reader: JsonReader, byte: number): CellProblem | undefined {
    if (!isNumberStart(byte)) return refuse(reader, mismatch('an integer'));
    reader.number();
    const problem = parseInt64(reader.text, reader.textStart, reader.textEnd, this.scratch);
    if (problem === 'not_an_integer') return wouldFit(mismatch('an integer'), 'float64');
    this.value = (this.scratch.high | 0) * 4_294_967_296 + this.scratch.low;
    const [min, max] = SMALL_RANGES[this.schema.type] ?? [0, 0];
    if (problem !== undefined) return outOfRange(this.schema.type);
    if (this.value >= min && this.value <= max) return undefined;
    return wouldFit(outOfRange(this.schema.type), (this.value | 0) === this.value ? 'int32' : 'int64');
  }

  protected append(): void {
    this.builder.append(this.value);
  }
}

/** float32 and float64: numbers, and NaN and the infinities as strings. */
export class FloatColumn extends Column<AnyNumberBuilder> {
  value = 0;
  /** The exact integer, when the number is written as one that int64 holds. */
  readonly exact: Int64Halves = { low: 0, high: 0 };
  isExact = false;

  read(reader: JsonReader, byte: number): CellProblem | undefined {
    this.isExact = false;
    if (byte === JSON_BYTE.quote) {
      reader.string();
      const named = namedDouble(reader.text, reader.textStart, reader.textEnd);
      if (named === undefined) return mismatch('a number');
      this.value = named;
      return undefined;
    }
    if (!isNumberStart(byte)) return refuse(reader, mismatch('a number'));
    reader.number();
    const { text, textStart, textEnd } = reader;
    this.value = parseDouble(text, textStart, textEnd);
    this.isExact = isPlainInteger(text, textStart, textEnd) && parseInt64(text, textStart, textEnd, this.exact) === undefined;
    const stored = this.schema.type === 'float32' ? Math.fround(this.value) : this.value;
    if (Number.isFinite(stored)) return undefined;
    return Number.isFinite(this.value) ? wouldFit(outOfRange(this.schema.type), 'float64') : outOfRange(this.schema.type);
  }

  protected append(): void {
    this.builder.append(this.value);
  }
}

export class BoolColumn extends Column<BoolBuilder> {
  private value = false;

  read(reader: JsonReader, byte: number): CellProblem | undefined {
    if (byte !== JSON_BYTE.t && byte !== JSON_BYTE.f) return refuse(reader, mismatch('true or false'));
    reader.word();
    this.value = byte === JSON_BYTE.t;
    return undefined;
  }

  protected append(): void {
    this.builder.append(this.value);
  }
}

export type TextBuilder = ColumnBuilder & { append(source: Uint8Array, start: number, end: number): void };

/** Strings as they are, other scalars as their JSON text; with `nested` also arrays and objects. */
export class TextColumn extends Column<TextBuilder> {
  /** First byte of the value. */
  firstByte = 0;
  isInteger = false;
  private text: Uint8Array = new Uint8Array(0);
  private start = 0;
  private end = 0;

  constructor(
    schema: ColumnSchema,
    builder: TextBuilder,
    private readonly nested = false,
  ) {
    super(schema, builder);
  }

  read(reader: JsonReader, byte: number): CellProblem | undefined {
    this.firstByte = byte;
    if (byte === JSON_BYTE.quote) {
      reader.string();
      this.set(reader.text, reader.textStart, reader.textEnd);
      return undefined;
    }
    const start = reader.pos;
    reader.skipValue();
    if (!this.nested && (byte === JSON_BYTE.openObject || byte === JSON_BYTE.openArray)) return mismatch('a string');
    this.isInteger = isNumberStart(byte) && isPlainInteger(reader.bytes, start, reader.pos);
    this.set(reader.bytes, start, reader.pos);
    return undefined;
  }

  set(text: Uint8Array, start: number, end: number): void {
    this.text = text;
    this.start = start;
    this.end = end;
    this.isSet = true;
  }

  protected append(): void {
    this.builder.append(this.text, this.start, this.end);
  }
}

/** Any value, as the text it has in the request. */
export class JsonColumn extends Column<BytesBuilder> {
  private bytes: Uint8Array = new Uint8Array(0);
  private start = 0;
  private end = 0;

  read(reader: JsonReader): undefined {
    this.bytes = reader.bytes;
    this.start = reader.pos;
    reader.skipValue();
    this.end = reader.pos;
  }

  protected append(): void {
    this.builder.append(this.bytes, this.start, this.end);
  }
}

export class BinaryColumn extends Column<BytesBuilder> {
  private value: Uint8Array = new Uint8Array(0);

  read(reader: JsonReader, byte: number): CellProblem | undefined {
    if (byte !== JSON_BYTE.quote) return refuse(reader, mismatch('a base64 string'));
    reader.string();
    const bytes = decodeBase64(reader.text, reader.textStart, reader.textEnd);
    if (bytes === undefined) return { code: 'invalid_value', message: 'the string is not base64' };
    this.value = bytes;
    return undefined;
  }

  protected append(): void {
    this.builder.append(this.value, 0, this.value.length);
  }
}

/** Days: `2024-02-29`, or the number of days since 1970. */
export class DateColumn extends Column<AnyNumberBuilder> {
  private value = 0;
  private readonly scratch: Int64Halves = { low: 0, high: 0 };

  read(reader: JsonReader, byte: number): CellProblem | undefined {
    if (byte === JSON_BYTE.quote) {
      reader.string();
      const days = parseDate(reader.text, reader.textStart, reader.textEnd);
      if (days === undefined) return { code: 'invalid_time', message: 'expected a date such as 2024-02-29' };
      this.value = days;
      return undefined;
    }
    if (!isNumberStart(byte)) return refuse(reader, mismatch('a date'));
    reader.number();
    const problem = parseInt64(reader.text, reader.textStart, reader.textEnd, this.scratch);
    if (problem === 'not_an_integer') return mismatch('a date');
    this.value = this.scratch.low | 0;
    return problem !== undefined || this.scratch.high !== (this.value < 0 ? 0xffffffff : 0) ? outOfRange('a date') : undefined;
  }

  protected append(): void {
    this.builder.append(this.value);
  }
}

/** Entries go straight to the builder's open row, which can be taken back; an absent value is an empty map. */
export class AttributesColumn extends Column<AttributesBuilder> {
  read(reader: JsonReader, byte: number): CellProblem | undefined {
    return byte === JSON_BYTE.openObject ? readEntries(reader, this.builder) : refuse(reader, NOT_AN_OBJECT);
  }

  /** For further entries of the open row. */
  get entries(): AttributesBuilder {
    return this.builder;
  }

  protected append(): void {
    this.builder.endRow();
  }

  override drop(): void {
    super.drop();
    this.builder.dropRow();
  }
}
