/**
 * AnyValue and KeyValue (opentelemetry/proto/common/v1) -> text.
 * A message that a sender split into pieces (a singular field given more than once, PB3) is read as its pieces one after the
 * other, which is how protobuf defines merging. Pieces wait as (start, end) pairs on one growing stack: nothing is copied,
 * and the work is proportional to the input, at a depth of at most LIMITS.nestingDepthMax.
 */
import type { BytesBuilder } from '../../columnar/bytes-builder';
import { Interner } from '../../columnar/interner';
import { LIMITS } from '../../core/limits';
import { ATTRIBUTE_KIND as KIND } from '../../core/table-schema';
import { tooDeep, type Wire } from '../wire';
import { jsonText, writeBase64, writeDouble, writeInt64, writeJsonDouble, writeJsonString, writeText } from './json-text';
import { ARRAY_VALUE, KEY_VALUE, KEY_VALUE_LIST, requireUtf8, validate } from './validate';

const TRUE = jsonText('true');
const FALSE = jsonText('false');
const NULL = jsonText('null');
const CHAR = { quote: 0x22, comma: 0x2c, colon: 0x3a, open: 0x5b, close: 0x5d, openBrace: 0x7b, closeBrace: 0x7d } as const;

export const KEY_VALUE_TAG = { key: 0x0a, value: 0x12 } as const;

/** Of ArrayValue and KeyValueList. */
const ELEMENT_TAG = 0x0a;

/** Tags of the members of AnyValue.value. */
export const MEMBER_TAG = { string: 0x0a, bool: 0x10, int: 0x18, double: 0x21, array: 0x2a, kvlist: 0x32, bytes: 0x3a } as const;

/** Tag -> kind. */
const MEMBERS = new Uint8Array(64);
for (const [name, tag] of Object.entries(MEMBER_TAG)) MEMBERS[tag] = KIND[name as keyof typeof MEMBER_TAG];

/** Places on the stack at first, and after a request. */
const STACK_SIZE = 256;

/** Up to this many entries a search for repeated keys compares all pairs. */
const PAIRWISE_MAX = 16;

export class ValueReader {
  /** Pairs of start and end. Whoever pushes puts `size` back. */
  stack = new Int32Array(STACK_SIZE);
  size = 0;
  /** What `resolve` found besides the kind: halves of an integer, a double, or the range of a string or bytes. */
  private low = 0;
  private high = 0;
  private double = 0;
  private start = 0;
  private end = 0;

  constructor(readonly wire: Wire) {}

  reset(): void {
    this.size = 0;
    if (this.stack.length > STACK_SIZE) this.stack = new Int32Array(STACK_SIZE);
  }

  push(start: number, end: number): void {
    if (this.size + 2 > this.stack.length) {
      const grown = new Int32Array(this.stack.length * 2);
      grown.set(this.stack);
      this.stack = grown;
    }
    this.stack[this.size++] = start;
    this.stack[this.size++] = end;
  }

  /**
   * Writes the value whose pieces are on the stack from `base` to its top; gives its kind. The text is not JSON for strings and
   * bytes.
   */
  writeValue(base: number, out: BytesBuilder): number {
    const top = this.size;
    if (top === base + 2 && this.writePlainString(this.stack[base], this.stack[base + 1], out)) return KIND.string;
    const kind = this.resolve(base, top, 1);
    switch (kind) {
      case KIND.string:
        out.writeFrom(this.wire, this.start, this.end);
        break;
      case KIND.double:
        writeDouble(out, this.double);
        break;
      case KIND.bytes:
        writeBase64(out, this.wire.bytes, this.start, this.end);
        break;
      case KIND.empty:
        break;
      default:
        this.writeResolved(kind, top, 1, out);
    }
    this.size = top;
    return kind;
  }

  /** Writes the AnyValue in [start, end) if it is the usual one: nothing but a string, its length in one or two bytes. */
  private writePlainString(start: number, end: number, out: BytesBuilder): boolean {
    const { wire } = this;
    const { bytes } = wire;
    if (end - start < 2 || bytes[start] !== MEMBER_TAG.string) return false;
    let p = start + 1;
    let length = bytes[p++];
    if (length >= 0x80) {
      if (p >= end || bytes[p] >= 0x80) return false;
      length = (length & 0x7f) | (bytes[p++] << 7);
    }
    if (p + length !== end) return false;
    out.writeFrom(wire, p, end);
    return true;
  }

  /** Writes the value whose pieces are on the stack from `base` to its top as JSON text. */
  private writeJson(base: number, depth: number, out: BytesBuilder): void {
    const top = this.size;
    this.writeResolved(this.resolve(base, top, depth), top, depth, out);
    this.size = top;
  }

  private writeResolved(kind: number, members: number, depth: number, out: BytesBuilder): void {
    const { bytes } = this.wire;
    switch (kind) {
      case KIND.string:
        return writeJsonString(out, this.wire, this.start, this.end);
      case KIND.bool:
        return writeText(out, this.low === 0 && this.high === 0 ? FALSE : TRUE);
      case KIND.int:
        return writeInt64(out, this.low, this.high);
      case KIND.double:
        return writeJsonDouble(out, this.double);
      case KIND.array:
        return this.writeArray(members, depth, out);
      case KIND.kvlist:
        return this.writeList(members, depth, out);
      case KIND.bytes:
        out.writeByte(CHAR.quote);
        writeBase64(out, bytes, this.start, this.end);
        return out.writeByte(CHAR.quote);
      default:
        return writeText(out, NULL);
    }
  }

  /**
   * Reads the AnyValue whose pieces are at [base, limit) of the stack: gives the kind of its last member (a oneof) and leaves
   * the pieces of an array or list on the stack from `limit` on. Members that a later one replaces are checked and dropped.
   */
  private resolve(base: number, limit: number, depth: number): number {
    const { wire } = this;
    const { bytes } = wire;
    if (depth > LIMITS.nestingDepthMax) throw tooDeep(this.stack[base]);
    let kind: number = KIND.empty;
    for (let piece = base; piece < limit; piece += 2) {
      const end = this.stack[piece + 1];
      let p = this.stack[piece];
      while (p < end) {
        let tag = bytes[p++];
        if (tag >= 0x80) {
          p = wire.tag(p - 1, end);
          tag = wire.low;
        }
        const member = tag >= 0 && tag < MEMBERS.length ? MEMBERS[tag] : KIND.empty;
        if (member === KIND.empty) {
          p = wire.skip(tag, p, end);
          continue;
        }
        if (kind !== member || kind === KIND.string) this.dropMember(kind, limit, depth);
        kind = member;
        p = this.readMember(member, p, end);
      }
    }
    return kind;
  }

  private readMember(member: number, p: number, end: number): number {
    const { wire } = this;
    let next: number;
    switch (member) {
      case KIND.bool:
      case KIND.int:
        next = wire.varint(p, end);
        this.low = wire.low;
        this.high = wire.high;
        return next;
      case KIND.double:
        next = wire.fixed64(p, end);
        this.double = wire.doubleAt(p);
        return next;
      case KIND.array:
      case KIND.kvlist:
        next = wire.open(p, end);
        this.push(next, wire.stop);
        return wire.stop;
      default:
        this.start = wire.open(p, end);
        this.end = wire.stop;
        return wire.stop;
    }
  }

  private dropMember(kind: number, limit: number, depth: number): void {
    if (kind === KIND.string) requireUtf8(this.wire, this.start, this.end);
    if (kind !== KIND.array && kind !== KIND.kvlist) return;
    const rule = kind === KIND.array ? ARRAY_VALUE : KEY_VALUE_LIST;
    for (let at = limit; at < this.size; at += 2) validate(this.wire, this.stack[at], this.stack[at + 1], rule, depth);
    this.size = limit;
  }

  private writeArray(members: number, depth: number, out: BytesBuilder): void {
    const first = this.size;
    this.pushElements(members, first);
    const limit = this.size;
    out.writeByte(CHAR.open);
    for (let at = first; at < limit; at += 2) {
      if (at > first) out.writeByte(CHAR.comma);
      this.push(this.stack[at], this.stack[at + 1]);
      this.writeJson(limit, depth + 1, out);
      this.size = limit;
    }
    out.writeByte(CHAR.close);
  }

  private writeList(members: number, depth: number, out: BytesBuilder): void {
    const first = this.size;
    this.pushElements(members, first);
    this.writeEntries(first, depth + 1, out);
  }

  /** Pushes the elements (field 1, repeated) of the ArrayValue or KeyValueList whose pieces are at [members, limit). */
  private pushElements(members: number, limit: number): void {
    const { wire } = this;
    for (let piece = members; piece < limit; piece += 2) {
      const end = this.stack[piece + 1];
      let p = this.stack[piece];
      while (p < end) {
        p = wire.tag(p, end);
        if (wire.low === ELEMENT_TAG) {
          p = wire.open(p, end);
          this.push(p, wire.stop);
          p = wire.stop;
        } else p = wire.skip(wire.low, p, end);
      }
    }
  }

  /**
   * Writes the KeyValue messages that are on the stack from `base` to its top as a JSON object; of a repeated key the last
   * one. `depth` is the depth of their values: 1 for the attributes of something.
   */
  writeEntries(base: number, depth: number, out: BytesBuilder): void {
    const keys = this.size;
    for (let at = base; at < keys; at += 2) this.pushKey(this.stack[at], this.stack[at + 1]);
    const limit = this.size;
    this.dropRepeatedKeys(base, keys, limit);
    let first = true;
    out.writeByte(CHAR.openBrace);
    for (let at = base; at < keys; at += 2) {
      if (this.stack[at] < 0) continue;
      if (!first) out.writeByte(CHAR.comma);
      first = false;
      const key = keys + at - base;
      writeJsonString(out, this.wire, this.stack[key], this.stack[key + 1]);
      out.writeByte(CHAR.colon);
      this.pushValue(this.stack[at], this.stack[at + 1]);
      this.writeJson(limit, depth, out);
      this.size = limit;
    }
    out.writeByte(CHAR.closeBrace);
    this.size = keys;
  }

  /** Pushes the range of the key of the KeyValue in [start, end). */
  pushKey(start: number, end: number): void {
    const { wire } = this;
    const usual = this.usualKeyEnd(start, end);
    if (usual > 0) return this.push(start + 2, usual);
    let keyStart = start;
    let keyEnd = start;
    let p = start;
    while (p < end) {
      p = wire.tag(p, end);
      if (wire.low === KEY_VALUE_TAG.key) {
        requireUtf8(wire, keyStart, keyEnd);
        keyStart = wire.open(p, end);
        keyEnd = p = wire.stop;
      } else p = wire.skip(wire.low, p, end);
    }
    this.push(keyStart, keyEnd);
  }

  /** Pushes the pieces of the value of the KeyValue in [start, end): none when it has no value. */
  pushValue(start: number, end: number): void {
    const { wire } = this;
    const usual = this.usualKeyEnd(start, end);
    if (usual > 0) return this.push(usual + 2, end);
    let p = start;
    while (p < end) {
      p = wire.tag(p, end);
      if (wire.low === KEY_VALUE_TAG.value) {
        p = wire.open(p, end);
        this.push(p, wire.stop);
        p = wire.stop;
      } else p = wire.skip(wire.low, p, end);
    }
  }

  /** The end of the key of the KeyValue in [start, end) if it is key, then value, both shorter than 128 bytes; otherwise 0. */
  private usualKeyEnd(start: number, end: number): number {
    const { bytes } = this.wire;
    const keyEnd = start + 2 + bytes[start + 1];
    const usual =
      bytes[start] === KEY_VALUE_TAG.key &&
      bytes[start + 1] < 0x80 &&
      keyEnd + 2 <= end &&
      bytes[keyEnd] === KEY_VALUE_TAG.value &&
      bytes[keyEnd + 1] < 0x80 &&
      keyEnd + 2 + bytes[keyEnd + 1] === end;
    return usual ? keyEnd : 0;
  }

  /** Checks and marks (start -1) all but the last of the entries at [base, keys) that have the same key. */
  private dropRepeatedKeys(base: number, keys: number, limit: number): void {
    const count = (keys - base) >> 1;
    if (count < 2) return;
    const seen = count > PAIRWISE_MAX ? new Interner() : undefined;
    for (let i = count - 1; i >= 0; i--) {
      const key = keys + i * 2;
      const repeated = seen === undefined ? this.isKeyBetween(key, key + 2, limit) : this.isInterned(seen, key);
      if (!repeated) continue;
      const entry = base + i * 2;
      validate(this.wire, this.stack[entry], this.stack[entry + 1], KEY_VALUE);
      this.stack[entry] = -1;
    }
  }

  private isInterned(seen: Interner, key: number): boolean {
    const before = seen.size;
    return seen.intern(this.wire.bytes, this.stack[key], this.stack[key + 1]) < before;
  }

  private isKeyBetween(key: number, from: number, limit: number): boolean {
    for (let at = from; at < limit; at += 2) if (this.isSameText(key, at)) return true;
    return false;
  }

  private isSameText(a: number, b: number): boolean {
    const { bytes } = this.wire;
    const start = this.stack[a];
    const length = this.stack[a + 1] - start;
    const other = this.stack[b];
    if (this.stack[b + 1] - other !== length) return false;
    for (let i = 0; i < length; i++) if (bytes[start + i] !== bytes[other + i]) return false;
    return true;
  }
}
