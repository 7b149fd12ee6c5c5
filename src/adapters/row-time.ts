/**
 * Times of REST rows as int64 nanoseconds since 1970.
 * Text: RFC 3339 with up to nine fraction digits and any offset; a space for the T; without an offset it is UTC; a date alone is its
 * midnight. Numbers, bare or quoted: epoch time, whose unit follows from the digits in front of the point:
 * up to 11 digits seconds (until the year 5138), up to 14 milliseconds, up to 17 microseconds, more nanoseconds.
 * What cannot be held exactly (more than nine fraction digits, a fraction of a nanosecond) is refused, never rounded.
 */
import { LIMITS } from '../core/limits';
import { type Int64Halves, isNumberText, isPlainInteger, multiplyAdd, negate, parseDouble, parseInt64 } from './json-number';

export type TimeProblem = 'invalid_time' | 'out_of_range';

const NS_PER_SECOND = 1_000_000_000;
const SECONDS_MIN = Number(LIMITS.timestampNsMin / 1_000_000_000n);
const NS_MIN = LIMITS.timestampNsMin;
const SECONDS_MAX = Number(LIMITS.timestampNsMax / 1_000_000_000n);
const LAST_NANOS = Number(LIMITS.timestampNsMax % 1_000_000_000n);
const SECOND_DIGITS = 11;
const MILLI_DIGITS = 14;
const MICRO_DIGITS = 17;
/** Whole numbers of this many digits are exact in a double. */
const SAFE_DIGITS = 15;
const FRACTION_DIGITS_MAX = 9;
/** Longer numbers cannot be times that fit. */
const NUMBER_LENGTH_MAX = 40;

const ASCII = { plus: 43, minus: 45, point: 46, zero: 48, colon: 58, space: 32, t: 116, z: 122 } as const;

/** `out` = the time of a string. */
export function parseTimeText(text: Uint8Array, start: number, end: number, out: Int64Halves): TimeProblem | undefined {
  if (end - start > 4 && text[start + 4] === ASCII.minus) {
    return parseDateTime(text, start, end) === 'invalid' ? 'invalid_time' : fit(out);
  }
  return isNumberText(text, start, end) ? parseEpoch(text, start, end, out) : 'invalid_time';
}

/** Is this text a full RFC 3339 date-time (with T and an offset) that can be stored? */
export function isRfc3339(text: Uint8Array, start: number, end: number): boolean {
  if (end - start < 20 || (text[start + 10] | 0x20) !== ASCII.t) return false;
  return parseDateTime(text, start, end) === 'with_offset' && fit(SCRATCH) === undefined;
}

/** `out` = the time of a JSON number. */
export function parseEpoch(text: Uint8Array, start: number, end: number, out: Int64Halves): TimeProblem | undefined {
  if (end - start > NUMBER_LENGTH_MAX) return 'invalid_time';
  const negative = text[start] === ASCII.minus;
  if (end - start <= SAFE_DIGITS && !negative && isPlainInteger(text, start, end)) return wholeEpoch(text, start, end, out);
  const digits: number[] = [];
  let point = -1;
  for (let at = negative ? start + 1 : start; at < end; at++) {
    const byte = text[at];
    if (byte === ASCII.point) point = digits.length;
    else if (byte >= ASCII.zero && byte <= ASCII.zero + 9) digits.push(byte);
    else return parseExponential(text, start, end, out);
  }
  const whole = point < 0 ? digits.length : point;
  const scale = whole <= SECOND_DIGITS ? 9 : whole <= MILLI_DIGITS ? 6 : whole <= MICRO_DIGITS ? 3 : 0;
  while (digits.length > whole + scale) if (digits.pop() !== ASCII.zero) return 'invalid_time';
  while (digits.length < whole + scale) digits.push(ASCII.zero);
  if (parseInt64(Uint8Array.from(digits), 0, digits.length, out) !== undefined) return 'out_of_range';
  if (negative) negate(out);
  return inRange(out) ? undefined : 'out_of_range';
}

/** The usual form: a whole number that a double holds. */
function wholeEpoch(text: Uint8Array, start: number, end: number, out: Int64Halves): TimeProblem | undefined {
  let value = 0;
  for (let at = start; at < end; at++) value = value * 10 + text[at] - ASCII.zero;
  const digits = end - start;
  const perUnit = digits <= SECOND_DIGITS ? NS_PER_SECOND : digits <= MILLI_DIGITS ? 1_000_000 : 1000;
  return multiplyAdd(value, perUnit, 0, out) && out.high <= 0x7fffffff ? undefined : 'out_of_range';
}

/** Numbers such as 1.7e9: what printers of doubles make of whole numbers. */
function parseExponential(text: Uint8Array, start: number, end: number, out: Int64Halves): TimeProblem | undefined {
  const value = parseDouble(text, start, end);
  if (!Number.isSafeInteger(value)) return Math.abs(value) < 1e18 ? 'invalid_time' : 'out_of_range';
  const digits = Buffer.from(String(value));
  return parseEpoch(digits, 0, digits.length, out);
}

const SCRATCH: Int64Halves = { low: 0, high: 0 };

/** Seconds and nanoseconds of the date-time read last: `fit` makes them an int64. */
let seconds = 0;
let nanos = 0;

function fit(out: Int64Halves): TimeProblem | undefined {
  if (seconds < SECONDS_MIN || seconds > SECONDS_MAX || (seconds === SECONDS_MAX && nanos > LAST_NANOS)) return 'out_of_range';
  if (seconds >= 0) {
    multiplyAdd(seconds, NS_PER_SECOND, nanos, out);
    return undefined;
  }
  // -(|s| * 10^9 - n) = -((|s| - 1) * 10^9 + (10^9 - n))
  multiplyAdd(-seconds - 1, NS_PER_SECOND, NS_PER_SECOND - nanos, out);
  negate(out);
  return undefined;
}

const inRange = (value: Int64Halves): boolean =>
  value.high <= 0x7fffffff || BigInt.asIntN(64, (BigInt(value.high) << 32n) | BigInt(value.low)) >= NS_MIN;

type DateTimeForm = 'invalid' | 'with_offset' | 'without_offset';

/** Reads a date-time into `seconds` and `nanos`. */
function parseDateTime(text: Uint8Array, start: number, end: number): DateTimeForm {
  const year = digitsAt(text, start, 4, end);
  const month = digitsAt(text, start + 5, 2, end);
  const day = digitsAt(text, start + 8, 2, end);
  if (text[start + 7] !== ASCII.minus || year < 0 || month < 1 || month > 12 || day < 1 || day > daysIn(year, month))
    return 'invalid';
  seconds = daysFromCivil(year, month, day) * 86_400;
  nanos = 0;
  if (end === start + 10) return 'without_offset';
  const separator = text[start + 10];
  const hour = digitsAt(text, start + 11, 2, end);
  const minute = digitsAt(text, start + 14, 2, end);
  const second = digitsAt(text, start + 17, 2, end);
  if ((separator | 0x20) !== ASCII.t && separator !== ASCII.space) return 'invalid';
  if (text[start + 13] !== ASCII.colon || text[start + 16] !== ASCII.colon) return 'invalid';
  // 60 is a leap second, which UTC in nanoseconds counts as the second after it.
  if (hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 60) return 'invalid';
  seconds += hour * 3600 + minute * 60 + second;
  const at = readFraction(text, start + 19, end);
  if (at < 0) return 'invalid';
  return at === end ? 'without_offset' : readOffset(text, at, end);
}

/** Reads `.123` if it is there; gives the position after it, or -1. */
function readFraction(text: Uint8Array, start: number, end: number): number {
  if (start >= end || text[start] !== ASCII.point) return start;
  let at = start + 1;
  let scale = 100_000_000;
  for (; at < end && text[at] >= ASCII.zero && text[at] <= ASCII.zero + 9; at++) {
    nanos += (text[at] - ASCII.zero) * scale;
    scale /= 10;
  }
  const digits = at - start - 1;
  return digits === 0 || digits > FRACTION_DIGITS_MAX ? -1 : at;
}

function readOffset(text: Uint8Array, at: number, end: number): DateTimeForm {
  const sign = text[at];
  if ((sign | 0x20) === ASCII.z) return end === at + 1 ? 'with_offset' : 'invalid';
  if (sign !== ASCII.plus && sign !== ASCII.minus) return 'invalid';
  const hour = digitsAt(text, at + 1, 2, end);
  const minute = digitsAt(text, at + 4, 2, end);
  if (end !== at + 6 || text[at + 3] !== ASCII.colon || hour < 0 || hour > 23 || minute < 0 || minute > 59) return 'invalid';
  seconds -= (sign === ASCII.minus ? -1 : 1) * (hour * 3600 + minute * 60);
  return 'with_offset';
}

/** The number of `count` digits at `at`, or -1. */
function digitsAt(text: Uint8Array, at: number, count: number, end: number): number {
  if (at + count > end) return -1;
  let value = 0;
  for (let i = at; i < at + count; i++) {
    const digit = text[i] - ASCII.zero;
    if (digit < 0 || digit > 9) return -1;
    value = value * 10 + digit;
  }
  return value;
}

const MONTH_DAYS = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
const isLeap = (year: number): boolean => (year % 4 === 0 && year % 100 !== 0) || year % 400 === 0;
const daysIn = (year: number, month: number): number => (month === 2 && isLeap(year) ? 29 : MONTH_DAYS[month - 1]);

/** Days since 1970-01-01 in the proleptic Gregorian calendar: years are counted from March, so that the leap day is the last. */
function daysFromCivil(year: number, month: number, day: number): number {
  const shifted = month > 2 ? year : year - 1;
  const era = Math.floor(shifted / 400);
  const yearOfEra = shifted - era * 400;
  const dayOfYear = Math.floor((153 * (month > 2 ? month - 3 : month + 9) + 2) / 5) + day - 1;
  return era * 146_097 + yearOfEra * 365 + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100) + dayOfYear - 719_468;
}

/** Days since 1970 of a date such as `2024-02-29`, or undefined. */
export function parseDate(text: Uint8Array, start: number, end: number): number | undefined {
  if (end - start !== 10 || parseDateTime(text, start, end) === 'invalid') return undefined;
  return seconds / 86_400;
}
