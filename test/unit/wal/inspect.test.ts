import { inspectSegments, type SegmentReport } from '../../../src/wal/inspect';
import type { ScanItem } from '../../../src/wal/segment-scan';
import { SimulatedDisk } from '../../support/simulated-disk';
import { openWal, walBatch } from '../../support/wal-fixtures';

const DIRECTORY = '/wal';

async function reportsOf(disk: SimulatedDisk, onItem?: (file: string, item: ScanItem) => void): Promise<SegmentReport[]> {
  const reports: SegmentReport[] = [];
  for await (const report of inspectSegments(disk.mount(), DIRECTORY, onItem)) reports.push(report);
  return reports;
}

async function closedLog(): Promise<SimulatedDisk> {
  const disk = new SimulatedDisk();
  const wal = await openWal(disk.mount(), DIRECTORY);
  for (let seed = 1; seed <= 12; seed++) await wal.append([walBatch(seed, 700)]);
  await wal.close();
  return disk;
}

test('inspection lists every segment with its entries and how it ended, and changes nothing', async () => {
  const disk = await closedLog();
  const before = disk.files().map((file) => disk.peek(file).toString('base64'));
  const items: string[] = [];
  const reports = await reportsOf(disk, (_, item) => items.push(item.kind));
  expect(reports.map(({ status, firstLsn, lastLsn, seal }) => ({ status, firstLsn, lastLsn, reason: seal?.reason }))).toEqual([
    { status: 'sealed', firstLsn: 1, lastLsn: 5, reason: 'full' },
    { status: 'sealed', firstLsn: 6, lastLsn: 10, reason: 'full' },
    { status: 'sealed', firstLsn: 11, lastLsn: 12, reason: 'closed' },
  ]);
  expect(items.filter((kind) => kind === 'entry')).toHaveLength(12);
  expect(disk.files().map((file) => disk.peek(file).toString('base64'))).toEqual(before);
});

test('inspection shows damage where it lies and goes on behind it', async () => {
  const disk = await closedLog();
  const [first, second, third] = disk.files().filter((file) => file.endsWith('.wal'));
  const bytes = disk.peek(first);
  bytes[200] ^= 1;
  disk.poke(first, bytes);
  const header = disk.peek(second);
  header[40] ^= 1;
  disk.poke(second, header);
  disk.poke(third, disk.peek(third).subarray(0, 900));
  const reports = await reportsOf(disk);
  expect(reports.map(({ status, entries }) => [status, entries])).toEqual([
    ['damaged', 4],
    ['damaged', 0],
    ['open', 1],
  ]);
  expect(reports[0].damages).toMatchObject([{ offset: 64, firstSeq: 1, lastSeq: 1, reason: 'payload checksum' }]);
  expect(reports[2].damages).toMatchObject([{ firstSeq: 12, lastSeq: undefined }]);
});
