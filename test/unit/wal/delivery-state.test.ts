import { crc32 } from 'node:zlib';
import { lsn, type TableName, type WalId } from '../../../src/core/ids';
import type { DeliveryState } from '../../../src/core/wal';
import { FileDeliveryStateStore } from '../../../src/wal/delivery-state';
import { WalCorruptError, WalVersionError } from '../../../src/wal/errors';
import { SimulatedDisk } from '../../support/simulated-disk';

const directory = '/wal';
const walId = 'a'.repeat(32) as WalId;
const FILE = '/wal/delivery-cold.state';
const COPY = '/wal/delivery-cold.copy';

const state = (next: number): DeliveryState => ({
  nextLsn: lsn(next),
  plan: {
    fromLsn: lsn(next),
    toLsn: lsn(next + 4),
    parts: [
      { table: 'logs_events' as TableName, partition: '20260102', rows: 17, done: true },
      { table: 'logs_events' as TableName, partition: '', rows: 3, done: false },
    ],
  },
});

const storeOn = (disk: SimulatedDisk, id = walId): FileDeliveryStateStore =>
  new FileDeliveryStateStore({ storage: disk.mount(), directory, walId: id });

test('a saved state loads again with its plan, each tier its own, and an unknown tier is undefined', async () => {
  const disk = new SimulatedDisk();
  await storeOn(disk).save('cold', state(5));
  await storeOn(disk).save('hot', { nextLsn: lsn(9), plan: undefined });
  expect(await storeOn(disk).load('cold')).toEqual(state(5));
  expect(await storeOn(disk).load('hot')).toEqual({ nextLsn: 9, plan: undefined });
  expect(await storeOn(new SimulatedDisk()).load('hot')).toBeUndefined();
});

test('a state is durable when save resolves, and a crash at any operation leaves the old or the new one', async () => {
  for (let crashIn = 0; crashIn < 12; crashIn++) {
    for (let luck = 0; luck < 10; luck++) {
      let draw = luck * 7 + crashIn;
      const disk = new SimulatedDisk(() => ((draw = (draw * 16807 + 11) % 2147483647) % 1000) / 1000);
      await storeOn(disk).save('cold', state(1));
      disk.faults.crashIn = crashIn;
      const isSaved = await storeOn(disk)
        .save('cold', state(2))
        .then(
          () => true,
          () => false,
        );
      disk.crash('power');
      const found = await storeOn(disk).load('cold');
      expect(isSaved ? [2] : [1, 2]).toContain(Number(found?.nextLsn));
      expect(found).toEqual(state(Number(found?.nextLsn)));
      await storeOn(disk).save('cold', state(3));
      expect(await storeOn(disk).load('cold')).toEqual(state(3));
    }
  }
});

test('saves of one tier keep their order and take the state as it is at the call', async () => {
  const disk = new SimulatedDisk();
  const store = storeOn(disk);
  const moving = state(1);
  const saves = [store.save('cold', moving)];
  moving.nextLsn = lsn(2);
  saves.push(store.save('cold', moving), store.save('cold', state(3)));
  await Promise.all(saves);
  expect(await storeOn(disk).load('cold')).toEqual(state(3));
});

test('the position never goes back', async () => {
  const store = storeOn(new SimulatedDisk());
  await store.save('cold', state(5));
  await expect(store.save('cold', state(4))).rejects.toThrow(/cannot go back from lsn 5 to 4/);
  await store.save('cold', state(5));
});

test('every changed byte and every cut of one file of a checkpoint is made good by the other, of both an error with clear text', async () => {
  const disk = new SimulatedDisk();
  await storeOn(disk).save('cold', state(5));
  const bytes = disk.peek(FILE);
  expect(disk.peek(COPY)).toEqual(bytes);
  for (let at = 0; at < bytes.length; at++) {
    const changed = Buffer.from(bytes);
    changed[at] ^= 1;
    disk.poke(FILE, changed);
    disk.poke(COPY, bytes);
    const isVersion = bytes.subarray(0, at).toString() === 'thermocline-delivery ';
    const loaded = await storeOn(disk)
      .load('cold')
      .catch((error: unknown) => (error instanceof WalVersionError ? 'another version' : error));
    expect(loaded).toEqual(isVersion ? 'another version' : state(5));
    disk.poke(COPY, changed);
    await expect(storeOn(disk).load('cold')).rejects.toThrow(/delivery-cold\.state (is damaged|has wal format version)/);
    const cut = bytes.subarray(0, at);
    disk.poke(FILE, bytes);
    disk.poke(COPY, cut);
    expect(await storeOn(disk).load('cold')).toEqual(state(5));
    disk.poke(FILE, cut);
    await expect(storeOn(disk).load('cold')).rejects.toThrow(WalCorruptError);
  }
});

test('a file that is lost, older, damaged or of another wal is made good by the other one, whichever it is', async () => {
  for (const [file, other] of [
    [FILE, COPY],
    [COPY, FILE],
  ]) {
    for (const harm of ['lost', 'older', 'damaged', 'foreign'] as const) {
      const disk = new SimulatedDisk();
      const told: string[] = [];
      const mount = disk.mount();
      const store = storeOn(disk);
      await store.save('cold', state(1));
      const older = disk.peek(file);
      await store.save('cold', state(5));
      if (harm === 'lost') await mount.unlink(file);
      if (harm === 'older') disk.poke(file, older);
      if (harm === 'damaged') disk.poke(file, Buffer.from('x'));
      if (harm === 'foreign') {
        const foreign = new SimulatedDisk();
        const strange = storeOn(foreign, 'b'.repeat(32) as WalId);
        for (const next of [1, 2, 3, 4]) await strange.save('cold', state(next));
        disk.poke(file, foreign.peek(file));
      }
      const options = { storage: disk.mount(), directory, walId, onDamage: (text: string) => told.push(text) };
      const again = new FileDeliveryStateStore(options);
      expect(await again.load('cold')).toEqual(state(5));
      expect(told).toHaveLength(harm === 'damaged' || harm === 'foreign' ? 1 : 0);
      await again.save('cold', state(6));
      await disk.mount().unlink(other);
      expect(await storeOn(disk).load('cold')).toEqual(state(6));
    }
  }
});

test('a checkpoint of a server that made no copies is the newest there is', async () => {
  const disk = new SimulatedDisk();
  await storeOn(disk).save('cold', state(1));
  const text = JSON.stringify({ walId, tier: 'cold', nextLsn: 9 });
  const crc = crc32(text).toString(16).padStart(8, '0');
  disk.poke(FILE, Buffer.from(`thermocline-delivery 1 ${crc}\n${text}\n`));
  expect(await storeOn(disk).load('cold')).toEqual({ nextLsn: 9, plan: undefined });
  await storeOn(disk).save('cold', state(10));
  expect(await storeOn(disk).load('cold')).toEqual(state(10));
});

test('a checkpoint of another wal and one of an unknown version are refused', async () => {
  const disk = new SimulatedDisk();
  await storeOn(disk).save('cold', state(5));
  await expect(storeOn(disk, 'b'.repeat(32) as WalId).load('cold')).rejects.toThrow(/belongs to wal a{32}/);
  disk.poke(COPY, Buffer.from(disk.peek(FILE).toString().replace('delivery 1 ', 'delivery 3 ')));
  await expect(storeOn(disk).load('cold')).rejects.toThrow(WalVersionError);
});

test('a full device leaves the last state in force, a failed sync is fatal', async () => {
  const disk = new SimulatedDisk();
  const fatal: Error[] = [];
  const store = new FileDeliveryStateStore({ storage: disk.mount(), directory, walId, onFatal: (error) => fatal.push(error) });
  await store.save('cold', state(1));
  disk.faults.capacityBytes = disk.usedBytes;
  await expect(store.save('cold', state(2))).rejects.toMatchObject({ code: 'ENOSPC' });
  expect(await store.load('cold')).toEqual(state(1));
  expect(fatal).toEqual([]);
  disk.faults.capacityBytes = Number.POSITIVE_INFINITY;
  disk.faults.failSyncIn = 0;
  await expect(store.save('cold', state(2))).rejects.toThrow(/sync of/);
  expect(fatal).toHaveLength(1);
});
