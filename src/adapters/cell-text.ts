/** The shortest text that reads back as the same double, always with a point or an exponent. */
export function doubleText(value: number): string {
  const text = Object.is(value, -0) ? '-0' : String(value);
  return /^-?\d+$/.test(text) ? `${text}.0` : text;
}

export const PER_SECOND = { s: 1n, ms: 1000n, us: 1_000_000n, ns: 1_000_000_000n } as const;

/** A time since 1970 as RFC 3339, with the digits of its unit; one that no calendar has as its number. */
export function timeText(value: bigint, perSecond: bigint): string {
  const fraction = ((value % perSecond) + perSecond) % perSecond;
  const date = new Date(Number((value - fraction) / perSecond) * 1000);
  if (Number.isNaN(date.getTime())) return String(value);
  const digits = perSecond === 1n ? '' : `.${String(fraction).padStart(String(perSecond).length - 1, '0')}`;
  return date.toISOString().replace(/\.\d+Z$/, `${digits}Z`);
}
