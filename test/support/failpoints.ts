/**
 * Named points of the durable path at which a test process kills itself with SIGKILL. They are operations of the file system, so
 * that the code under test needs no hooks: it is given this storage in the place of the real one.
 *
 * A segment gets its name by a rename and is given back by a rename or an unlink; a checkpoint is a rename to `*.state`.
 */

import { FileStorage } from '../../src/wal/file-storage';
import type { OpenMode, Storage, StorageFile, StorageLock } from '../../src/wal/storage';

const OPERATIONS = ['write', 'sync', 'rename', 'checkpoint', 'unlink', 'directory sync'] as const;
type Operation = (typeof OPERATIONS)[number];

/** `during write`: some bytes of it are in the file. */
export const FAILPOINTS = [
  ...OPERATIONS.flatMap((operation) => [`before ${operation}`, `after ${operation}`] as const),
  'during write',
] as const;
export type Failpoint = (typeof FAILPOINTS)[number];

export const isFailpoint = (text: string | undefined): text is Failpoint =>
  (FAILPOINTS as readonly (string | undefined)[]).includes(text);

export class KillingStorage implements Storage {
  private readonly real = new FileStorage();

  /** The process ends when it reaches `point` for the time after the next `passes` ones. */
  constructor(
    private readonly point: Failpoint,
    private passes: number,
  ) {}

  reach(point: Failpoint): void {
    if (point === this.point && this.passes-- <= 0) process.kill(process.pid, 'SIGKILL');
  }

  /** Whether `during write` is due, for which the caller writes a part first. */
  get isTearing(): boolean {
    return this.point === 'during write' && this.passes <= 0;
  }

  async around<T>(operation: Operation, work: () => Promise<T>): Promise<T> {
    this.reach(`before ${operation}`);
    const result = await work();
    this.reach(`after ${operation}`);
    return result;
  }

  makeDirectory(path: string): Promise<void> {
    return this.real.makeDirectory(path);
  }

  async open(path: string, mode: OpenMode): Promise<StorageFile> {
    return new KillingFile(this, await this.real.open(path, mode));
  }

  list(directory: string): Promise<string[]> {
    return this.real.list(directory);
  }

  rename(from: string, to: string): Promise<void> {
    return this.around(to.endsWith('.state') ? 'checkpoint' : 'rename', () => this.real.rename(from, to));
  }

  unlink(path: string): Promise<void> {
    return this.around('unlink', () => this.real.unlink(path));
  }

  syncDirectory(path: string): Promise<void> {
    return this.around('directory sync', () => this.real.syncDirectory(path));
  }

  freeBytes(directory: string): Promise<number> {
    return this.real.freeBytes(directory);
  }

  lock(path: string): Promise<StorageLock | undefined> {
    return this.real.lock(path);
  }
}

class KillingFile implements StorageFile {
  constructor(
    private readonly storage: KillingStorage,
    private readonly real: StorageFile,
  ) {}

  writev(pieces: readonly Uint8Array[], position: number): Promise<number> {
    return this.storage.around('write', async () => {
      if (this.storage.isTearing) {
        const all = Buffer.concat(pieces);
        await this.real.writev([all.subarray(0, Math.ceil(all.length / 2))], position);
      }
      this.storage.reach('during write');
      return this.real.writev(pieces, position);
    });
  }

  read(into: Uint8Array, position: number): Promise<number> {
    return this.real.read(into, position);
  }

  fdatasync(): Promise<void> {
    return this.storage.around('sync', () => this.real.fdatasync());
  }

  truncate(sizeBytes: number): Promise<void> {
    return this.real.truncate(sizeBytes);
  }

  size(): Promise<number> {
    return this.real.size();
  }

  close(): Promise<void> {
    return this.real.close();
  }
}
