import { lsn } from '../../../src/core/ids';
import { SimulatedDisk } from '../../support/simulated-disk';
import { fingerprint, openWal, readAll, walBatch } from '../../support/wal-fixtures';

const DIRECTORY = '/wal';
const YEAR_MS = 365 * 86_400_000;

test('row 36: a clock that jumps a year ahead and back changes neither positions nor entries, also over restarts', async () => {
  const disk = new SimulatedDisk();
  const jumps = [0, YEAR_MS, -YEAR_MS, 0, 1_000, -1, YEAR_MS];
  const prints: string[] = [];
  for (const jump of jumps) {
    const clock = (): number => 1_700_000_000_000 + jump;
    const wal = await openWal(disk.mount(), DIRECTORY, { clock });
    for (let i = 0; i < 5; i++) {
      const batches = [walBatch(prints.length, 700)];
      expect(await wal.append(batches)).toBe(prints.length + 1);
      prints.push(fingerprint(batches));
    }
    disk.crash('power');
    await wal.close().catch(() => undefined);
  }
  const wal = await openWal(disk.mount(), DIRECTORY);
  expect((await readAll(wal, lsn(1))).map(({ batches }) => fingerprint(batches))).toEqual(prints);
  await wal.close();
});
