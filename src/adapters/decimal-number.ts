/** Numbers written in decimal digits as values of the column type decimal, digit by digit: never by way of a double. */
import { DECIMAL_SCALE, POWERS, type WideInteger } from '../columnar/decimal';
import { parseExponent } from './json-number';

const ASCII = { minus: 45, point: 46, zero: 48, lowerE: 101 } as const;
const DIGITS_MAX = DECIMAL_SCALE * 2;
const CHUNK_DIGITS = 6;

/**
 * `out` = the number times 10^38. The range must hold a JSON number. False when it has more than 38 digits before the point or behind
 * it, zeros at the ends aside.
 */
export function parseDecimal(bytes: Uint8Array, start: number, end: number, out: WideInteger): boolean {
  out.clear();
  const first = bytes[start] === ASCII.minus ? start + 1 : start;
  let mantissaEnd = first;
  while (mantissaEnd < end && (bytes[mantissaEnd] | 0x20) !== ASCII.lowerE) mantissaEnd++;
  let last = mantissaEnd;
  while (last > first && (bytes[last - 1] === ASCII.zero || bytes[last - 1] === ASCII.point)) last--;
  if (last === first) return true;
  let point = first;
  while (point < mantissaEnd && bytes[point] !== ASCII.point) point++;
  // Digits between the last one that counts and the point.
  const shift = last > point ? point + 1 - last : point - last;
  const power = DECIMAL_SCALE + shift + (mantissaEnd < end ? parseExponent(bytes, mantissaEnd + 1, end) : 0);
  if (power < 0 || power >= DIGITS_MAX) return false;
  if (!readDigits(bytes, first, last, out) || !out.raise(power) || !out.isDecimal) return false;
  out.isNegative = first > start;
  return true;
}

function readDigits(bytes: Uint8Array, first: number, last: number, out: WideInteger): boolean {
  let chunk = 0;
  let digits = 0;
  for (let at = first; at < last; at++) {
    if (bytes[at] === ASCII.point) continue;
    chunk = chunk * 10 + bytes[at] - ASCII.zero;
    if (++digits < CHUNK_DIGITS) continue;
    if (!out.multiplyAdd(POWERS[digits], chunk)) return false;
    chunk = 0;
    digits = 0;
  }
  return digits === 0 || out.multiplyAdd(POWERS[digits], chunk);
}
