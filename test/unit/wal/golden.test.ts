/**
 * The files in `test/golden/wal` were written by releases of format version 1 and are never made again: every release that
 * claims to read version 1 must read it. Its entries are described below by their literal values.
 */
import * as fs from 'node:fs';
import * as path from 'node:path';
import { SimulatedDisk } from '../../support/simulated-disk';
import { openWal, readAll } from '../../support/wal-fixtures';

const GOLDEN = path.join(__dirname, '../../golden/wal');

/** `v1.wal` has a seal without a checksum, `v1-checksum.wal` one with it. */
test.each([
  ['v1.wal', '7f0732f867de3f346e4232b1b7081086'],
  ['v1-checksum.wal', 'bc4207ee8b0b8e832c03ecc244dbd84d'],
])('%s, a segment of format version 1, reads as it did when it was written', async (name, walId) => {
  const disk = new SimulatedDisk();
  disk.poke('/wal/0000000000000001.wal', fs.readFileSync(path.join(GOLDEN, name)));
  const wal = await openWal(disk.mount(), '/wal', { segmentBytes: 1024 });
  expect(wal.walId).toBe(walId);
  const entries = (await readAll(wal)).map(({ lsn, appendedAtMs, sizeBytes, batches }) => ({
    lsn,
    appendedAtMs,
    sizeBytes,
    batches: batches.map(({ ipc, ...rest }) => ({ ...rest, ipc: Buffer.concat(ipc).toString('utf8') })),
  }));
  expect(entries).toEqual([
    {
      lsn: 1,
      appendedAtMs: 1_700_000_000_002,
      sizeBytes: 88,
      batches: [{ table: 'logs_events', schemaVersion: 1, tiers: ['cold'], rows: 2, ipc: 'first' }],
    },
    {
      lsn: 2,
      appendedAtMs: 1_700_000_000_003,
      sizeBytes: 112,
      batches: [
        { table: 'metrics_events', schemaVersion: 70_000, tiers: ['hot', 'cold'], rows: 4_000_000_000, ipc: 'second, eight' },
        { table: 't', schemaVersion: 3, tiers: ['hot'], rows: 0, ipc: '' },
      ],
    },
  ]);
});
