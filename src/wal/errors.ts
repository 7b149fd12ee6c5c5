/** A range of entries that was acknowledged and is lost or damaged, ends included. */
export interface DamagedRange {
  readonly file: string;
  readonly firstLsn: number;
  readonly lastLsn: number;
  readonly reason: string;
}

/**
 * Acknowledged data is damaged or missing (R7): the server must not start, or must stop, and an operator must decide.
 * `ranges` lists exactly which entries are affected; it is empty when only the structure is wrong (two WALs in one directory).
 */
export class WalCorruptError extends Error {
  readonly ranges: readonly DamagedRange[];

  constructor(message: string, ranges: readonly DamagedRange[] = []) {
    const list = ranges.map((range) => `lsn ${range.firstLsn}-${range.lastLsn} in ${range.file} (${range.reason})`);
    super(list.length === 0 ? message : `${message}: ${list.join('; ')}`);
    this.name = 'WalCorruptError';
    this.ranges = ranges;
  }
}

/** A file of a version that this release cannot read (R18). Nothing was changed. */
export class WalVersionError extends Error {
  readonly file: string;
  readonly version: number;

  constructor(file: string, version: number) {
    super(`${file} has wal format version ${version}, which this release cannot read; start the release that wrote it`);
    this.name = 'WalVersionError';
    this.file = file;
    this.version = version;
  }
}

/** Another process owns the directory (R14). */
export class WalLockedError extends Error {
  constructor(directory: string) {
    super(`the wal directory ${directory} is in use by another process`);
    this.name = 'WalLockedError';
  }
}

/** No room on the device. Appends are refused with a hint to retry; reading goes on. */
export class NoSpaceError extends Error {
  constructor(message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'NoSpaceError';
  }
}

/**
 * A sync failed (R8). What the device holds is unknown, and a second sync would report success although the pages are lost:
 * the process must stop and recover from what it finds.
 */
export class SyncFailedError extends Error {
  constructor(what: string, options: { cause: unknown }) {
    super(`sync of ${what} failed; the wal stops, a restart recovers what is on disk`, options);
    this.name = 'SyncFailedError';
  }
}

/** By shape, not by class: an error of node's own may come from another realm. */
const codeOf = (error: unknown): unknown =>
  typeof error === 'object' && error !== null && 'code' in error ? error.code : undefined;

/** The device or the quota is full: nothing is broken, and space may come back. */
export function isNoSpace(error: unknown): boolean {
  return error instanceof NoSpaceError || codeOf(error) === 'ENOSPC' || codeOf(error) === 'EDQUOT';
}

export const isNotFound = (error: unknown): boolean => codeOf(error) === 'ENOENT';
