import { type Data, DataType, type RecordBatch } from 'apache-arrow';
import { positionOf, viewColumn } from '../../src/columnar/read';
import { decimalOf, SCALE } from './columns';

/**
 * A record batch as rows of plain values: 64-bit integers, nanoseconds and unscaled decimals as bigint, those of a decimal column as
 * text, attributes as [key, kind, text], structs as [name, value], null left out.
 */
export function plainRows(batch: RecordBatch | undefined): Record<string, unknown>[] {
  if (batch === undefined) return [];
  return Array.from({ length: batch.numRows }, (_, row) =>
    Object.fromEntries(
      batch.schema.fields
        .map((field, i) => [field.name, valueAt(batch.data.children[i], row)])
        .filter(([, value]) => value !== null),
    ),
  );
}

function valueAt(data: Data, row: number): unknown {
  const view = viewColumn(data);
  const at = positionOf(view, row);
  return at < 0 ? null : plainValue(view.values, at);
}

function plainValue(values: Data, at: number): unknown {
  const { type, valueOffsets } = values;
  const bytes = (): Buffer => Buffer.from((values.values as Uint8Array).subarray(valueOffsets[at], valueOffsets[at + 1]));
  if (DataType.isUtf8(type)) return bytes().toString();
  if (DataType.isBinary(type)) return bytes().toString('hex');
  if (DataType.isBool(type)) return ((values.values as Uint8Array)[at >> 3] & (1 << (at & 7))) !== 0;
  if (DataType.isMap(type)) {
    const [keys, struct] = values.children[0].children;
    return range(valueOffsets[at], valueOffsets[at + 1]).map((i) => [
      valueAt(keys, i),
      ...(DataType.isStruct(struct.type) ? struct.children.map((child) => valueAt(child, i)) : [valueAt(struct, i)]),
    ]);
  }
  if (DataType.isList(type)) return range(valueOffsets[at], valueOffsets[at + 1]).map((i) => valueAt(values.children[0], i));
  if (DataType.isStruct(type)) return values.children.map((child, i) => [type.children[i].name, valueAt(child, at)]);
  if (DataType.isDecimal(type)) {
    const value = unscaled(values.values as Uint32Array, at, type.bitWidth / 32);
    return type.scale === SCALE && type.bitWidth === 256 ? decimalOf(value) : value;
  }
  return (values.values as ArrayLike<unknown>)[at];
}

/** The integer of a decimal: two's complement in words of 32 bits, the least significant first. */
function unscaled(words: Uint32Array, at: number, perValue: number): bigint {
  const value = words
    .slice(at * perValue, (at + 1) * perValue)
    .reduceRight<bigint>((high, word) => (high << 32n) | BigInt(word), 0n);
  return BigInt.asIntN(perValue * 32, value);
}

const range = (start: number, end: number): number[] => Array.from({ length: end - start }, (_, i) => start + i);
