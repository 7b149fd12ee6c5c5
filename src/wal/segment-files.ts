import { randomBytes } from 'node:crypto';
import * as path from 'node:path';
import type { WalId } from '../core/ids';
import type { Logger } from '../telemetry';
import { isNoSpace, NoSpaceError } from './errors';
import {
  encodeSegmentHeader,
  FORMAT_VERSION,
  SEAL_BYTES,
  SEGMENT_HEADER_BYTES,
  type SegmentHeader,
  segmentFileName,
} from './format';
import { removeIfThere, syncDirectory, syncFile, writeFully } from './io';
import { Segment } from './segment';
import type { Storage, StorageFile } from './storage';

/** The next segment while it is made; only a renamed file is part of the log. */
const SPARE_FILE_NAME = 'spare.tmp';
/** The same for a segment that is made for one large entry. */
const LARGE_FILE_NAME = 'large.tmp';
/** A segment that is written again, until it takes the place of the old one. */
export const RECOVERED_FILE_NAME = 'recovered.tmp';
/** What a crash may leave behind. */
export const TEMPORARY_FILES: readonly string[] = [SPARE_FILE_NAME, LARGE_FILE_NAME, RECOVERED_FILE_NAME];
/** Held by the owner of the directory (R14). */
export const LOCK_FILE_NAME = 'LOCK';
const ZEROS = Buffer.alloc(1024 * 1024);
const FILL_WRITE_BYTES = 4 * ZEROS.length;
/** Dirty bytes of a file in preparation, so that its sync never holds up a commit for long. */
const FILL_SYNC_BYTES = 16 * ZEROS.length;

/** A segment open for writing. */
export interface OpenSegment {
  readonly segment: Segment;
  readonly file: StorageFile;
  /** The file may grow up to here, seal included. */
  readonly capacityBytes: number;
}

interface NewSegment {
  readonly walId: WalId;
  readonly epoch: number;
  readonly segmentNumber: number;
  readonly base: number;
  readonly frameBytes: number;
}

interface Spare {
  readonly file: StorageFile;
  readonly recycled: boolean;
}

export interface SegmentFilesOptions {
  readonly storage: Storage;
  readonly directory: string;
  readonly segmentBytes: number;
  /** Bytes of the device that stay free for other files (R11). */
  readonly reserveBytes: number;
  readonly logger: Logger;
  /** A background step failed in a way that is not for want of space. */
  readonly onError: (error: unknown) => void;
}

/**
 * Makes segment files. The file for the next segment is made ready in the background, so that a full segment does not stall
 * appends: filled with zeros the first time, taken from the segments that were released afterwards. Both have their blocks
 * already, which halves the time of a sync (performance.md B4); a recycled file also saves writing every byte twice.
 */
export class SegmentFiles {
  private readonly options: SegmentFilesOptions;
  private readonly sparePath: string;
  private spare: Spare | undefined;
  /** Work on the spare file: one at a time, from the first byte until the file has its own name. Never rejects. */
  private busy: Promise<void> | undefined;

  constructor(options: SegmentFilesOptions) {
    this.options = options;
    this.sparePath = path.join(options.directory, SPARE_FILE_NAME);
  }

  /** The next segment has its blocks already. */
  get hasSpare(): boolean {
    return this.spare !== undefined;
  }

  /** Starts to make the spare file unless there is one. Want of space is tried again when the file is needed. */
  prepare(): void {
    if (this.spare !== undefined || this.busy !== undefined) return;
    this.exclusively(() => this.fill()).catch((error: unknown) => {
      if (isNoSpace(error)) this.options.logger.warn({ err: error }, 'no space for the next wal segment');
      else this.options.onError(error);
    });
  }

  /** Takes the file of a released segment as the spare, durably. False when it cannot be used: the caller unlinks it then. */
  async recycle(segment: Segment): Promise<boolean> {
    const { storage, directory, segmentBytes } = this.options;
    if (segment.fileBytes !== segmentBytes || this.spare !== undefined || this.busy !== undefined) return false;
    await this.exclusively(async () => {
      const file = await storage.open(segment.path, 'write');
      try {
        await storage.rename(segment.path, this.sparePath);
        // Before the file can get another header: otherwise a power loss could bring the old name back over the new content.
        await syncDirectory(storage, directory);
        this.spare = { file, recycled: true };
      } finally {
        if (this.spare === undefined) await file.close();
      }
    });
    return true;
  }

  /**
   * Makes the next segment part of the log: header, fdatasync, rename, fsync of the directory (R5). `frameBytes` is the first
   * frame to go into it; one that is larger than a segment gets a file of its own size.
   * Throws NoSpaceError (or ENOSPC of the device) when there is no room; nothing of the log has changed then.
   */
  async create(options: NewSegment): Promise<OpenSegment> {
    while (this.busy !== undefined) await this.busy;
    return await this.exclusively(() => this.createAlone(options));
  }

  /** Waits for work in the background and removes the spare file. */
  async close(): Promise<void> {
    while (this.busy !== undefined) await this.busy;
    if (this.spare === undefined) return;
    await this.spare.file.close();
    this.spare = undefined;
    await removeIfThere(this.options.storage, this.sparePath);
  }

  private exclusively<T>(work: () => Promise<T>): Promise<T> {
    const running = work();
    this.busy = running
      .then(
        () => undefined,
        () => undefined,
      )
      .finally(() => (this.busy = undefined));
    return running;
  }

  private async createAlone(options: NewSegment): Promise<OpenSegment> {
    const { storage, directory, segmentBytes } = this.options;
    const neededBytes = SEGMENT_HEADER_BYTES + options.frameBytes + SEAL_BYTES;
    const isLarge = neededBytes > segmentBytes;
    const temporary = isLarge ? path.join(directory, LARGE_FILE_NAME) : this.sparePath;
    const spare = isLarge ? await this.makeLarge(temporary, neededBytes) : await this.takeSpare();
    try {
      const header: SegmentHeader = {
        version: FORMAT_VERSION,
        salt: randomBytes(4).readUInt32LE(0),
        walId: options.walId,
        epoch: options.epoch,
        segmentNumber: options.segmentNumber,
        base: options.base,
        recycled: spare.recycled,
      };
      await writeFully(spare.file, [encodeSegmentHeader(header)], 0);
      await syncFile(spare.file, temporary);
      const target = path.join(directory, segmentFileName(options.segmentNumber));
      await storage.rename(temporary, target);
      await syncDirectory(storage, directory);
      const capacityBytes = Math.max(neededBytes, segmentBytes);
      const segment = new Segment({ header, path: target, fileBytes: isLarge ? SEGMENT_HEADER_BYTES : segmentBytes });
      return { segment, file: spare.file, capacityBytes };
    } catch (error) {
      await spare.file.close();
      throw error;
    }
  }

  private async takeSpare(): Promise<Spare> {
    if (this.spare === undefined) await this.fill();
    const { spare } = this;
    if (spare === undefined) throw new Error('the spare segment is gone');
    this.spare = undefined;
    return spare;
  }

  private async makeLarge(temporary: string, sizeBytes: number): Promise<Spare> {
    await this.checkSpace(sizeBytes);
    await removeIfThere(this.options.storage, temporary);
    return { file: await this.options.storage.open(temporary, 'create'), recycled: false };
  }

  private async checkSpace(sizeBytes: number): Promise<void> {
    const { storage, directory, reserveBytes } = this.options;
    const freeBytes = await storage.freeBytes(directory);
    if (freeBytes >= sizeBytes + reserveBytes) return;
    throw new NoSpaceError(
      `a wal segment takes ${sizeBytes} bytes and ${reserveBytes} are kept in reserve, the device has ${freeBytes}`,
    );
  }

  private async fill(): Promise<void> {
    const { storage, segmentBytes } = this.options;
    await this.checkSpace(segmentBytes);
    await removeIfThere(storage, this.sparePath);
    const file = await storage.open(this.sparePath, 'create');
    try {
      for (let at = 0; at < segmentBytes; ) {
        const count = Math.min(FILL_WRITE_BYTES, segmentBytes - at);
        await writeFully(file, zeros(count), at);
        at += count;
        if (at % FILL_SYNC_BYTES === 0 || at === segmentBytes) await syncFile(file, this.sparePath);
      }
    } catch (error) {
      await file.close();
      await removeIfThere(storage, this.sparePath);
      throw error;
    }
    this.spare = { file, recycled: false };
  }
}

function zeros(sizeBytes: number): Uint8Array[] {
  const pieces: Uint8Array[] = [];
  for (let left = sizeBytes; left > 0; left -= ZEROS.length) pieces.push(ZEROS.subarray(0, Math.min(left, ZEROS.length)));
  return pieces;
}
