/**
 * Schemas of foreign Arrow streams (Arrow `Schema.fbs`), read into plain descriptions.
 * Refused: big endian, types that no column can hold, and more fields than a table may have.
 */
import { LIMITS } from '../core/limits';
import type { FlatTable } from './flatbuffer';
import { corrupt } from './foreign-error';

export type TimeUnit = 's' | 'ms' | 'us' | 'ns';

/** What a field holds, however it is encoded. */
export type ForeignType =
  | { readonly kind: 'null' | 'bool' | 'list' | 'map' | 'struct' }
  | { readonly kind: 'int'; readonly bits: 8 | 16 | 32 | 64; readonly signed: boolean }
  | { readonly kind: 'float'; readonly bits: 32 | 64 }
  | { readonly kind: 'utf8' | 'binary' | 'fixed_binary' }
  /** Two's complement in units of 10^-scale; decimals of 32 and 64 bits have become such of 128. */
  | { readonly kind: 'decimal'; readonly precision: number; readonly scale: number; readonly bits: 128 | 256 }
  | { readonly kind: 'timestamp'; readonly unit: TimeUnit }
  | { readonly kind: 'date'; readonly unit: 'day' | 'ms' };

export interface ForeignField {
  readonly name: string;
  readonly type: ForeignType;
  /** 64-bit offsets (LargeUtf8, LargeBinary, LargeList, LargeListView). */
  readonly isLarge: boolean;
  /** Utf8View, BinaryView, ListView and LargeListView, which become Utf8, Binary and List. */
  readonly isView?: boolean;
  /** Bytes of a `fixed_binary` or `decimal` value; HALF_BYTES for float16, which becomes float32; otherwise 0. */
  readonly byteWidth: number;
  /** Items in every value of a FixedSizeList, which becomes a List. */
  readonly listSize?: number;
  /** Present for Time and Duration, which become int64 nanoseconds: nanoseconds of a tick and bits of a value. */
  readonly ticks?: { readonly ns: bigint; readonly bits: 32 | 64 };
  readonly children: readonly ForeignField[];
  /** Present when the field holds indexes into a dictionary of `type`. */
  readonly dictionary: ForeignDictionary | undefined;
}

export interface ForeignDictionary {
  readonly id: number;
  readonly bits: 8 | 16 | 32 | 64;
  readonly signed: boolean;
}

/** Bytes of a float16. */
export const HALF_BYTES = 2;

const SCHEMA = { endianness: 0, fields: 1 } as const;
const FIELD = { name: 0, typeType: 2, type: 3, dictionary: 4, children: 5 } as const;
const DICTIONARY = { id: 0, indexType: 1, kind: 3 } as const;
const DEPTH_MAX = 8;
/** Fields of all depths; the same bytes may describe many. */
const FIELDS_MAX = LIMITS.streamColumnsMax * 2;

const TYPE_NAMES: readonly string[] = (
  'none Null Int FloatingPoint Binary Utf8 Bool Decimal Date Time Timestamp Interval List Struct Union FixedSizeBinary ' +
  'FixedSizeList Map Duration LargeBinary LargeUtf8 LargeList RunEndEncoded BinaryView Utf8View ListView LargeListView'
).split(' ');

/** The fields of a schema message. Throws IngestError `invalid_argument`. */
export function readSchema(schema: FlatTable): ForeignField[] {
  if (schema.int16(SCHEMA.endianness, 0) !== 0) throw corrupt('big-endian data is not supported');
  const budget = { fields: FIELDS_MAX };
  const fields = Array.from(schema.tables(SCHEMA.fields), (field) => readField(field, '', 0, budget));
  if (fields.length > LIMITS.streamColumnsMax) throw corrupt(`a stream has at most ${LIMITS.streamColumnsMax} columns`);
  const names = new Set<string>();
  for (const { name } of fields) {
    if (names.has(name)) throw corrupt(`column ${name} is there twice`);
    names.add(name);
  }
  return fields;
}

function readField(field: FlatTable, parent: string, depth: number, budget: { fields: number }): ForeignField {
  if (depth > DEPTH_MAX) throw corrupt(`the column ${parent} is nested deeper than ${DEPTH_MAX} levels`);
  if (--budget.fields < 0) throw corrupt(`the schema has more than ${FIELDS_MAX} fields`);
  const name = field.string(FIELD.name);
  const path = parent === '' ? name : `${parent}.${name}`;
  const typeName = TYPE_NAMES[field.uint8(FIELD.typeType, 0)] ?? 'unknown';
  const details = field.table(FIELD.type);
  const type = details === undefined ? undefined : readType(typeName, details, path);
  if (type === undefined || details === undefined)
    throw corrupt(`column ${path} has the type ${typeName}, which is not supported`);
  const children = Array.from(field.tables(FIELD.children), (child) => readField(child, path, depth + 1, budget));
  checkChildren(type, children, path);
  const layout = { isLarge: typeName.startsWith('Large'), byteWidth: byteWidthOf(type, details, path) };
  const dictionary = readDictionary(field, path);
  return { name, type, ...layout, ...readForm(typeName, details, path), children, dictionary };
}

/** How the values lie in the body, where their type alone does not say it. */
function readForm(typeName: string, details: FlatTable, path: string): Pick<ForeignField, 'isView' | 'listSize' | 'ticks'> {
  const ticks = readTicks(typeName, details);
  if (ticks !== undefined) return { ticks };
  if (typeName.endsWith('View')) return { isView: true };
  if (typeName !== 'FixedSizeList') return {};
  const listSize = details.int32(0, 0);
  if (listSize < 1) throw corrupt(`column ${path} has lists of ${listSize} items`);
  return { listSize };
}

function byteWidthOf(type: ForeignType, details: FlatTable, path: string): number {
  if (type.kind === 'decimal') return details.int32(2, 128) / 8;
  if (type.kind === 'float' && details.int16(0, 0) === 0) return HALF_BYTES;
  if (type.kind !== 'fixed_binary') return 0;
  const byteWidth = details.int32(0, 0);
  if (byteWidth < 1) throw corrupt(`column ${path} has values of ${byteWidth} bytes`);
  return byteWidth;
}

/** Digits that fit into a decimal of so many bits. */
const DECIMAL_DIGITS: Readonly<Record<number, number | undefined>> = { 32: 9, 64: 18, 128: 38, 256: 76 };

function readDecimal(details: FlatTable, path: string): ForeignType {
  const precision = details.int32(0, 0);
  const scale = details.int32(1, 0);
  const bits = details.int32(2, 128);
  const digits = DECIMAL_DIGITS[bits];
  if (digits === undefined) throw corrupt(`column ${path} has decimals of ${bits} bits`);
  if (precision < 1 || precision > digits || Math.abs(scale) > digits) {
    throw corrupt(`column ${path} has decimals of ${precision} digits, ${scale} of them behind the point, in ${bits} bits`);
  }
  return { kind: 'decimal', precision, scale, bits: bits === 256 ? 256 : 128 };
}

function readDictionary(field: FlatTable, path: string): ForeignDictionary | undefined {
  const dictionary = field.table(FIELD.dictionary);
  if (dictionary === undefined) return undefined;
  if (dictionary.int16(DICTIONARY.kind, 0) !== 0) throw corrupt(`column ${path} has an unknown kind of dictionary`);
  const indexes = dictionary.table(DICTIONARY.indexType);
  const { bits, signed } = indexes === undefined ? { bits: 32 as const, signed: true } : readInt(indexes, path);
  return { id: dictionary.int64(DICTIONARY.id), bits, signed };
}

function readInt(details: FlatTable, path: string): { bits: 8 | 16 | 32 | 64; signed: boolean } {
  const bits = details.int32(0, 0);
  if (bits !== 8 && bits !== 16 && bits !== 32 && bits !== 64) throw corrupt(`column ${path} has integers of ${bits} bits`);
  return { bits, signed: details.bool(1) };
}

const UNITS: readonly (TimeUnit | undefined)[] = ['s', 'ms', 'us', 'ns'];

const UNIT_NS: readonly (bigint | undefined)[] = [1_000_000_000n, 1_000_000n, 1_000n, 1n];

/** Time and Duration; undefined for other types, and for a width that does not go with the unit (Schema.fbs, Time). */
function readTicks(name: string, details: FlatTable): ForeignField['ticks'] {
  if (name !== 'Time' && name !== 'Duration') return undefined;
  const unit = details.int16(0, 1);
  const ns = UNIT_NS[unit];
  const bits = name === 'Duration' || unit > 1 ? 64 : 32;
  return ns === undefined || (name === 'Time' && details.int32(1, 32) !== bits) ? undefined : { ns, bits };
}

/** Undefined for a type that is not supported. */
function readType(name: string, details: FlatTable, path: string): ForeignType | undefined {
  switch (name) {
    case 'Null':
      return { kind: 'null' };
    case 'Bool':
      return { kind: 'bool' };
    case 'Int':
      return { kind: 'int', ...readInt(details, path) };
    case 'FloatingPoint': {
      const precision = details.int16(0, 0);
      return precision >= 0 && precision <= 2 ? { kind: 'float', bits: precision === 2 ? 64 : 32 } : undefined;
    }
    case 'Decimal':
      return readDecimal(details, path);
    case 'Utf8':
    case 'LargeUtf8':
    case 'Utf8View':
      return { kind: 'utf8' };
    case 'Binary':
    case 'LargeBinary':
    case 'BinaryView':
      return { kind: 'binary' };
    case 'FixedSizeBinary':
      return { kind: 'fixed_binary' };
    case 'Timestamp': {
      const unit = UNITS[details.int16(0, 0)];
      return unit === undefined ? undefined : { kind: 'timestamp', unit };
    }
    case 'Time':
    case 'Duration':
      return readTicks(name, details) && { kind: 'int', bits: 64, signed: true };
    case 'Date': {
      const unit = details.int16(0, 1);
      return unit === 0 || unit === 1 ? { kind: 'date', unit: unit === 0 ? 'day' : 'ms' } : undefined;
    }
    case 'List':
    case 'LargeList':
    case 'ListView':
    case 'LargeListView':
    case 'FixedSizeList':
      return { kind: 'list' };
    case 'Map':
      return { kind: 'map' };
    case 'Struct':
      return { kind: 'struct' };
    default:
      return undefined;
  }
}

function checkChildren(type: ForeignType, children: readonly ForeignField[], path: string): void {
  const [entries] = children;
  switch (type.kind) {
    case 'struct':
      return;
    case 'list':
      if (children.length === 1) return;
      break;
    case 'map':
      if (children.length === 1 && entries.type.kind === 'struct' && entries.children.length === 2 && !entries.dictionary) return;
      break;
    case 'null':
    case 'bool':
    case 'int':
    case 'float':
    case 'decimal':
    case 'utf8':
    case 'binary':
    case 'fixed_binary':
    case 'timestamp':
    case 'date':
      if (children.length === 0) return;
      break;
    default:
      break;
  }
  throw corrupt(`column ${path} has the wrong number of children for its type`);
}
