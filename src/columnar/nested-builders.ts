/** Builders over other builders: lists and dictionary-encoded columns. */
import { type Data, Dictionary, Field, Int32, List, Vector } from 'apache-arrow';
import { type ColumnBuilder, capacityFor, NumberBuilder, Validity } from './builders';
import { dataOf, type Keep, keepOwn } from './slab';

/** A column whose last values can be taken back. */
interface TruncatableBuilder extends ColumnBuilder {
  truncate(length: number): void;
}

/** Lists of one element type: append elements to `items`, then `endRow`; or `dropRow` to forget them. */
export class ListBuilder<B extends TruncatableBuilder> implements ColumnBuilder {
  length = 0;
  readonly validity = new Validity();
  private offsets: Int32Array;
  private type: List | undefined;

  constructor(
    readonly items: B,
    capacity = 16,
  ) {
    this.offsets = new Int32Array(capacity + 1);
  }

  endRow(): void {
    if (this.length + 2 > this.offsets.length) {
      const grown = new Int32Array(capacityFor(this.offsets.length, this.length + 2));
      grown.set(this.offsets);
      this.offsets = grown;
    }
    this.offsets[++this.length] = this.items.length;
  }

  dropRow(): void {
    this.items.truncate(this.offsets[this.length]);
  }

  /** Elements of the open row so far. */
  get openItems(): number {
    return this.items.length - this.offsets[this.length];
  }

  get nullCount(): number {
    return this.validity.nullCount;
  }

  appendNull(): void {
    this.validity.setNull(this.length);
    this.endRow();
  }

  finish(keep: Keep = keepOwn): Data {
    const child = this.items.finish(keep);
    this.type ??= new List(new Field('item', child.type, true));
    return dataOf({
      type: this.type,
      length: this.length,
      offsets: keep(this.offsets.subarray(0, this.length + 1)),
      children: [child],
      ...this.validity.finish(this.length, keep),
    });
  }

  reset(): void {
    this.items.reset();
    this.validity.reset(this.length);
    this.length = 0;
  }
}

/** A dictionary-encoded column: `values` holds the distinct values, `append` takes the position of one. */
export class DictionaryBuilder<B extends ColumnBuilder> implements ColumnBuilder {
  private readonly indexes: NumberBuilder<Int32Array>;
  private type: Dictionary | undefined;

  constructor(
    readonly values: B,
    capacity = 16,
  ) {
    this.indexes = NumberBuilder.int32(capacity);
  }

  get length(): number {
    return this.indexes.length;
  }

  get nullCount(): number {
    return this.indexes.nullCount;
  }

  append(index: number): void {
    this.indexes.append(index);
  }

  /** Appends the same value `count` times. */
  appendRun(index: number, count: number): void {
    this.indexes.appendRun(index, count);
  }

  appendNulls(count: number): void {
    this.indexes.appendNulls(count);
  }

  appendNull(): void {
    this.indexes.appendNull();
  }

  finish(keep: Keep = keepOwn): Data {
    const values = this.values.finish(keep);
    this.type ??= new Dictionary(values.type, INT32);
    return dictionaryData(this.indexes.finish(keep), values, this.type);
  }

  reset(): void {
    this.indexes.reset();
    this.values.reset();
  }
}

const INT32 = new Int32();

/** Wraps int32 indexes and their values as dictionary-encoded Arrow data; each column needs a type, and so an id, of its own. */
export function dictionaryData(indexes: Data, values: Data, type: Dictionary = new Dictionary(values.type, INT32)): Data {
  return dataOf({
    type,
    length: indexes.length,
    nullCount: indexes.nullCount,
    nullBitmap: indexes.nullCount > 0 ? indexes.nullBitmap : undefined,
    values: indexes.values as Int32Array,
    dictionary: new Vector([values]),
  });
}
