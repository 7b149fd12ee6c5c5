/**
 * What the lock file `postmaster.pid` of a PostgreSQL data directory says. Lines (PostgreSQL, src/include/utils/pidfile.h):
 * 1 pid, 2 data directory, 3 start time, 4 port, 5 socket directory, 6 listen address, 7 shared memory key, 8 status.
 */
import { execFile } from 'node:child_process';
import * as fs from 'node:fs/promises';
import * as path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';

const run = promisify(execFile);

const POLL_MS = 20;

export interface Postmaster {
  readonly pid: number;
  readonly ready: boolean;
}

export async function readPostmaster(pgdata: string): Promise<Postmaster | undefined> {
  const text = await fs.readFile(path.join(pgdata, 'postmaster.pid'), 'utf8').catch(() => '');
  const lines = text.split('\n');
  const pid = Number.parseInt(lines[0] ?? '', 10);
  return Number.isNaN(pid) ? undefined : { pid: Math.abs(pid), ready: lines[7]?.trim() === 'ready' };
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** Is this process a server of this data directory? A pid alone proves nothing: it may have been given to another program. */
async function serves(pid: number, pgdata: string): Promise<boolean> {
  const commandLine = await fs.readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => undefined);
  if (commandLine !== undefined) return commandLine.split('\0').includes(pgdata);
  // Not Linux.
  const { stdout } = await run('ps', ['-o', 'command=', '-p', String(pid)]).catch(() => ({ stdout: '' }));
  return stdout.includes(pgdata);
}

/**
 * Ends what an earlier, killed parent left behind: a server that still runs is stopped (its pages are flushed, nothing is lost);
 * a lock file whose pid now belongs to another program is removed, because PostgreSQL would refuse to start for it.
 * The caller must hold the lock of the directory, so that no living parent can own the server.
 */
export async function stopLeftover(pgdata: string, options: { fastMs: number; onStop: (pid: number) => void }): Promise<void> {
  const found = await readPostmaster(pgdata);
  if (found === undefined || !isAlive(found.pid)) return;
  if (!(await serves(found.pid, pgdata))) {
    await fs.rm(path.join(pgdata, 'postmaster.pid'), { force: true });
    return;
  }
  options.onStop(found.pid);
  for (const [signal, waitMs] of [
    ['SIGINT', options.fastMs],
    ['SIGQUIT', 10_000],
  ] as const) {
    try {
      process.kill(found.pid, signal);
    } catch {
      return;
    }
    for (const end = performance.now() + waitMs; performance.now() < end; ) {
      if (!isAlive(found.pid) || !(await serves(found.pid, pgdata))) return;
      await sleep(POLL_MS);
    }
  }
  throw new Error(`a PostgreSQL server (pid ${found.pid}) still runs in ${pgdata} and does not stop`);
}
