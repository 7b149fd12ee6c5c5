/**
 * JSON numbers as byte ranges: grammar of RFC 8259 section 6, exact 64-bit integers, correctly rounded doubles.
 * No BigInt and, for the usual forms, no string per value.
 */

/** Where an integer parser leaves its result: the low and the high 32 bits, as unsigned numbers. */
export interface Int64Halves {
  low: number;
  high: number;
}

export type NumberProblem = 'not_an_integer' | 'out_of_range';

const ASCII = { plus: 43, minus: 45, point: 46, zero: 48, nine: 57, upperE: 69, lowerE: 101 } as const;
const TWO_32 = 4_294_967_296;
const UINT64_DIGITS_MAX = 20;
/** Integers of this many digits are exact in a double. */
const SAFE_DIGITS = 15;
/** An exponent beyond this has the same outcome as this one. */
const EXPONENT_CAP = 1_000_000_000;

const isDigit = (byte: number | undefined): boolean => byte !== undefined && byte >= ASCII.zero && byte <= ASCII.nine;

/** Position after the JSON number that starts at `start`, or -1 when there is none. What follows is not looked at. */
export function scanNumber(bytes: Uint8Array, start: number, limit: number): number {
  let at = start;
  if (at < limit && bytes[at] === ASCII.minus) at++;
  if (at >= limit) return -1;
  if (bytes[at] === ASCII.zero) {
    at++;
  } else {
    const first = at;
    while (at < limit && bytes[at] >= ASCII.zero && bytes[at] <= ASCII.nine) at++;
    if (at === first) return -1;
  }
  if (at < limit && bytes[at] === ASCII.point) {
    const first = ++at;
    while (at < limit && bytes[at] >= ASCII.zero && bytes[at] <= ASCII.nine) at++;
    if (at === first) return -1;
  }
  if (at < limit && (bytes[at] | 0x20) === ASCII.lowerE) {
    at++;
    if (at < limit && (bytes[at] === ASCII.plus || bytes[at] === ASCII.minus)) at++;
    const first = at;
    while (at < limit && bytes[at] >= ASCII.zero && bytes[at] <= ASCII.nine) at++;
    if (at === first) return -1;
  }
  return at;
}

/** Is the whole range one JSON number? */
export const isNumberText = (bytes: Uint8Array, start: number, end: number): boolean => scanNumber(bytes, start, end) === end;

/** Is the number (already scanned) written without fraction and exponent? */
export function isPlainInteger(bytes: Uint8Array, start: number, end: number): boolean {
  for (let at = bytes[start] === ASCII.minus ? start + 1 : start; at < end; at++) if (!isDigit(bytes[at])) return false;
  return true;
}

/** `out` = the number as int64 in two's complement. The range must hold a JSON number; `1e3` and `5.0` are integers. */
export function parseInt64(bytes: Uint8Array, start: number, end: number, out: Int64Halves): NumberProblem | undefined {
  const negative = bytes[start] === ASCII.minus;
  const problem = parseMagnitude(bytes, negative ? start + 1 : start, end, out);
  if (problem !== undefined) return problem;
  if (!negative) return out.high > 0x7fffffff ? 'out_of_range' : undefined;
  if (out.high > 0x80000000 || (out.high === 0x80000000 && out.low > 0)) return 'out_of_range';
  negate(out);
  return undefined;
}

/** `out` = the number as uint64. The range must hold a JSON number. */
export function parseUint64(bytes: Uint8Array, start: number, end: number, out: Int64Halves): NumberProblem | undefined {
  const negative = bytes[start] === ASCII.minus;
  const problem = parseMagnitude(bytes, negative ? start + 1 : start, end, out);
  if (problem !== undefined) return problem;
  return negative && (out.low !== 0 || out.high !== 0) ? 'out_of_range' : undefined;
}

/** Two's complement negation in place. */
export function negate(value: Int64Halves): void {
  value.low = -value.low >>> 0;
  value.high = (~value.high + (value.low === 0 ? 1 : 0)) >>> 0;
}

/** `out` = a * m + b for a below 2^53 and m, b below 2^30. False when it does not fit into 64 bits. */
export function multiplyAdd(a: number, m: number, b: number, out: Int64Halves): boolean {
  out.low = a >>> 0;
  out.high = Math.floor(a / TWO_32);
  return scaleHalves(out, m, b);
}

/** value = value * m + b, unsigned, for m and b below 2^30. False when it does not fit into 64 bits. */
export function scaleHalves(value: Int64Halves, m: number, b: number): boolean {
  const p0 = (value.low & 0xffff) * m + b;
  const p1 = (value.low >>> 16) * m + Math.floor(p0 / 65536);
  const p2 = (value.high & 0xffff) * m + Math.floor(p1 / 65536);
  const p3 = (value.high >>> 16) * m + Math.floor(p2 / 65536);
  value.low = (((p1 & 0xffff) << 16) | (p0 & 0xffff)) >>> 0;
  value.high = (((p3 & 0xffff) << 16) | (p2 & 0xffff)) >>> 0;
  return p3 < 65536;
}

/** Unsigned digits from `start`, with fraction and exponent if their value is integral. */
function parseMagnitude(bytes: Uint8Array, start: number, end: number, out: Int64Halves): NumberProblem | undefined {
  const digits = end - start;
  if (digits <= SAFE_DIGITS) {
    let value = 0;
    for (let at = start; at < end; at++) {
      const digit = bytes[at] - ASCII.zero;
      if (digit < 0 || digit > 9) return parseScaled(bytes, start, end, out);
      value = value * 10 + digit;
    }
    out.low = value >>> 0;
    out.high = Math.floor(value / TWO_32);
    return undefined;
  }
  if (digits > UINT64_DIGITS_MAX) return parseScaled(bytes, start, end, out);
  // Up to 11 digits in front of 9: both halves are exact in a double.
  let front = 0;
  let back = 0;
  const border = end - 9;
  for (let at = start; at < end; at++) {
    const digit = bytes[at] - ASCII.zero;
    if (digit < 0 || digit > 9) return parseScaled(bytes, start, end, out);
    if (at < border) front = front * 10 + digit;
    else back = back * 10 + digit;
  }
  return multiplyAdd(front, 1_000_000_000, back, out) ? undefined : 'out_of_range';
}

/** The general form: significant digits times a power of ten. */
function parseScaled(bytes: Uint8Array, start: number, end: number, out: Int64Halves): NumberProblem | undefined {
  const significant: number[] = [];
  let zeros = 0;
  let scale = 0;
  let inFraction = false;
  let tooMany = false;
  let at = start;
  for (; at < end && (bytes[at] | 0x20) !== ASCII.lowerE; at++) {
    const byte = bytes[at];
    if (byte === ASCII.point) {
      inFraction = true;
      continue;
    }
    if (inFraction) scale--;
    if (byte === ASCII.zero) {
      if (significant.length > 0) zeros++;
      continue;
    }
    if (significant.length + zeros >= UINT64_DIGITS_MAX) tooMany = true;
    else for (; zeros > 0; zeros--) significant.push(ASCII.zero);
    zeros = 0;
    if (!tooMany) significant.push(byte);
  }
  if (significant.length === 0) {
    out.low = 0;
    out.high = 0;
    return undefined;
  }
  scale += zeros + parseExponent(bytes, at + 1, end);
  if (scale < 0) return 'not_an_integer';
  if (tooMany || significant.length + scale > UINT64_DIGITS_MAX) return 'out_of_range';
  for (; scale > 0; scale--) significant.push(ASCII.zero);
  return parseMagnitude(Uint8Array.from(significant), 0, significant.length, out);
}

/** The digits after `e`, capped; 0 when there are none. */
export function parseExponent(bytes: Uint8Array, start: number, end: number): number {
  const signed = bytes[start] === ASCII.minus || bytes[start] === ASCII.plus;
  let value = 0;
  for (let at = signed ? start + 1 : start; at < end; at++) value = Math.min(value * 10 + bytes[at] - ASCII.zero, EXPONENT_CAP);
  return bytes[start] === ASCII.minus ? -value : value;
}

const POWERS_OF_TEN = Float64Array.from({ length: 23 }, (_, i) => Number(`1e${i}`));

/** The nearest double of a JSON number; infinite when it is too large. */
export function parseDouble(bytes: Uint8Array, start: number, end: number): number {
  const negative = bytes[start] === ASCII.minus;
  let mantissa = 0;
  let fraction = 0;
  let inFraction = false;
  for (let at = negative ? start + 1 : start; at < end; at++) {
    const byte = bytes[at];
    if (byte === ASCII.point) {
      inFraction = true;
      continue;
    }
    const digit = byte - ASCII.zero;
    if (digit < 0 || digit > 9) return Number(asciiText(bytes, start, end));
    mantissa = mantissa * 10 + digit;
    if (inFraction) fraction++;
  }
  // Mantissa and power of ten are exact doubles: one division, one rounding (Clinger's fast path).
  if (mantissa > Number.MAX_SAFE_INTEGER || fraction >= POWERS_OF_TEN.length) return Number(asciiText(bytes, start, end));
  const value = mantissa / POWERS_OF_TEN[fraction];
  return negative ? -value : value;
}

/** The bytes of a number or of another ASCII text as a string. */
export const asciiText = (bytes: Uint8Array, start: number, end: number): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start).toString('latin1');

const NAMED_DOUBLES = new Map([
  ['NaN', Number.NaN],
  ['Infinity', Number.POSITIVE_INFINITY],
  ['-Infinity', Number.NEGATIVE_INFINITY],
]);

/** NaN and the infinities, which JSON can only write as strings (ProtoJSON); undefined for any other text. */
export const namedDouble = (text: Uint8Array, start: number, end: number): number | undefined =>
  end - start > 9 ? undefined : NAMED_DOUBLES.get(asciiText(text, start, end));
