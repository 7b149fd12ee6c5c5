/**
 * A process without file descriptors that appends to a WAL: `descriptor-child.ts <directory>`. It takes all descriptors, begins
 * appends that need new segments, and prints `full` and, when it has given the descriptors back and all appends are done, `done`.
 */
import * as fs from 'node:fs';
import { FileStorage } from '../../src/wal/file-storage';
import { openWal, walBatch } from './wal-fixtures';

async function main(): Promise<void> {
  const wal = await openWal(new FileStorage(), process.argv[2], { segmentBytes: 8192 });
  const taken: number[] = [];
  try {
    for (;;) taken.push(fs.openSync('/dev/null', 'r'));
  } catch (error) {
    fs.writeSync(1, `full ${(error as { code?: string }).code}\n`);
  }
  const appends = Array.from({ length: 20 }, (_, index) => wal.append([walBatch(index + 1, 3000)]));
  // Until the log waits for a descriptor: it has no room for a third entry.
  await appends[1];
  await new Promise((resolve) => setTimeout(resolve, 100));
  for (const fd of taken) fs.closeSync(fd);
  await Promise.all(appends);
  await wal.close();
  fs.writeSync(1, 'done\n');
}

main().catch((error: unknown) => {
  fs.writeSync(2, `${String(error)}\n`);
  process.exitCode = 1;
});
