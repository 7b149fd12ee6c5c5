/** Crashes of the log on the simulated disk: random schedules, and a crash at each operation of a steady log. */
import { strict as assert } from 'node:assert';
import { lsn } from '../../src/core/ids';
import { repair } from '../../src/wal/repair';
import { randomOf } from '../support/random';
import { SimulatedDisk } from '../support/simulated-disk';
import { fingerprint, openWal, readAll, walBatch } from '../support/wal-fixtures';
import { runSchedules } from '../support/wal-schedules';

/** `make soak` runs 100,000. */
const RUNS = 2_000;
const DIRECTORY = '/disk/wal';

test(`no schedule of ${RUNS} loses, doubles or changes an acknowledged entry`, async () => {
  expect(await runSchedules(RUNS)).toBeGreaterThan(RUNS);
}, 120_000);

/** Appends and releases side by side until the machine goes down, so that released files become the next segments. */
async function steadyLog(disk: SimulatedDisk): Promise<Map<number, string>> {
  const acked = new Map<number, string>();
  const releases: Promise<void>[] = [];
  try {
    const wal = await openWal(disk.mount(), DIRECTORY, { onFatal: () => undefined });
    for (let seed = 1; seed <= 24; seed++) {
      const batches = [walBatch(seed, 900)];
      const at = await wal.append(batches);
      acked.set(at, fingerprint(batches));
      // The last segments stay, so that there is something to compare.
      if (at > 8) releases.push(wal.release(lsn(at - 8)).catch(() => undefined));
    }
  } catch (error) {
    assert.ok(disk.faults.crashIn !== undefined, String(error));
  }
  await Promise.all(releases);
  return acked;
}

test('a steady log survives a power loss at any single operation', async () => {
  const whole = new SimulatedDisk(randomOf(1));
  await steadyLog(whole);
  let lost = 0;
  for (let crashIn = 0; crashIn < whole.operations; crashIn++) {
    for (let luck = 1; luck <= 8; luck++) {
      const disk = new SimulatedDisk(randomOf(luck * 7919 + crashIn));
      disk.faults.crashIn = crashIn;
      const acked = await steadyLog(disk);
      disk.crash('power');
      const wal = await openWal(disk.mount(), DIRECTORY);
      const { firstLsn } = wal.stats();
      const found = new Map((await readAll(wal)).map((entry) => [Number(entry.lsn), fingerprint(entry.batches)]));
      for (const [at, print] of acked) if (at >= firstLsn && found.get(at) !== print) lost++;
      const last = Math.max(0, ...acked.keys());
      if (firstLsn > Math.max(1, last - 7)) lost++;
      await wal.close();
    }
  }
  expect(whole.operations).toBeGreaterThan(80);
  expect(lost).toBe(0);
}, 60_000);

/** A log of three segments with a flipped byte in the first, the second missing, and a torn tail. */
async function damagedLog(seed: number): Promise<SimulatedDisk> {
  const disk = new SimulatedDisk(randomOf(seed));
  const storage = disk.mount();
  const wal = await openWal(storage, DIRECTORY);
  for (let each = 1; each <= 12; each++) await wal.append([walBatch(each, 700)]);
  await wal.close();
  const [first, second] = disk.files().filter((file) => file.endsWith('.wal'));
  const bytes = disk.peek(first);
  bytes[64 + 2 * 800] ^= 1;
  disk.poke(first, bytes);
  await storage.unlink(second);
  await storage.syncDirectory(DIRECTORY);
  disk.crash('process');
  return disk;
}

test('a repair survives a power loss at any single operation, and the next one ends with the same log', async () => {
  const options = (disk: SimulatedDisk) => ({
    storage: disk.mount(),
    directory: DIRECTORY,
    nowMs: 5,
    confirm: async () => true,
  });
  const expected = Array.from({ length: 12 }, (_, index) =>
    [3, 6, 7, 8, 9, 10].includes(index + 1) ? '' : fingerprint([walBatch(index + 1, 700)]),
  );
  const whole = await damagedLog(1);
  const before = whole.operations;
  await repair(options(whole));
  const operations = whole.operations - before;
  for (let crashIn = 0; crashIn < operations; crashIn++) {
    for (let luck = 1; luck <= 2; luck++) {
      const disk = await damagedLog(luck * 7919 + crashIn);
      disk.faults.crashIn = crashIn;
      await repair(options(disk)).catch((error: unknown) => assert.match(String(error), /EIO|sync of/));
      disk.crash('power');
      await repair(options(disk));
      const wal = await openWal(disk.mount(), DIRECTORY);
      assert.deepEqual(
        (await readAll(wal)).map(({ batches }) => fingerprint(batches)),
        expected,
      );
      assert.equal(await wal.append([walBatch(13, 10)]), 13);
      await wal.close();
    }
  }
  expect(operations).toBeGreaterThan(40);
}, 60_000);
