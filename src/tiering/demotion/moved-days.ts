/** What demotions mean to who sums up days of the cold tier. */
import { type Demotion, isUnfinished } from '../../core/demotion';
import type { MovedDays } from '../../core/rollup';
import { daysBetween } from '../../core/utc-day';

/** Demotions of one table. */
export function movedDaysOf(demotions: readonly Demotion[]): MovedDays {
  const busy = new Set<string>();
  const away = new Set<string>();
  const back = new Set<string>();
  const hidden = new Map<string, string[]>();
  for (const demotion of demotions) {
    const { id, state } = demotion;
    const counts = state === 'demoted' || state === 'restoring';
    for (const day of daysBetween(demotion)) {
      if (isUnfinished(demotion) && state !== 'planned') busy.add(day);
      if (counts) away.add(day);
      if (state === 'restored') back.add(day);
      if (!counts) hidden.set(day, [...(hidden.get(day) ?? []), String(BigInt(`0x${id}`))]);
    }
  }
  return { busy, hidden, returned: new Set([...back].filter((day) => !away.has(day))) };
}
