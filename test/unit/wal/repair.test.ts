/**
 * `wal inspect` and `wal repair` on damaged directories (R7): the survey judges as a start does, the repair says what is lost before it
 * does anything, keeps every readable entry, uses no position twice and leaves a log that opens.
 */
import * as fc from 'fast-check';
import { lsn } from '../../../src/core/ids';
import { FileDeliveryStateStore } from '../../../src/wal/delivery-state';
import { WalCorruptError, WalLockedError } from '../../../src/wal/errors';
import type { FileWal } from '../../../src/wal/file-wal';
import { encodeFrameHeader } from '../../../src/wal/format';
import { planRepair, type RepairPlan, repair } from '../../../src/wal/repair';
import { isDamaged, survey } from '../../../src/wal/survey';
import { SimulatedDisk } from '../../support/simulated-disk';
import { fingerprint, openWal, readAll, walBatch } from '../../support/wal-fixtures';

const DIRECTORY = '/wal';
const ENTRIES = 12;
/** Five entries in each of the first two segments, two in the last. */
const segmentPath = (number: number): string => `${DIRECTORY}/${String(number).padStart(16, '0')}.wal`;
const print = (seed: number): string => fingerprint([walBatch(seed, 700)]);

async function logOf(end: 'close' | 'crash', checkpoint?: { nextLsn: number; plan?: [number, number] }): Promise<SimulatedDisk> {
  const disk = new SimulatedDisk();
  const storage = disk.mount();
  const wal = await openWal(storage, DIRECTORY);
  for (let seed = 1; seed <= ENTRIES; seed++) await wal.append([walBatch(seed, 700)]);
  if (checkpoint !== undefined) {
    const { nextLsn, plan } = checkpoint;
    const states = new FileDeliveryStateStore({ storage, directory: DIRECTORY, walId: wal.walId });
    const made = plan === undefined ? undefined : { fromLsn: lsn(plan[0]), toLsn: lsn(plan[1]), parts: [] };
    await states.save('hot', { nextLsn: lsn(nextLsn), plan: made });
  }
  if (end === 'close') await wal.close();
  disk.crash('process');
  return disk;
}

function change(disk: SimulatedDisk, file: string, edit: (bytes: Buffer) => Buffer | void): void {
  const bytes = disk.peek(file);
  disk.poke(file, edit(bytes) ?? bytes);
}

async function remove(disk: SimulatedDisk, file: string): Promise<void> {
  const storage = disk.mount();
  await storage.unlink(file);
  await storage.syncDirectory(DIRECTORY);
}

const place = (disk: SimulatedDisk) => ({ storage: disk.mount(), directory: DIRECTORY });
const repaired = (disk: SimulatedDisk): Promise<RepairPlan | undefined> =>
  repair({ ...place(disk), nowMs: 77, confirm: async () => true });
const lostOf = (plan: RepairPlan | undefined): [number, number][] =>
  (plan?.lost ?? []).map(({ firstLsn, lastLsn }) => [firstLsn, lastLsn]);

/** What the log holds by position; '' where an entry was lost. */
async function held(wal: FileWal): Promise<string[]> {
  return (await readAll(wal)).map(({ batches }) => fingerprint(batches));
}

async function expectHeld(disk: SimulatedDisk, seeds: readonly (number | undefined)[], next: number): Promise<void> {
  const wal = await openWal(disk.mount(), DIRECTORY);
  expect(await held(wal)).toEqual(seeds.map((seed) => (seed === undefined ? '' : print(seed))));
  expect(await wal.append([walBatch(99, 10)])).toBe(next);
  await wal.close();
}

const all = (lost: readonly number[] = [], count = ENTRIES): (number | undefined)[] =>
  Array.from({ length: count }, (_, index) => (lost.includes(index + 1) ? undefined : index + 1));

const contents = (disk: SimulatedDisk): string[] => disk.files().map((file) => `${file} ${disk.peek(file).toString('base64')}`);

test('a survey of a whole log names every segment and changes nothing, and a repair has nothing to do', async () => {
  const disk = await logOf('close', { nextLsn: 3 });
  const before = contents(disk);
  const found = await survey(place(disk));
  expect(isDamaged(found)).toBe(false);
  expect(found.members.map(({ entries, segment, seal }) => [segment.base, segment.lastSeq, entries, seal?.reason])).toEqual([
    [1, 5, 5, 'full'],
    [6, 10, 5, 'full'],
    [11, 12, 2, 'closed'],
  ]);
  expect(found.checkpoints).toMatchObject([{ tier: 'hot', state: { nextLsn: 3 } }]);
  expect(await repaired(disk)).toBeUndefined();
  expect(contents(disk)).toEqual(before);
});

test('a flipped bit in a sealed segment costs exactly its entry, and the damaged file is kept whole', async () => {
  const disk = await logOf('close');
  const file = segmentPath(1);
  change(disk, file, (bytes) => void (bytes[64 + 2 * 800] ^= 1));
  const damaged = disk.peek(file);
  await expect(openWal(disk.mount(), DIRECTORY)).rejects.toThrow(WalCorruptError);
  const { ranges } = await survey(place(disk));
  expect(ranges).toMatchObject([{ firstLsn: 3, lastLsn: 3 }]);
  expect(lostOf(await repaired(disk))).toEqual([[3, 3]]);
  expect(disk.peek(`${file}.77.damaged`)).toEqual(damaged);
  await expectHeld(disk, all([3]), 13);
});

test('a segment that a running server releases while it is looked at is no damage', async () => {
  const disk = await logOf('close', { nextLsn: 6 });
  const storage = disk.mount();
  const list = storage.list.bind(storage);
  storage.list = async (directory) => {
    const names = await list(directory);
    await storage.unlink(segmentPath(1));
    return names;
  };
  const found = await survey({ storage, directory: DIRECTORY });
  expect([isDamaged(found), found.members.length]).toEqual([false, 2]);
});

test('nothing is changed when the answer is no, while a server holds the log, and by a plan', async () => {
  const disk = await logOf('close');
  change(disk, segmentPath(2), (bytes) => void (bytes[200] ^= 1));
  const before = contents(disk);
  expect(await repair({ ...place(disk), nowMs: 1, confirm: async () => false })).toBeUndefined();
  expect(lostOf(await planRepair(place(disk)))).toEqual([[6, 6]]);
  expect(contents(disk)).toEqual(before);

  const whole = await logOf('close');
  const wal = await openWal(whole.mount(), DIRECTORY);
  await expect(repaired(whole)).rejects.toThrow(WalLockedError);
  await wal.close();
});

test('a missing segment is filled with empty entries, so that no position is used twice', async () => {
  const middle = await logOf('close');
  await remove(middle, segmentPath(2));
  expect(lostOf(await repaired(middle))).toEqual([[6, 10]]);
  await expectHeld(middle, all([6, 7, 8, 9, 10]), 13);

  const first = await logOf('close', { nextLsn: 4 });
  await remove(first, segmentPath(1));
  expect(lostOf(await repaired(first))).toEqual([[4, 5]]);
  await expectHeld(first, all([4, 5]).slice(3), 13);

  const last = await logOf('close', { nextLsn: 2, plan: [2, 12] });
  await remove(last, segmentPath(3));
  expect(lostOf(await repaired(last))).toEqual([[11, 12]]);
  await expectHeld(last, all([11, 12]), 13);

  const every = await logOf('close', { nextLsn: 4, plan: [4, 9] });
  for (const number of [1, 2, 3]) await remove(every, segmentPath(number));
  expect(lostOf(await repaired(every))).toEqual([[4, 9]]);
  await expectHeld(
    every,
    Array.from({ length: 6 }, () => undefined),
    10,
  );
});

test('a damaged header costs nothing while its salt can be read, otherwise the segment', async () => {
  const disk = await logOf('close');
  change(disk, segmentPath(2), (bytes) => void (bytes[40] ^= 1));
  expect((await survey(place(disk))).problems).toEqual([expect.stringContaining('its entries can be read')]);
  expect(lostOf(await repaired(disk))).toEqual([]);
  await expectHeld(disk, all(), 13);

  const salt = await logOf('close');
  change(salt, segmentPath(2), (bytes) => void (bytes[12] ^= 1));
  expect((await survey(place(salt))).strays).toMatchObject([{ reason: 'the segment header is damaged' }]);
  expect(lostOf(await repaired(salt))).toEqual([[6, 10]]);
  await expectHeld(salt, all([6, 7, 8, 9, 10]), 13);
});

test('foreign and copied segments are put aside, a renamed one gets its name back', async () => {
  const disk = await logOf('close', { nextLsn: 2 });
  const foreign = await logOf('close');
  disk.poke(segmentPath(7), foreign.peek(segmentPath(1)));
  disk.poke(segmentPath(8), disk.peek(segmentPath(1)));
  disk.poke(segmentPath(9), disk.peek(segmentPath(2)));
  await remove(disk, segmentPath(2));
  const plan = await repaired(disk);
  expect(plan?.aside.map(({ name }) => `${DIRECTORY}/${name}`)).toEqual([segmentPath(7), segmentPath(8)]);
  expect(plan?.renamed).toHaveLength(1);
  expect(lostOf(plan)).toEqual([]);
  await expectHeld(disk, all(), 13);
});

test('a checkpoint that cannot be read is put aside, and the plan says what a sink has of the lost entries', async () => {
  const disk = await logOf('close', { nextLsn: 2, plan: [2, 8] });
  change(disk, segmentPath(1), (bytes) => void (bytes[64 + 700] ^= 1));
  expect((await planRepair(place(disk))).lost).toMatchObject([{ firstLsn: 1, delivered: ['hot'], inDoubt: [], missing: [] }]);
  change(disk, segmentPath(1), (bytes) => void (bytes[64 + 800] ^= 1));
  change(disk, segmentPath(3), (bytes) => void (bytes[64 + 800] ^= 1));
  expect((await planRepair(place(disk))).lost).toMatchObject([
    { firstLsn: 1, lastLsn: 2, delivered: [], inDoubt: ['hot'] },
    { firstLsn: 12, lastLsn: 12, missing: ['hot'] },
  ]);
  change(disk, `${DIRECTORY}/delivery-hot.state`, (bytes) => bytes.subarray(0, 50));
  expect((await survey(place(disk))).problems).toEqual([]);
  change(disk, `${DIRECTORY}/delivery-hot.copy`, (bytes) => bytes.subarray(0, 50));
  const files = ['delivery-hot.state', 'delivery-hot.copy'];
  expect((await survey(place(disk))).problems).toEqual(files.map((file) => expect.stringContaining(file)));
  expect((await repaired(disk))?.aside).toMatchObject(files.map((name) => ({ name })));
  await expectHeld(disk, all([1, 2, 12]), 13);
});

test('a torn tail is no damage, and is cut where other damage is repaired', async () => {
  const disk = await logOf('crash');
  const end = 64 + 2 * 800;
  change(disk, segmentPath(3), (bytes) => void bytes.fill(7, end, end + 100));
  const found = await survey(place(disk));
  expect([isDamaged(found), found.torn?.firstSeq]).toEqual([false, 13]);
  change(disk, segmentPath(3), (bytes) => void (bytes[100] ^= 1));
  expect(lostOf(await repaired(disk))).toEqual([[11, 11]]);
  await expectHeld(disk, all([11]), 13);
});

test('an older whole frame in the place of an acknowledged one is found by the checksum of the segment', async () => {
  const disk = await logOf('close');
  const file = segmentPath(1);
  const { segment } = (await survey(place(disk))).members[0];
  change(disk, file, (bytes) => {
    const at = 64;
    const length = bytes.readUInt32LE(at);
    const header = { length, type: 1, seq: 1, durableSeq: 0, appendedAtMs: 5, payloadCrc: bytes.readUInt32LE(at + 32) };
    encodeFrameHeader(bytes.subarray(at, at + 40), header, segment.seed);
  });
  await expect(openWal(disk.mount(), DIRECTORY)).rejects.toThrow(/checksum of the segment/);
  expect(lostOf(await repaired(disk))).toEqual([]);
  await expectHeld(disk, all(), 13);
});

test('whatever bytes of a log change or go, a repair keeps every entry that reads as it was written, and the log opens', async () => {
  const fault = fc.oneof(
    fc.record({ kind: fc.constant('flip' as const), file: fc.nat(), at: fc.nat(), mask: fc.integer({ min: 1, max: 255 }) }),
    fc.record({ kind: fc.constant('cut' as const), file: fc.nat(), at: fc.nat() }),
    fc.record({ kind: fc.constant('remove' as const), file: fc.nat() }),
  );
  const state = fc.option(fc.integer({ min: 1, max: ENTRIES + 1 }), { nil: undefined });
  const property = fc.asyncProperty(fc.array(fault, { minLength: 1, maxLength: 4 }), state, async (faults, nextLsn) => {
    const disk = await logOf('close', nextLsn === undefined ? undefined : { nextLsn });
    for (const each of faults) {
      const files = disk.files().filter((file) => /\.(wal|state)$/.test(file));
      if (files.length === 0) break;
      const file = files[each.file % files.length];
      if (each.kind === 'remove') await remove(disk, file);
      else if (each.kind === 'cut') change(disk, file, (bytes) => bytes.subarray(0, each.at % (bytes.length + 1)));
      else change(disk, file, (bytes) => void (bytes.length > 0 && (bytes[each.at % bytes.length] ^= each.mask)));
    }
    const plan = await repaired(disk);
    const lost = lostOf(plan);
    const wal = await openWal(disk.mount(), DIRECTORY);
    for (const { lsn: at, batches } of await readAll(wal)) {
      const isLost = lost.some(([first, last]) => at >= first && at <= last);
      expect([at, fingerprint(batches)]).toEqual([at, isLost ? '' : print(at)]);
    }
    await wal.close();
  });
  await fc.assert(property, { numRuns: 300 });
}, 30_000);
