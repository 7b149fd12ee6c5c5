import { type Data, Dictionary, Int32, Utf8 } from 'apache-arrow';
import { type ColumnBuilder, NumberBuilder } from './builders';
import type { ByteSource } from './byte-source';
import { Interner } from './interner';
import { dictionaryData } from './nested-builders';
import { type Keep, keepOwn } from './slab';

/** A column of few distinct strings: Dictionary<Int32, Utf8> over interned bytes. */
export class InternedBuilder implements ColumnBuilder {
  readonly interner = new Interner();
  private readonly indexes: NumberBuilder<Int32Array>;
  private readonly type = new Dictionary(new Utf8(), new Int32());
  /** The last value appended: most columns repeat it. */
  private last = -1;

  /** `preset`: values with the numbers 0, 1, ..., whether they occur or not. */
  constructor(
    capacity = 16,
    private readonly preset: readonly string[] = [],
  ) {
    this.indexes = NumberBuilder.int32(capacity);
    for (const text of preset) this.interner.internString(text);
  }

  get length(): number {
    return this.indexes.length;
  }

  get nullCount(): number {
    return this.indexes.nullCount;
  }

  append(source: Uint8Array, start: number, end: number): void {
    this.indexes.append(this.intern(source, start, end));
  }

  /** The number of a value; as cheap as a comparison when it is the same value as last time. */
  intern(source: Uint8Array, start: number, end: number): number {
    if (this.last < 0 || !this.interner.equals(this.last, source, start, end))
      this.last = this.interner.intern(source, start, end);
    return this.last;
  }

  /** As `append`, from bytes with a view. */
  appendFrom(source: ByteSource, start: number, end: number): void {
    this.indexes.append(this.internFrom(source, start, end));
  }

  /** As `intern`, from bytes with a view. */
  internFrom(source: ByteSource, start: number, end: number): number {
    const { last } = this;
    if (last >= 0 && this.interner.equalsFrom(last, source, start, end)) return last;
    this.last = this.interner.internFrom(source, start, end);
    return this.last;
  }

  /** Appends a value by its number in `interner`. */
  appendId(id: number): void {
    this.indexes.append(id);
  }

  /** Appends a value `count` times; -1 is null. */
  appendRun(id: number, count: number): void {
    if (id < 0) this.indexes.appendNulls(count);
    else this.indexes.appendRun(id, count);
  }

  appendNull(): void {
    this.indexes.appendNull();
  }

  /** Appends nulls until there are `length` values. */
  padNulls(length: number): void {
    this.indexes.padNulls(length);
  }

  finish(keep: Keep = keepOwn): Data {
    return dictionaryData(this.indexes.finish(keep), this.interner.values.finish(keep), this.type);
  }

  reset(): void {
    this.last = -1;
    this.indexes.reset();
    if (this.interner.size === this.preset.length) return;
    this.interner.reset();
    for (const text of this.preset) this.interner.internString(text);
  }
}
