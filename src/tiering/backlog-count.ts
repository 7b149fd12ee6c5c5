import { pendingFrom } from '../core/delivery-state';
import { lsn } from '../core/ids';
import type { Wal } from '../core/wal';
import type { Backlog } from './backlog';
import type { Checkpoint } from './checkpoint';

/** Counts what an earlier run left behind. Gives the time of the oldest entry before the cursor, milliseconds since 1970. */
export async function countBacklog(
  { wal, bytesMax }: { readonly wal: Wal; readonly bytesMax: number },
  checkpoint: Checkpoint,
  backlog: Backlog,
  signal: AbortSignal,
): Promise<number | undefined> {
  const last = wal.stats().durableLsn;
  const { state } = checkpoint;
  const passed = state.plan?.toLsn ?? lsn(state.nextLsn - 1);
  let oldestAtMs: number | undefined;
  backlog.clear();
  for (let at = checkpoint.releasableLsn; at <= last && !signal.aborted; ) {
    const entries = await wal.read(at, bytesMax);
    if (entries.length === 0) break;
    oldestAtMs ??= entries.find((entry) => entry.lsn >= state.nextLsn)?.appendedAtMs;
    for (const entry of entries) {
      if (entry.lsn > last) continue;
      const open = entry.batches.filter(({ table }) => pendingFrom(state, table) <= entry.lsn);
      backlog.add(open);
      if (entry.lsn <= passed) backlog.hold(open.filter(({ table }) => checkpoint.heldTable(table) !== undefined));
    }
    at = lsn(entries.at(-1)!.lsn + 1);
  }
  return oldestAtMs;
}
