/**
 * The file WAL on the real file system: a process that is killed with SIGKILL while it appends, a second process on the same
 * directory, a device that is really full.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import * as fs from 'node:fs/promises';
import * as os from 'node:os';
import * as path from 'node:path';
import { lsn } from '../../src/core/ids';
import { WalLockedError } from '../../src/wal/errors';
import { FileStorage } from '../../src/wal/file-storage';
import type { FileWal } from '../../src/wal/file-wal';
import { fingerprint, openWal, readAll, walBatch } from '../support/wal-fixtures';

const KILLS = 20;

let directory: string;

beforeEach(async () => {
  directory = await fs.mkdtemp(path.join(os.tmpdir(), 'thermocline-wal-'));
});

afterEach(() => fs.rm(directory, { recursive: true }));

interface Child {
  readonly process: ChildProcess;
  /** Complete lines so far. */
  lines(): string[];
  /** Resolves when there are so many lines; rejects when the process ends first. */
  until(count: number): Promise<void>;
}

function startChild(firstSeed: number): Child {
  const hook = require.resolve('../support/run-typescript.cjs');
  const script = require.resolve('../support/wal-child.ts');
  const child = spawn(process.execPath, ['-r', hook, script, path.join(directory, 'wal'), String(firstSeed), '4'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  let lineCount = 0;
  let onLine: (() => void) | undefined;
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
    lineCount += text.split('\n').length - 1;
    onLine?.();
  });
  return {
    process: child,
    lines: () => output.split('\n').slice(0, -1),
    until: (count) =>
      new Promise((resolve, reject) => {
        onLine = () => (lineCount >= count ? resolve() : undefined);
        child.once('exit', (code) => reject(new Error(`the child ended early with ${code}`)));
        onLine();
      }),
  };
}

const openShared = (): Promise<FileWal> => openWal(new FileStorage(), path.join(directory, 'wal'), { segmentBytes: 64 * 1024 });

async function kill(child: Child): Promise<void> {
  const ended = once(child.process.stdout ?? child.process, 'close');
  child.process.kill('SIGKILL');
  await ended;
}

test(`${KILLS} times kill -9 during appends: every acknowledged entry is there once, in order, byte for byte`, async () => {
  const acked = new Map<number, string>();
  let seed = 1;
  for (let round = 0; round < KILLS; round++) {
    const child = startChild(seed);
    await child.until(2 + ((round * 37) % 120));
    await kill(child);
    for (const line of child.lines().slice(1)) {
      const [at, mine, sizeBytes] = line.split(' ').map(Number);
      expect(acked.has(at)).toBe(false);
      acked.set(at, fingerprint([walBatch(mine, sizeBytes)]));
      seed = Math.max(seed, mine + 100);
    }
  }
  const wal = await openShared();
  const { firstLsn, durableLsn } = wal.stats();
  const entries = await readAll(wal, firstLsn, 1 << 20);
  expect(entries.map((entry) => Number(entry.lsn))).toEqual(entries.map((_, index) => firstLsn + index));
  expect(durableLsn).toBeGreaterThanOrEqual(Math.max(...acked.keys()));
  expect(acked.size).toBeGreaterThan(KILLS);
  // Of what was acknowledged, everything that was not released; an entry that was never acknowledged may be there too.
  const kept = [...acked.keys()].filter((at) => at >= firstLsn);
  const found = new Map(entries.map((entry) => [Number(entry.lsn), fingerprint(entry.batches)]));
  expect(kept.filter((at) => found.get(at) !== acked.get(at))).toEqual([]);
  expect(kept.length).toBeGreaterThan(100);
  await wal.close();
}, 120_000);

test('a second process on the directory is refused, the first goes on, and kill -9 gives the lock back', async () => {
  const child = startChild(1);
  await child.until(2);
  const failure = await openShared().catch((error: unknown) => error);
  expect(failure).toBeInstanceOf(WalLockedError);
  expect(String(failure)).toMatch(/in use by another process/);
  await child.until(child.lines().length + 5);
  await kill(child);
  const wal = await openShared();
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

const run = (command: string, args: readonly string[]) => spawnSync(command, args, { encoding: 'utf8' });

/** A file system of 1 MiB, or the reason why there is none. */
function mountSmall(target: string): string | undefined {
  if (process.getuid?.() !== 0) return 'only root may mount a tmpfs';
  const result = run('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', target]);
  return result.status === 0 ? undefined : `mount: ${result.error?.message ?? result.stderr.trim()}`;
}

test('a device that is really full refuses appends, keeps what it acknowledged, and goes on after space is back', async () => {
  const mounted = path.join(directory, 'small');
  await fs.mkdir(mounted);
  const reason = mountSmall(mounted);
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
    expect(run('umount', [mounted]).status).toBe(0);
  }
});
