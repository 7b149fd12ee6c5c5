/**
 * A process that appends to a WAL until it is killed: `wal-child.ts <directory> <first seed> <writers>`. Prints one line for each
 * acknowledged entry, `<lsn> <seed> <bytes>`, by a synchronous write, so that a line is out when the next append begins.
 */
import * as fs from 'node:fs';
import { lsn } from '../../src/core/ids';
import { FileStorage } from '../../src/wal/file-storage';
import { openWal, walBatch } from './wal-fixtures';

async function main(): Promise<void> {
  const [directory, firstSeed, writers] = process.argv.slice(2);
  const wal = await openWal(new FileStorage(), directory, { segmentBytes: 64 * 1024, frameBytesMax: 1 << 20 });
  let seed = Number(firstSeed);
  fs.writeSync(1, 'ready\n');
  const write = async (): Promise<void> => {
    for (;;) {
      const mine = seed++;
      const sizeBytes = (mine * 7919) % 9000;
      const at = await wal.append([walBatch(mine, sizeBytes, 3)]);
      fs.writeSync(1, `${at} ${mine} ${sizeBytes}\n`);
      // What is older is released as a delivery would, so that kills meet deletions and recycled files too.
      if (at % 50 === 0 && at > 400) await wal.release(lsn(at - 400));
    }
  };
  await Promise.all(Array.from({ length: Number(writers) }, write));
}

main().catch((error: unknown) => {
  fs.writeSync(2, `${String(error)}\n`);
  process.exitCode = 1;
});
