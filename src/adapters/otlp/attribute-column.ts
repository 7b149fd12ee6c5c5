import { AttributesBuilder } from '../../columnar/attributes';
import { ATTRIBUTE_KIND as KIND } from '../../core/table-schema';
import type { Wire } from '../wire';
import { KEY_VALUE_TAG, MEMBER_TAG, type ValueReader } from './any-value';
import { jsonText, writeDouble, writeInt64, writeSmallInteger, writeText } from './json-text';
import { requireUtf8Bytes } from './validate';

const TRUE = jsonText('true');
const FALSE = jsonText('false');

/** A length that fits nowhere. */
const TOO_LONG = 0x7fffffff;

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
  private readonly wire: Wire;

  constructor(
    private readonly values: ValueReader,
    capacity?: number,
  ) {
    this.wire = values.wire;
    this.builder = new AttributesBuilder(undefined, capacity);
  }

  /** Adds the KeyValue in [start, end) to the open row. */
  add(start: number, end: number): void {
    const { wire } = this;
    const { bytes } = wire;
    const keyStart = start + 2;
    const keyEnd = keyStart + bytes[start + 1];
    // A key of less than 128 bytes, then a value of at least two that fills the rest.
    const usual = bytes[start] === KEY_VALUE_TAG.key && keyEnd - keyStart < 0x80 && keyEnd + 4 <= end;
    if (!usual || bytes[keyEnd] !== KEY_VALUE_TAG.value) return this.addPieces(start, end);
    let p = keyEnd + 2;
    let length = bytes[keyEnd + 1];
    if (length >= 0x80) length = bytes[p] < 0x80 ? (length & 0x7f) | (bytes[p++] << 7) : 0;
    if (length < 2 || p + length !== end) return this.addPieces(start, end);
    if (bytes[p] === MEMBER_TAG.string) {
      let text = p + 2;
      let size = bytes[p + 1];
      if (size >= 0x80) size = text < end && bytes[text] < 0x80 ? (size & 0x7f) | (bytes[text++] << 7) : TOO_LONG;
      if (text + size !== end) return this.addPieces(start, end);
      this.builder.entryFrom(this.keyId(keyStart, keyEnd), KIND.string, wire, text, end);
    } else if (!this.addScalar(keyStart, keyEnd, p, end)) this.addPieces(start, end);
  }

  /** Adds the entry if its AnyValue in [start, end) has one member of fixed or varint size. */
  private addScalar(keyStart: number, keyEnd: number, start: number, end: number): boolean {
    const { builder, wire } = this;
    const p = start + 1;
    switch (wire.bytes[start]) {
      case MEMBER_TAG.int:
        return this.addInteger(keyStart, keyEnd, p, end);
      case MEMBER_TAG.bool:
        if (end !== start + 2 || wire.bytes[p] > 1) return false;
        builder.key(this.keyId(keyStart, keyEnd));
        writeText(builder.text, wire.bytes[p] === 1 ? TRUE : FALSE);
        builder.endEntry(KIND.bool);
        return true;
      case MEMBER_TAG.double:
        if (end !== start + 9) return false;
        builder.key(this.keyId(keyStart, keyEnd));
        writeDouble(builder.text, wire.doubleAt(p));
        builder.endEntry(KIND.double);
        return true;
      default:
        return false;
    }
  }

  private addInteger(keyStart: number, keyEnd: number, start: number, end: number): boolean {
    const { wire } = this;
    const { bytes } = wire;
    const { text } = this.builder;
    const size = end - start;
    // One or two bytes of varint: 0 to 16,383.
    if ((size === 1 && bytes[start] < 0x80) || (size === 2 && bytes[start] >= 0x80 && bytes[start + 1] < 0x80)) {
      this.builder.key(this.keyId(keyStart, keyEnd));
      writeSmallInteger(text, size === 1 ? bytes[start] : (bytes[start] & 0x7f) | (bytes[start + 1] << 7));
    } else {
      if (wire.varint(start, end) !== end) return false;
      const { low, high } = wire;
      this.builder.key(this.keyId(keyStart, keyEnd));
      writeInt64(text, low, high);
    }
    this.builder.endEntry(KIND.int);
    return true;
  }

  /** The number of the key of the next entry. */
  private keyId(start: number, end: number): number {
    const { predicted, wire } = this;
    const { keys } = this.builder;
    const at = this.position++;
    if (at >= PREDICTED_MAX) return keys.internFrom(wire, start, end);
    const guess = predicted[at];
    if (guess >= 0 && keys.equalsFrom(guess, wire, start, end)) return guess;
    return (predicted[at] = keys.internFrom(wire, start, end));
  }

  private addPieces(start: number, end: number): void {
    const { builder, values } = this;
    const base = values.size;
    values.pushKey(start, end);
    builder.key(this.keyId(values.stack[base], values.stack[base + 1]));
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
