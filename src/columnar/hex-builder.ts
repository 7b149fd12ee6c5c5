import { type Data, Utf8 } from 'apache-arrow';
import { type ColumnBuilder, capacityFor, Validity } from './builders';
import { dataOf, type Keep, keepOwn } from './slab';

const UTF8 = new Utf8();

/** Byte -> its two lower-case hex digits as they lie in memory (little endian). */
export const HEX_PAIRS = Uint16Array.from({ length: 256 }, (_, byte) => {
  const [high, low] = byte.toString(16).padStart(2, '0');
  return high.charCodeAt(0) | (low.charCodeAt(0) << 8);
});

/** A Utf8 column of byte strings written as lower-case hex. */
export class HexBuilder implements ColumnBuilder {
  length = 0;
  readonly validity = new Validity();
  private pairs: Uint16Array<ArrayBuffer>;
  private used = 0;
  private offsets: Int32Array;

  constructor(capacity = 16, bytesPerValue = 16) {
    this.pairs = new Uint16Array(capacity * bytesPerValue);
    this.offsets = new Int32Array(capacity + 1);
  }

  append(source: Uint8Array, start: number, end: number): void {
    const needed = this.used + end - start;
    if (needed > this.pairs.length) {
      const grown = new Uint16Array(capacityFor(this.pairs.length, needed));
      grown.set(this.pairs);
      this.pairs = grown;
    }
    const { pairs } = this;
    let at = this.used;
    for (let i = start; i < end; i++) pairs[at++] = HEX_PAIRS[source[i]];
    this.used = at;
    this.endValue();
  }

  get nullCount(): number {
    return this.validity.nullCount;
  }

  appendNull(): void {
    this.validity.setNull(this.length);
    this.endValue();
  }

  /** Appends nulls until there are `length` values. */
  padNulls(length: number): void {
    if (this.length >= length) return;
    this.validity.setNulls(this.length, length);
    this.growOffsets(length);
    this.offsets.fill(this.used * 2, this.length + 1, length + 1);
    this.length = length;
  }

  private endValue(): void {
    if (this.length + 1 === this.offsets.length) this.growOffsets(this.length + 1);
    this.offsets[++this.length] = this.used * 2;
  }

  private growOffsets(length: number): void {
    if (length < this.offsets.length) return;
    const grown = new Int32Array(capacityFor(this.offsets.length, length + 1));
    grown.set(this.offsets);
    this.offsets = grown;
  }

  finish(keep: Keep = keepOwn): Data {
    return dataOf({
      type: UTF8,
      length: this.length,
      offsets: keep(this.offsets.subarray(0, this.length + 1)),
      values: keep(new Uint8Array(this.pairs.buffer, 0, this.used * 2)),
      ...this.validity.finish(this.length, keep),
    });
  }

  reset(): void {
    this.validity.reset(this.length);
    this.length = 0;
    this.used = 0;
  }
}
