/**
 * What a start makes of a damaged directory (R7, R9, R18). The files are made by the WAL itself on the simulated disk and then
 * changed byte by byte. A torn tail is cut and kept aside; damage to acknowledged entries refuses the start with exact ranges.
 */
import { strict as assert } from 'node:assert';
import { crc32 } from 'node:zlib';
import * as fc from 'fast-check';
import { lsn } from '../../../src/core/ids';
import { FileDeliveryStateStore } from '../../../src/wal/delivery-state';
import { type DamagedRange, WalCorruptError, WalLockedError, WalVersionError } from '../../../src/wal/errors';
import type { FileWal } from '../../../src/wal/file-wal';
import { decodeSegmentHeader, encodeSegmentHeader, FRAME_HEADER_BYTES, SEGMENT_HEADER_BYTES } from '../../../src/wal/format';
import { SimulatedDisk } from '../../support/simulated-disk';
import { fingerprint, openWal, readAll, walBatch } from '../../support/wal-fixtures';

const DIRECTORY = '/wal';
const LARGE = { segmentBytes: 64 * 1024, frameBytesMax: 4 << 20 };
const segmentPath = (number: number): string => `${DIRECTORY}/${String(number).padStart(16, '0')}.wal`;

interface Image {
  readonly files: ReadonlyMap<string, Buffer>;
  readonly prints: readonly string[];
}

/** A log of `count` entries of about `size` bytes, each acknowledged before the next, as a crash leaves it. */
async function imageOf(count: number, size: number, end: 'crash' | 'close' = 'crash'): Promise<Image> {
  const disk = new SimulatedDisk();
  const wal = await openWal(disk.mount(), DIRECTORY);
  const prints: string[] = [];
  for (let index = 1; index <= count; index++) {
    const batches = [walBatch(index, size)];
    prints.push(fingerprint(batches));
    await wal.append(batches);
  }
  // Seals of full segments are written behind the appends: wait for a commit that cannot be before them.
  if (end === 'close') await wal.close();
  else for (let turn = 0; turn < 200; turn++) await Promise.resolve();
  return { files: new Map(disk.files().map((file) => [file, disk.peek(file)])), prints };
}

function diskOf(files: ReadonlyMap<string, Buffer>): SimulatedDisk {
  const disk = new SimulatedDisk();
  for (const [file, bytes] of files) if (!file.endsWith('LOCK')) disk.poke(file, bytes);
  return disk;
}

const changed = (image: Image, file: string, change: (bytes: Buffer) => Buffer | void): SimulatedDisk => {
  const bytes = Buffer.from(image.files.get(file) ?? Buffer.alloc(0));
  return diskOf(new Map([...image.files, [file, change(bytes) ?? bytes]]));
};

async function printsOf(wal: FileWal): Promise<string[]> {
  return (await readAll(wal)).map((entry) => fingerprint(entry.batches));
}

async function refusal(disk: SimulatedDisk): Promise<WalCorruptError> {
  const segments = (): string[] =>
    disk.files().flatMap((file) => (file.endsWith('.wal') ? [`${file} ${crc32(disk.peek(file))}`] : []));
  const before = segments();
  const error = await openWal(disk.mount(), DIRECTORY).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(WalCorruptError);
  expect(segments()).toEqual(before);
  return error as WalCorruptError;
}

const ranges = (error: WalCorruptError): string[] =>
  error.ranges.map(({ file, firstLsn, lastLsn }: DamagedRange) => `${file.slice(-6, -4)}:${firstLsn}-${lastLsn}`);

/** Offsets of the entries in the last segment of an image of equal entries. */
function offsetsIn(image: Image, file: string, count: number): number[] {
  const bytes = image.files.get(file) ?? Buffer.alloc(0);
  const offsets = [SEGMENT_HEADER_BYTES];
  for (let index = 0; index < count; index++)
    offsets.push(offsets[index] + FRAME_HEADER_BYTES + bytes.readUInt32LE(offsets[index]));
  return offsets;
}

test('a log cut at any byte of its last frame loses only that frame, and the cut bytes are kept aside', async () => {
  const image = await imageOf(3, 40);
  const file = segmentPath(1);
  const [, , start, end] = offsetsIn(image, file, 3);
  for (let size = start; size < end; size++) {
    const disk = changed(image, file, (bytes) => bytes.subarray(0, size));
    const wal = await openWal(disk.mount(), DIRECTORY);
    expect(await printsOf(wal)).toEqual(image.prints.slice(0, 2));
    expect(await wal.append([walBatch(9, 10)])).toBe(3);
    const isKept =
      image.files
        .get(file)
        ?.subarray(start, size)
        .some((byte) => byte !== 0) ?? false;
    expect(disk.files().filter((name) => name.endsWith('.broken'))).toHaveLength(isKept ? 1 : 0);
    await wal.close();
  }
});

test('a last frame torn anywhere in a preallocated file is cut', async () => {
  const image = await imageOf(3, 40);
  const file = segmentPath(1);
  const [, , start, end] = offsetsIn(image, file, 3);
  for (let at = start; at < end; at++) {
    const disk = changed(image, file, (bytes) => void bytes.fill(bytes[at] === 0 ? 1 : 0, at, at + 1));
    const wal = await openWal(disk.mount(), DIRECTORY);
    expect(await printsOf(wal)).toEqual(image.prints.slice(0, 2));
    const broken = disk.files().find((name) => name.endsWith('.broken')) ?? '';
    expect(disk.peek(broken)[at - start]).not.toBe(image.files.get(file)?.[at]);
    await wal.close();
  }
});

test('several torn frames of one group are cut together, also when a later frame of the group is whole', async () => {
  const disk = new SimulatedDisk();
  const wal = await openWal(disk.mount(), DIRECTORY);
  await wal.append([walBatch(1, 40)]);
  await Promise.all([2, 3, 4, 5].map((seed) => wal.append([walBatch(seed, 40)])));
  const image = { files: new Map(disk.files().map((file) => [file, disk.peek(file)])), prints: [] };
  const file = segmentPath(1);
  const offsets = offsetsIn(image, file, 5);
  const torn = changed(image, file, (bytes) => {
    bytes.fill(0, offsets[1], offsets[1] + 20);
    bytes[offsets[3] + FRAME_HEADER_BYTES + 5] ^= 1;
  });
  const again = await openWal(torn.mount(), DIRECTORY);
  expect(await printsOf(again)).toEqual([fingerprint([walBatch(1, 40)])]);
  expect(await again.append([walBatch(6, 40)])).toBe(2);
});

test('damage to an acknowledged entry refuses the start and names exactly that entry, whichever byte it is', async () => {
  const image = await imageOf(4, 40);
  const file = segmentPath(1);
  const [, start, end] = offsetsIn(image, file, 2);
  for (let at = start; at < end; at++) {
    const error = await refusal(changed(image, file, (bytes) => void (bytes[at] ^= 0x04)));
    expect(ranges(error)).toEqual(['01:2-2']);
  }
});

test('a bit flip in a sealed segment refuses the start with the exact range, and later segments stay', async () => {
  const image = await imageOf(20, 700, 'close');
  const file = segmentPath(2);
  const offsets = offsetsIn(image, file, 2);
  expect(image.files.has(segmentPath(4))).toBe(true);
  const base = (image.files.get(file) ?? Buffer.alloc(0)).readUInt32LE(48);
  const payload = await refusal(changed(image, file, (bytes) => void (bytes[offsets[1] + 100] ^= 1)));
  expect(ranges(payload)).toEqual([`02:${base + 1}-${base + 1}`]);
  const both = await refusal(changed(image, file, (bytes) => void bytes.fill(7, offsets[0] + 3, offsets[1] + 9)));
  expect(ranges(both)).toEqual([`02:${base}-${base + 1}`]);
});

test('with verify tail a flip in a sealed segment is found when it is read, and is fatal then', async () => {
  const image = await imageOf(20, 700, 'close');
  const file = segmentPath(2);
  const offsets = offsetsIn(image, file, 2);
  const disk = changed(image, file, (bytes) => void (bytes[offsets[1] + 100] ^= 1));
  const fatal: Error[] = [];
  const wal = await openWal(disk.mount(), DIRECTORY, { verify: 'tail', onFatal: (error) => fatal.push(error) });
  await expect(readAll(wal)).rejects.toThrow(WalCorruptError);
  expect(fatal).toHaveLength(1);
  await expect(wal.append([walBatch(1, 1)])).rejects.toMatchObject({ code: 'unavailable' });
});

test('no change of a closed log goes unnoticed: the start is refused, or every entry is there as it was', async () => {
  const image = await imageOf(30, 500, 'close');
  const names = [...image.files.keys()].filter((name) => name.endsWith('.wal'));
  const outcomes = { refused: 0, harmless: 0 };
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...names),
      fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
      fc.uint8Array({ minLength: 1, maxLength: 600 }),
      async (name, part, noise) => {
        const disk = changed(image, name, (bytes) => void Buffer.from(noise).copy(bytes, Math.floor(part * bytes.length)));
        const found = await openWal(disk.mount(), DIRECTORY).catch((error: unknown) => error);
        if (found instanceof WalCorruptError || found instanceof WalVersionError) outcomes.refused++;
        else {
          assert.deepEqual(await printsOf(found as FileWal), image.prints);
          outcomes.harmless++;
        }
      },
    ),
    { numRuns: 1_000 },
  );
  expect(outcomes.refused).toBeGreaterThan(outcomes.harmless);
});

test('frames larger than what is read at a time are checked, cut and served like small ones', async () => {
  const make = async (): Promise<SimulatedDisk> => {
    const disk = new SimulatedDisk();
    const wal = await openWal(disk.mount(), DIRECTORY, LARGE);
    for (const seed of [1, 2]) await wal.append([walBatch(seed, 2_500_000, 3)]);
    await wal.append([walBatch(3, 100)]);
    return disk;
  };
  const disk = await make();
  const large = disk.files().filter((name) => name.endsWith('.wal') && disk.peek(name).length > 1_000_000);
  expect(large).toHaveLength(2);
  const wal = await openWal(diskOf(new Map(disk.files().map((name) => [name, disk.peek(name)]))).mount(), DIRECTORY, LARGE);
  const prints = [walBatch(1, 2_500_000), walBatch(2, 2_500_000), walBatch(3, 100)].map((batch) => fingerprint([batch]));
  expect((await printsOf(wal)).map((print, index) => print === prints[index])).toEqual([true, true, true]);
  const image = { files: new Map(disk.files().map((name) => [name, disk.peek(name)])), prints };
  const error = await refusal(changed(image, large[1], (bytes) => void (bytes[2_400_000] ^= 1)));
  expect(ranges(error)).toEqual([`${large[1].slice(-6, -4)}:2-2`]);
});

test('a lost sector of zeros in the middle is damage, not the end of the log', async () => {
  const image = await imageOf(5, 300);
  const file = segmentPath(1);
  const [, , start] = offsetsIn(image, file, 3);
  const error = await refusal(changed(image, file, (bytes) => void bytes.fill(0, start, start + 64)));
  expect(ranges(error)).toEqual(['01:3-3']);
});

test('a missing segment in the middle refuses the start with the range it held', async () => {
  const image = await imageOf(20, 700);
  const base = (number: number): number => (image.files.get(segmentPath(number)) ?? Buffer.alloc(0)).readUInt32LE(48);
  const files = new Map(image.files);
  files.delete(segmentPath(2));
  const error = await refusal(diskOf(files));
  expect(ranges(error)).toEqual([`01:${base(2)}-${base(3) - 1}`]);
});

test('a missing last segment refuses the start', async () => {
  const image = await imageOf(20, 700);
  const names = [...image.files.keys()].filter((name) => name.endsWith('.wal')).sort();
  const files = new Map(image.files);
  files.delete(names.at(-1) ?? '');
  expect((await refusal(diskOf(files))).ranges[0]?.reason).toBe('the following segment is missing');
});

test('a copied, a renamed and a foreign segment refuse the start', async () => {
  const image = await imageOf(20, 700);
  const foreign = await imageOf(20, 700);
  const copy = image.files.get(segmentPath(1)) ?? Buffer.alloc(0);
  const copied = await refusal(diskOf(new Map([...image.files, [segmentPath(99), copy]])));
  expect(copied.message).toMatch(/0099\.wal is segment 1: the file was renamed or copied/);
  const mixed = await refusal(diskOf(new Map([...image.files, [segmentPath(2), foreign.files.get(segmentPath(2)) ?? copy]])));
  expect(mixed.message).toMatch(/one of them is foreign/);
});

test('a damaged segment header refuses the start', async () => {
  const image = await imageOf(20, 700);
  const flip = (number: number): SimulatedDisk => changed(image, segmentPath(number), (bytes) => void (bytes[20] ^= 1));
  const base = (number: number): number => (image.files.get(segmentPath(number)) ?? Buffer.alloc(0)).readUInt32LE(48);
  expect(ranges(await refusal(flip(1)))).toEqual([`01:1-${base(2) - 1}`]);
  expect(ranges(await refusal(flip(2)))).toEqual([`02:${base(2)}-${base(3) - 1}`]);
});

test('a segment of an unknown version refuses the start without touching it', async () => {
  const image = await imageOf(2, 40, 'close');
  const disk = changed(image, segmentPath(1), (bytes) => {
    const result = decodeSegmentHeader(bytes);
    if (result.status === 'ok') encodeSegmentHeader({ ...result.header, version: 7 }).copy(bytes);
  });
  const before = disk.peek(segmentPath(1));
  await expect(openWal(disk.mount(), DIRECTORY)).rejects.toThrow(WalVersionError);
  expect(disk.peek(segmentPath(1))).toEqual(before);
});

test('a checkpoint vouches for entries: a torn tail below it is a loss', async () => {
  const disk = new SimulatedDisk();
  const storage = disk.mount();
  const wal = await openWal(storage, DIRECTORY);
  for (const seed of [1, 2, 3]) await wal.append([walBatch(seed, 40)]);
  await new FileDeliveryStateStore({ storage, directory: DIRECTORY, walId: wal.walId }).save('hot', {
    nextLsn: lsn(4),
    plan: undefined,
  });
  const image = { files: new Map(disk.files().map((file) => [file, disk.peek(file)])), prints: [] };
  const [, , start] = offsetsIn(image, segmentPath(1), 3);
  const error = await refusal(changed(image, segmentPath(1), (bytes) => bytes.subarray(0, start)));
  expect(ranges(error)).toEqual(['01:3-3']);
  const segmentsGone = new Map([...image.files].filter(([name]) => !name.endsWith('.wal')));
  expect((await refusal(diskOf(segmentsGone))).message).toMatch(/no wal segment, but the checkpoint of hot is at lsn 4/);
});

test('segments missing below every checkpoint are released ones, above a checkpoint they are a loss', async () => {
  const disk = new SimulatedDisk();
  const storage = disk.mount();
  const wal = await openWal(storage, DIRECTORY);
  for (let seed = 1; seed <= 20; seed++) await wal.append([walBatch(seed, 700)]);
  const store = new FileDeliveryStateStore({ storage, directory: DIRECTORY, walId: wal.walId });
  await store.save('hot', { nextLsn: lsn(20), plan: undefined });
  await store.save('cold', { nextLsn: lsn(12), plan: undefined });
  await wal.release(lsn(12));
  const { firstLsn } = wal.stats();
  expect(firstLsn).toBeGreaterThan(1);
  await wal.close();
  const files = new Map(disk.files().map((file) => [file, disk.peek(file)]));
  const again = await openWal(diskOf(files).mount(), DIRECTORY);
  expect(again.stats().firstLsn).toBe(firstLsn);
  const names = [...files.keys()].filter((name) => name.endsWith('.wal')).sort();
  const lost = new Map(files);
  lost.delete(names[0]);
  expect((await refusal(diskOf(lost))).ranges[0]).toMatchObject({ firstLsn: 12, reason: 'segment missing above a checkpoint' });
});

test('a clean end is not rewritten, an unclean one is, and both go on at the next position', async () => {
  for (const end of ['close', 'crash'] as const) {
    const image = await imageOf(3, 40, end);
    const disk = diskOf(image.files);
    const wal = await openWal(disk.mount(), DIRECTORY);
    const isSame = disk.peek(segmentPath(1)).equals(image.files.get(segmentPath(1)) ?? Buffer.alloc(0));
    expect(isSame).toBe(end === 'close');
    expect(await printsOf(wal)).toEqual(image.prints);
    expect(await wal.append([walBatch(4, 1)])).toBe(4);
    await wal.close();
  }
});

test('starts without load leave no files behind', async () => {
  const disk = new SimulatedDisk();
  for (let start = 0; start < 5; start++) {
    const wal = await openWal(disk.mount(), DIRECTORY);
    if (start % 2 === 0) await wal.close();
    else disk.crash('process');
  }
  expect(disk.files().filter((name) => name.endsWith('.wal'))).toHaveLength(1);
  expect(disk.files().filter((name) => name.endsWith('.tmp'))).toHaveLength(0);
});

test('a second owner of the directory is refused until the first one has closed', async () => {
  const disk = new SimulatedDisk();
  const storage = disk.mount();
  const wal = await openWal(storage, DIRECTORY);
  await expect(openWal(storage, DIRECTORY)).rejects.toThrow(WalLockedError);
  await wal.close();
  await (await openWal(storage, DIRECTORY)).close();
});
