import { dirname } from 'node:path';
import { crc32 } from 'node:zlib';
import { isNotFound, SyncFailedError } from './errors';
import type { Storage, StorageFile } from './storage';

/** Bytes of one read while a file is walked: memory stays the same however long the log is (R15). */
export const SCAN_CHUNK_BYTES = 1024 * 1024;

const lengthOf = (pieces: readonly Uint8Array[]): number => pieces.reduce((sum, piece) => sum + piece.length, 0);

/** What is left of `pieces` after `written` bytes. */
function after(pieces: readonly Uint8Array[], written: number): Uint8Array[] {
  const rest: Uint8Array[] = [];
  let skip = written;
  for (const piece of pieces) {
    if (skip >= piece.length) {
      skip -= piece.length;
    } else {
      rest.push(skip === 0 ? piece : piece.subarray(skip));
      skip = 0;
    }
  }
  return rest;
}

/** Writes all bytes of `pieces` at `position`, over as many calls as it takes: a short write is not an error (R10). */
export async function writeFully(file: StorageFile, pieces: readonly Uint8Array[], position: number): Promise<void> {
  let rest = pieces;
  let left = lengthOf(pieces);
  let at = position;
  while (left > 0) {
    const written = await file.writev(rest, at);
    if (written <= 0) throw Object.assign(new Error('the device took no bytes'), { code: 'EIO' });
    at += written;
    left -= written;
    if (left > 0) rest = after(rest, written);
  }
}

/** Fills `into` from `position` on, as far as the file goes; gives the bytes read. */
export async function readFully(file: StorageFile, into: Uint8Array, position: number): Promise<number> {
  let filled = 0;
  while (filled < into.length) {
    const count = await file.read(filled === 0 ? into : into.subarray(filled), position + filled);
    if (count === 0) break;
    filled += count;
  }
  return filled;
}

/** CRC-32 of `length` bytes at `position`, through a buffer of fixed size; undefined when the file is shorter. */
export async function crcOfRange(file: StorageFile, position: number, length: number, seed: number): Promise<number | undefined> {
  const buffer = Buffer.allocUnsafe(Math.min(length, SCAN_CHUNK_BYTES));
  let crc = seed;
  for (let done = 0; done < length; ) {
    const part = buffer.subarray(0, Math.min(buffer.length, length - done));
    if ((await readFully(file, part, position + done)) < part.length) return undefined;
    crc = crc32(part, crc);
    done += part.length;
  }
  return crc;
}

/** Copies `length` bytes at `position` of one file to `to` of another, through a buffer of fixed size. */
export async function copyRange(
  from: StorageFile,
  position: number,
  length: number,
  target: { file: StorageFile; position: number },
): Promise<void> {
  const buffer = Buffer.allocUnsafe(Math.min(length, SCAN_CHUNK_BYTES));
  for (let done = 0; done < length; ) {
    const part = buffer.subarray(0, Math.min(buffer.length, length - done));
    const count = await readFully(from, part, position + done);
    if (count === 0) throw Object.assign(new Error('the file became shorter while it was copied'), { code: 'EIO' });
    await writeFully(target.file, [part.subarray(0, count)], target.position + done);
    done += count;
  }
}

/** fdatasync; any failure, also for want of space, becomes SyncFailedError (R8, R10). */
export async function syncFile(file: StorageFile, name: string): Promise<void> {
  try {
    await file.fdatasync();
  } catch (error) {
    throw new SyncFailedError(name, { cause: error });
  }
}

/** fsync of the directory, with the same rule. */
export async function syncDirectory(storage: Storage, directory: string): Promise<void> {
  try {
    await storage.syncDirectory(directory);
  } catch (error) {
    throw new SyncFailedError(directory, { cause: error });
  }
}

/** Unlinks a file that may not exist. */
export async function removeIfThere(storage: Storage, path: string): Promise<void> {
  try {
    await storage.unlink(path);
  } catch (error) {
    if (!isNotFound(error)) throw error;
  }
}

/**
 * Puts `bytes` in the place of a file (R12): temporary file, fdatasync, rename, fsync of the directory, so that a crash leaves the
 * old or the new one. One call at a time for each target. Throws SyncFailedError for a failed sync.
 */
export async function replaceFile(storage: Storage, target: string, bytes: Uint8Array): Promise<void> {
  const temporary = `${target}.tmp`;
  await removeIfThere(storage, temporary);
  const file = await storage.open(temporary, 'create');
  try {
    await writeFully(file, [bytes], 0);
    await syncFile(file, temporary);
  } finally {
    await file.close();
  }
  await storage.rename(temporary, target);
  await syncDirectory(storage, dirname(target));
}
