/** Conversion of single foreign Arrow values, by what they are and what they shall be. */
import type { Data } from 'apache-arrow';
import {
  BoolBuilder,
  type ColumnBuilder,
  type Int64Builder,
  int64Builder,
  NumberBuilder,
  timestampBuilder,
  uint64Builder,
} from '../columnar/builders';
import { type BytesBuilder, binaryBuilder, utf8Builder } from '../columnar/bytes-builder';
import { DecimalBuilder, decimalTextAt, integerLoader, toDecimalScale, WideInteger } from '../columnar/decimal';
import type { ForeignField, TimeUnit } from '../columnar/foreign-schema';
import { IngestError } from '../core/errors';
import { LIMITS } from '../core/limits';
import type { ColumnType } from '../core/table-schema';
import { jsonText, scalarText } from './arrow-json';
import { isNested } from './arrow-types';
import { type CellProblem, mismatch, NOT_A_DECIMAL, outOfRange, timeProblem, wouldFit } from './cell-problem';
import { parseDecimal } from './decimal-number';
import { type Int64Halves, isNumberText } from './json-number';
import { JsonReader } from './json-reader';
import { parseEpoch, parseTimeText } from './row-time';

/** Appends the value at a position of the source, or tells why it does not fit and appends nothing. */
export type Put = (at: number) => CellProblem | undefined;
export interface Converter {
  readonly builder: ColumnBuilder;
  readonly put: Put;
}
type Sources = ArrayLike<number | bigint>;

/** Converts values of plain (never dictionary-encoded) data. A pair of types that does not go together refuses every value. */
export function converterFor(values: Data, field: ForeignField, to: ColumnType): Converter {
  switch (to) {
    case 'int16':
      return integers(values, field, to, NumberBuilder.int16());
    case 'int32':
      return integers(values, field, to, NumberBuilder.int32());
    case 'uint8':
      return integers(values, field, to, NumberBuilder.uint8());
    case 'uint32':
      return integers(values, field, to, NumberBuilder.uint32());
    case 'int64':
      return longs(values, field, to, int64Builder());
    case 'uint64':
      return longs(values, field, to, uint64Builder());
    case 'decimal':
      return decimals(values, field);
    case 'float32':
      return floats(values, field, to, NumberBuilder.float32());
    case 'float64':
      return floats(values, field, to, NumberBuilder.float64());
    case 'timestamp':
      return times(values, field);
    case 'date':
      return dates(values, field);
    case 'string':
    case 'json':
      return texts(values, field, to);
    case 'bool':
      return refused(to, new BoolBuilder());
    case 'binary':
      return refused(to, binaryBuilder());
    case 'attributes':
    case 'list<uint64>':
    case 'list<int64>':
    case 'list<float64>':
    case 'list<string>':
      return refused(to, utf8Builder());
    default:
      throw new Error(`no conversion to ${String(to)}`);
  }
}

function refused(to: ColumnType, builder: ColumnBuilder): Converter {
  const problem = mismatch(to);
  return { builder, put: () => problem };
}

const RANGES: Partial<Record<ColumnType, readonly [min: bigint, max: bigint]>> = {
  int16: [-0x8000n, 0x7fffn],
  int32: [-0x80000000n, 0x7fffffffn],
  int64: [-(2n ** 63n), 2n ** 63n - 1n],
  uint8: [0n, 0xffn],
  uint32: [0n, 0xffffffffn],
  uint64: [0n, 2n ** 64n - 1n],
};

const NOT_WHOLE = wouldFit(mismatch('an integer'), 'float64');

function smallestType(value: bigint): ColumnType {
  if (BigInt.asIntN(32, value) === value) return 'int32';
  if (BigInt.asIntN(64, value) === value) return 'int64';
  return BigInt.asUintN(64, value) === value ? 'uint64' : 'decimal';
}

const isNumeric = ({ type }: ForeignField): boolean => type.kind === 'int' || type.kind === 'float' || type.kind === 'decimal';

/** Gives the value at a position of numeric data: decimals as bigint when they are whole, otherwise as the nearest double. */
function numberAt(values: Data, { type }: ForeignField): (at: number) => number | bigint {
  if (type.kind !== 'decimal') {
    const source = values.values as unknown as Sources;
    return (at) => source[at];
  }
  return (at) => {
    const text = decimalTextAt(values, at);
    return text.includes('.') ? Number(text) : BigInt(text);
  };
}

/** Decimals of any scale and width, and all other numbers and texts of numbers, by their digits. */
function decimals(values: Data, field: ForeignField): Converter {
  const builder = new DecimalBuilder(values.length);
  const value = new WideInteger();
  const load = decimalLoader(values, field, value);
  if (load === undefined) return refused('decimal', builder);
  const put: Put = (at) => {
    const problem = load(at);
    if (problem === undefined) builder.append(value);
    return problem;
  };
  return { builder, put };
}

const NO_DECIMAL = mismatch('a decimal number');

/** Loads a value in the scale of the column; undefined for what is no number. */
function decimalLoader(values: Data, { type }: ForeignField, value: WideInteger): Put | undefined {
  if (type.kind === 'decimal') {
    const words = values.values as Uint32Array;
    const { stride } = values;
    return (at) => {
      value.load(words, at * stride, stride);
      return toDecimalScale(value, type.scale) ? undefined : NOT_A_DECIMAL;
    };
  }
  if (type.kind === 'int') {
    const load = integerLoader(values, value);
    return (at) => {
      load(at);
      return toDecimalScale(value, 0) ? undefined : NOT_A_DECIMAL;
    };
  }
  if (type.kind === 'utf8') {
    const bytes = values.values as Uint8Array;
    const { valueOffsets } = values;
    return (at) => readDecimal(bytes, valueOffsets[at], valueOffsets[at + 1], value);
  }
  if (type.kind !== 'float') return undefined;
  const numbers = values.values as Float64Array;
  // The shortest digits that give the same double: what was written before it became one.
  return (at) => {
    const digits = Buffer.from(String(numbers[at]));
    return readDecimal(digits, 0, digits.length, value);
  };
}

/** `value` = a text that is a number, in the scale of a decimal column. */
export function readDecimal(bytes: Uint8Array, start: number, end: number, value: WideInteger): CellProblem | undefined {
  if (!isNumberText(bytes, start, end)) return NO_DECIMAL;
  return parseDecimal(bytes, start, end, value) ? undefined : NOT_A_DECIMAL;
}

/** Whole numbers, also those that came as doubles or decimals. */
function wholeNumbers(values: Data, field: ForeignField, to: ColumnType, put: (value: bigint) => void): Put {
  const source = numberAt(values, field);
  const notWhole = field.type.kind === 'decimal' ? wouldFit(NOT_WHOLE, 'decimal') : NOT_WHOLE;
  const [min, max] = RANGES[to] ?? [0n, 0n];
  return (at) => {
    const raw = source(at);
    if (typeof raw === 'number' && (field.type.kind === 'decimal' || !Number.isInteger(raw))) return notWhole;
    const value = BigInt(raw);
    if (value < min || value > max) return wouldFit(outOfRange(to), smallestType(value));
    put(value);
    return undefined;
  };
}

type SmallBuilder = ColumnBuilder & { append(value: number): void };

function integers(values: Data, field: ForeignField, to: ColumnType, builder: SmallBuilder): Converter {
  if (!isNumeric(field)) return refused(to, builder);
  return { builder, put: wholeNumbers(values, field, to, (value) => builder.append(Number(value))) };
}

function longs(values: Data, field: ForeignField, to: ColumnType, builder: Int64Builder): Converter {
  if (!isNumeric(field)) return refused(to, builder);
  return { builder, put: wholeNumbers(values, field, to, (value) => builder.appendBigInt(value)) };
}

function floats(values: Data, field: ForeignField, to: ColumnType, builder: SmallBuilder): Converter {
  if (!isNumeric(field)) return refused(to, builder);
  const source = numberAt(values, field);
  const put: Put = (at) => {
    const value = Number(source(at));
    if (to === 'float32' && Number.isFinite(value) && !Number.isFinite(Math.fround(value)))
      return wouldFit(outOfRange(to), 'float64');
    builder.append(value);
    return undefined;
  };
  return { builder, put };
}

const NS_PER: Readonly<Record<TimeUnit | 'day', bigint>> = {
  s: 1_000_000_000n,
  ms: 1_000_000n,
  us: 1000n,
  ns: 1n,
  day: 86_400_000_000_000n,
};

/** Timestamps of any unit and dates; numbers and texts as in JSON rows. */
function times(values: Data, field: ForeignField): Converter {
  const builder = timestampBuilder();
  const { type } = field;
  if (type.kind === 'timestamp' || type.kind === 'date') {
    const source = values.values as unknown as Sources;
    const factor = NS_PER[type.unit];
    const put: Put = (at) => {
      const ns = BigInt(source[at]) * factor;
      if (ns < LIMITS.timestampNsMin || ns > LIMITS.timestampNsMax) return timeProblem('out_of_range');
      builder.appendBigInt(ns);
      return undefined;
    };
    return { builder, put };
  }
  const out: Int64Halves = { low: 0, high: 0 };
  const parse = timeParser(values, field, out);
  if (parse === undefined) return refused('timestamp', builder);
  const put: Put = (at) => {
    const problem = parse(at);
    if (problem !== undefined) return timeProblem(problem);
    builder.append(out.low, out.high);
    return undefined;
  };
  return { builder, put };
}

type TimeParser = (at: number) => 'invalid_time' | 'out_of_range' | undefined;

function timeParser(values: Data, field: ForeignField, out: Int64Halves): TimeParser | undefined {
  if (field.type.kind === 'utf8') {
    const bytes = values.values as Uint8Array;
    return (at) => parseTimeText(bytes, values.valueOffsets[at], values.valueOffsets[at + 1], out);
  }
  if (!isNumeric(field)) return undefined;
  const source = numberAt(values, field);
  return (at) => {
    const value = source(at);
    if (!Number.isFinite(Number(value))) return 'invalid_time';
    const digits = Buffer.from(String(value));
    return parseEpoch(digits, 0, digits.length, out);
  };
}

function dates(values: Data, field: ForeignField): Converter {
  const builder = NumberBuilder.date();
  if (field.type.kind !== 'date') return refused('date', builder);
  const source = values.values as unknown as Sources;
  const put: Put = (at) => {
    const ms = BigInt(source[at]);
    if (ms % 86_400_000n !== 0n) return { code: 'invalid_time', message: 'expected a whole day' };
    const days = ms / 86_400_000n;
    if (BigInt.asIntN(32, days) !== days) return outOfRange('date');
    builder.append(Number(days));
    return undefined;
  };
  return { builder, put };
}

/** Strings as they are, other scalars as their text; a string for a JSON column must hold JSON. */
function texts(values: Data, field: ForeignField, to: 'string' | 'json'): Converter {
  const builder = utf8Builder();
  const { kind } = field.type;
  if (kind === 'utf8') return { builder, put: stringPut(values, to, builder) };
  if (isNested(field)) return refused(to, builder);
  if (kind !== 'int' && kind !== 'float') {
    const text = to === 'json' ? jsonText(field, values) : scalarText(field, values);
    return { builder, put: (at) => appendText(builder, text(at)) };
  }
  const source = values.values as unknown as Sources;
  const put: Put = (at) => {
    const value = source[at];
    if (to === 'json' && typeof value === 'number' && !Number.isFinite(value)) return mismatch('a number that JSON can hold');
    return appendText(builder, String(value));
  };
  return { builder, put };
}

function appendText(builder: BytesBuilder, text: string): undefined {
  builder.appendString(text);
}

function stringPut(values: Data, to: 'string' | 'json', builder: BytesBuilder): Put {
  const bytes = values.values as Uint8Array;
  const { valueOffsets } = values;
  return (at) => {
    const start = valueOffsets[at];
    const end = valueOffsets[at + 1];
    const problem = to === 'json' ? jsonProblem(bytes.subarray(start, end)) : undefined;
    if (problem === undefined) builder.append(bytes, start, end);
    return problem;
  };
}

/** Why a UTF-8 text is not JSON; undefined when it is. */
export function jsonProblem(text: Uint8Array): CellProblem | undefined {
  try {
    const reader = new JsonReader(text, LIMITS.nestingDepthMax, false);
    reader.skipValue();
    reader.expectEnd();
    return undefined;
  } catch (error) {
    if (!(error instanceof IngestError)) throw error;
    return { code: 'invalid_json', message: error.message };
  }
}
