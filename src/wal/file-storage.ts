import * as fs from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { tryLock, unlock } from 'fs-native-extensions';
import type { OpenMode, Storage, StorageFile, StorageLock } from './storage';

const FILE_MODE = 0o600;
const DIRECTORY_MODE = 0o700;
const { O_CREAT, O_EXCL, O_NOFOLLOW, O_RDONLY, O_RDWR } = fs.constants;
const FLAGS: Readonly<Record<OpenMode, number>> = {
  read: O_RDONLY | O_NOFOLLOW,
  write: O_RDWR | O_NOFOLLOW,
  create: O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW,
};

/** A file descriptor. Plain callbacks: the promise API of node:fs costs about twice the CPU for each small call. */
class DescriptorFile implements StorageFile {
  private readonly fd: number;

  constructor(fd: number) {
    this.fd = fd;
  }

  writev(pieces: readonly Uint8Array[], position: number): Promise<number> {
    return new Promise((resolve, reject) => {
      fs.writev(this.fd, pieces, position, (error, written) => (error === null ? resolve(written) : reject(error)));
    });
  }

  read(into: Uint8Array, position: number): Promise<number> {
    return new Promise((resolve, reject) => {
      fs.read(this.fd, into, 0, into.length, position, (error, count) => (error === null ? resolve(count) : reject(error)));
    });
  }

  fdatasync(): Promise<void> {
    return new Promise((resolve, reject) => {
      fs.fdatasync(this.fd, (error) => (error ? reject(error) : resolve()));
    });
  }

  truncate(sizeBytes: number): Promise<void> {
    return new Promise((resolve, reject) => {
      fs.ftruncate(this.fd, sizeBytes, (error) => (error ? reject(error) : resolve()));
    });
  }

  size(): Promise<number> {
    return new Promise((resolve, reject) => {
      fs.fstat(this.fd, (error, stats) => (error === null ? resolve(stats.size) : reject(error)));
    });
  }

  close(): Promise<void> {
    return new Promise((resolve, reject) => {
      fs.close(this.fd, (error) => (error ? reject(error) : resolve()));
    });
  }
}

const OUT_OF_DESCRIPTORS: readonly unknown[] = ['EMFILE', 'ENFILE'];
const DESCRIPTOR_WAIT_MS = 30_000;
const DESCRIPTOR_PAUSE_MS = 20;

/**
 * Opens a file, and waits while the process or the system has no descriptor left: connections that come and go must not be what
 * stops the log, and nothing has been done yet that could be lost.
 */
async function openPatiently(path: string, flags: number, mode?: number): Promise<number> {
  const until = performance.now() + DESCRIPTOR_WAIT_MS;
  for (;;) {
    try {
      return await new Promise((resolve, reject) => {
        fs.open(path, flags, mode, (error, fd) => (error === null ? resolve(fd) : reject(error)));
      });
    } catch (error) {
      if (!OUT_OF_DESCRIPTORS.includes((error as { code?: unknown }).code) || performance.now() > until) throw error;
      await sleep(DESCRIPTOR_PAUSE_MS);
    }
  }
}

/** The real file system. */
export class FileStorage implements Storage {
  async makeDirectory(path: string): Promise<void> {
    await fs.promises.mkdir(path, { recursive: true, mode: DIRECTORY_MODE });
  }

  async open(path: string, mode: OpenMode): Promise<StorageFile> {
    return new DescriptorFile(await openPatiently(path, FLAGS[mode], FILE_MODE));
  }

  list(directory: string): Promise<string[]> {
    return fs.promises.readdir(directory);
  }

  rename(from: string, to: string): Promise<void> {
    return fs.promises.rename(from, to);
  }

  unlink(path: string): Promise<void> {
    return fs.promises.unlink(path);
  }

  async syncDirectory(path: string): Promise<void> {
    const fd = await openPatiently(path, O_RDONLY);
    try {
      await new Promise<void>((resolve, reject) => {
        fs.fsync(fd, (error) => (error ? reject(error) : resolve()));
      });
    } finally {
      await new DescriptorFile(fd).close();
    }
  }

  async freeBytes(directory: string): Promise<number> {
    const stats = await fs.promises.statfs(directory);
    return stats.bavail * stats.bsize;
  }

  /** An open-file-description lock: a second process gets none, and the kernel takes it back after kill -9. */
  async lock(path: string): Promise<StorageLock | undefined> {
    const handle = await fs.promises.open(path, O_RDWR | O_CREAT | O_NOFOLLOW, FILE_MODE);
    let granted = false;
    try {
      granted = tryLock(handle.fd);
    } finally {
      if (!granted) await handle.close();
    }
    if (!granted) return undefined;
    return {
      release: async () => {
        unlock(handle.fd);
        await handle.close();
      },
    };
  }
}
