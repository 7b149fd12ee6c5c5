import type { DeadLetterParking, DivertedRows, ParkedRows } from '../../src/core/dead-letter';
import { SinkError, type WriteIdentity } from '../../src/core/sink';
import type { Tier } from '../../src/core/table-schema';

const isSame = (a: WriteIdentity, b: WriteIdentity): boolean =>
  a.walId === b.walId && a.lsn === b.lsn && a.table === b.table && a.partition === b.partition;

/** Dead letters in memory, for deliveries that come and go. */
export class MemoryParking implements DeadLetterParking {
  readonly parked: ParkedRows[] = [];
  full = false;

  async park(rows: ParkedRows): Promise<void> {
    if (this.full) throw new SinkError('retry', 'the dead letters are full');
    this.parked.push(rows);
  }

  async refusedRows(tier: Tier, id: WriteIdentity): Promise<Set<number>> {
    const same = this.parked.filter((each) => each.tier === tier && isSame(each.id, id));
    return new Set(same.flatMap(({ rows }) => rows.map(({ row }) => row)));
  }

  readonly diverted: DivertedRows[] = [];

  async divert(rows: DivertedRows): Promise<void> {
    this.diverted.push(rows);
  }

  async divertedRows(tier: Tier, id: WriteIdentity): Promise<Set<number>> {
    const same = this.diverted.filter((each) => each.tier === tier && isSame(each.id, id));
    return new Set(same.flatMap(({ rows }) => rows));
  }
}
