/** Group commit, faults of the device, and the life of segment files. */
import { lsn } from '../../../src/core/ids';
import type { WalCommit } from '../../../src/wal/log-writer';
import type { Storage, StorageFile } from '../../../src/wal/storage';
import { SimulatedDisk } from '../../support/simulated-disk';
import { fingerprint, openWal, readAll, walBatch } from '../../support/wal-fixtures';

const DIRECTORY = '/wal';

const forwarded = (file: StorageFile): StorageFile => ({
  writev: (pieces, position) => file.writev(pieces, position),
  read: (into, position) => file.read(into, position),
  fdatasync: () => file.fdatasync(),
  truncate: (sizeBytes) => file.truncate(sizeBytes),
  size: () => file.size(),
  close: () => file.close(),
});

/** A storage whose files report what is done to them. */
function spied(storage: Storage, wrap: (file: StorageFile, name: string) => Partial<StorageFile>): Storage {
  return {
    makeDirectory: (name) => storage.makeDirectory(name),
    list: (name) => storage.list(name),
    rename: (from, to) => storage.rename(from, to),
    unlink: (name) => storage.unlink(name),
    syncDirectory: (name) => storage.syncDirectory(name),
    freeBytes: (name) => storage.freeBytes(name),
    lock: (name) => storage.lock(name),
    open: async (name, mode) => {
      const file = await storage.open(name, mode);
      return { ...forwarded(file), ...wrap(file, name) };
    },
  };
}

test('one group is synced at a time, and appends that arrive meanwhile share the next one', async () => {
  const disk = new SimulatedDisk();
  let inFlight = 0;
  let inFlightMax = 0;
  const storage = spied(disk.mount(), (file) => ({
    fdatasync: async () => {
      inFlightMax = Math.max(inFlightMax, ++inFlight);
      await file.fdatasync();
      inFlight--;
    },
  }));
  const commits: WalCommit[] = [];
  const wal = await openWal(storage, DIRECTORY, { segmentBytes: 1 << 20, onCommit: (commit) => commits.push(commit) });
  const first = wal.append([walBatch(1, 10)]);
  await Promise.resolve();
  await Promise.resolve();
  const rest = Array.from({ length: 40 }, (_, index) => wal.append([walBatch(index, 10)]));
  await Promise.all([first, ...rest]);
  expect(commits.map((commit) => commit.entries)).toEqual([1, 40]);
  expect(inFlightMax).toBe(1);
  expect(commits[1].sizeBytes).toBeGreaterThan(40 * 40);
  await wal.close();
});

test('the payload goes to the device as the very pieces of the caller', async () => {
  const disk = new SimulatedDisk();
  const written: Uint8Array[] = [];
  const storage = spied(disk.mount(), (file) => ({
    writev: (pieces, position) => {
      written.push(...pieces);
      return file.writev(pieces, position);
    },
  }));
  const wal = await openWal(storage, DIRECTORY);
  const piece = Buffer.alloc(2000, 7);
  await wal.append([{ ...walBatch(1, 0), ipc: [piece] }]);
  expect(written.some((each) => each.buffer === piece.buffer && each.length === 2000)).toBe(true);
  await wal.close();
});

test('a failed sync refuses all waiters, reports once, and nothing is ever synced again', async () => {
  const disk = new SimulatedDisk();
  let syncs = 0;
  const storage = spied(disk.mount(), (file) => ({
    fdatasync: () => {
      syncs++;
      return file.fdatasync();
    },
  }));
  const fatal: Error[] = [];
  const wal = await openWal(storage, DIRECTORY, { onFatal: (error) => fatal.push(error) });
  expect(await wal.append([walBatch(1, 10)])).toBe(1);
  disk.faults.failSyncIn = 0;
  const waiting = wal.waitFor(lsn(9), new AbortController().signal).catch((error: unknown) => error);
  const results = await Promise.allSettled([2, 3, 4].map((seed) => wal.append([walBatch(seed, 10)])));
  expect(await waiting).toMatchObject({ code: 'unavailable' });
  for (const result of results) expect(result).toMatchObject({ status: 'rejected', reason: { code: 'unavailable' } });
  expect(fatal.map((error) => error.name)).toEqual(['SyncFailedError']);
  const before = syncs;
  await expect(wal.append([walBatch(5, 10)])).rejects.toMatchObject({ code: 'unavailable' });
  expect(await readAll(wal)).toHaveLength(1);
  await wal.close();
  expect(syncs).toBe(before);
  expect(fatal).toHaveLength(1);
});

test('a failed sync of the directory or of a file in preparation is as final', async () => {
  for (const failSyncIn of [0, 1, 2]) {
    const disk = new SimulatedDisk();
    const fatal: Error[] = [];
    const wal = await openWal(disk.mount(), DIRECTORY, { onFatal: (error) => fatal.push(error) });
    await wal.append([walBatch(1, 100)]);
    // The next segment: its zeros, its header, its name.
    disk.faults.failSyncIn = failSyncIn;
    await expect(wal.append([walBatch(2, 3900)])).rejects.toMatchObject({ code: 'unavailable' });
    expect(fatal).toHaveLength(1);
    await wal.close();
  }
});

test('a full device refuses with a hint, loses nothing, and goes on when there is space again', async () => {
  const disk = new SimulatedDisk();
  const wal = await openWal(disk.mount(), DIRECTORY);
  const kept: string[] = [];
  let refused = 0;
  disk.faults.capacityBytes = 3 * 4096 + 500;
  for (let seed = 1; seed <= 40; seed++) {
    const batches = [walBatch(seed, 900)];
    await wal.append(batches).then(
      () => kept.push(fingerprint(batches)),
      (error: unknown) => {
        refused++;
        expect(error).toMatchObject({ code: 'unavailable', retryAfterMs: 1000 });
      },
    );
  }
  expect(refused).toBeGreaterThan(0);
  expect((await readAll(wal)).map((entry) => fingerprint(entry.batches))).toEqual(kept);
  disk.faults.capacityBytes = Number.POSITIVE_INFINITY;
  expect(await wal.append([walBatch(99, 900)])).toBe(kept.length + 1);
  disk.crash('power');
  expect(await readAll(await openWal(disk.mount(), DIRECTORY))).toHaveLength(kept.length + 1);
});

test('when the device fills up in the middle of a large entry, no byte of it stays in the log', async () => {
  const disk = new SimulatedDisk();
  // statfs says there is room, the write finds there is not: as with quotas and delayed allocation.
  const storage: Storage = { ...spied(disk.mount(), () => ({})), freeBytes: async () => 1 << 30 };
  const wal = await openWal(storage, DIRECTORY);
  await wal.append([walBatch(1, 100)]);
  disk.faults.capacityBytes = disk.usedBytes + 9_000;
  await expect(wal.append([walBatch(2, 20_000)])).rejects.toMatchObject({ code: 'unavailable' });
  disk.faults.capacityBytes = Number.POSITIVE_INFINITY;
  expect(await wal.append([walBatch(3, 300)])).toBe(2);
  expect((await readAll(wal)).map((entry) => fingerprint(entry.batches))).toEqual([
    fingerprint([walBatch(1, 100)]),
    fingerprint([walBatch(3, 300)]),
  ]);
  await wal.close();
});

test('short writes are continued until all bytes are written', async () => {
  const disk = new SimulatedDisk(() => 0.4);
  disk.faults.shortWrites = 1;
  const wal = await openWal(disk.mount(), DIRECTORY);
  for (let seed = 1; seed <= 20; seed++) await wal.append([walBatch(seed, 333, 4)]);
  expect((await readAll(wal)).map((entry) => fingerprint(entry.batches))).toEqual(
    Array.from({ length: 20 }, (_, index) => fingerprint([walBatch(index + 1, 333)])),
  );
  await wal.close();
});

test('appends beyond the bound of what may wait for the disk are told to retry', async () => {
  const disk = new SimulatedDisk();
  const wal = await openWal(disk.mount(), DIRECTORY, { frameBytesMax: 8192 });
  const results = await Promise.allSettled(Array.from({ length: 10 }, (_, index) => wal.append([walBatch(index, 3000)])));
  expect(results.slice(0, 2).every((result) => result.status === 'fulfilled')).toBe(true);
  expect(results.at(-1)).toMatchObject({ status: 'rejected', reason: { code: 'unavailable', retryAfterMs: 100 } });
  expect(await wal.append([walBatch(1, 10)])).toBe(wal.stats().durableLsn);
  await wal.close();
});

test('released segments become the next ones, so that a steady log writes no zeros', async () => {
  const disk = new SimulatedDisk();
  let filled = 0;
  const storage = spied(disk.mount(), (file, name) => ({
    writev: (pieces, position) => {
      if (name.endsWith('spare.tmp') && position === 0 && pieces[0].length === 4096) filled++;
      return file.writev(pieces, position);
    },
  }));
  const wal = await openWal(storage, DIRECTORY);
  let at = 0;
  for (let seed = 1; seed <= 200; seed++) {
    at = await wal.append([walBatch(seed, 700)]);
    await wal.release(lsn(at + 1));
  }
  expect(wal.stats().segments).toBeLessThanOrEqual(2);
  expect(filled).toBeLessThanOrEqual(3);
  expect(disk.files().length).toBeLessThanOrEqual(4);
  expect((await wal.read(lsn(at), 1))[0]?.lsn).toBe(at);
  disk.crash('power');
  const again = await openWal(disk.mount(), DIRECTORY);
  const entries = await readAll(again);
  expect(entries.at(-1)?.lsn).toBe(200);
  for (const entry of entries) expect(fingerprint(entry.batches)).toBe(fingerprint([walBatch(entry.lsn, 700)]));
});

test('a full device at start still lets the backlog be read', async () => {
  const disk = new SimulatedDisk();
  const wal = await openWal(disk.mount(), DIRECTORY);
  await wal.append([walBatch(1, 700)]);
  await wal.close();
  disk.faults.capacityBytes = disk.usedBytes;
  const full = await openWal(disk.mount(), DIRECTORY);
  expect(await readAll(full)).toHaveLength(1);
  await expect(full.append([walBatch(2, 700)])).rejects.toMatchObject({ code: 'unavailable', retryAfterMs: 1000 });
  disk.faults.capacityBytes = Number.POSITIVE_INFINITY;
  expect(await full.append([walBatch(2, 700)])).toBe(2);
  await full.close();
});

test('no segment takes the reserve of the device, which is there for the checkpoints when appends are refused', async () => {
  const disk = new SimulatedDisk();
  const reserveBytes = 6_000;
  const wal = await openWal(disk.mount(), DIRECTORY, { reserveBytes });
  disk.faults.capacityBytes = 5 * 4096;
  const refusals: unknown[] = [];
  for (let seed = 1; refusals.length === 0; seed++) {
    await wal.append([walBatch(seed, 900)]).catch((error: unknown) => refusals.push(error));
  }
  expect(refusals[0]).toMatchObject({ code: 'unavailable', retryAfterMs: 1000 });
  expect(disk.faults.capacityBytes - disk.usedBytes).toBeGreaterThanOrEqual(reserveBytes);
  const { durableLsn } = wal.stats();
  await wal.release(lsn(durableLsn));
  expect(await wal.append([walBatch(99, 900)])).toBe(durableLsn + 1);
  await wal.close();
  const full = new SimulatedDisk();
  full.faults.capacityBytes = 4096 + reserveBytes - 1;
  await expect(openWal(full.mount(), DIRECTORY, { reserveBytes })).rejects.toThrow(/are kept in reserve/);
});

test('the load counts what is not released: whole segments for the limit, entries for the rate of the stores', async () => {
  const disk = new SimulatedDisk();
  const wal = await openWal(disk.mount(), DIRECTORY);
  expect([wal.retainedBytes, wal.pendingBytes, wal.appendedBytes]).toEqual([0, 0, 0]);
  for (let seed = 1; seed <= 12; seed++) await wal.append([walBatch(seed, 700)]);
  // Five entries of 776 bytes in a segment.
  expect(wal.appendedBytes).toBe(12 * 776);
  expect(wal.pendingBytes).toBe(12 * 776);
  expect(wal.retainedBytes).toBe(2 * 4096 + 64 + 2 * 776);
  await wal.release(lsn(4));
  expect(wal.retainedBytes).toBe(2 * 4096 + 64 + 2 * 776);
  await wal.release(lsn(6));
  expect([wal.retainedBytes, wal.pendingBytes]).toEqual([4096 + 64 + 2 * 776, 7 * 776]);
  await wal.release(lsn(13));
  expect([wal.retainedBytes, wal.pendingBytes, wal.appendedBytes]).toEqual([0, 0, 12 * 776]);
  await wal.close();
  // The sealed segment of the last run, and the header of the new one.
  const again = await openWal(disk.mount(), DIRECTORY);
  expect([again.retainedBytes, again.appendedBytes - again.pendingBytes]).toEqual([64 + 2 * 776 + 72 + 64, 0]);
  await again.close();
});
