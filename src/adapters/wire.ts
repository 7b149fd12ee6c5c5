/**
 * Reading of the protobuf wire format (protobuf.dev, "Encoding") by position: no object per field.
 * Methods take a position and the end of the enclosing message and give the position behind what they read; values are left
 * in `low`, `high` (int32 halves) and `stop`. Nothing is ever read past `end`: whatever does not fit is `invalid_argument`.
 */
import { IngestError } from '../core/errors';
import { LIMITS } from '../core/limits';

const WIRE_TYPE = { varint: 0, fixed64: 1, delimited: 2, startGroup: 3, endGroup: 4, fixed32: 5 } as const;

export const malformed = (message: string, at: number): IngestError =>
  new IngestError('invalid_argument', `protobuf: ${message}`, { at: `byte ${at}` });

export const tooDeep = (at: number): IngestError =>
  malformed(`values are nested deeper than ${LIMITS.nestingDepthMax} levels`, at);

const truncated = (at: number): IngestError => malformed('a field ends outside its message', at);

const EMPTY = new Uint8Array(0);

export class Wire {
  /** Never a Buffer: one hidden class for all reads. */
  bytes: Uint8Array;
  view: DataView;
  low = 0;
  high = 0;
  /** End of the length-delimited field opened last. */
  stop = 0;

  constructor(body: Uint8Array = EMPTY) {
    this.bytes = new Uint8Array(body.buffer, body.byteOffset, body.byteLength);
    this.view = new DataView(body.buffer, body.byteOffset, body.byteLength);
  }

  /** Goes on with another body. */
  load(body: Uint8Array): void {
    this.bytes = new Uint8Array(body.buffer, body.byteOffset, body.byteLength);
    this.view = new DataView(body.buffer, body.byteOffset, body.byteLength);
  }

  /** Lets go of the body. */
  clear(): void {
    this.load(EMPTY);
  }

  /** Reads the length at `p`; gives the start of the field's content and leaves its end in `stop`. */
  open(p: number, end: number): number {
    let length = this.bytes[p];
    let start = p + 1;
    // Also true behind the last byte of the body, where `length` is undefined.
    if (!(length < 0x80)) {
      start = this.length(p, end);
      length = this.low;
    }
    const stop = start + length;
    if (stop > end) throw truncated(p);
    this.stop = stop;
    return start;
  }

  /** A length: at most five bytes, below 2^31. */
  private length(p: number, end: number): number {
    const next = this.varint32(p, end);
    if (this.low < 0) throw malformed('a length is not below 2^31', p);
    return next;
  }

  /** A tag: at most five bytes, below 2^32. `low` is the tag as int32. */
  tag(p: number, end: number): number {
    return this.varint32(p, end);
  }

  private varint32(p: number, end: number): number {
    const { bytes } = this;
    let at = p;
    let value = 0;
    for (let shift = 0; shift < 35; shift += 7) {
      if (at >= end) throw truncated(p);
      const byte = bytes[at++];
      if (shift === 28 && byte > 0x0f) break;
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) {
        this.low = value;
        return at;
      }
    }
    throw malformed('a tag or length does not fit 32 bits', p);
  }

  /** A varint of up to 64 bits into `low` and `high`; bits above 64 are dropped, as every implementation does. */
  varint(p: number, end: number): number {
    const { bytes } = this;
    let at = p;
    let low = 0;
    let high = 0;
    for (let shift = 0; shift < 70; shift += 7) {
      if (at >= end) throw truncated(p);
      const byte = bytes[at++];
      const bits = byte & 0x7f;
      if (shift < 28) low |= bits << shift;
      else if (shift === 28) {
        low |= bits << 28;
        high = bits >> 4;
      } else high |= bits << (shift - 32);
      if (byte < 0x80) {
        this.low = low;
        this.high = high;
        return at;
      }
    }
    throw malformed('a varint is longer than 10 bytes', p);
  }

  fixed64(p: number, end: number): number {
    if (p + 8 > end) throw truncated(p);
    this.low = this.view.getInt32(p, true);
    this.high = this.view.getInt32(p + 4, true);
    return p + 8;
  }

  fixed32(p: number, end: number): number {
    if (p + 4 > end) throw truncated(p);
    this.low = this.view.getInt32(p, true);
    return p + 4;
  }

  /** The double in the eight bytes at `p`, after `fixed64` has checked them. */
  doubleAt(p: number): number {
    return this.view.getFloat64(p, true);
  }

  /** Skips the field whose tag has just been read: unknown number, or known number with another wire type (PB1, OD5). */
  skip(tag: number, p: number, end: number): number {
    if (tag >>> 3 === 0) throw malformed('field number 0', p);
    switch (tag & 7) {
      case WIRE_TYPE.varint:
        return this.varint(p, end);
      case WIRE_TYPE.fixed64:
        if (p + 8 > end) throw truncated(p);
        return p + 8;
      case WIRE_TYPE.delimited:
        this.open(p, end);
        return this.stop;
      case WIRE_TYPE.startGroup:
        return this.skipGroup(tag >>> 3, p, end);
      case WIRE_TYPE.fixed32:
        if (p + 4 > end) throw truncated(p);
        return p + 4;
      case WIRE_TYPE.endGroup:
        throw malformed('an end of group without its start', p);
      default:
        throw malformed(`wire type ${tag & 7}`, p);
    }
  }

  private skipGroup(field: number, start: number, end: number): number {
    const open = [field];
    let p = start;
    while (open.length > 0) {
      p = this.tag(p, end);
      const tag = this.low;
      const number = tag >>> 3;
      if ((tag & 7) === WIRE_TYPE.endGroup) {
        if (open.pop() !== number) throw malformed('an end of group without its start', p);
      } else if ((tag & 7) === WIRE_TYPE.startGroup) {
        if (number === 0) throw malformed('field number 0', p);
        if (open.length >= LIMITS.nestingDepthMax) throw tooDeep(p);
        open.push(number);
      } else p = this.skip(tag, p, end);
    }
    return p;
  }
}
