/**
 * Text forms of values, written straight into a column: JSON strings, exact 64-bit integers, shortest doubles, base64, hex.
 * No JavaScript string is made except for doubles that need more than 15 digits.
 */

import type { ByteSource } from '../../columnar/byte-source';
import type { BytesBuilder } from '../../columnar/bytes-builder';

const ascii = (text: string): Uint8Array<ArrayBuffer> => Uint8Array.from(text, (character) => character.charCodeAt(0));

/** A constant to be written with `writeText`. */
export function jsonText(text: string): ByteSource {
  const bytes = ascii(text);
  return { bytes, view: new DataView(bytes.buffer) };
}

export function writeText(out: BytesBuilder, text: ByteSource): void {
  out.writeFrom(text, 0, text.bytes.length);
}

const CHAR = { quote: 0x22, minus: 0x2d, point: 0x2e, zero: 0x30, backslash: 0x5c, u: 0x75, equals: 0x3d } as const;

const SHORT_ESCAPES = new Map([
  [0x08, 0x62],
  [0x09, 0x74],
  [0x0a, 0x6e],
  [0x0c, 0x66],
  [0x0d, 0x72],
  [CHAR.quote, CHAR.quote],
  [CHAR.backslash, CHAR.backslash],
]);

const isPlain = (byte: number): boolean => byte >= 0x20 && byte !== CHAR.quote && byte !== CHAR.backslash;

/** UTF-8 bytes as a JSON string with its quotes (RFC 8259, section 7): only what must be escaped is. */
export function writeJsonString(out: BytesBuilder, source: ByteSource, start: number, end: number): void {
  const { bytes } = source;
  out.writeByte(CHAR.quote);
  let from = start;
  for (let p = start; p < end; p++) {
    const byte = bytes[p];
    if (isPlain(byte)) continue;
    if (p > from) out.writeFrom(source, from, p);
    from = p + 1;
    writeEscape(out, byte);
  }
  if (end > from) out.writeFrom(source, from, end);
  out.writeByte(CHAR.quote);
}

function writeEscape(out: BytesBuilder, byte: number): void {
  out.writeByte(CHAR.backslash);
  const short = SHORT_ESCAPES.get(byte);
  if (short !== undefined) return out.writeByte(short);
  out.writeByte(CHAR.u);
  out.writeByte(CHAR.zero);
  out.writeByte(CHAR.zero);
  writeHexByte(out, byte);
}

const HEX_DIGITS = ascii('0123456789abcdef');

function writeHexByte(out: BytesBuilder, byte: number): void {
  out.writeByte(HEX_DIGITS[byte >> 4]);
  out.writeByte(HEX_DIGITS[byte & 15]);
}

/** Bytes as lower-case hex digits. */
export function writeHex(out: BytesBuilder, source: Uint8Array, start: number, end: number): void {
  for (let p = start; p < end; p++) writeHexByte(out, source[p]);
}

/** Decimal digits of 0 to 999,999,999. */
function digitsOf(value: number): number {
  if (value < 1_000) return value < 10 ? 1 : value < 100 ? 2 : 3;
  if (value < 1_000_000) return value < 10_000 ? 4 : value < 100_000 ? 5 : 6;
  return value < 10_000_000 ? 7 : value < 100_000_000 ? 8 : 9;
}

/** Writes `value` (0 to 999,999,999) with at least `digits` digits. */
function writeDigits(out: BytesBuilder, value: number, digits: number): void {
  const count = Math.max(digitsOf(value), digits);
  const at = out.reserve(count);
  const { bytes } = out;
  let rest = value | 0;
  for (let i = at + count - 1; i >= at; i--) {
    const next = (rest / 10) | 0;
    bytes[i] = CHAR.zero + rest - next * 10;
    rest = next;
  }
  out.used = at + count;
}

/** Writes 0 to 999,999. */
export function writeSmallInteger(out: BytesBuilder, value: number): void {
  writeDigits(out, value, 1);
}

const BILLION = 1_000_000_000;

/** An unsigned 64-bit integer, given as int32 halves, in decimal. */
export function writeUint64(out: BytesBuilder, low: number, high: number): void {
  if (high === 0 && low >= 0 && low < BILLION) return writeDigits(out, low, 1);
  // Long division by 10^9 in steps of 16 bits: every intermediate value stays below 2^53.
  const top = high >>> 0;
  const first = (top % BILLION) * 0x10000 + (low >>> 16);
  const second = (first % BILLION) * 0x10000 + (low & 0xffff);
  const upper = Math.floor(top / BILLION) * 0x1_0000_0000 + Math.floor(first / BILLION) * 0x10000 + Math.floor(second / BILLION);
  if (upper >= BILLION) {
    writeDigits(out, Math.floor(upper / BILLION), 1);
    writeDigits(out, upper % BILLION, 9);
  } else if (upper > 0) writeDigits(out, upper, 1);
  writeDigits(out, second % BILLION, upper > 0 ? 9 : 1);
}

/** A signed 64-bit integer, given as int32 halves, in decimal. */
export function writeInt64(out: BytesBuilder, low: number, high: number): void {
  if (high >= 0) return writeUint64(out, low, high);
  out.writeByte(CHAR.minus);
  const negated = -low | 0;
  writeUint64(out, negated, negated === 0 ? -high | 0 : ~high);
}

/** A double that up to nine digits behind the point write exactly is found among its multiples by this. */
const SCALE = 1_000_000;
const EXACT_MAX = 1e15;

/**
 * The shortest decimal that reads back as the same double, always with a point or an exponent: `1.0`, `-0.0`, `1e+21`.
 * A decimal of at most 15 digits is the only one of that length for its double, so when one with six digits behind the
 * point gives the value back, it is the shortest.
 */
export function writeDouble(out: BytesBuilder, value: number): void {
  const magnitude = Math.abs(value);
  const scaled = Math.round(magnitude * SCALE);
  if (scaled < EXACT_MAX && scaled / SCALE === magnitude && (scaled > 0 || magnitude === 0)) {
    if (value < 0 || Object.is(value, -0)) out.writeByte(CHAR.minus);
    writeDecimal(out, scaled);
    return;
  }
  const text = String(value);
  out.writeString(/[.eN]|Inf/.test(text) ? text : `${text}.0`);
}

/** Writes millionths with as few digits behind the point as they need, at least one. */
function writeDecimal(out: BytesBuilder, millionths: number): void {
  const whole = Math.floor(millionths / SCALE);
  let fraction = millionths - whole * SCALE;
  writeDigits(out, whole, 1);
  out.writeByte(CHAR.point);
  let digits = 6;
  while (digits > 1 && fraction % 10 === 0) {
    fraction /= 10;
    digits--;
  }
  writeDigits(out, fraction, digits);
}

/** A double inside JSON: NaN and the infinities, which JSON does not have, as strings. */
export function writeJsonDouble(out: BytesBuilder, value: number): void {
  if (Number.isFinite(value)) return writeDouble(out, value);
  out.writeByte(CHAR.quote);
  writeDouble(out, value);
  out.writeByte(CHAR.quote);
}

const BASE64 = ascii('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/');

/** Bytes as padded base64 (RFC 4648, section 4). */
export function writeBase64(out: BytesBuilder, source: Uint8Array, start: number, end: number): void {
  const length = Math.ceil((end - start) / 3) * 4;
  let at = out.reserve(length);
  const { bytes } = out;
  for (let p = start; p < end; p += 3) {
    const left = end - p;
    const bits = (source[p] << 16) | (left > 1 ? source[p + 1] << 8 : 0) | (left > 2 ? source[p + 2] : 0);
    bytes[at++] = BASE64[bits >> 18];
    bytes[at++] = BASE64[(bits >> 12) & 63];
    bytes[at++] = left > 1 ? BASE64[(bits >> 6) & 63] : CHAR.equals;
    bytes[at++] = left > 2 ? BASE64[bits & 63] : CHAR.equals;
  }
  out.used += length;
}
