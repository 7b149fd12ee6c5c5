/**
 * Columns of foreign Arrow data as columns of a table's types. What has the right form already is taken as it is; everything
 * else is
 * converted value by value, exactly or not at all. Values that do not fit are reported by row and are null in the result.
 */
import { type Data, DataType, type Decimal, Field, Int32, List, makeData, Struct, Uint8, Utf8 } from 'apache-arrow';
import { mapData } from '../columnar/attributes';
import { utf8Builder } from '../columnar/bytes-builder';
import { expandDictionary } from '../columnar/concat';
import { DECIMAL_BITS, DECIMAL_SCALE, DECIMAL_TYPE, DECIMAL_WORDS, WideInteger } from '../columnar/decimal';
import type { ForeignField } from '../columnar/foreign-schema';
import { dictionaryData } from '../columnar/nested-builders';
import { dictionaryValues, halvesOf, positionOf, viewColumn } from '../columnar/read';
import { LIMITS } from '../core/limits';
import { ATTRIBUTE_KIND, type ColumnType } from '../core/table-schema';
import { mapAttributes, structAttributes } from './arrow-attributes';
import { jsonText } from './arrow-json';
import { columnTypeOf, isKindAndText, isNested } from './arrow-types';
import { converterFor, jsonProblem } from './arrow-values';
import { type CellProblem, mismatch, NOT_A_DECIMAL, timeProblem } from './cell-problem';

/** A column of a foreign stream. */
export interface ForeignColumn {
  readonly field: ForeignField;
  readonly data: Data;
}

/** Called for every row whose value does not fit. */
export type ReportRow = (row: number, problem: CellProblem) => void;

/** The field's values as a column of type `to`. `data` comes from `ForeignStream`, so its form is sound. */
export function convertColumn(data: Data, field: ForeignField, to: ColumnType, report: ReportRow): Data {
  const { kind } = field.type;
  if (kind === 'map' && to === 'attributes' && field.children[0].children[0].type.kind === 'utf8') {
    return convertMap(data, field, report);
  }
  if (kind === 'struct' && to === 'attributes') return withValidity(structAttributes(field, data), data);
  if (kind === 'list' && to.startsWith('list<')) return convertList(data, field, to, report);
  if (isNested(field)) return to === 'json' ? nestedJson(data, field) : convertValues(data, field, to, report);
  if (kind === 'utf8' && to === 'json' && allJson(data)) return data;
  if (!isSameForm(field, to)) return convertValues(data, field, to, report);
  if (to === 'timestamp') checkTimes(data, report);
  return to === 'decimal' ? sameDecimals(data, report) : data;
}

/** Structs, maps and lists as JSON; of a dictionary, each value once. */
function nestedJson(data: Data, field: ForeignField): Data {
  if (DataType.isDictionary(data.type)) {
    const { indexes } = viewColumn(data);
    const { length, nullCount, nullBitmap } = data;
    const plain = makeData({ type: new Int32(), length, nullCount, nullBitmap, data: indexes });
    return dictionaryData(plain, nestedJson(dictionaryValues(data), field));
  }
  const text = jsonText(field, data);
  const view = viewColumn(data);
  const builder = utf8Builder(data.length);
  for (let row = 0; row < data.length; row++) {
    if (positionOf(view, row) < 0) builder.appendNull();
    else builder.appendString(text(row));
  }
  return builder.finish();
}

/** Is every text JSON? */
function allJson(data: Data): boolean {
  const view = viewColumn(data);
  const { values, valueOffsets } = view.values;
  // The values of a dictionary are read once.
  const rows = view.indexes === undefined ? view : viewColumn(view.values);
  for (let row = 0; row < rows.values.length; row++) {
    const at = positionOf(rows, row);
    if (at >= 0 && jsonProblem((values as Uint8Array).subarray(valueOffsets[at], valueOffsets[at + 1])) !== undefined)
      return false;
  }
  return true;
}

/** Decimals of the column's own scale and width. Their precision may be another one, and a value may be beyond that of the column. */
function sameDecimals(data: Data, report: ReportRow): Data {
  const view = viewColumn(data);
  const words = view.values.values as Uint32Array;
  const value = new WideInteger();
  for (let row = 0; row < data.length; row++) {
    const at = positionOf(view, row);
    if (at < 0) continue;
    value.load(words, at * DECIMAL_WORDS, DECIMAL_WORDS);
    if (!value.isDecimal) report(row, NOT_A_DECIMAL);
  }
  if (DataType.isDictionary(data.type) || (data.type as Decimal).precision === DECIMAL_TYPE.precision) return data;
  return data.clone(DECIMAL_TYPE);
}

const ITEM_TYPES: Partial<Record<ColumnType, ColumnType>> = {
  'list<int64>': 'int64',
  'list<uint64>': 'uint64',
  'list<float64>': 'float64',
  'list<string>': 'string',
};

/** Does the Arrow type of the field (as `ForeignStream` gives it) carry this column type? */
function isSameForm(field: ForeignField, to: ColumnType): boolean {
  const { type } = field;
  if (type.kind === 'timestamp') return to === 'timestamp' && type.unit === 'ns';
  if (type.kind === 'date') return to === 'date' && type.unit === 'day';
  if (type.kind === 'decimal') {
    const isWide = type.bits === DECIMAL_BITS && type.scale === DECIMAL_SCALE;
    return to === 'decimal' && isWide && (field.dictionary === undefined || type.precision === DECIMAL_TYPE.precision);
  }
  // int8 and uint16 are wider in the table than they are in Arrow.
  if (type.kind === 'int' && (type.signed ? type.bits === 8 : type.bits === 16)) return false;
  return columnTypeOf(field) === to;
}

/** Value by value. */
function convertValues(data: Data, field: ForeignField, to: ColumnType, report: ReportRow): Data {
  const view = viewColumn(data);
  const { builder, put } = converterFor(view.values, field, to);
  for (let row = 0; row < data.length; row++) {
    const at = positionOf(view, row);
    const problem = at < 0 ? undefined : put(at);
    if (at < 0 || problem !== undefined) builder.appendNull();
    if (problem !== undefined) report(row, problem);
  }
  return builder.finish();
}

const MIN_HIGH = Number(LIMITS.timestampNsMin >> 32n);
const MIN_LOW = Number(BigInt.asUintN(32, LIMITS.timestampNsMin));

/** Nanoseconds before 1900 cannot be stored. */
function checkTimes(data: Data, report: ReportRow): void {
  const view = viewColumn(data);
  const halves = halvesOf(view.values);
  for (let row = 0; row < data.length; row++) {
    const at = positionOf(view, row);
    if (at < 0) continue;
    const high = halves[at * 2 + 1] | 0;
    if (high < MIN_HIGH || (high === MIN_HIGH && halves[at * 2] < MIN_LOW)) report(row, timeProblem('out_of_range'));
  }
}

const withoutDictionary = (data: Data, field: ForeignField): Data =>
  field.dictionary === undefined ? data : expandDictionary(data);

/** Lists item by item: a null among the items, or one that does not fit, refuses its row. */
function convertList(column: Data, field: ForeignField, to: ColumnType, report: ReportRow): Data {
  const data = withoutDictionary(column, field);
  const [itemField] = field.children;
  const bad = new Map<number, CellProblem>();
  const plain = withoutDictionary(data.children[0], itemField);
  const child = convertColumn(plain, { ...itemField, dictionary: undefined }, ITEM_TYPES[to] ?? 'string', (item, problem) =>
    bad.set(item, problem),
  );
  if (child.nullCount > 0) {
    const view = viewColumn(child);
    const noNulls = mismatch('an array without null');
    for (let item = 0; item < child.length; item++) if (positionOf(view, item) < 0 && !bad.has(item)) bad.set(item, noNulls);
  }
  if (bad.size > 0) reportItems(data, bad, report);
  const type = new List(new Field('item', child.type, true));
  const { length, nullCount, nullBitmap, valueOffsets } = data;
  return makeData({ type, length, valueOffsets, child, ...(nullCount > 0 ? { nullCount, nullBitmap } : { nullCount: 0 }) });
}

/** Reports the rows (not null) that hold one of the items. */
function reportItems(data: Data, bad: ReadonlyMap<number, CellProblem>, report: ReportRow): void {
  const view = viewColumn(data);
  const { valueOffsets } = data;
  for (let row = 0; row < data.length; row++) {
    if (positionOf(view, row) < 0) continue;
    for (let item = valueOffsets[row]; item < valueOffsets[row + 1]; item++) {
      const problem = bad.get(item);
      if (problem === undefined) continue;
      report(row, problem);
      break;
    }
  }
}

/** Map<utf8, utf8> gets the kind string for every value, other values their own kind; our own form is taken as it is. */
function convertMap(column: Data, field: ForeignField, report: ReportRow): Data {
  const data = withoutDictionary(column, field);
  const [key, value] = data.children[0].children;
  const [, valueField] = field.children[0].children;
  if (isKindAndText(valueField)) {
    checkKinds(data, value, report);
    return withValidity(mapData(data.length, data.valueOffsets, key, value), data);
  }
  if (valueField.type.kind !== 'utf8') return withValidity(mapAttributes(field, data), data);
  const text = withoutDictionary(value, valueField);
  const kinds = new Uint8Array(text.length).fill(ATTRIBUTE_KIND.string);
  const view = viewColumn(text);
  if (text.nullCount > 0) for (let i = 0; i < text.length; i++) if (positionOf(view, i) < 0) kinds[i] = ATTRIBUTE_KIND.empty;
  const filled = text.nullCount > 0 ? emptyForNull(text) : text;
  const pairs = makeData({
    type: new Struct([new Field('kind', new Uint8(), false), new Field('text', new Utf8(), false)]),
    length: text.length,
    nullCount: 0,
    children: [makeData({ type: new Uint8(), length: kinds.length, data: kinds }), filled],
  });
  return withValidity(mapData(data.length, data.valueOffsets, key, pairs), data);
}

/** The same texts, with '' where there was null. */
function emptyForNull(text: Data): Data {
  const view = viewColumn(text);
  const filled = utf8Builder(text.length);
  for (let i = 0; i < text.length; i++) {
    const isNull = positionOf(view, i) < 0;
    filled.append(text.values as Uint8Array, text.valueOffsets[i], isNull ? text.valueOffsets[i] : text.valueOffsets[i + 1]);
  }
  return filled.finish();
}

/** A kind that does not exist, or a null instead of one, refuses its row. */
function checkKinds(data: Data, value: Data, report: ReportRow): void {
  const [kind, text] = value.children;
  const kinds = kind.values as Uint8Array;
  const bad = new Map<number, CellProblem>();
  const problem: CellProblem = { code: 'invalid_value', message: 'expected attributes of a known kind' };
  const sound = value.nullCount === 0 && kind.nullCount === 0 && text.nullCount === 0;
  const views = [value, kind, text].map(viewColumn);
  for (let i = 0; i < value.length; i++) {
    if (kinds[i] > ATTRIBUTE_KIND.bytes || (!sound && views.some((view) => positionOf(view, i) < 0))) bad.set(i, problem);
  }
  if (bad.size > 0) reportItems(data, bad, report);
}

function withValidity(map: Data, from: Data): Data {
  if (from.nullCount === 0) return map;
  return map.clone(map.type, 0, map.length, from.nullCount, [
    map.valueOffsets,
    map.values,
    from.nullBitmap,
    map.typeIds,
  ] as never);
}
