/** What a checkpoint says of rows: pure functions, for all who read one. */
import { type Lsn, lsn, type TableName } from './ids';
import type { DeliveryState, HeldTable } from './wal';

const firstOf = (held: HeldTable, nextLsn: Lsn): Lsn => held.plan?.fromLsn ?? held.range?.fromLsn ?? nextLsn;

/** The first entry whose rows of the table the sink may not be done with; it is done with those of all entries before. */
export function pendingFrom({ nextLsn, plan, held }: DeliveryState, table: TableName): Lsn {
  const waiting = held?.find((each) => each.table === table);
  if (waiting !== undefined) return firstOf(waiting, nextLsn);
  const leftOut = plan !== undefined && !plan.parts.some((part) => part.table === table);
  return leftOut ? lsn(plan.toLsn + 1) : nextLsn;
}

/** The first entry that the sink may still ask for. */
export const neededFrom = ({ nextLsn, held = [] }: DeliveryState): Lsn =>
  lsn(Math.min(nextLsn, ...held.map((each) => firstOf(each, nextLsn))));
