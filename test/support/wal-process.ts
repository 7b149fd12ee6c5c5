/** A WAL in a process of its own (`wal-child.ts`), what it acknowledged, and whether a log still has it. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FileStorage } from '../../src/wal/file-storage';
import type { FileWal } from '../../src/wal/file-wal';
import type { Failpoint } from './failpoints';
import { fingerprint, openWal, readAll, walBatch } from './wal-fixtures';

export class WalProcess {
  readonly ended: Promise<unknown>;
  private output = '';
  private lineCount = 0;
  private onLine: (() => void) | undefined;

  private constructor(readonly child: ChildProcess) {
    // `close` comes when everything that was printed is here.
    this.ended = once(child, 'close');
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.output += text;
      this.lineCount += text.split('\n').length - 1;
      this.onLine?.();
    });
  }

  static start(directory: string, firstSeed: number, failpoint?: { point: Failpoint; passes: number }): WalProcess {
    const hook = require.resolve('./run-typescript.cjs');
    const script = require.resolve('./wal-child.ts');
    const doom = failpoint === undefined ? [] : [failpoint.point, String(failpoint.passes)];
    const args = ['-r', hook, script, directory, String(firstSeed), '4', ...doom];
    return new WalProcess(spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] }));
  }

  /** Complete lines so far; the first says `ready`. */
  lines(): string[] {
    return this.output.split('\n').slice(0, -1);
  }

  /** Resolves when there are so many lines; rejects when the process ends first. */
  until(count: number): Promise<void> {
    return new Promise((resolve, reject) => {
      this.onLine = () => (this.lineCount >= count ? resolve() : undefined);
      this.child.once('exit', (code) => reject(new Error(`the child ended early with ${code}`)));
      this.onLine();
    });
  }

  async kill(): Promise<void> {
    this.child.kill('SIGKILL');
    await this.ended;
  }
}

/** Entries that were acknowledged, over all lives of a log. */
export class AckedEntries {
  readonly prints = new Map<number, string>();
  /** The first seed that was not used yet. */
  seed = 1;

  /** Throws when a position was acknowledged twice. */
  add(process: WalProcess): void {
    for (const line of process.lines().slice(1)) {
      const [at, mine, sizeBytes] = line.split(' ').map(Number);
      if (this.prints.has(at)) throw new Error(`position ${at} was acknowledged twice`);
      this.prints.set(at, fingerprint([walBatch(mine, sizeBytes)]));
      this.seed = Math.max(this.seed, mine + 100);
    }
  }

  /** What a log lacks, has in another form, or has out of order; empty when all is well. An entry that was not acknowledged may be there. */
  async compare(wal: FileWal): Promise<string[]> {
    const { firstLsn, durableLsn } = wal.stats();
    const problems: string[] = [];
    const last = Math.max(0, ...this.prints.keys());
    if (durableLsn < last) problems.push(`entry ${last} was acknowledged, the log ends at ${durableLsn}`);
    // The child releases what is 400 entries back, in whole segments.
    if (firstLsn > Math.max(1, last - 400 + 50)) problems.push(`the log begins at ${firstLsn}, ${last} was acknowledged`);
    const entries = await readAll(wal, firstLsn, 1 << 20);
    for (const [index, entry] of entries.entries()) {
      if (Number(entry.lsn) !== firstLsn + index) problems.push(`entry ${firstLsn + index} is ${entry.lsn}`);
      const acked = this.prints.get(entry.lsn);
      if (acked !== undefined && acked !== fingerprint(entry.batches)) problems.push(`entry ${entry.lsn} is another`);
    }
    if (entries.length !== durableLsn + 1 - firstLsn)
      problems.push(`${entries.length} entries from ${firstLsn} to ${durableLsn}`);
    return problems;
  }
}

export const openShared = (directory: string): Promise<FileWal> =>
  openWal(new FileStorage(), directory, { segmentBytes: 64 * 1024, frameBytesMax: 1 << 20 });

/** Opens the log after its process has died and compares; gives the problems. */
export async function problemsOf(directory: string, acked: AckedEntries): Promise<string[]> {
  const wal = await openShared(directory);
  try {
    return await acked.compare(wal);
  } finally {
    await wal.close();
  }
}

/** A process that kills itself at the point is started so many times on one log, which must have everything each time. */
export async function killAtPoint(point: Failpoint, rounds: number): Promise<{ acked: number; problems: string[] }> {
  const parent = await mkdtemp(join(tmpdir(), 'thermocline-points-'));
  const directory = join(parent, 'wal');
  const acked = new AckedEntries();
  const problems: string[] = [];
  try {
    for (let round = 0; round < rounds; round++) {
      // The first time early, then from within the start to well behind it.
      const child = WalProcess.start(directory, acked.seed, { point, passes: (round * 7) % 20 });
      await child.ended;
      if (child.child.signalCode !== 'SIGKILL') problems.push(`round ${round}: ended with ${child.child.exitCode}`);
      acked.add(child);
      problems.push(...(await problemsOf(directory, acked)).map((problem) => `round ${round}: ${problem}`));
    }
  } finally {
    await rm(parent, { recursive: true, force: true });
  }
  return { acked: acked.prints.size, problems };
}
