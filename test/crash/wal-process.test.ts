/**
 * The file WAL on the real file system: a process that is killed with SIGKILL while it appends, a second process on the same
 * directory, a device that is really full.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import * as fs from 'node:fs/promises';
import * as os from 'node:os';
import * as path from 'node:path';
import { lsn } from '../../src/core/ids';
import { WalLockedError } from '../../src/wal/errors';
import { FileStorage } from '../../src/wal/file-storage';
import { mountTmpfs, unmount } from '../support/tmpfs';
import { fingerprint, openWal, readAll, walBatch } from '../support/wal-fixtures';
import { AckedEntries, openShared, problemsOf, WalProcess } from '../support/wal-process';

const KILLS = 20;

let directory: string;

beforeEach(async () => {
  directory = await fs.mkdtemp(path.join(os.tmpdir(), 'thermocline-wal-'));
});

afterEach(() => fs.rm(directory, { recursive: true }));

test(`${KILLS} times kill -9 during appends: every acknowledged entry is there once, in order, byte for byte`, async () => {
  const target = path.join(directory, 'wal');
  const acked = new AckedEntries();
  for (let round = 0; round < KILLS; round++) {
    const child = WalProcess.start(target, acked.seed);
    await child.until(2 + ((round * 37) % 120));
    await child.kill();
    acked.add(child);
  }
  expect(await problemsOf(target, acked)).toEqual([]);
  expect(acked.prints.size).toBeGreaterThan(KILLS * 20);
}, 120_000);

test('a second process on the directory is refused, the first goes on, and kill -9 gives the lock back', async () => {
  const target = path.join(directory, 'wal');
  const child = WalProcess.start(target, 1);
  await child.until(2);
  const failure = await openShared(target).catch((error: unknown) => error);
  expect(failure).toBeInstanceOf(WalLockedError);
  expect(String(failure)).toMatch(/in use by another process/);
  await child.until(child.lines().length + 5);
  await child.kill();
  const wal = await openShared(target);
  expect(wal.stats().durableLsn).toBeGreaterThan(0);
  await wal.close();
});

test('files are readable by their owner only, and a symbolic link in their place is refused', async () => {
  const target = path.join(directory, 'wal');
  const wal = await openWal(new FileStorage(), target);
  await wal.append([walBatch(1, 10)]);
  await wal.close();
  expect((await fs.stat(target)).mode & 0o777).toBe(0o700);
  const names = await fs.readdir(target);
  expect(names.length).toBeGreaterThan(1);
  for (const name of names) expect((await fs.stat(path.join(target, name))).mode & 0o777).toBe(0o600);
  const segment = path.join(target, names.find((name) => name.endsWith('.wal')) ?? '');
  await fs.rename(segment, path.join(directory, 'elsewhere'));
  await fs.symlink(path.join(directory, 'elsewhere'), segment);
  await expect(openWal(new FileStorage(), target)).rejects.toMatchObject({ code: 'ELOOP' });
});

test('a device that is really full refuses appends, keeps what it acknowledged, and goes on after space is back', async () => {
  const mounted = path.join(directory, 'small');
  const reason = await mountTmpfs(mounted, '1m');
  if (reason !== undefined) {
    console.warn(`skipped: ${reason}`);
    return;
  }
  try {
    const target = path.join(mounted, 'wal');
    let wal = await openWal(new FileStorage(), target, { segmentBytes: 128 * 1024, frameBytesMax: 1 << 20 });
    const kept: string[] = [];
    const refusals: unknown[] = [];
    for (let seed = 1; seed <= 100; seed++) {
      const batches = [walBatch(seed, 30_000, 2)];
      await wal.append(batches).then(
        () => kept.push(fingerprint(batches)),
        (error: unknown) => refusals.push(error),
      );
    }
    expect(refusals.length).toBeGreaterThan(0);
    for (const refusal of refusals) expect(refusal).toMatchObject({ code: 'unavailable', retryAfterMs: 1000 });
    expect((await readAll(wal, lsn(1), 1 << 20)).map((entry) => fingerprint(entry.batches))).toEqual(kept);
    await wal.release(lsn(kept.length));
    expect(await wal.append([walBatch(999, 30_000)])).toBe(kept.length + 1);
    await wal.close();
    wal = await openWal(new FileStorage(), target, { segmentBytes: 128 * 1024, frameBytesMax: 1 << 20 });
    expect((await readAll(wal, undefined, 1 << 20)).at(-1)?.lsn).toBe(kept.length + 1);
    await wal.close();
  } finally {
    unmount(mounted);
  }
});

test('a process without file descriptors waits for some and loses nothing', async () => {
  const hook = require.resolve('../support/run-typescript.cjs');
  const script = require.resolve('../support/descriptor-child.ts');
  const target = path.join(directory, 'wal');
  const command = `ulimit -n 60 && exec "${process.execPath}" -r "${hook}" "${script}" "${target}"`;
  const child = spawn('sh', ['-c', command], { stdio: ['ignore', 'pipe', 'inherit'] });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
  const [code] = (await once(child, 'close')) as [number];
  expect([code, output]).toEqual([0, 'full EMFILE\ndone\n']);
  const wal = await openWal(new FileStorage(), target, { segmentBytes: 8192 });
  expect((await readAll(wal)).map((entry) => fingerprint(entry.batches))).toEqual(
    Array.from({ length: 20 }, (_, index) => fingerprint([walBatch(index + 1, 3000)])),
  );
  await wal.close();
}, 60_000);
