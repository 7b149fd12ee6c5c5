/**
 * Finds out what a WAL directory holds and makes it safe to go on (R7, R9, R15, R18).
 *
 * Everything is checked before anything is changed. A bad frame above everything known to be durable is a torn write: its bytes
 * are copied to `<segment>.<epoch>.broken` and cut off. A bad frame at or below is acknowledged data: WalCorruptError with the
 * exact ranges, and no file is touched. How that is judged: `examine.ts`.
 *
 * After an unclean end the last segment is rewritten to a new file, synced and put in place of the old one before anything is
 * served: what was read back may be in the page cache only (R9).
 */
import * as path from 'node:path';
import type { WalId } from '../core/ids';
import type { Logger } from '../telemetry';
import { type CheckpointEvidence, evidenceOf, readCheckpoints } from './delivery-state';
import { WalCorruptError, WalVersionError } from './errors';
import { type Damage, type FoundHeader, judge, type Scanned, scanFile, withFile } from './examine';
import {
  encodeSeal,
  encodeSegmentHeader,
  frameSeed,
  SEAL_BYTES,
  SEGMENT_HEADER_BYTES,
  type Seal,
  type SegmentHeader,
  segmentNumberOf,
} from './format';
import { copyRange, removeIfThere, syncDirectory, syncFile, writeFully } from './io';
import { Segment } from './segment';
import { RECOVERED_FILE_NAME, TEMPORARY_FILES } from './segment-files';
import { readSegmentHeader } from './segment-scan';
import type { Storage } from './storage';

/** `all`: every checksum is checked before the start. `tail`: sealed segments by header and seal only, the rest when read. */
export type VerifyMode = 'all' | 'tail';

export interface RecoveryOptions {
  readonly storage: Storage;
  readonly directory: string;
  readonly verify: VerifyMode;
  readonly nowMs: number;
  readonly logger: Logger;
}

export interface Recovered {
  /** Undefined for a new directory. */
  readonly walId: WalId | undefined;
  /** The greatest epoch found; 0 for a new directory. */
  readonly epoch: number;
  readonly segments: Segment[];
  readonly segmentNumber: number;
  readonly lastSeq: number;
}

/** Checks the directory and repairs its tail. Throws WalCorruptError, WalVersionError, or the device's error. */
export async function recover(options: RecoveryOptions): Promise<Recovered> {
  const { storage, directory } = options;
  for (const name of TEMPORARY_FILES) await removeIfThere(storage, path.join(directory, name));
  const names = (await storage.list(directory)).filter((name) => segmentNumberOf(name) !== undefined).sort();
  const checkpoints = evidenceOf(await readCheckpoints(storage, directory));
  if (names.length === 0) return startFresh(checkpoints);

  const headers = await readHeaders(options, names);
  const walId = checkIdentity(headers, checkpoints);
  const scans: Scanned[] = [];
  for (const [index, found] of headers.entries()) {
    scans.push(await scanFile(options, found, { mayTrustSeal: options.verify === 'tail' && index < headers.length - 1 }));
  }
  const torn = checkDamage(scans, checkpoints);
  const epoch = Math.max(...headers.map((found) => found.header.epoch));
  const last = scans[scans.length - 1];
  if (last.seal === undefined || torn !== undefined) {
    scans[scans.length - 1] = { ...last, segment: await rewriteTail(options, { last, torn, epoch: epoch + 1 }) };
  }
  const segments = scans.map((scan) => scan.segment);
  const tail = segments[segments.length - 1];
  return { walId, epoch, segments, segmentNumber: tail.header.segmentNumber, lastSeq: tail.lastSeq };
}

function startFresh(checkpoints: readonly CheckpointEvidence[]): Recovered {
  const needed = checkpoints.find((checkpoint) => checkpoint.durableBelow > 1);
  if (needed !== undefined) {
    throw new WalCorruptError(
      `the directory has no wal segment, but the checkpoint of ${needed.tier} is at lsn ${needed.neededFrom} ` +
        `of wal ${needed.walId}; restore the segments, or remove the checkpoints to begin a new wal`,
    );
  }
  return { walId: undefined, epoch: 0, segments: [], segmentNumber: 0, lastSeq: 0 };
}

/** All headers first: a file that this release cannot read, or a damaged header, stops the start before long scans. */
async function readHeaders(options: RecoveryOptions, names: readonly string[]): Promise<FoundHeader[]> {
  const found: { name: string; header: SegmentHeader | undefined }[] = [];
  for (const name of names) {
    const result = await withFile(options, name, readSegmentHeader);
    if (result.status === 'unknown_version') throw new WalVersionError(name, result.version);
    found.push({ name, header: result.status === 'ok' ? result.header : undefined });
  }
  const damaged = found.findIndex((each) => each.header === undefined);
  if (damaged === -1) return found as FoundHeader[];
  const { name } = found[damaged];
  const before = damaged === 0 ? undefined : found[damaged - 1];
  const firstLsn =
    before?.header === undefined
      ? 1
      : (await scanFile(options, before as FoundHeader, { mayTrustSeal: true })).segment.lastSeq + 1;
  const next = found[damaged + 1]?.header?.base;
  if (next !== undefined) {
    throw new WalCorruptError('a wal segment is damaged', [
      { file: name, firstLsn, lastLsn: next - 1, reason: 'segment header' },
    ]);
  }
  throw new WalCorruptError(`the header of wal segment ${name} is damaged; it may hold entries from lsn ${firstLsn} on`);
}

/** One WAL, each file under its own number. Gives its id. */
function checkIdentity(headers: readonly FoundHeader[], checkpoints: readonly CheckpointEvidence[]): WalId {
  const { walId } = headers[0].header;
  for (const { name, header } of headers) {
    if (header.walId !== walId) {
      throw new WalCorruptError(
        `${headers[0].name} belongs to wal ${walId}, ${name} to wal ${header.walId}; one of them is foreign`,
      );
    }
    if (header.segmentNumber !== segmentNumberOf(name)) {
      throw new WalCorruptError(`${name} is segment ${header.segmentNumber}: the file was renamed or copied`);
    }
  }
  for (const checkpoint of checkpoints) {
    if (checkpoint.walId !== walId) {
      throw new WalCorruptError(
        `the checkpoint of ${checkpoint.tier} belongs to wal ${checkpoint.walId}, the segments to wal ${walId}`,
      );
    }
  }
  return walId;
}

/** Gives the torn tail of the last segment, if it has one; throws WalCorruptError for any other damage. */
function checkDamage(scans: readonly Scanned[], checkpoints: readonly CheckpointEvidence[]): Damage | undefined {
  const { ranges, torn, overlap } = judge(scans, checkpoints);
  if (overlap !== undefined) throw new WalCorruptError(overlap);
  if (ranges.length > 0) throw new WalCorruptError('acknowledged entries of the wal are damaged or missing', ranges);
  return torn;
}

interface TailRewrite {
  readonly last: Scanned;
  readonly torn: Damage | undefined;
  readonly epoch: number;
}

/** Writes the valid entries of the last segment to a new file, sealed and synced, and puts it in place of the old one (R9). */
async function rewriteTail(options: RecoveryOptions, { last, torn, epoch }: TailRewrite): Promise<Segment> {
  const { storage, directory, logger } = options;
  const { segment: old, name } = last;
  // In a recycled file the bytes behind the log are those of its earlier life, unless a frame of this one is among them.
  if (torn !== undefined && last.usedEnd > torn.offset) await keepBroken(options, { last, torn, epoch });
  const temporary = path.join(directory, RECOVERED_FILE_NAME);
  const header: SegmentHeader = { ...old.header, epoch, recycled: false };
  const { base, lastSeq, checksum } = old;
  const seal: Seal = { base, entries: lastSeq - base + 1, lastSeq, reason: 'recovered', checksum };
  const target = await storage.open(temporary, 'create');
  try {
    await writeFully(target, [encodeSegmentHeader(header)], 0);
    const frames = { file: target, position: SEGMENT_HEADER_BYTES };
    await withFile(options, name, (file) => copyRange(file, SEGMENT_HEADER_BYTES, old.endOffset - SEGMENT_HEADER_BYTES, frames));
    // Salt and number stay, so the frames are valid in the new file as they are.
    await writeFully(target, [encodeSeal(seal, options.nowMs, frameSeed(header))], old.endOffset);
    await syncFile(target, temporary);
  } finally {
    await target.close();
  }
  await storage.rename(temporary, old.path);
  await syncDirectory(storage, directory);
  logger.info({ segment: name, entries: seal.entries, lastLsn: seal.lastSeq }, 'wal recovered after an unclean end');
  const fresh = new Segment({ header, path: old.path, fileBytes: old.endOffset + SEAL_BYTES, index: old.index });
  fresh.lastSeq = old.lastSeq;
  fresh.endOffset = old.endOffset;
  fresh.checksum = checksum;
  fresh.sealed = true;
  return fresh;
}

/** Keeps the bytes of a torn tail for people. None of them was acknowledged. */
async function keepBroken(options: RecoveryOptions, tail: { last: Scanned; torn: Damage; epoch: number }): Promise<void> {
  const { storage, directory, logger } = options;
  const { torn } = tail;
  const { name, usedEnd } = tail.last;
  const brokenName = `${name}.${tail.epoch}.broken`;
  const broken = path.join(directory, brokenName);
  await removeIfThere(storage, broken);
  const target = await storage.open(broken, 'create');
  try {
    await withFile(options, name, (file) => copyRange(file, torn.offset, usedEnd - torn.offset, { file: target, position: 0 }));
    await syncFile(target, brokenName);
  } finally {
    await target.close();
  }
  logger.warn(
    { segment: name, offset: torn.offset, firstLsn: torn.firstSeq, kept: brokenName },
    'cut a torn tail that was never acknowledged',
  );
}
