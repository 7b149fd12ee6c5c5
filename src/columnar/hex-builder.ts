import { type Data, Utf8 } from 'apache-arrow';
import { type ColumnBuilder, capacityFor, growBytes, Validity } from './builders';
import { dataOf, type Keep, keepOwn } from './slab';

const UTF8 = new Utf8();

const BYTES_PER_STEP = 4;

/** Two bytes (the low 16 bits) as four hex digits in one 32-bit word, the first digit in the highest byte. */
function hexOf(pair: number): number {
  const nibbles = ((pair & 0xf000) << 12) | ((pair & 0x0f00) << 8) | ((pair & 0x00f0) << 4) | (pair & 0x000f);
  // In each byte: 1 for 10 to 15, whose digits are letters.
  const letters = ((nibbles + 0x06060606) >> 4) & 0x01010101;
  return nibbles + 0x30303030 + letters * 0x27;
}

/** A Utf8 column of ids written as lower-case hex. An id has a multiple of four bytes. */
export class HexBuilder implements ColumnBuilder {
  length = 0;
  readonly validity = new Validity();
  private bytes: Uint8Array<ArrayBuffer>;
  private view: DataView;
  private used = 0;
  private offsets: Int32Array;

  constructor(capacity = 16, bytesPerValue = 16) {
    this.bytes = new Uint8Array(capacity * bytesPerValue * 2);
    this.view = new DataView(this.bytes.buffer);
    this.offsets = new Int32Array(capacity + 1);
  }

  append(source: DataView, start: number, end: number): void {
    const needed = this.used + (end - start) * 2;
    if (needed > this.bytes.length) {
      this.bytes = growBytes(this.bytes, needed);
      this.view = new DataView(this.bytes.buffer);
    }
    const { view } = this;
    let at = this.used;
    for (let i = start; i < end; i += BYTES_PER_STEP) {
      const word = source.getInt32(i);
      view.setInt32(at, hexOf(word >>> 16));
      view.setInt32(at + 4, hexOf(word));
      at += BYTES_PER_STEP * 2;
    }
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
    this.offsets.fill(this.used, this.length + 1, length + 1);
    this.length = length;
  }

  private endValue(): void {
    if (this.length + 1 === this.offsets.length) this.growOffsets(this.length + 1);
    this.offsets[++this.length] = this.used;
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
      values: keep(this.bytes.subarray(0, this.used)),
      ...this.validity.finish(this.length, keep),
    });
  }

  reset(): void {
    this.validity.reset(this.length);
    this.length = 0;
    this.used = 0;
  }
}
