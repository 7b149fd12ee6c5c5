/**
 * A process that appends to a WAL until it is killed: `wal-child.ts <directory> <first seed> <writers> [<failpoint> <passes>]`.
 * Prints one line for each acknowledged entry, `<lsn> <seed> <bytes>`, by a synchronous write, so that a line is out when the next
 * append begins. With a failpoint it kills itself there.
 */
import * as fs from 'node:fs';
import { lsn } from '../../src/core/ids';
import { FileDeliveryStateStore } from '../../src/wal/delivery-state';
import { FileStorage } from '../../src/wal/file-storage';
import type { Storage } from '../../src/wal/storage';
import { isFailpoint, KillingStorage } from './failpoints';
import { openWal, walBatch } from './wal-fixtures';

/** Entries that are kept behind the last one. */
const KEPT = 400;

async function main(): Promise<void> {
  const [directory, firstSeed, writers, point, passes] = process.argv.slice(2);
  const storage: Storage = isFailpoint(point) ? new KillingStorage(point, Number(passes)) : new FileStorage();
  const wal = await openWal(storage, directory, { segmentBytes: 64 * 1024, frameBytesMax: 1 << 20 });
  const checkpoints = new FileDeliveryStateStore({ storage, directory, walId: wal.walId });
  let seed = Number(firstSeed);
  fs.writeSync(1, 'ready\n');
  const write = async (): Promise<void> => {
    for (;;) {
      const mine = seed++;
      const sizeBytes = (mine * 7919) % 9000;
      const at = await wal.append([walBatch(mine, sizeBytes, 3)]);
      fs.writeSync(1, `${at} ${mine} ${sizeBytes}\n`);
      // What is older is released as a delivery would, so that kills meet checkpoints, deletions and recycled files too.
      if (at % 50 !== 0 || at <= KEPT) continue;
      await checkpoints.save('hot', { nextLsn: lsn(at - KEPT), plan: undefined });
      await wal.release(lsn(at - KEPT));
    }
  };
  await Promise.all(Array.from({ length: Number(writers) }, write));
}

main().catch((error: unknown) => {
  fs.writeSync(2, `${String(error)}\n`);
  process.exitCode = 1;
});
