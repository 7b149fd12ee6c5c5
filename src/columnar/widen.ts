/**
 * Batches of an older version of a table in the form of the one in force: the WAL keeps rows as they were accepted, and columns
 * may have become wider since (core/type-lattice.ts). Every value is kept: integers that became doubles also go to the column
 * that keeps them exactly (ColumnSchema.exactOf).
 */
import { type Data, DataType, Float64, Int16, Int32, Int64, makeData, type RecordBatch, Uint32, Uint64 } from 'apache-arrow';
import { ATTRIBUTE_KIND, type ColumnSchema, type ColumnType, type TableSchema } from '../core/table-schema';
import { isNumeric } from '../core/type-lattice';
import { arrowType, COLUMN_TYPES, typeText } from './arrow-type';
import { utf8Builder } from './bytes-builder';
import { expandDictionary } from './concat';
import { DECIMAL_BITS, DecimalBuilder, decimalTextAt, integerLoader, toDecimalScale, WideInteger } from './decimal';
import { positionOf, viewColumn } from './read';
import { columnData, recordBatch } from './record-batch';

/**
 * The batch with every column in the type that the schema gives it, the batch itself when nothing is to be done. A column whose
 * type is not below the schema's is left as it is, for the sink to refuse.
 */
export function widenBatch(batch: RecordBatch, schema: TableSchema): RecordBatch {
  const byName = new Map(schema.columns.map((column) => [column.name, column]));
  const { fields } = batch.schema;
  const isCurrent = fields.every(({ name, type }) => {
    const column = byName.get(name);
    return column === undefined || hasType(type, column.type);
  });
  const hasTime = columnData(batch, schema.timeColumn)?.nullCount === 0;
  if (isCurrent && hasTime) return batch;
  const columns = new Map<string, Data>();
  for (const [i, { name }] of fields.entries()) {
    const data = batch.data.children[i];
    const column = byName.get(name);
    columns.set(name, column === undefined ? data : widened(data, column));
  }
  for (const { name, exactOf } of schema.columns) {
    const from = exactOf === undefined ? undefined : columnData(batch, exactOf);
    const type = from === undefined ? undefined : columnTypeOf(from.type);
    const isInteger = type !== undefined && type.includes('int') && type !== 'uint64' && !type.startsWith('list');
    if (from !== undefined && isInteger && !columns.has(name)) columns.set(name, numbers(plain(from), 'int64'));
  }
  if (!hasTime) fillTime(columns, schema);
  return recordBatch(Array.from(columns, ([name, data]) => ({ name, data })));
}

/**
 * Two servers that made one table at once, with another time column each: the shared registry keeps one of them, and rows
 * accepted for the other have their time in a column that is now an ordinary one.
 */
function fillTime(columns: Map<string, Data>, schema: TableSchema): void {
  const other = schema.columns.find(({ name, type }) => type === 'timestamp' && columns.get(name)?.nullCount === 0);
  if (other !== undefined && !columns.has(schema.timeColumn)) columns.set(schema.timeColumn, columns.get(other.name)!);
}

const plainType = (type: DataType): DataType => (DataType.isDictionary(type) ? type.dictionary : type);

const TYPE_TEXTS: ReadonlyMap<string, ColumnType> = new Map(
  // string and json travel alike; the first name stands.
  [...COLUMN_TYPES].reverse().map((type) => [typeText(arrowType(type)), type]),
);

/** The column type that travels in this Arrow type; `string` also for json. */
function columnTypeOf(type: DataType): ColumnType | undefined {
  const value = plainType(type);
  if (DataType.isTimestamp(value)) return 'timestamp';
  if (DataType.isMap(value)) return 'attributes';
  // The text of a decimal type does not tell its width.
  if (DataType.isDecimal(value) && value.bitWidth !== DECIMAL_BITS) return undefined;
  return TYPE_TEXTS.get(typeText(value));
}

/** Does a column of this Arrow type need no conversion to hold values of the wanted type? */
export function hasType(type: DataType, wanted: ColumnType): boolean {
  const found = columnTypeOf(type);
  return found === undefined || found === wanted || (wanted === 'json' && found === 'string');
}

const plain = (data: Data): Data => (DataType.isDictionary(data.type) ? expandDictionary(data) : data);

function widened(data: Data, column: ColumnSchema): Data {
  const from = columnTypeOf(data.type);
  if (from === undefined || hasType(data.type, column.type)) return data;
  if (column.type === 'string' || column.type === 'json') return texts(plain(data), from);
  if (!isNumeric(from) || !isNumeric(column.type)) return data;
  return column.type === 'decimal' ? decimals(plain(data)) : numbers(plain(data), column.type);
}

const NUMBER_ARRAYS = {
  int16: Int16Array,
  int32: Int32Array,
  int64: BigInt64Array,
  uint32: Uint32Array,
  uint64: BigUint64Array,
  float64: Float64Array,
} as const;

const NUMBER_TYPES = {
  int16: new Int16(),
  int32: new Int32(),
  int64: new Int64(),
  uint32: new Uint32(),
  uint64: new Uint64(),
  float64: new Float64(),
} as const;

/** Numbers in a wider type; nulls stay where they are. */
function numbers(data: Data, to: ColumnType): Data {
  const target = to as keyof typeof NUMBER_ARRAYS;
  const from = data.values as ArrayLike<number | bigint>;
  const values = new NUMBER_ARRAYS[target](data.length);
  const isBig = target === 'int64' || target === 'uint64';
  for (let row = 0; row < data.length; row++) values[row] = isBig ? BigInt(from[row]) : Number(from[row]);
  return makeData({
    type: NUMBER_TYPES[target],
    length: data.length,
    nullCount: data.nullCount,
    nullBitmap: data.nullBitmap,
    data: values as Float64Array,
  } as never);
}

/** Integers as decimals. */
function decimals(data: Data): Data {
  const builder = new DecimalBuilder(data.length);
  const view = viewColumn(data);
  const value = new WideInteger();
  const load = integerLoader(data, value);
  for (let row = 0; row < data.length; row++) {
    const at = positionOf(view, row);
    if (at < 0) {
      builder.appendNull();
      continue;
    }
    load(at);
    // 20 digits at most: there is always room.
    toDecimalScale(value, 0);
    builder.append(value);
  }
  return builder.finish();
}

/** Values as text: numbers, booleans, lists and attributes as JSON, times as RFC 3339, bytes as base64. */
function texts(data: Data, from: ColumnType): Data {
  const builder = utf8Builder(data.length);
  const view = viewColumn(data);
  for (let row = 0; row < data.length; row++) {
    const at = positionOf(view, row);
    if (at < 0) builder.appendNull();
    else builder.appendString(textOf(view.values, from, at));
  }
  return builder.finish();
}

function textOf(data: Data, type: ColumnType, at: number): string {
  const { values, valueOffsets } = data as { values: ArrayLike<number | bigint>; valueOffsets: Int32Array };
  switch (type) {
    case 'timestamp':
      return timeText(values[at] as bigint);
    case 'decimal':
      return decimalTextAt(data, at);
    case 'bool':
      return String(((Number(values[at >> 3]) >> (at & 7)) & 1) === 1);
    case 'binary':
      return Buffer.from((data.values as Uint8Array).subarray(valueOffsets[at], valueOffsets[at + 1])).toString('base64');
    case 'date':
      return new Date(Number(values[at]) * 86_400_000).toISOString().slice(0, 10);
    case 'attributes':
      return attributesText(data, at);
    case 'list<uint64>':
    case 'list<int64>':
    case 'list<float64>':
    case 'list<string>':
      return listText(data, type.slice('list<'.length, -1) as ColumnType, at);
    default:
      return String(values[at]);
  }
}

function timeText(ns: bigint): string {
  const second = ns / 1_000_000_000n - (ns % 1_000_000_000n < 0n ? 1n : 0n);
  const nanos = String(ns - second * 1_000_000_000n).padStart(9, '0');
  return `${new Date(Number(second) * 1000).toISOString().slice(0, -'.000Z'.length)}.${nanos}Z`;
}

const stringAt = (data: Data, at: number): string =>
  Buffer.from((data.values as Uint8Array).subarray(data.valueOffsets[at], data.valueOffsets[at + 1])).toString();

function listText(data: Data, item: ColumnType, at: number): string {
  const items = viewColumn(data.children[0]);
  const parts: string[] = [];
  for (let i = data.valueOffsets[at]; i < data.valueOffsets[at + 1]; i++) {
    const position = positionOf(items, i);
    if (position < 0) parts.push('null');
    else if (item === 'string') parts.push(JSON.stringify(stringAt(items.values, position)));
    else parts.push(jsonNumber(textOf(items.values, item, position)));
  }
  return `[${parts.join(',')}]`;
}

/** JSON has no NaN and no infinities. */
const jsonNumber = (text: string): string => (/^-?\d/.test(text) ? text : JSON.stringify(text));

function attributesText(data: Data, at: number): string {
  const [key, value] = data.children[0].children;
  const keys = viewColumn(key);
  const kinds = viewColumn(value.children[0]);
  const valueTexts = viewColumn(value.children[1]);
  const members: string[] = [];
  for (let i = data.valueOffsets[at]; i < data.valueOffsets[at + 1]; i++) {
    const kind = (kinds.values.values as Uint8Array)[positionOf(kinds, i)];
    const text = stringAt(valueTexts.values, positionOf(valueTexts, i));
    members.push(`${JSON.stringify(stringAt(keys.values, positionOf(keys, i)))}:${attributeJson(kind, text)}`);
  }
  return `{${members.join(',')}}`;
}

/** The value of an attribute as JSON text. */
export function attributeJson(kind: number, text: string): string {
  if (kind === ATTRIBUTE_KIND.empty) return 'null';
  if (kind === ATTRIBUTE_KIND.string || kind === ATTRIBUTE_KIND.bytes) return JSON.stringify(text);
  return kind === ATTRIBUTE_KIND.double ? jsonNumber(text) : text;
}
