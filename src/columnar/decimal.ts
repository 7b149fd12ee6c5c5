/**
 * Values of the column type decimal (core/table-schema.ts): Arrow Decimal256(76, 38), little endian two's complement in eight
 * 32-bit words, the value times 10^38. So a value has at most 38 digits before the point and 38 behind it, and every
 * Decimal32 to Decimal256 with such a value converts exactly. No BigInt per value, except where a value becomes text.
 */
import { type Data, Decimal, type Int } from 'apache-arrow';
import { LIMITS } from '../core/limits';
import { type ColumnBuilder, ColumnFullError, Validity } from './builders';
import { dataOf, type Keep, keepOwn } from './slab';

/** Digits behind the point; there may be as many before it. */
export const DECIMAL_SCALE = 38;
/** 32-bit words of a value. */
export const DECIMAL_WORDS = 8;
export const DECIMAL_BITS = DECIMAL_WORDS * 32;

export const DECIMAL_TYPE = new Decimal(DECIMAL_SCALE, DECIMAL_SCALE * 2, DECIMAL_BITS);

const TWO_32 = 4_294_967_296;
/** The greatest power of ten with which a word can be multiplied exactly in a double. */
const STEP_DIGITS = 6;
export const POWERS = Float64Array.from({ length: STEP_DIGITS + 1 }, (_, i) => 10 ** i);
/** 10^76 - 1, the greatest magnitude. */
const MAX_WORDS = Uint32Array.from({ length: DECIMAL_WORDS }, (_, i) =>
  Number(BigInt.asUintN(32, (10n ** BigInt(DECIMAL_SCALE * 2) - 1n) >> BigInt(i * 32))),
);

/** A signed integer of up to 256 bits to calculate with, made once and used for many values. */
export class WideInteger {
  isNegative = false;
  private readonly words = new Uint32Array(DECIMAL_WORDS);
  /** Words of the magnitude; the highest of them is not 0. */
  private used = 0;

  get isZero(): boolean {
    return this.used === 0;
  }

  clear(): void {
    this.used = 0;
    this.isNegative = false;
  }

  /** Takes the integer of `count` words at `source[at]`, two's complement unless `unsigned`. */
  load(source: Uint32Array, at: number, count: number, unsigned = false): void {
    const { words } = this;
    const top = at + count - 1;
    this.isNegative = !unsigned && source[top] >>> 31 === 1;
    this.used = 0;
    let carry = 1;
    for (let i = 0; i < count; i++) {
      let word = source[at + i];
      if (this.isNegative) {
        word = (~word + carry) >>> 0;
        if (word !== 0) carry = 0;
      }
      words[i] = word;
      if (word !== 0) this.used = i + 1;
    }
  }

  /** this = magnitude * factor + summand, both at most 10^6. False when that takes more than 256 bits. */
  multiplyAdd(factor: number, summand: number): boolean {
    const { words, used } = this;
    let carry = summand;
    for (let i = 0; i < used; i++) {
      const product = words[i] * factor + carry;
      words[i] = product;
      carry = Math.floor(product / TWO_32);
    }
    if (carry === 0) return true;
    if (used === DECIMAL_WORDS) return false;
    words[used] = carry;
    this.used = used + 1;
    return true;
  }

  /** Multiplies by 10^power. False when the result takes more than 256 bits. */
  raise(power: number): boolean {
    if (this.used === 0) return true;
    if (power > DECIMAL_BITS) return false;
    let left = power;
    for (; left >= STEP_DIGITS; left -= STEP_DIGITS) if (!this.multiplyAdd(POWERS[STEP_DIGITS], 0)) return false;
    return left === 0 || this.multiplyAdd(POWERS[left], 0);
  }

  /** Divides the magnitude by `divisor`, at most 10^6, and gives the remainder. */
  divide(divisor: number): number {
    const { words } = this;
    let rest = 0;
    for (let i = this.used - 1; i >= 0; i--) {
      const dividend = rest * TWO_32 + words[i];
      const quotient = Math.floor(dividend / divisor);
      words[i] = quotient;
      rest = dividend - quotient * divisor;
    }
    while (this.used > 0 && words[this.used - 1] === 0) this.used--;
    return rest;
  }

  /** Divides by 10^power if nothing remains; false when something does: the value is spoiled then. */
  lower(power: number): boolean {
    for (let left = power; left > 0 && this.used > 0; left -= STEP_DIGITS) {
      if (this.divide(POWERS[Math.min(left, STEP_DIGITS)]) !== 0) return false;
    }
    return true;
  }

  /** Has the value no more than 76 digits? */
  get isDecimal(): boolean {
    if (this.used < DECIMAL_WORDS) return true;
    let i = DECIMAL_WORDS - 1;
    while (i > 0 && this.words[i] === MAX_WORDS[i]) i--;
    return this.words[i] <= MAX_WORDS[i];
  }

  /** Writes the 256-bit two's complement form. */
  store(target: Uint32Array, at: number): void {
    const { words, used, isNegative } = this;
    let carry = 1;
    for (let i = 0; i < DECIMAL_WORDS; i++) {
      const word = i < used ? words[i] : 0;
      target[at + i] = isNegative ? ~word + carry : word;
      if (word !== 0) carry = 0;
    }
  }

  toBigInt(): bigint {
    let value = 0n;
    for (let i = this.used - 1; i >= 0; i--) value = (value << 32n) | BigInt(this.words[i]);
    return this.isNegative ? -value : value;
  }
}

/** Brings a value with `scale` digits behind the point to the scale of the column type. False when it has no exact form there. */
export function toDecimalScale(value: WideInteger, scale: number): boolean {
  const isExact = scale > DECIMAL_SCALE ? value.lower(scale - DECIMAL_SCALE) : value.raise(DECIMAL_SCALE - scale);
  return isExact && value.isDecimal;
}

/** The digits of a value with `scale` digits behind the point, without zeros at the end of the fraction: `-12.5`. */
export function decimalText(unscaled: bigint, scale: number = DECIMAL_SCALE): string {
  if (scale <= 0) return String(unscaled * 10n ** BigInt(-scale));
  const digits = String(unscaled < 0n ? -unscaled : unscaled).padStart(scale + 1, '0');
  const fraction = digits.slice(-scale).replace(/0+$/, '');
  return `${unscaled < 0n ? '-' : ''}${digits.slice(0, -scale)}${fraction === '' ? '' : `.${fraction}`}`;
}

/** Loads the integer at a position of plain integer data of any width. */
export function integerLoader(data: Data, into: WideInteger): (at: number) => void {
  const type = data.type as Int;
  const values = data.values as Int32Array;
  const { buffer, byteOffset, byteLength } = values;
  if (type.bitWidth === 64) {
    const halves = new Uint32Array(buffer, byteOffset, byteLength / 4);
    return (at) => into.load(halves, at * 2, 2, !type.isSigned);
  }
  const word = new Uint32Array(2);
  return (at) => {
    const value = values[at];
    word[0] = value;
    word[1] = value < 0 ? 0xffffffff : 0;
    into.load(word, 0, 2);
  };
}

const scratch = new WideInteger();

/** Text of the value at a position of Decimal data of any width and scale. */
export function decimalTextAt(data: Data, position: number): string {
  const { stride, values } = data;
  scratch.load(values as Uint32Array, position * stride, stride);
  return decimalText(scratch.toBigInt(), (data.type as Decimal).scale);
}

/** A column of decimals. */
export class DecimalBuilder implements ColumnBuilder {
  length = 0;
  readonly validity = new Validity();
  private words: Uint32Array;

  constructor(capacity = 16) {
    this.words = new Uint32Array(capacity * DECIMAL_WORDS);
  }

  get nullCount(): number {
    return this.validity.nullCount;
  }

  /** `value` is scaled (`toDecimalScale`). */
  append(value: WideInteger): void {
    const at = this.length * DECIMAL_WORDS;
    if (at === this.words.length) this.grow();
    value.store(this.words, at);
    this.length++;
  }

  appendNull(): void {
    this.validity.setNull(this.length);
    const at = this.length * DECIMAL_WORDS;
    if (at === this.words.length) this.grow();
    this.words.fill(0, at, at + DECIMAL_WORDS);
    this.length++;
  }

  private grow(): void {
    if (this.words.byteLength * 2 > LIMITS.walFrameBytesMax) throw new ColumnFullError();
    const grown = new Uint32Array(Math.max(this.words.length * 2, 16 * DECIMAL_WORDS));
    grown.set(this.words);
    this.words = grown;
  }

  finish(keep: Keep = keepOwn): Data {
    const values = keep(this.words.subarray(0, this.length * DECIMAL_WORDS));
    return dataOf({ type: DECIMAL_TYPE, length: this.length, values, ...this.validity.finish(this.length, keep) });
  }

  reset(): void {
    this.validity.reset(this.length);
    this.length = 0;
  }
}
