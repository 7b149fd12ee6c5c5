/**
 * Sums of hashes over rows in any order: equal for two stores that hold the same rows, however they are ordered or cut into batches.
 *
 * Every value has a 64-bit hash (two 32-bit lanes after MurmurHash3, x86 128 bit, with their own constants), every row one made of the
 * hashes of its values in the order of the schema. A digest is the sum of the row hashes and, for each column, of its value hashes,
 * modulo 2^64. It finds what goes wrong (rows lost, doubled, cut, mixed up, a value changed); it is no defence against someone who
 * looks for collisions.
 *
 * What is hashed:
 * - null, in every type, as a value of its own; a column that a batch lacks is null in every row
 * - numbers, bools, dates and timestamps: their bits (NaN and -0 too); strings, JSON and bytes: their bytes
 * - attributes: keys, kinds and texts in any order of the entries (both stores may have their own)
 * - lists: their elements in order, nulls among them
 */
import { type Data, DataType, type RecordBatch } from 'apache-arrow';
import type { DigestSums } from '../core/demotion';
import type { ColumnType, TableSchema } from '../core/table-schema';
import { type ByteSource, byteSource } from './byte-source';
import { halvesOf, positionOf, viewColumn } from './read';
import { columnData } from './record-batch';

/** The hash under way, or just finished. */
let low = 0;
let high = 0;

function begin(seed: number): void {
  low = seed ^ 0x1f83d9ab;
  high = seed ^ 0x5be0cd19;
}

function word(value: number): void {
  let k = Math.imul(value, 0xcc9e2d51);
  k = Math.imul((k << 15) | (k >>> 17), 0x1b873593);
  low ^= k;
  low = (Math.imul((low << 13) | (low >>> 19), 5) + 0xe6546b64) | 0;
  k = Math.imul(value, 0x239b961b);
  k = Math.imul((k << 16) | (k >>> 16), 0xab0e9789);
  high ^= k;
  high = (Math.imul((high << 17) | (high >>> 15), 5) + 0x38b34ae5) | 0;
}

function finalMix(lane: number): number {
  let h = Math.imul(lane ^ (lane >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return h ^ (h >>> 16);
}

function end(): void {
  low = (low + high) | 0;
  high = (high + low) | 0;
  low = finalMix(low);
  high = finalMix(high);
  low = (low + high) | 0;
  high = (high + low) | 0;
}

function bytes(source: ByteSource, from: number, to: number): void {
  let at = from;
  for (; at + 4 <= to; at += 4) word(source.view.getInt32(at, true));
  let tail = 0;
  for (let shift = 0; at < to; at++, shift += 8) tail |= source.bytes[at] << shift;
  word(tail);
  word(to - from);
}

const SEED = { value: 1, null: 2, entry: 3, row: 4 } as const;

begin(SEED.null);
end();
const NULL_LOW = low;
const NULL_HIGH = high;

/** Feeds the value at a position of plain data into the hash under way. */
type Feed = (position: number) => void;

function feedOf(type: ColumnType, data: Data): Feed {
  if (type === 'attributes') return attributesFeed(data);
  if (DataType.isList(data.type)) return listFeed(type, data);
  if (DataType.isUtf8(data.type) || DataType.isBinary(data.type)) {
    const source = byteSource(data.values as Uint8Array);
    const { valueOffsets } = data;
    return (position) => bytes(source, valueOffsets[position], valueOffsets[position + 1]);
  }
  if (DataType.isBool(data.type)) {
    const bits = data.values as Uint8Array;
    return (position) => word((bits[position >> 3] >> (position & 7)) & 1);
  }
  if (DataType.isDecimal(data.type)) {
    const words = data.values as Uint32Array;
    const { stride } = data;
    return (position) => {
      for (let i = position * stride; i < (position + 1) * stride; i++) word(words[i]);
    };
  }
  const { BYTES_PER_ELEMENT: width } = data.values as Uint8Array;
  if (width === 8) {
    const halves = halvesOf(data);
    return (position) => {
      word(halves[position * 2]);
      word(halves[position * 2 + 1]);
    };
  }
  if (DataType.isFloat(data.type)) {
    const { buffer, byteOffset, length } = data.values as Float32Array;
    const bits = new Int32Array(buffer, byteOffset, length);
    return (position) => word(bits[position]);
  }
  const values = data.values as Int32Array;
  return (position) => word(values[position]);
}

function attributesFeed(data: Data): Feed {
  const [key, value] = data.children[0]?.children ?? [];
  const [kind, text] = value?.children ?? [];
  if (key === undefined || kind === undefined || text === undefined)
    throw new RangeError('attributes need keys, kinds and texts');
  const keys = viewColumn(key);
  const feedKey = feedOf('string', keys.values);
  const texts = viewColumn(text);
  const feedText = feedOf('string', texts.values);
  const kinds = kind.values as Uint8Array;
  const { valueOffsets } = data;
  return (position) => {
    const outerLow = low;
    const outerHigh = high;
    let sumLow = 0;
    let sumHigh = 0;
    const last = valueOffsets[position + 1]!;
    for (let entry = valueOffsets[position]!; entry < last; entry++) {
      begin(SEED.entry);
      feedKey(positionOf(keys, entry));
      word(kinds[entry]);
      feedText(positionOf(texts, entry));
      end();
      sumLow = (sumLow + low) | 0;
      sumHigh = (sumHigh + high) | 0;
    }
    low = outerLow;
    high = outerHigh;
    word(last - valueOffsets[position]!);
    word(sumLow);
    word(sumHigh);
  };
}

function listFeed(type: ColumnType, data: Data): Feed {
  const items = viewColumn(data.children[0]);
  const feedItem = feedOf(type.slice('list<'.length, -1) as ColumnType, items.values);
  const { valueOffsets } = data;
  return (position) => {
    const last = valueOffsets[position + 1]!;
    for (let item = valueOffsets[position]!; item < last; item++) {
      const at = positionOf(items, item);
      word(at < 0 ? SEED.null : SEED.value);
      if (at >= 0) feedItem(at);
    }
    word(last - valueOffsets[position]!);
  };
}

/** Hashes of values, one after the other. */
interface Hashes {
  readonly low: Int32Array;
  readonly high: Int32Array;
}

/** Hashes of the rows of a column; a shared value of a dictionary is hashed once. */
function hashColumn(type: ColumnType, data: Data | undefined, rows: number): Hashes {
  const hashes: Hashes = { low: new Int32Array(rows).fill(NULL_LOW), high: new Int32Array(rows).fill(NULL_HIGH) };
  if (data === undefined) return hashes;
  const view = viewColumn(data);
  const feed = feedOf(type, view.values);
  const hash = (position: number, to: Hashes, at: number): void => {
    begin(SEED.value);
    feed(position);
    end();
    to.low[at] = low;
    to.high[at] = high;
  };
  if (view.indexes === undefined) {
    for (let row = 0; row < rows; row++) if (positionOf(view, row) >= 0) hash(row, hashes, row);
    return hashes;
  }
  const shared: Hashes = { low: new Int32Array(view.values.length), high: new Int32Array(view.values.length) };
  for (let i = 0; i < view.values.length; i++) hash(i, shared, i);
  for (let row = 0; row < rows; row++) {
    const position = positionOf(view, row);
    if (position < 0) continue;
    hashes.low[row] = shared.low[position];
    hashes.high[row] = shared.high[position];
  }
  return hashes;
}

const MASK = 0xffff_ffff_ffff_ffffn;
const hex = (sum: bigint): string => sum.toString(16).padStart(16, '0');

/** A batch has at most so many rows that sums of 32-bit numbers are exact as doubles. */
function sumOf({ low: lows, high: highs }: Hashes): bigint {
  let sumLow = 0;
  let sumHigh = 0;
  for (const lane of lows) sumLow += lane >>> 0;
  for (const lane of highs) sumHigh += lane >>> 0;
  return BigInt(sumLow) + (BigInt(sumHigh) << 32n);
}

/** Columns may have any name, also that of a property which objects have. */
const columnSum = (sums: DigestSums | undefined, name: string): string | undefined =>
  sums !== undefined && Object.hasOwn(sums.columns, name) ? sums.columns[name] : undefined;

/** Adds up batches of one table; columns are taken by name. */
export class Digest {
  private count: number;
  private rows: bigint;
  private readonly columns: Map<string, bigint>;

  /** `before`: the digest to go on from. */
  constructor(
    private readonly schema: TableSchema,
    before?: DigestSums,
  ) {
    this.count = before?.count ?? 0;
    this.rows = BigInt(`0x${before?.rows ?? '0'}`);
    this.columns = new Map(schema.columns.map(({ name }) => [name, BigInt(`0x${columnSum(before, name) ?? '0'}`)]));
  }

  add(batch: RecordBatch): void {
    const { numRows } = batch;
    const rows: Hashes = { low: new Int32Array(numRows), high: new Int32Array(numRows) };
    for (const { name, type } of this.schema.columns) {
      const hashes = hashColumn(type, columnData(batch, name), numRows);
      this.columns.set(name, (this.columns.get(name)! + sumOf(hashes)) & MASK);
      for (let row = 0; row < numRows; row++) {
        low = rows.low[row];
        high = rows.high[row];
        word(hashes.low[row]);
        word(hashes.high[row]);
        rows.low[row] = low;
        rows.high[row] = high;
      }
    }
    for (let row = 0; row < numRows; row++) {
      low = rows.low[row] ^ SEED.row;
      high = rows.high[row];
      end();
      rows.low[row] = low;
      rows.high[row] = high;
    }
    this.rows = (this.rows + sumOf(rows)) & MASK;
    this.count += numRows;
  }

  get sums(): DigestSums {
    const columns = Object.fromEntries([...this.columns].map(([name, sum]) => [name, hex(sum)]));
    return { count: this.count, rows: hex(this.rows), columns };
  }
}

/** What two digests differ in, in words; undefined when they are equal. A column that one of them lacks is not compared. */
export function digestDifference(a: DigestSums, b: DigestSums): string | undefined {
  if (a.count !== b.count) return `${a.count} rows against ${b.count}`;
  const columns = Object.keys(a.columns).filter((name) => Object.hasOwn(b.columns, name) && a.columns[name] !== b.columns[name]);
  if (columns.length > 0) return `column${columns.length > 1 ? 's' : ''} ${columns.join(', ')}`;
  const same = Object.keys(a.columns).length === Object.keys(b.columns).length;
  return same && a.rows !== b.rows ? 'values that stand in other rows' : undefined;
}
