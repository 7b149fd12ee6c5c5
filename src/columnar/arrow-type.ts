import {
  Binary,
  Bool,
  type DataType,
  DateDay,
  Field,
  Float32,
  Float64,
  Int16,
  Int32,
  Int64,
  List,
  TimestampNanosecond,
  Uint8,
  Uint32,
  Uint64,
  Utf8,
} from 'apache-arrow';
import type { ColumnType } from '../core/table-schema';
import { ATTRIBUTES_TYPE } from './attributes';
import { DECIMAL_TYPE } from './decimal';

/** The plain Arrow type in which a logical column travels (core/table-schema.ts); a dictionary over it is as good. */
export function arrowType(type: ColumnType): DataType {
  return ARROW_TYPES[type];
}

/** The type in words: equal for types that mean the same, whatever class they are of (Int32, or Int_ as IPC readers make it). */
export function typeText(type: DataType): string {
  // oxlint-disable-next-line typescript/no-base-to-string -- every DataType has a toString of its own
  return type.toString();
}

const list = (item: DataType): DataType => new List(new Field('item', item, true));

const ARROW_TYPES: Readonly<Record<ColumnType, DataType>> = {
  timestamp: new TimestampNanosecond('UTC'),
  string: new Utf8(),
  json: new Utf8(),
  attributes: ATTRIBUTES_TYPE,
  bool: new Bool(),
  int16: new Int16(),
  int32: new Int32(),
  int64: new Int64(),
  uint8: new Uint8(),
  uint32: new Uint32(),
  uint64: new Uint64(),
  decimal: DECIMAL_TYPE,
  float32: new Float32(),
  float64: new Float64(),
  binary: new Binary(),
  date: new DateDay(),
  'list<uint64>': list(new Uint64()),
  'list<int64>': list(new Int64()),
  'list<float64>': list(new Float64()),
  'list<string>': list(new Utf8()),
};

/** Every column type there is. */
export const COLUMN_TYPES = Object.keys(ARROW_TYPES) as ColumnType[];
