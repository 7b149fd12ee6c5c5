/**
 * A write as the body of `INSERT INTO t (columns) FORMAT ArrowStream`: one Arrow IPC stream with one record batch, which
 * ClickHouse takes as one block and so, with rows of one day only, as one part (durability rule C2).
 *
 * Buffers of the batch are passed on as they are wherever ClickHouse can read them. What it cannot:
 * - attributes: `Map<key, Struct<kind, text>>` is re-wired to `Map<key, text>`; `kind` is left out.
 * - dictionaries of anything but strings are expanded; a dictionary of maps (resource, scope) becomes a map whose keys and
 *   values are dictionary-encoded, 8 bytes an entry.
 * - a dictionary with equal values is refused by ClickHouse ("duplicate values", code 117): such values are joined here.
 * - a null map or list would be read as whatever lies beneath it: it becomes an empty one.
 * Nulls of other columns are left to ClickHouse: null in a Nullable column, the default of the type in any other.
 */
import { type Data, DataType, Int32, makeData, Uint64 } from 'apache-arrow';
import { arrowType, typeText } from '../../columnar/arrow-type';
import { mapData } from '../../columnar/attributes';
import { concatRows, expandDictionary, internAll } from '../../columnar/concat';
import { Interner } from '../../columnar/interner';
import { encodeIpc } from '../../columnar/ipc';
import { dictionaryData } from '../../columnar/nested-builders';
import { dictionaryValues, positionOf, viewColumn } from '../../columnar/read';
import { columnData, recordBatch } from '../../columnar/record-batch';
import { type SinkWrite, UnfitBatchError } from '../../core/sink';
import type { ColumnSchema } from '../../core/table-schema';
import { batchKey } from './batch-key';
import { BATCH_HI, BATCH_LO } from './ddl';

/** Entries of one expanded attributes column: 512 MiB of indexes. Above, the batch must be cut into smaller ones. */
const ENTRIES_MAX = 64 * 1024 * 1024;

export interface EncodedWrite {
  /** Names in the order of the stream, for the column list of the INSERT. Columns that the batch lacks are not in it. */
  readonly columns: readonly string[];
  readonly rows: number;
  readonly bytes: Uint8Array;
}

/**
 * Throws UnfitBatchError when the batch does not fit the schema (unknown column, other type, no time column), RangeError when it is
 * too large.
 * The rows must lie in one partition.
 */
export function encodeArrow(write: Pick<SinkWrite, 'id' | 'schema' | 'batch'>): EncodedWrite {
  const { batch, schema } = write;
  const byName = new Map(schema.columns.map((column) => [column.name, column]));
  const columns = batch.schema.fields.map(({ name }, i) => {
    const column = byName.get(name);
    if (column === undefined) {
      throw new UnfitBatchError('unknown_column', name, `column ${name} is not in version ${schema.version} of ${schema.table}`);
    }
    return { name, data: encodeColumn(column, batch.data.children[i]) };
  });
  const time = columnData(batch, schema.timeColumn);
  if (time === undefined || time.nullCount > 0) {
    throw new UnfitBatchError('missing_column', schema.timeColumn, `every row needs a value in ${schema.timeColumn}`);
  }
  const key = batchKey(write.id);
  columns.push(
    { name: BATCH_HI, data: constant(key.hi, batch.numRows) },
    { name: BATCH_LO, data: constant(key.lo, batch.numRows) },
  );
  return { columns: columns.map(({ name }) => name), rows: batch.numRows, bytes: encodeIpc(recordBatch(columns)) };
}

const constant = (value: bigint, length: number): Data =>
  makeData({ type: new Uint64(), length, nullCount: 0, data: new BigUint64Array(length).fill(value) });

function encodeColumn(column: ColumnSchema, data: Data): Data {
  const type = DataType.isDictionary(data.type) ? data.type.dictionary : data.type;
  if (!fits(column, type)) {
    throw new UnfitBatchError('type_mismatch', column.name, `column ${column.name} holds ${type}, expected ${column.type}`);
  }
  if (column.type === 'attributes') return encodeAttributes(data);
  if (!DataType.isDictionary(data.type)) return DataType.isList(data.type) ? emptyForNull(data) : data;
  if (DataType.isUtf8(type)) return uniqueDictionary(data);
  const plain = expandDictionary(data);
  return DataType.isList(type) ? emptyForNull(plain) : plain;
}

/** Columns that were widened since the batch was made (registry: compatible changes) still come in the narrower type. */
const WIDENED: Readonly<Record<string, readonly ColumnSchema['type'][]>> = {
  int16: ['int32', 'int64'],
  int32: ['int64'],
  uint8: ['int16', 'int32', 'int64', 'uint32', 'uint64'],
  uint32: ['int64', 'uint64'],
  float32: ['float64'],
};

function fits(column: ColumnSchema, type: DataType): boolean {
  if (column.type === 'attributes') return DataType.isMap(type) && DataType.isStruct(type.children[0]?.type.children[1]?.type);
  if (sameType(arrowType(column.type), type)) return true;
  return Object.entries(WIDENED).some(
    ([from, to]) => to.includes(column.type) && sameType(arrowType(from as ColumnSchema['type']), type),
  );
}

/** Equal but for what does not change a value: names and nullability of children, the time zone of a timestamp. */
function sameType(expected: DataType, type: DataType): boolean {
  if (DataType.isList(expected)) return DataType.isList(type) && sameType(expected.children[0].type, type.children[0].type);
  if (DataType.isTimestamp(expected)) return DataType.isTimestamp(type) && expected.unit === type.unit;
  return typeText(expected) === typeText(type);
}

/** The data without validity: every null list or map is empty. */
function emptyForNull(data: Data): Data {
  if (data.nullCount === 0) return data;
  const view = viewColumn(data);
  const hidden = (row: number): boolean => positionOf(view, row) < 0 && data.valueOffsets[row] !== data.valueOffsets[row + 1];
  let clean = data;
  for (let row = 0; row < data.length; row++) {
    if (!hidden(row)) continue;
    clean = withoutHidden(data);
    break;
  }
  return clean.clone(clean.type, 0, clean.length, 0, [clean.valueOffsets, undefined, undefined, undefined] as never);
}

/** Copies a list or map column without the elements beneath its nulls. */
function withoutHidden(data: Data): Data {
  const view = viewColumn(data);
  const batch = recordBatch([{ name: 'c', data }]);
  const empty = recordBatch([]);
  const pieces = Array.from({ length: data.length }, (_, row) => ({
    batch: positionOf(view, row) < 0 ? empty : batch,
    runs: positionOf(view, row) < 0 ? Int32Array.of(0, 1) : Int32Array.of(row, row + 1),
  }));
  return columnData(concatRows(pieces), 'c')!;
}

/** A dictionary of strings in the form that ClickHouse takes: no value twice, no null among the values. */
function uniqueDictionary(data: Data): Data {
  const values = dictionaryValues(data);
  if (values.nullCount > 0 || values.length > data.length / 2) return expandDictionary(data);
  const interner = new Interner(Number.MAX_SAFE_INTEGER);
  const ids = internAll(interner, values);
  // The index beneath a null row may be anything; remapped ones are in range.
  if (interner.size === values.length && data.nullCount === 0) return data;
  const { indexes } = viewColumn(data);
  const remapped = indexes!.map((index) => ids[index] ?? 0);
  const { length, nullCount, nullBitmap } = data;
  return dictionaryData(makeData({ type: new Int32(), length, nullCount, nullBitmap, data: remapped }), interner.values.finish());
}

interface Entries {
  readonly key: Data;
  readonly text: Data;
}

function entriesOf(map: Data): Entries {
  const [key, value] = map.children[0].children;
  const at = value.type.children.findIndex((field: { name: string }) => field.name === 'text');
  const text = value.children[at];
  if (key === undefined || text === undefined) throw new RangeError('attributes need a key and a value with a text');
  return { key, text };
}

function encodeAttributes(data: Data): Data {
  if (DataType.isDictionary(data.type)) return expandMaps(data);
  const map = emptyForNull(data);
  const { key, text } = entriesOf(map);
  return mapData(map.length, map.valueOffsets, encodeStrings(key), encodeStrings(text));
}

const encodeStrings = (data: Data): Data => (DataType.isDictionary(data.type) ? uniqueDictionary(data) : data);

/** Rows that share maps as plain maps: each entry is a number of a key and a number of a value. */
function expandMaps(data: Data): Data {
  const view = viewColumn(data);
  const from = view.values.valueOffsets;
  const entries = entriesOf(view.values);
  const valueOffsets = new Int32Array(data.length + 1);
  let total = 0;
  for (let row = 0; row < data.length; row++) {
    const map = positionOf(view, row);
    if (map >= 0) total += from[map + 1]! - from[map]!;
    if (total > ENTRIES_MAX) throw new RangeError(`attributes of one write hold at most ${ENTRIES_MAX} entries`);
    valueOffsets[row + 1] = total;
  }
  const keys = numbered(entries.key);
  const texts = numbered(entries.text);
  const keyIds = new Int32Array(total);
  const textIds = new Int32Array(total);
  let at = 0;
  for (let row = 0; row < data.length; row++) {
    const map = positionOf(view, row);
    if (map < 0) continue;
    for (let entry = from[map]!; entry < from[map + 1]!; entry++, at++) {
      keyIds[at] = keys.ids[entry]!;
      textIds[at] = texts.ids[entry]!;
    }
  }
  return mapData(data.length, valueOffsets, encoded(keyIds, keys.values), encoded(textIds, texts.values));
}

const encoded = (ids: Int32Array, values: Data): Data =>
  dictionaryData(makeData({ type: new Int32(), length: ids.length, nullCount: 0, data: ids }), values);

/** Strings as numbers of distinct values. A null is the string beneath it: keys and texts are never null. */
function numbered(data: Data): { ids: Int32Array; values: Data } {
  const interner = new Interner(Number.MAX_SAFE_INTEGER);
  if (!DataType.isDictionary(data.type)) {
    const ids = internAll(interner, data);
    return { ids, values: interner.values.finish() };
  }
  const byValue = internAll(interner, dictionaryValues(data));
  const { indexes } = viewColumn(data);
  return { ids: indexes!.map((index) => byValue[index] ?? 0), values: interner.values.finish() };
}
