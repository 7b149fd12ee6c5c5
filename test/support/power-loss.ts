/**
 * Power loss of a real file system: an ext4 image on a loop device, copied while a process writes to it. The process is stopped
 * first, so that the copy is one moment; whatever the kernel has not written to the image by then is lost with the power.
 */
import { spawnSync } from 'node:child_process';
import { copyFile, mkdir, mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AckedEntries, problemsOf, WalProcess } from './wal-process';

const IMAGE_BYTES = 64 * 1024 * 1024;

function run(command: string, ...args: string[]): string | undefined {
  const result = spawnSync(command, args, { encoding: 'utf8' });
  if (result.status === 0) return undefined;
  return `${command}: ${result.error?.message ?? result.stderr.trim()}`;
}

/** An ext4 file system in a file, mounted, or the reason why it cannot be. */
export class LoopDisk {
  private constructor(
    readonly image: string,
    readonly mountPoint: string,
  ) {}

  static async make(image: string, mountPoint: string): Promise<LoopDisk | string> {
    if (process.getuid?.() !== 0) return 'only root may mount a loop device';
    await writeFile(image, '');
    await truncate(image, IMAGE_BYTES);
    const failed = run('mkfs.ext4', '-q', '-F', image);
    return failed ?? (await LoopDisk.mount(image, mountPoint));
  }

  static async mount(image: string, mountPoint: string): Promise<LoopDisk | string> {
    await mkdir(mountPoint, { recursive: true });
    return run('mount', '-o', 'loop', image, mountPoint) ?? new LoopDisk(image, mountPoint);
  }

  unmount(): void {
    const failed = run('umount', this.mountPoint);
    if (failed !== undefined) throw new Error(failed);
  }
}

export interface PowerLossResult {
  readonly rounds: number;
  readonly acked: number;
  readonly problems: readonly string[];
}

/**
 * So many times: a log is written, the power fails, the log is opened on what the disk has and compared with what was
 * acknowledged, and goes on there in the next round. Gives the reason where it cannot be done.
 */
export async function losePower(rounds: number): Promise<PowerLossResult | string> {
  const directory = await mkdtemp(join(tmpdir(), 'thermocline-power-'));
  const acked = new AckedEntries();
  const problems: string[] = [];
  try {
    let image = join(directory, 'disk-0');
    const mountPoint = join(directory, 'mounted');
    let disk = await LoopDisk.make(image, mountPoint);
    for (let round = 1; round <= rounds; round++) {
      if (typeof disk === 'string') return disk;
      const next = join(directory, `disk-${round}`);
      try {
        const writer = WalProcess.start(join(mountPoint, 'wal'), acked.seed);
        await writer.until(2 + ((round * 37) % 300));
        writer.child.kill('SIGSTOP');
        await copyFile(image, next);
        await writer.kill();
        acked.add(writer);
      } finally {
        disk.unmount();
      }
      await rm(image);
      image = next;
      disk = await LoopDisk.mount(image, mountPoint);
      if (typeof disk === 'string') return disk;
      const found = await problemsOf(join(mountPoint, 'wal'), acked);
      problems.push(...found.map((problem) => `round ${round}: ${problem}`));
    }
    if (typeof disk !== 'string') disk.unmount();
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
  return { rounds, acked: acked.prints.size, problems };
}
