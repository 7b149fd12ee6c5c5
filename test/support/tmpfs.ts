/** A small file system in memory, for devices that are really full. */
import { spawnSync } from 'node:child_process';
import { mkdir } from 'node:fs/promises';

const run = (command: string, args: readonly string[]) => spawnSync(command, args, { encoding: 'utf8' });

/** Makes the directory and mounts `size` (as mount takes it) on it; gives the reason when that cannot be. */
export async function mountTmpfs(target: string, size: string): Promise<string | undefined> {
  await mkdir(target);
  if (process.getuid?.() !== 0) return 'only root may mount a tmpfs';
  const result = run('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', target]);
  return result.status === 0 ? undefined : `mount: ${result.error?.message ?? result.stderr.trim()}`;
}

export function unmount(target: string): void {
  const { status, stderr } = run('umount', [target]);
  if (status !== 0) throw new Error(`umount: ${stderr.trim()}`);
}
