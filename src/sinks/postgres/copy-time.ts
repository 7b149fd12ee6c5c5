/**
 * Timestamps: int64 nanoseconds since 1970 to microseconds since 2000-01-01 (PostgreSQL's timestamptz) and the nanoseconds below,
 * both by floor division, exact without a BigInt per value.
 *
 * With ns = high * 2^32 + low and 2^32 = 4294967 * 1000 + 296:
 *   ns = 1000 * (high * 4294967) + (high * 296 + low), and the last term stays below 2^40.
 */
import type { CopyOutput } from './copy-output';

const QUOTIENT = 4_294_967;
const REMAINDER = 296;
const EPOCH_2000_US = 946_684_800_000_000;
/** Beyond this, high * 4294967 with the shift to 2000 may leave 2^53 (years before 1714 and after 2255). */
const EXACT_HIGH_MAX = 1_870_000_000;

/** A field with the microseconds since 2000-01-01. */
export function putMicros(out: CopyOutput, low: number, high: number, at: number): number {
  if (high > EXACT_HIGH_MAX || high < -EXACT_HIGH_MAX) return putMicrosExactly(out, low, high, at);
  const micros = high * QUOTIENT + Math.floor((high * REMAINDER + low) / 1000) - EPOCH_2000_US;
  return out.putSafeInteger(micros, at);
}

function putMicrosExactly(out: CopyOutput, low: number, high: number, at: number): number {
  const micros = BigInt(high) * BigInt(QUOTIENT) + BigInt(Math.floor((high * REMAINDER + low) / 1000)) - BigInt(EPOCH_2000_US);
  out.view.setInt32(at, 8);
  out.view.setBigInt64(at + 4, micros);
  return at + 12;
}

/** Nanoseconds below the microsecond, 0 to 999 also for times before 1970. */
export function nanosBelow(low: number, high: number): number {
  const rest = high * REMAINDER + low;
  return rest - Math.floor(rest / 1000) * 1000;
}
