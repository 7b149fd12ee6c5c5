import { AttributesBuilder } from '../../columnar/attributes';
import { ATTRIBUTE_KIND as KIND } from '../../core/table-schema';
import type { ValueReader } from './any-value';
import { jsonText, writeDouble, writeInt64, writeSmallInteger, writeText } from './json-text';
import { requireUtf8Bytes } from './validate';

const TRUE = jsonText('true');
const FALSE = jsonText('false');

/** Attribute positions of a row whose keys are guessed from the row before. */
const PREDICTED_MAX = 64;

/**
 * A column of KeyValue messages. The usual form - key, then value, the value's only member, each length in one or two
 * bytes - is read by position; everything else protobuf allows goes through `ValueReader`.
 */
export class AttributeColumn {
  readonly builder: AttributesBuilder;
  /** By position in the row: the key last seen there. Senders repeat their keys in the same order. */
  private readonly predicted = new Int32Array(PREDICTED_MAX).fill(-1);
  private position = 0;

  constructor(
    private readonly values: ValueReader,
    capacity?: number,
  ) {
    this.builder = new AttributesBuilder(undefined, capacity);
  }

  /** Adds the KeyValue in [start, end) to the open row. */
  add(start: number, end: number): void {
    const { bytes } = this.values.wire;
    if (end - start >= 4 && bytes[start] === 0x0a) {
      const keyStart = start + 2;
      const keyLength = bytes[start + 1];
      const keyEnd = keyStart + keyLength;
      if (keyLength < 0x80 && keyEnd + 2 <= end && bytes[keyEnd] === 0x12) {
        let p = keyEnd + 2;
        let length = bytes[keyEnd + 1];
        if (length >= 0x80) length = bytes[p] < 0x80 ? (length & 0x7f) | (bytes[p++] << 7) : 0;
        if (length > 0 && p + length === end && this.addMember(keyStart, keyEnd, p, end)) return;
      }
    }
    this.addPieces(start, end);
  }

  /** Adds the entry if its AnyValue in [start, end) has one member of a simple kind. */
  private addMember(keyStart: number, keyEnd: number, start: number, end: number): boolean {
    const { builder } = this;
    const { bytes } = this.values.wire;
    const { text } = builder;
    let p = start + 1;
    switch (bytes[start]) {
      case 0x0a: {
        let length = bytes[p++];
        if (length >= 0x80) {
          if (p >= end || bytes[p] >= 0x80) return false;
          length = (length & 0x7f) | (bytes[p++] << 7);
        }
        if (p + length !== end) return false;
        this.key(keyStart, keyEnd);
        text.writeFrom(this.values.wire, p, end);
        builder.endEntry(KIND.string);
        return true;
      }
      case 0x10:
        if (end !== start + 2 || bytes[p] > 1) return false;
        this.key(keyStart, keyEnd);
        writeText(text, bytes[p] === 1 ? TRUE : FALSE);
        builder.endEntry(KIND.bool);
        return true;
      case 0x18:
        return this.addInteger(keyStart, keyEnd, p, end);
      case 0x21:
        if (end !== start + 9) return false;
        this.key(keyStart, keyEnd);
        writeDouble(text, this.values.wire.doubleAt(p));
        builder.endEntry(KIND.double);
        return true;
      default:
        return false;
    }
  }

  private addInteger(keyStart: number, keyEnd: number, start: number, end: number): boolean {
    const { wire } = this.values;
    const { bytes } = wire;
    const { text } = this.builder;
    const size = end - start;
    // One or two bytes of varint: 0 to 16,383.
    if ((size === 1 && bytes[start] < 0x80) || (size === 2 && bytes[start] >= 0x80 && bytes[start + 1] < 0x80)) {
      this.key(keyStart, keyEnd);
      writeSmallInteger(text, size === 1 ? bytes[start] : (bytes[start] & 0x7f) | (bytes[start + 1] << 7));
    } else {
      if (wire.varint(start, end) !== end) return false;
      const { low, high } = wire;
      this.key(keyStart, keyEnd);
      writeInt64(text, low, high);
    }
    this.builder.endEntry(KIND.int);
    return true;
  }

  private key(start: number, end: number): void {
    const { builder, predicted } = this;
    const { wire } = this.values;
    const { keys } = builder;
    const at = this.position++;
    if (at >= PREDICTED_MAX) return builder.key(keys.internFrom(wire, start, end));
    let id = predicted[at];
    if (id < 0 || !keys.equalsFrom(id, wire, start, end)) {
      id = keys.internFrom(wire, start, end);
      predicted[at] = id;
    }
    builder.key(id);
  }

  private addPieces(start: number, end: number): void {
    const { builder, values } = this;
    const base = values.size;
    values.pushKey(start, end);
    this.key(values.stack[base], values.stack[base + 1]);
    values.size = base;
    values.pushValue(start, end);
    builder.endEntry(values.writeValue(base, builder.text));
    values.size = base;
  }

  endRow(): void {
    // Values that a repeated key replaces will not be there when the whole column is checked.
    const { builder } = this;
    if (builder.hasRepeated)
      for (let i = builder.openStart; i < builder.text.length; i++) requireUtf8Bytes(builder.text.valueAt(i));
    builder.endRow();
    this.position = 0;
  }

  reset(): void {
    this.builder.reset();
    this.predicted.fill(-1);
    this.position = 0;
  }

  dropRow(): void {
    this.builder.dropRow();
    this.position = 0;
  }
}
