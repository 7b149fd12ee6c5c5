/**
 * numeric in its binary form (PostgreSQL, numeric_recv): int16 number of digits, int16 weight of the first, uint16 sign, uint16 display
 * scale, then the digits to base 10000, the greatest first.
 */
import type { Data } from 'apache-arrow';
import { DECIMAL_SCALE, DECIMAL_WORDS, WideInteger } from '../../columnar/decimal';
import { halvesOf } from '../../columnar/read';
import type { FieldWriter } from './copy-json';
import type { CopyOutput } from './copy-output';

const NEGATIVE = 0x4000;
const BASE = 10_000;
const BASE_DIGITS = 4;
/** Groups of four digits behind the point. */
const FRACTION_GROUPS = Math.ceil(DECIMAL_SCALE / BASE_DIGITS);
/** Digits that the last of these groups really has, and what makes four of them. */
const LAST_GROUP_DIGITS = DECIMAL_SCALE - (FRACTION_GROUPS - 1) * BASE_DIGITS;
const LAST_GROUP_BASE = 10 ** LAST_GROUP_DIGITS;

/** uint64 as numeric. */
export function uint64Writer(data: Data, out: CopyOutput): FieldWriter {
  const halves = halvesOf(data);
  const digits = new Uint16Array(5);
  return (position, at) => {
    const count = splitDigits(halves[position * 2], halves[position * 2 + 1], digits);
    const { view } = out;
    view.setInt32(at, 8 + count * 2);
    view.setInt16(at + 4, count);
    view.setInt16(at + 6, count > 0 ? count - 1 : 0);
    view.setInt32(at + 8, 0);
    let to = at + 12;
    for (let i = count - 1; i >= 0; i--, to += 2) view.setUint16(to, digits[i]);
    return to;
  };
}

/** Digits to base 10000 of an unsigned 64-bit number, least first; gives their number. Long division by 16-bit limbs. */
function splitDigits(low: number, high: number, digits: Uint16Array): number {
  let a = high >>> 16;
  let b = high & 0xffff;
  let c = low >>> 16;
  let d = low & 0xffff;
  let count = 0;
  while ((a | b | c | d) !== 0) {
    let rest = a;
    a = (rest / 10_000) | 0;
    rest = (rest - a * 10_000) * 65_536 + b;
    b = (rest / 10_000) | 0;
    rest = (rest - b * 10_000) * 65_536 + c;
    c = (rest / 10_000) | 0;
    rest = (rest - c * 10_000) * 65_536 + d;
    d = (rest / 10_000) | 0;
    digits[count++] = rest - d * 10_000;
  }
  return count;
}

/** decimal as numeric, without zeros at its ends; the display scale is that of the digits that are left. */
export function decimalWriter(data: Data, out: CopyOutput): FieldWriter {
  const words = data.values as Uint32Array;
  const value = new WideInteger();
  const groups = new Uint16Array(FRACTION_GROUPS * 2);
  return (position, at) => {
    value.load(words, position * DECIMAL_WORDS, DECIMAL_WORDS);
    const { isNegative, isZero } = value;
    // Groups from the right; those that are 0 before the first other one are left out.
    let count = 0;
    let skipped = 0;
    const take = (group: number): void => {
      if (count === 0 && group === 0) skipped++;
      else groups[count++] = group;
    };
    if (!isZero) take(value.divide(LAST_GROUP_BASE) * (BASE / LAST_GROUP_BASE));
    while (!value.isZero) take(value.divide(BASE));
    const { view } = out;
    view.setInt32(at, 8 + count * 2);
    view.setInt16(at + 4, count);
    view.setInt16(at + 6, count > 0 ? count + skipped - 1 - FRACTION_GROUPS : 0);
    view.setUint16(at + 8, isNegative ? NEGATIVE : 0);
    view.setUint16(at + 10, count > 0 ? displayScale(groups[0], skipped) : 0);
    let to = at + 12;
    for (let i = count - 1; i >= 0; i--, to += 2) view.setUint16(to, groups[i]);
    return to;
  };
}

/** Digits behind the point, when the last group that is not 0 has `skipped` groups behind it. */
function displayScale(last: number, skipped: number): number {
  let digits = (FRACTION_GROUPS - skipped) * BASE_DIGITS;
  if (digits <= 0) return 0;
  for (let group = last; group % 10 === 0; group /= 10) digits--;
  return digits;
}
