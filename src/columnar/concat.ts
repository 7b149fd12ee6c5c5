/**
 * Cutting and joining of record batches by runs of rows, column by column, without a value ever becoming an object.
 * A run is a pair [start, end) of rows; rows keep their order. Mixed physical forms of one column (dictionary-encoded in one
 * batch, plain in another) come out plain; dictionaries of strings are joined without repeated values.
 */
import { type Data, DataType, type Dictionary, Field, makeData, type RecordBatch, Struct } from 'apache-arrow';
import { mapData } from './attributes';
import { Interner } from './interner';
import { dictionaryData } from './nested-builders';
import { dictionaryValues, viewColumn } from './read';
import { columnData, recordBatch } from './record-batch';

/** Rows of one batch: pairs of start and end, ascending. */
export interface RowRuns {
  readonly batch: RecordBatch;
  readonly runs: Int32Array;
}

interface Piece {
  /** Undefined: the batch does not have the column, its rows are null. */
  readonly data: Data | undefined;
  readonly runs: Int32Array;
  readonly rows: number;
}

export const wholeBatch = (batch: RecordBatch): RowRuns => ({ batch, runs: Int32Array.of(0, batch.numRows) });

const countRows = (runs: Int32Array): number => {
  let rows = 0;
  for (let i = 0; i < runs.length; i += 2) rows += runs[i + 1] - runs[i];
  return rows;
};

/** Joins the rows of all pieces into one record batch with the columns of all of them, in order of first appearance. */
export function concatRows(pieces: readonly RowRuns[]): RecordBatch {
  const [only] = pieces;
  if (pieces.length === 1 && only && only.runs.length === 2 && only.runs[0] === 0 && only.runs[1] === only.batch.numRows) {
    return only.batch;
  }
  const names = new Set(pieces.flatMap(({ batch }) => batch.schema.fields.map((field) => field.name)));
  return recordBatch(
    [...names].map((name) => ({
      name,
      data: concatData(pieces.map(({ batch, runs }) => ({ data: columnData(batch, name), runs, rows: countRows(runs) }))),
    })),
  );
}

function concatData(pieces: readonly Piece[]): Data {
  const present = pieces.filter((piece) => piece.data !== undefined);
  const encoded = present.filter((piece) => DataType.isDictionary(piece.data!.type));
  if (encoded.length > 0 && encoded.length === present.length) return concatDictionary(pieces);
  return concatPlain(encoded.length === 0 ? pieces : pieces.map(decoded));
}

/** A piece without its dictionary: its runs become runs over the dictionary's values (nulls as rows of a missing column). */
function decoded(piece: Piece): Piece {
  if (piece.data === undefined || !DataType.isDictionary(piece.data.type)) return piece;
  return { data: expandDictionary(piece.data, piece.runs), runs: Int32Array.of(0, piece.rows), rows: piece.rows };
}

/** Dictionary-encoded rows as plain data. */
export function expandDictionary(data: Data, runs: Int32Array = Int32Array.of(0, data.length)): Data {
  const view = viewColumn(data);
  const rows = countRows(runs);
  const single: number[] = [];
  const nullAt: number[] = [];
  let at = 0;
  for (let r = 0; r < runs.length; r += 2) {
    for (let row = runs[r]; row < runs[r + 1]; row++, at++) {
      const isNull = view.rowBits !== undefined && ((view.rowBits[row >> 3] >> (row & 7)) & 1) === 0;
      const position = isNull ? 0 : view.indexes![row];
      if (isNull) nullAt.push(at);
      single.push(position, position + 1);
    }
  }
  // A null row borrows value 0 and is masked afterwards; a dictionary without values has only null rows.
  if (view.values.length === 0) return nullData(view.values, rows);
  const plain = concatPlain([{ data: view.values, runs: Int32Array.from(single), rows }]);
  return nullAt.length === 0 ? plain : withNulls(plain, nullAt);
}

function nullData(like: Data, rows: number): Data {
  return concatPlain([
    { data: like, runs: new Int32Array(0), rows: 0 },
    { data: undefined, runs: Int32Array.of(0, rows), rows },
  ]);
}

function withNulls(data: Data, rows: readonly number[]): Data {
  const bitmap = new Uint8Array((data.length + 7) >> 3).fill(0xff);
  if (data.nullCount > 0) bitmap.set(data.nullBitmap.subarray(0, bitmap.length));
  let { nullCount } = data;
  for (const row of rows) {
    if ((bitmap[row >> 3] >> (row & 7)) & 1) nullCount++;
    bitmap[row >> 3] &= ~(1 << (row & 7));
  }
  return data.clone(data.type, 0, data.length, nullCount, [data.valueOffsets, data.values, bitmap, data.typeIds] as never);
}

function concatDictionary(pieces: readonly Piece[]): Data {
  const rows = pieces.reduce((sum, piece) => sum + piece.rows, 0);
  const indexes = new Int32Array(rows);
  const joined = joinDictionaries(pieces);
  let at = 0;
  for (const [i, piece] of pieces.entries()) {
    if (piece.data === undefined) {
      at += piece.rows;
      continue;
    }
    const { indexes: from } = viewColumn(piece.data);
    const { remap, shift } = joined.maps[i]!;
    for (let r = 0; r < piece.runs.length; r += 2) {
      for (let row = piece.runs[r]; row < piece.runs[r + 1]; row++) {
        const index = from![row];
        indexes[at++] = remap === undefined ? index + shift : (remap[index] ?? 0);
      }
    }
  }
  const indexData = makeData({ type: joined.indexType, length: rows, data: indexes, ...joinValidity(pieces, rows) });
  return dictionaryData(indexData, joined.values);
}

interface IndexMap {
  readonly remap: Int32Array | undefined;
  readonly shift: number;
}

function joinDictionaries(pieces: readonly Piece[]): { values: Data; maps: (IndexMap | undefined)[]; indexType: never } {
  const dictionaries = pieces.map((piece) => (piece.data === undefined ? undefined : dictionaryValues(piece.data)));
  const present = dictionaries.filter((values) => values !== undefined);
  const indexType = (pieces.find((piece) => piece.data !== undefined)!.data!.type as Dictionary).indices as never;
  const distinct = new Set(present);
  // Batches of one stream often share a dictionary.
  const maps = new Map<Data, IndexMap>();
  const mapsOfPieces = (): (IndexMap | undefined)[] => dictionaries.map((values) => values && maps.get(values));
  if (present.every((values) => DataType.isUtf8(values.type) && values.nullCount === 0)) {
    const interner = new Interner(Number.MAX_SAFE_INTEGER);
    for (const values of distinct) maps.set(values, { remap: internAll(interner, values), shift: 0 });
    return { values: interner.values.finish(), maps: mapsOfPieces(), indexType };
  }
  let shift = 0;
  for (const values of distinct) {
    maps.set(values, { remap: undefined, shift });
    shift += values.length;
  }
  const values = concatData([...distinct].map((data) => ({ data, runs: Int32Array.of(0, data.length), rows: data.length })));
  return { values, maps: mapsOfPieces(), indexType };
}

/** The number in `interner` of each value of Utf8 data without nulls. */
export function internAll(interner: Interner, values: Data): Int32Array {
  const remap = new Int32Array(values.length);
  const { valueOffsets } = values;
  for (let i = 0; i < values.length; i++)
    remap[i] = interner.intern(values.values as Uint8Array, valueOffsets[i], valueOffsets[i + 1]);
  return remap;
}

/** Validity of the joined rows; nothing when no row is null. */
function joinValidity(pieces: readonly Piece[], rows: number): { nullCount: number; nullBitmap?: Uint8Array } {
  if (pieces.every((piece) => piece.data !== undefined && piece.data.nullCount === 0)) return { nullCount: 0 };
  const nullBitmap = new Uint8Array((rows + 7) >> 3);
  let at = 0;
  let valid = 0;
  for (const { data, runs, rows: count } of pieces) {
    if (data === undefined) {
      at += count;
      continue;
    }
    const bits = data.nullCount > 0 ? data.nullBitmap : undefined;
    for (let r = 0; r < runs.length; r += 2) {
      for (let row = runs[r]; row < runs[r + 1]; row++, at++) {
        if (bits !== undefined && ((bits[row >> 3] >> (row & 7)) & 1) === 0) continue;
        nullBitmap[at >> 3] |= 1 << (at & 7);
        valid++;
      }
    }
  }
  return { nullCount: rows - valid, nullBitmap };
}

/** Joins plain columns of one Arrow type. At least one piece has data. */
function concatPlain(pieces: readonly Piece[]): Data {
  const { type } = pieces.find((piece) => piece.data !== undefined)!.data!;
  const length = pieces.reduce((sum, piece) => sum + piece.rows, 0);
  const validity = joinValidity(pieces, length);
  if (DataType.isUtf8(type) || DataType.isBinary(type)) {
    const { valueOffsets, data } = concatVariable(pieces, length);
    return makeData({ type: type as never, length, valueOffsets, data, ...validity } as never);
  }
  if (DataType.isList(type) || DataType.isMap(type)) {
    const { valueOffsets, children } = concatNested(pieces, length);
    if (!DataType.isMap(type)) return makeData({ type, length, valueOffsets, child: children, ...validity } as never);
    const [key, value] = children.children;
    const map = mapData(length, valueOffsets, key, value);
    return validity.nullBitmap === undefined
      ? map
      : map.clone(map.type, 0, length, validity.nullCount, [
          map.valueOffsets,
          map.values,
          validity.nullBitmap,
          map.typeIds,
        ] as never);
  }
  if (DataType.isStruct(type)) {
    const children = type.children.map((_, i) =>
      concatData(pieces.map((piece) => ({ ...piece, data: piece.data?.children[i] }))),
    );
    const fields = children.map((child, i) => new Field(type.children[i].name, child.type, type.children[i].nullable));
    return makeData({ type: new Struct(fields), length, children, ...validity });
  }
  if (DataType.isBool(type)) return makeData({ type, length, data: concatBits(pieces, length), ...validity });
  return makeData({ type: type as never, length, data: concatFixed(pieces, length), ...validity } as never);
}

function concatVariable(pieces: readonly Piece[], length: number): { valueOffsets: Int32Array; data: Uint8Array } {
  let bytes = 0;
  for (const { data, runs } of pieces) {
    if (data === undefined) continue;
    for (let r = 0; r < runs.length; r += 2) bytes += data.valueOffsets[runs[r + 1]]! - data.valueOffsets[runs[r]]!;
  }
  if (bytes > 0x7fffffff) throw new RangeError('a column of variable-length values holds at most 2 GiB');
  const out = new Uint8Array(bytes);
  const valueOffsets = new Int32Array(length + 1);
  let at = 0;
  let row = 0;
  for (const { data, runs, rows } of pieces) {
    if (data === undefined) {
      valueOffsets.fill(at, row + 1, row + 1 + rows);
      row += rows;
      continue;
    }
    const from = data.valueOffsets;
    for (let r = 0; r < runs.length; r += 2) {
      const start = runs[r];
      const end = runs[r + 1];
      const shift = at - from[start]!;
      out.set((data.values as Uint8Array).subarray(from[start], from[end]), at);
      for (let i = start + 1; i <= end; i++) valueOffsets[++row] = from[i]! + shift;
      at += from[end]! - from[start]!;
    }
  }
  return { valueOffsets, data: out };
}

function concatNested(pieces: readonly Piece[], length: number): { valueOffsets: Int32Array; children: Data } {
  const valueOffsets = new Int32Array(length + 1);
  const inner: Piece[] = [];
  let at = 0;
  let row = 0;
  for (const { data, runs, rows } of pieces) {
    if (data === undefined) {
      valueOffsets.fill(at, row + 1, row + 1 + rows);
      row += rows;
      continue;
    }
    const from = data.valueOffsets;
    const childRuns = new Int32Array(runs.length);
    const before = at;
    for (let r = 0; r < runs.length; r += 2) {
      const start = runs[r];
      const end = runs[r + 1];
      childRuns[r] = from[start]!;
      childRuns[r + 1] = from[end]!;
      const shift = at - from[start]!;
      for (let i = start + 1; i <= end; i++) valueOffsets[++row] = from[i]! + shift;
      at += from[end]! - from[start]!;
    }
    inner.push({ data: data.children[0], runs: childRuns, rows: at - before });
  }
  return { valueOffsets, children: concatData(inner) };
}

function concatBits(pieces: readonly Piece[], length: number): Uint8Array {
  const out = new Uint8Array((length + 7) >> 3);
  let at = 0;
  for (const { data, runs, rows } of pieces) {
    if (data === undefined) {
      at += rows;
      continue;
    }
    const bits = data.values as Uint8Array;
    for (let r = 0; r < runs.length; r += 2) {
      for (let row = runs[r]; row < runs[r + 1]; row++, at++)
        if ((bits[row >> 3] >> (row & 7)) & 1) out[at >> 3] |= 1 << (at & 7);
    }
  }
  return out;
}

interface FixedArray {
  readonly length: number;
  set(source: FixedArray, at: number): void;
  subarray(start: number, end: number): FixedArray;
}

/** Values of one width; `stride` elements a row (2 halves of a decimal128, n bytes of a FixedSizeBinary). */
function concatFixed(pieces: readonly Piece[], length: number): FixedArray {
  const sample = pieces.find((piece) => piece.data !== undefined)!.data!;
  const { stride } = sample;
  const make = sample.values.constructor as new (length: number) => FixedArray;
  const out = new make(length * stride);
  let at = 0;
  for (const { data, runs, rows } of pieces) {
    if (data === undefined) {
      at += rows * stride;
      continue;
    }
    const values = data.values as unknown as FixedArray;
    for (let r = 0; r < runs.length; r += 2) {
      const start = runs[r] * stride;
      const end = runs[r + 1] * stride;
      out.set(values.subarray(start, end), at);
      at += end - start;
    }
  }
  return out;
}
