/**
 * What the WAL asks of a file system, so that tests can put a simulated disk under it. Paths are absolute or relative to the
 * working directory. Errors are those of node:fs, with `code` (`ENOENT`, `ENOSPC`, `EIO`, ...).
 *
 * Durability is that of POSIX: written bytes survive a power loss after `fdatasync` of the file, a created, renamed or
 * unlinked name after `syncDirectory`.
 */
export interface StorageFile {
  /** Writes the pieces end to end at `position` and gives the bytes written, which may be fewer than asked (R10). */
  writev(pieces: readonly Uint8Array[], position: number): Promise<number>;
  /** Reads up to `into.length` bytes and gives their number; 0 at the end of the file. */
  read(into: Uint8Array, position: number): Promise<number>;
  fdatasync(): Promise<void>;
  truncate(sizeBytes: number): Promise<void>;
  size(): Promise<number>;
  close(): Promise<void>;
}

export interface StorageLock {
  release(): Promise<void>;
}

/** `create`: read and write, fails when the file exists. */
export type OpenMode = 'read' | 'write' | 'create';

export interface Storage {
  /** Makes the directory (mode 0700) and its parents, if missing. */
  makeDirectory(path: string): Promise<void>;
  /** Files are made with mode 0600; a symbolic link is an error. */
  open(path: string, mode: OpenMode): Promise<StorageFile>;
  /** Names in the directory, in no particular order. */
  list(directory: string): Promise<string[]>;
  rename(from: string, to: string): Promise<void>;
  unlink(path: string): Promise<void>;
  syncDirectory(path: string): Promise<void>;
  freeBytes(directory: string): Promise<number>;
  /** An exclusive lock that ends with the process (R14); undefined when another owner has it. */
  lock(path: string): Promise<StorageLock | undefined>;
}
