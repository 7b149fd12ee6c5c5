/**
 * Growable writer of the protobuf wire format. Length prefixes are back-patched: room for one is left in front of a message and
 * filled when the message is complete, so nothing is measured twice and no message is built on its own.
 * A prefix may come out longer than it must be (padded varint), which the wire format allows.
 */
import { growBytes } from '../../columnar/builders';
import { IngestError } from '../../core/errors';
import { LIMITS } from '../../core/limits';

/** Enough for a length below 2^35. */
const LENGTH_WIDTH_MAX = 5;
/** Below this length a byte loop beats `set(subarray)`. */
const COPY_LOOP_MAX = 40;

const WIRE = { varint: 0, fixed64: 1, lengthDelimited: 2, fixed32: 5 } as const;

export class ProtobufWriter {
  private bytes: Uint8Array<ArrayBuffer>;
  private used = 0;
  private readonly double = new Float64Array(1);
  private readonly doubleBytes = new Uint8Array(this.double.buffer);

  constructor(capacity: number) {
    this.bytes = new Uint8Array(Math.max(64, capacity));
  }

  /** What was written; a view of the writer's buffer. */
  finish(): Uint8Array {
    return this.bytes.subarray(0, this.used);
  }

  /** Opens a length-delimited field; keep the position for `endLength`. `width`: bytes left for the length, 1 to 5. */
  beginLength(field: number, width: number): number {
    this.tag(field, WIRE.lengthDelimited, LENGTH_WIDTH_MAX);
    this.used += width;
    return this.used;
  }

  /** Closes the field opened at `start`; gives the width that its length needs. */
  endLength(start: number, width: number): number {
    const length = this.used - start;
    const needed = varintWidth(length);
    let at = start - width;
    let written = width;
    if (needed > width) {
      this.reserve(needed - width);
      this.bytes.copyWithin(start + needed - width, start, this.used);
      this.used += needed - width;
      written = needed;
    }
    let rest = length;
    for (let i = 1; i < written; i++) {
      this.bytes[at++] = (rest & 0x7f) | 0x80;
      rest = Math.floor(rest / 128);
    }
    this.bytes[at] = rest;
    return needed;
  }

  /** A whole string or bytes field. */
  lengthDelimited(field: number, source: Uint8Array, start: number, end: number): void {
    const count = end - start;
    this.tag(field, WIRE.lengthDelimited, LENGTH_WIDTH_MAX + count);
    this.varint32(count);
    let at = this.used;
    if (count <= COPY_LOOP_MAX) {
      const { bytes } = this;
      for (let i = start; i < end; i++) bytes[at++] = source[i]!;
    } else {
      this.bytes.set(source.subarray(start, end), at);
    }
    this.used += count;
  }

  varintField(field: number, low: number, high: number): void {
    this.tag(field, WIRE.varint, 10);
    this.varint64(low, high);
  }

  fixed64Field(field: number, low: number, high: number): void {
    this.tag(field, WIRE.fixed64, 8);
    this.fixed64(low, high);
  }

  fixed32Field(field: number, value: number): void {
    this.tag(field, WIRE.fixed32, 4);
    this.fixed32(value);
  }

  doubleField(field: number, value: number): void {
    this.tag(field, WIRE.fixed64, 8);
    this.putDouble(value);
  }

  /** Elements of a packed field. */
  packedVarint(low: number, high: number): void {
    this.reserve(10);
    this.varint64(low, high);
  }

  packedFixed64(low: number, high: number): void {
    this.reserve(8);
    this.fixed64(low, high);
  }

  packedDouble(value: number): void {
    this.reserve(8);
    this.putDouble(value);
  }

  packedFixed32(value: number): void {
    this.reserve(4);
    this.fixed32(value);
  }

  private reserve(count: number): void {
    const needed = this.used + count;
    if (needed <= this.bytes.length) return;
    // An array of small numbers takes up to four times its JSON text.
    if (needed > LIMITS.walFrameBytesMax) {
      throw new IngestError('payload_too_large', `the request is larger than ${LIMITS.walFrameBytesMax} bytes after decoding`);
    }
    this.bytes = growBytes(this.bytes, needed);
  }

  /** Writes a tag (field numbers below 2048) and makes room for it and `room` more bytes. */
  private tag(field: number, wire: number, room: number): void {
    this.reserve(2 + room);
    const tag = field * 8 + wire;
    if (tag >= 128) {
      this.bytes[this.used++] = (tag & 0x7f) | 0x80;
      this.bytes[this.used++] = tag >> 7;
    } else {
      this.bytes[this.used++] = tag;
    }
  }

  private varint32(value: number): void {
    let rest = value;
    while (rest >= 128) {
      this.bytes[this.used++] = (rest & 0x7f) | 0x80;
      rest >>>= 7;
    }
    this.bytes[this.used++] = rest;
  }

  private varint64(low: number, high: number): void {
    let lo = low >>> 0;
    let hi = high >>> 0;
    while (hi > 0) {
      this.bytes[this.used++] = (lo & 0x7f) | 0x80;
      lo = ((lo >>> 7) | (hi << 25)) >>> 0;
      hi >>>= 7;
    }
    this.varint32(lo);
  }

  private fixed32(value: number): void {
    const { bytes, used } = this;
    bytes[used] = value;
    bytes[used + 1] = value >>> 8;
    bytes[used + 2] = value >>> 16;
    bytes[used + 3] = value >>> 24;
    this.used = used + 4;
  }

  private fixed64(low: number, high: number): void {
    this.fixed32(low);
    this.fixed32(high);
  }

  private putDouble(value: number): void {
    this.double[0] = value;
    const { bytes, used, doubleBytes } = this;
    for (let i = 0; i < 8; i++) bytes[used + i] = doubleBytes[i]!;
    this.used = used + 8;
  }
}

function varintWidth(value: number): number {
  let width = 1;
  for (let rest = value; rest >= 128; rest = Math.floor(rest / 128)) width++;
  return width;
}
