/**
 * What ClickHouse cannot hold of a row that comes from PostgreSQL, so that the row can be had back as it was. Demoted rows have it in
 * the column `_batch_kept`, as JSON; '' where there is nothing to keep:
 *
 *   {"null":["level"],"kinds":{"labels":{"code":3}},"items":{"quantiles":[1]}}
 *
 * - null: columns that are null and have a type that is not Nullable there (strings, JSON, bytes, attributes, lists)
 * - kinds: of attributes, the keys whose values are no strings, with their ATTRIBUTE_KIND
 * - items: of lists, the positions of elements that are null
 *
 * Few different texts come up in a table, so that the column (LowCardinality) takes next to no room.
 */
import { Binary, type Data, DataType, Field, type RecordBatch, Struct, Uint8, Utf8 } from 'apache-arrow';
import { mapData } from '../../columnar/attributes';
import { NumberBuilder, Validity } from '../../columnar/builders';
import { utf8Builder } from '../../columnar/bytes-builder';
import { Interner } from '../../columnar/interner';
import { dictionaryData } from '../../columnar/nested-builders';
import { positionOf, viewColumn } from '../../columnar/read';
import { columnData, recordBatch } from '../../columnar/record-batch';
import { dataOf } from '../../columnar/slab';
import { ATTRIBUTE_KIND, type ColumnSchema, type TableSchema } from '../../core/table-schema';
import { columnType } from './ddl';

/** Begins with `_batch`, which no column from outside may. */
export const KEPT_COLUMN: ColumnSchema = { name: '_batch_kept', type: 'string', nullable: true, lowCardinality: true };

export const withKept = (schema: TableSchema): TableSchema => ({ ...schema, columns: [...schema.columns, KEPT_COLUMN] });

interface Kept {
  readonly null?: readonly string[];
  readonly kinds?: Readonly<Record<string, Readonly<Record<string, number>>>>;
  readonly items?: Readonly<Record<string, readonly number[]>>;
}

const isList = ({ type }: ColumnSchema): boolean => type.startsWith('list');

/** Null has no place of its own in the store. JSON is never '' in PostgreSQL, so that '' says it. */
const losesNull = (column: ColumnSchema, schema: TableSchema): boolean =>
  column.type !== 'json' && column.name !== schema.timeColumn && !columnType(column, schema.timeColumn).startsWith('Nullable(');

/**
 * Numbers for what is kept of rows: 0 is nothing, and each further piece makes a new number of an old one. A number is the path of
 * its pieces, so that equal rows get equal numbers without a text per row.
 */
class KeptTexts {
  private readonly next = new Map<number, number>();
  private readonly paths: { before: number; piece: number }[] = [{ before: 0, piece: 0 }];
  private readonly pieces: { column: string; what: keyof Kept; value: unknown }[] = [];
  private readonly known = new Map<string, number>();

  piece(column: string, what: keyof Kept, value: unknown): number {
    const key = JSON.stringify([column, what, value]);
    const found = this.known.get(key);
    if (found !== undefined) return found;
    this.known.set(key, this.pieces.length);
    return this.pieces.push({ column, what, value }) - 1;
  }

  /** `before` and a piece more. A batch has at most 2^20 rows and so below 2^26 of both. */
  with(before: number, piece: number): number {
    const key = before * PIECES_MAX + piece;
    const found = this.next.get(key);
    if (found !== undefined) return found;
    this.next.set(key, this.paths.length);
    return this.paths.push({ before, piece }) - 1;
  }

  text(of: number): string {
    const kept: { null?: string[]; kinds?: Record<string, unknown>; items?: Record<string, unknown> } = {};
    if (of === 0) return '';
    for (let at = of; at !== 0; at = this.paths[at].before) {
      const { column, what, value } = this.pieces[this.paths[at].piece];
      if (what === 'null') kept.null = [column, ...(kept.null ?? [])];
      else kept[what] = { ...kept[what], [column]: value };
    }
    return JSON.stringify(kept);
  }

  get size(): number {
    return this.paths.length;
  }
}

const PIECES_MAX = 2 ** 26;

/** The batch with its column of what is kept. */
export function addKept(batch: RecordBatch, schema: TableSchema): RecordBatch {
  const { numRows } = batch;
  const texts = new KeptTexts();
  const numbers = new Int32Array(numRows);
  for (const column of schema.columns) {
    const data = columnData(batch, column.name);
    if (losesNull(column, schema)) {
      if (data === undefined || hasNull(data)) keepNulls(column.name, data, numbers, texts);
    }
    if (data === undefined) continue;
    if (column.type === 'attributes') keepPieces(data, numbers, texts, kindsOf(data, column.name, texts));
    if (isList(column)) keepPieces(data, numbers, texts, nullItemsOf(data, column.name, texts));
  }
  const values = utf8Builder(texts.size);
  for (let i = 0; i < texts.size; i++) values.appendString(texts.text(i));
  const ids = NumberBuilder.int32(numRows);
  for (const number of numbers) ids.append(number);
  const columns = batch.schema.fields.map(({ name }, i) => ({ name, data: batch.data.children[i] }));
  return recordBatch([...columns, { name: KEPT_COLUMN.name, data: dictionaryData(ids.finish(), values.finish()) }]);
}

const hasNull = (data: Data): boolean => {
  const { rowBits, valueBits } = viewColumn(data);
  return rowBits !== undefined || valueBits !== undefined;
};

function keepNulls(name: string, data: Data | undefined, numbers: Int32Array, texts: KeptTexts): void {
  const piece = texts.piece(name, 'null', true);
  const view = data === undefined ? undefined : viewColumn(data);
  for (let row = 0; row < numbers.length; row++) {
    if (view === undefined || positionOf(view, row) < 0) numbers[row] = texts.with(numbers[row], piece);
  }
}

/** `pieceAt`: the piece of a value, negative when nothing of it need be kept. */
function keepPieces(data: Data, numbers: Int32Array, texts: KeptTexts, pieces: Int32Array | undefined): void {
  if (pieces === undefined) return;
  const view = viewColumn(data);
  for (let row = 0; row < numbers.length; row++) {
    const position = positionOf(view, row);
    if (position >= 0 && pieces[position] >= 0) numbers[row] = texts.with(numbers[row], pieces[position]);
  }
}

function kindsOf(data: Data, name: string, texts: KeptTexts): Int32Array | undefined {
  const { values } = viewColumn(data);
  const [key, value] = values.children[0].children;
  const kinds = value.children[0].values as Uint8Array;
  if (kinds.every((kind) => kind === ATTRIBUTE_KIND.string)) return undefined;
  const keys = viewColumn(key);
  const keyText = (entry: number): string => textAt(keys.values, positionOf(keys, entry));
  const { valueOffsets } = values;
  return Int32Array.from({ length: values.length }, (_, map) => {
    const found: [string, number][] = [];
    for (let entry = valueOffsets[map]!; entry < valueOffsets[map + 1]!; entry++) {
      if (kinds[entry] !== ATTRIBUTE_KIND.string) found.push([keyText(entry), kinds[entry]]);
    }
    return found.length === 0 ? -1 : texts.piece(name, 'kinds', Object.fromEntries(found));
  });
}

const textAt = ({ values, valueOffsets }: Data, at: number): string =>
  Buffer.from(
    (values as Uint8Array).buffer,
    (values as Uint8Array).byteOffset + valueOffsets[at]!,
    valueOffsets[at + 1]! - valueOffsets[at]!,
  ).toString();

function nullItemsOf(data: Data, name: string, texts: KeptTexts): Int32Array | undefined {
  const { values } = viewColumn(data);
  const items = viewColumn(values.children[0]);
  if (items.rowBits === undefined && items.valueBits === undefined) return undefined;
  const { valueOffsets } = values;
  return Int32Array.from({ length: values.length }, (_, list) => {
    const found: number[] = [];
    for (let item = valueOffsets[list]!; item < valueOffsets[list + 1]!; item++) {
      if (positionOf(items, item) < 0) found.push(item - valueOffsets[list]!);
    }
    return found.length === 0 ? -1 : texts.piece(name, 'items', found);
  });
}

/** Rows as ClickHouse gives them, with `_batch_kept` among them, in the form in which they came from PostgreSQL. */
export function hotForm(batch: RecordBatch, schema: TableSchema): RecordBatch {
  const rows = keptRows(columnData(batch, KEPT_COLUMN.name), batch.numRows);
  return recordBatch(
    schema.columns.map((column) => {
      const data = columnData(batch, column.name);
      if (data === undefined) throw new RangeError(`clickhouse gives no column ${column.name}`);
      return { name: column.name, data: columnBack(column, data, rows, losesNull(column, schema)) };
    }),
  );
}

/** Columns may have any name, also that of a property which objects have. */
const own = <T>(record: Readonly<Record<string, T>> | undefined, name: string): T | undefined =>
  record !== undefined && Object.hasOwn(record, name) ? record[name] : undefined;

interface KeptRows {
  /** By row, a position in `kept`. */
  readonly ids: Int32Array;
  readonly kept: readonly Kept[];
}

function keptRows(data: Data | undefined, length: number): KeptRows {
  if (data === undefined) throw new RangeError('clickhouse gives no column of what is kept');
  const interner = new Interner();
  const view = viewColumn(data);
  const { values, valueOffsets } = view.values;
  const ids = new Int32Array(length);
  for (let row = 0; row < length; row++) {
    const at = positionOf(view, row);
    ids[row] = at < 0 ? interner.internString('') : interner.intern(values as Uint8Array, valueOffsets[at], valueOffsets[at + 1]);
  }
  const kept = Array.from({ length: interner.size }, (_, id) => {
    const text = Buffer.from(interner.values.valueAt(id)).toString();
    return (text === '' ? {} : JSON.parse(text)) as Kept;
  });
  return { ids, kept };
}

function columnBack(column: ColumnSchema, data: Data, { ids, kept }: KeptRows, isMasked: boolean): Data {
  const { name, type } = column;
  if (type === 'json') return withNulls(data, (row) => data.valueOffsets[row] === data.valueOffsets[row + 1]);
  let plain = data;
  if (type === 'binary') plain = retyped(data, new Binary());
  if (type === 'attributes') plain = attributesBack(name, data, ids, kept);
  if (type.startsWith('list')) plain = listBack(name, data, ids, kept);
  if (!isMasked) return plain;
  const isNull = kept.map((each) => each.null?.includes(name) === true);
  return isNull.includes(true) ? withNulls(plain, (row) => isNull[ids[row]]) : plain;
}

const retyped = (data: Data, type: Binary | Utf8): Data =>
  dataOf({ type, length: data.length, offsets: data.valueOffsets, values: data.values as Uint8Array });

/** The data, which has no null yet, with those of the rows that `isNull` names. */
function withNulls(data: Data, isNull: (row: number) => boolean): Data {
  const validity = new Validity();
  for (let row = 0; row < data.length; row++) if (isNull(row)) validity.setNull(row);
  const { nullCount, nullBitmap } = validity.finish(data.length);
  if (nullBitmap === undefined) return data;
  return data.clone(data.type, 0, data.length, nullCount, [data.valueOffsets, data.values, nullBitmap, data.typeIds] as never);
}

const VALUE_TYPE = new Struct([new Field('kind', new Uint8(), false), new Field('text', new Utf8(), false)]);

function attributesBack(name: string, data: Data, ids: Int32Array, kept: readonly Kept[]): Data {
  const [key, text] = data.children[0].children;
  const kinds = new Uint8Array(text.length).fill(ATTRIBUTE_KIND.string);
  const others = kept.map((each) => own(each.kinds, name));
  const { valueOffsets } = data;
  for (let row = 0; row < data.length; row++) {
    const found = others[ids[row]];
    if (found === undefined) continue;
    for (let entry = valueOffsets[row]!; entry < valueOffsets[row + 1]!; entry++) {
      const entryKey = textAt(key, entry);
      if (Object.hasOwn(found, entryKey)) kinds[entry] = found[entryKey];
    }
  }
  const kind = dataOf({ type: VALUE_TYPE.children[0].type, length: text.length, values: kinds });
  const value = dataOf({ type: VALUE_TYPE, length: text.length, children: [kind, retyped(text, new Utf8())] });
  return mapData(data.length, valueOffsets, retyped(key, new Utf8()), value);
}

function listBack(name: string, data: Data, ids: Int32Array, kept: readonly Kept[]): Data {
  const nulls = kept.map((each) => own(each.items, name));
  if (nulls.every((positions) => positions === undefined)) return data;
  const [items] = data.children;
  if (DataType.isDictionary(items.type)) throw new RangeError('lists of shared values are not expected');
  const hidden = new Set<number>();
  for (let row = 0; row < data.length; row++) {
    for (const position of nulls[ids[row]] ?? []) hidden.add(data.valueOffsets[row]! + position);
  }
  const child = withNulls(items, (item) => hidden.has(item));
  return dataOf({ type: data.type, length: data.length, offsets: data.valueOffsets, children: [child] });
}
