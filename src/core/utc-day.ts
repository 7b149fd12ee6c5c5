/** Days of UTC, by which tables are partitioned. */

export const DAY_MS = 86_400_000;

/** YYYYMMDD of the UTC day that holds a time, milliseconds since 1970: the name of a ClickHouse partition. */
export const dayName = (ms: number): string => new Date(ms).toISOString().slice(0, 10).replaceAll('-', '');

/** Names of the days that the range [fromMs, toMs) meets. */
export function daysBetween({ fromMs, toMs }: { readonly fromMs: number; readonly toMs: number }): string[] {
  const days: string[] = [];
  for (let at = Math.floor(fromMs / DAY_MS) * DAY_MS; at < toMs; at += DAY_MS) days.push(dayName(at));
  return days;
}
