import { type Lsn, lsn } from '../core/ids';
import type { WriteIdentity } from '../core/sink';
import type { Tier } from '../core/table-schema';
import type { Diverted } from './format';
import { writeKey } from './groups';

/** Rows that were left out of writes because they went to another tier, kept for as long as a write may be repeated. */
export class Diversions {
  private readonly entries = new Map<Lsn, Diverted>();

  /** `settled`: is the write never repeated any more? */
  constructor(private readonly settled: (tier: Tier, id: WriteIdentity) => boolean) {}

  add(diverted: Diverted, at: Lsn): void {
    this.entries.set(at, diverted);
  }

  ofWrite(tier: Tier, id: WriteIdentity): Set<number> {
    const key = writeKey(tier, id);
    const same = [...this.entries.values()].filter((entry) => writeKey(entry.tier, entry.id) === key);
    return new Set(same.flatMap(({ rows }) => rows));
  }

  /** Position of the oldest entry that is still needed. Forgets those that are not. */
  oldest(): Lsn {
    for (const [at, { tier, id }] of this.entries) {
      if (!this.settled(tier, id)) return at;
      this.entries.delete(at);
    }
    return lsn(Number.MAX_SAFE_INTEGER);
  }
}
