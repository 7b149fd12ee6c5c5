/** The background check of sealed segments (R13), on the simulated disk. */
import { lsn } from '../../../src/core/ids';
import type { DamagedRange } from '../../../src/wal/errors';
import type { FileWal } from '../../../src/wal/file-wal';
import { SimulatedDisk } from '../../support/simulated-disk';
import { openWal, walBatch } from '../../support/wal-fixtures';

const DIRECTORY = '/wal';
const FAST = 1e12;

interface Scrubbed {
  readonly wal: FileWal;
  readonly disk: SimulatedDisk;
  readonly found: { range: DamagedRange; needed: boolean }[];
  readonly fatal: Error[];
  readBytes: number;
}

/** Twelve entries, five in a segment, scrubbed again every few milliseconds. */
async function scrubbed(bytesPerSecond = FAST): Promise<Scrubbed> {
  const disk = new SimulatedDisk();
  const found: Scrubbed['found'] = [];
  const fatal: Error[] = [];
  const result = { disk, found, fatal, readBytes: 0 };
  const wal = await openWal(disk.mount(), DIRECTORY, {
    onFatal: (error) => fatal.push(error),
    scrubbing: {
      bytesPerSecond,
      roundMs: 2,
      onRead: (sizeBytes) => (result.readBytes += sizeBytes),
      onDamage: (range, needed) => found.push({ range, needed }),
    },
  });
  for (let seed = 1; seed <= 12; seed++) await wal.append([walBatch(seed, 700)]);
  return Object.assign(result, { wal });
}

const segment = (number: number): string => `${DIRECTORY}/${String(number).padStart(16, '0')}.wal`;

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 1));
}

function flip(disk: SimulatedDisk, file: string, at: number): void {
  const bytes = disk.peek(file);
  bytes[at] ^= 1;
  disk.poke(file, bytes);
}

test('whole segments are read again and again without a finding, the one being written is left alone', async () => {
  const log = await scrubbed();
  await until(() => log.readBytes > 5 * 8192);
  flip(log.disk, segment(3), 100);
  const before = log.readBytes;
  await until(() => log.readBytes > before + 5 * 8192);
  expect([log.found, log.fatal]).toEqual([[], []]);
  await log.wal.close();
});

test('damage to entries that are still needed stops the log with the exact range', async () => {
  const log = await scrubbed();
  flip(log.disk, segment(2), 64 + 800 + 100);
  await until(() => log.fatal.length > 0);
  expect(log.fatal).toMatchObject([{ name: 'WalCorruptError', ranges: [{ firstLsn: 7, lastLsn: 7 }] }]);
  expect(log.found).toMatchObject([{ needed: true }]);
  await expect(log.wal.append([walBatch(1, 1)])).rejects.toMatchObject({ code: 'unavailable' });
  await log.wal.close();
});

test('damage to entries that every store has is told once, and the log goes on', async () => {
  const log = await scrubbed();
  await log.wal.release(lsn(9));
  flip(log.disk, segment(2), 64 + 100);
  await until(() => log.found.length > 0);
  const before = log.readBytes;
  await until(() => log.readBytes > before + 3 * 4096);
  expect(log.found).toMatchObject([{ needed: false, range: { firstLsn: 6, lastLsn: 6 } }]);
  expect(log.fatal).toEqual([]);
  expect(await log.wal.append([walBatch(13, 10)])).toBe(13);
  await log.wal.close();
});

test('a slow scrubber does not hold up a close', async () => {
  const log = await scrubbed(1);
  await until(() => log.readBytes > 0);
  await log.wal.close();
  expect(log.readBytes).toBeLessThanOrEqual(2 * 4096);
});
