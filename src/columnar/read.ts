import { type Data, DataType, type Dictionary, type Vector } from 'apache-arrow';

/**
 * A column as encoders read it, dictionary-encoded or not: the value of row `r` is at `positionOf(column, r)` of `values`,
 * or the row is null.
 */
export interface ColumnView {
  /** Plain data: never dictionary-encoded. */
  readonly values: Data;
  /** Row -> position in `values`; undefined when they are the same. */
  readonly indexes: Int32Array | undefined;
  /** Validity bits of the rows; undefined when no row is null by itself. */
  readonly rowBits: Uint8Array | undefined;
  /** Validity bits of `values` when they are behind indexes; undefined when no value is null. */
  readonly valueBits: Uint8Array | undefined;
}

const bitsOf = (data: Data): Uint8Array | undefined =>
  data.nullCount > 0 && data.nullBitmap && data.nullBitmap.length > 0 ? data.nullBitmap : undefined;

export function viewColumn(data: Data): ColumnView {
  if (data.offset !== 0) throw new RangeError('columns must start at offset 0');
  if (!DataType.isDictionary(data.type)) return { values: data, indexes: undefined, rowBits: bitsOf(data), valueBits: undefined };
  const values = dictionaryValues(data);
  const indexes = data.values instanceof Int32Array ? data.values : Int32Array.from(data.values as ArrayLike<number>);
  return { values, indexes, rowBits: bitsOf(data), valueBits: bitsOf(values) };
}

/** The values of dictionary-encoded data as one piece. */
export function dictionaryValues(data: Data): Data {
  const dictionary = data.dictionary as Vector | undefined;
  const [values] = dictionary?.data ?? [];
  if (values === undefined || dictionary?.data.length !== 1) {
    throw new RangeError(
      `a dictionary of ${(data.type as Dictionary).dictionary} has ${dictionary?.data.length ?? 0} pieces, expected 1`,
    );
  }
  return values;
}

const isSet = (bits: Uint8Array, at: number): boolean => ((bits[at >> 3] >> (at & 7)) & 1) === 1;

/** Position of row `row` in `column.values`, or -1 when the row is null. */
export function positionOf(column: ColumnView, row: number): number {
  if (column.rowBits !== undefined && !isSet(column.rowBits, row)) return -1;
  if (column.indexes === undefined) return row;
  const position = column.indexes[row];
  return column.valueBits !== undefined && !isSet(column.valueBits, position) ? -1 : position;
}

/** The two 32-bit halves of 64-bit values (little endian: low at 2 * i, high at 2 * i + 1), without a BigInt per value. */
export function halvesOf(data: Data): Uint32Array {
  const { buffer, byteOffset, length } = data.values as BigInt64Array;
  return new Uint32Array(buffer, byteOffset, length * 2);
}
