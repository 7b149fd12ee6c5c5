/**
 * Makes a damaged WAL directory one that opens (R7), at the price of what cannot be read. What is lost is said before anything is
 * done; later valid segments are never deleted.
 *
 * A segment with damage is written again from its readable frames, in which an entry without batches stands in the place of each
 * lost one: positions stay without gaps, and none is ever used again. The damaged file is copied aside first, whole, and replaced
 * by a rename, so that a crash leaves the old or the new segment, and the next repair goes on. Files that are no part of the log, and
 * checkpoints that cannot be read, are renamed. All names aside end in `.<time>.damaged`.
 */
import { randomBytes } from 'node:crypto';
import * as path from 'node:path';
import type { Tier } from '../core/table-schema';
import { encodeLostEntry } from './entry-codec';
import { WalLockedError } from './errors';
import { type Place, withFile } from './examine';
import {
  checksumWith,
  encodeSeal,
  encodeSegmentHeader,
  FORMAT_VERSION,
  FRAME_HEADER_BYTES,
  frameSeed,
  headerCrcOf,
  SEGMENT_HEADER_BYTES,
  type Seal,
  type SegmentHeader,
  segmentFileName,
  segmentNumberOf,
} from './format';
import { copyRange, removeIfThere, syncDirectory, syncFile, writeFully } from './io';
import { LOCK_FILE_NAME, RECOVERED_FILE_NAME, TEMPORARY_FILES } from './segment-files';
import { scanSegment } from './segment-scan';
import type { StorageFile } from './storage';
import { isDamaged, type Member, type Survey, survey } from './survey';

/** Frames in the place of lost entries that are written at once. */
const FILL_AT_ONCE = 4096;

/** A range of entries that is lost, and what the sinks have of it. */
export interface LostRange {
  readonly firstLsn: number;
  readonly lastLsn: number;
  /** Sinks whose checkpoint is past it: they have everything. */
  readonly delivered: readonly Tier[];
  /** Sinks that may have some of it: it is in a plan that was not finished. */
  readonly inDoubt: readonly Tier[];
  readonly missing: readonly Tier[];
}

interface Rewrite {
  readonly header: SegmentHeader;
  readonly source: Member | undefined;
  /** Entries from `header.base` to here will be in it. */
  readonly lastSeq: number;
  /** Where a torn tail begins, which is left out. */
  readonly endOffset: number;
}

export interface RepairPlan {
  readonly found: Survey;
  readonly lost: readonly LostRange[];
  readonly rewrites: readonly Rewrite[];
  /** Files that are put aside. */
  readonly aside: readonly { readonly name: string; readonly reason: string }[];
  /** Segments that get their own names back. */
  readonly renamed: readonly { readonly from: string; readonly to: string }[];
}

/** What a repair of the directory would do; changes nothing. Throws when a repair cannot help. */
export async function planRepair(place: Place): Promise<RepairPlan> {
  const found = await survey(place);
  if (found.overlap !== undefined) throw new Error(`${found.overlap}; a repair cannot tell which to keep, put one of them aside`);
  const rewrites = found.members.length === 0 ? freshSegment(found) : rewritesOf(found);
  const lost: [number, number][] = [];
  for (const rewrite of rewrites) lost.push(...(await lostIn(place, rewrite)));
  const broken = found.checkpoints.flatMap(({ file, state, problem }) =>
    problem !== undefined || state?.walId !== found.walId ? [{ name: file, reason: problem ?? 'of another wal' }] : [],
  );
  return {
    found,
    rewrites,
    lost: lost.map(([firstLsn, lastLsn]) => ({ firstLsn, lastLsn, ...whereabouts(found, firstLsn, lastLsn) })),
    aside: [...found.strays, ...broken],
    renamed: found.members.flatMap((member) => (member.misnamed ? [{ from: member.name, to: ownName(member) }] : [])),
  };
}

/** Whether the directory is one that opens already. */
export const isNothingToDo = ({ found }: RepairPlan): boolean => !isDamaged(found);

export interface RepairOptions extends Place {
  readonly nowMs: number;
  /** Shows the plan to somebody who decides. */
  readonly confirm: (plan: RepairPlan) => Promise<boolean>;
}

/**
 * Repairs the directory under its lock, if `confirm` says so. Gives the plan that was carried out; undefined when nothing was done.
 * Throws WalLockedError while a server holds the directory, and the device's errors; then the log is as it was or a repair can
 * be repeated.
 */
export async function repair(options: RepairOptions): Promise<RepairPlan | undefined> {
  const { storage, directory } = options;
  const lock = await storage.lock(path.join(directory, LOCK_FILE_NAME));
  if (lock === undefined) throw new WalLockedError(directory);
  try {
    const plan = await planRepair(options);
    if (isNothingToDo(plan) || !(await options.confirm(plan))) return undefined;
    await carryOut(options, plan);
    const after = await survey(options);
    if (isDamaged(after)) throw new Error('the repair did not help; every damaged file is still there, under a name in .damaged');
    return plan;
  } finally {
    await lock.release();
  }
}

const ownName = ({ segment }: Member): string => segmentFileName(segment.header.segmentNumber);

/** The segments that are written again: those with damage, and those before and behind missing ones. */
function rewritesOf(found: Survey): Rewrite[] {
  const { members, ranges, torn } = found;
  const names = new Set(ranges.map(({ file }) => file));
  return members.flatMap((source, index) => {
    const next = members[index + 1];
    if (!names.has(source.name) && !source.headerRebuilt) return [];
    const mine = ranges.filter(({ file }) => file === source.name);
    const base = Math.min(source.segment.base, ...mine.map(({ firstLsn }) => firstLsn));
    const isTorn = next === undefined && torn !== undefined;
    const last = Math.max(source.lastSeen, ...mine.map(({ lastLsn }) => lastLsn));
    const lastSeq = next !== undefined ? next.segment.base - 1 : isTorn ? torn.firstSeq - 1 : last;
    const header: SegmentHeader = { ...source.segment.header, base, recycled: false };
    return [{ header, source, lastSeq, endOffset: isTorn ? torn.offset : Number.POSITIVE_INFINITY }];
  });
}

/** When no segment is left, one that holds the place of what the checkpoints tell of. */
function freshSegment({ walId, checkpoints, strays, vouchedSeq }: Survey): Rewrite[] {
  const needed = checkpoints.flatMap(({ state }) => (state !== undefined && state.walId === walId ? [state.nextLsn] : []));
  if (walId === undefined || needed.length === 0) return [];
  const segmentNumber = 1 + Math.max(0, ...strays.map(({ name }) => segmentNumberOf(name) ?? 0));
  const base = Math.min(...needed);
  const salt = randomBytes(4).readUInt32LE(0);
  const header: SegmentHeader = { version: FORMAT_VERSION, salt, walId, epoch: 1, segmentNumber, base, recycled: false };
  return [{ header, source: undefined, lastSeq: Math.max(vouchedSeq, base - 1), endOffset: 0 }];
}

interface Kept {
  readonly seq: number;
  readonly at: number;
  readonly bytes: number;
  readonly headerCrc: number;
}

/** Readable entries of a segment that is written again, in order. */
async function* kept(file: StorageFile, { source, lastSeq, endOffset }: Rewrite): AsyncGenerator<Kept> {
  if (source === undefined) return;
  const { name, segment } = source;
  const read = { header: segment.header, fileBytes: segment.fileBytes, name };
  for await (const item of scanSegment(file, read)) {
    if (item.kind !== 'entry' || item.offset >= endOffset || item.frame.seq > lastSeq) continue;
    const { seq, length, headerCrc } = item.frame;
    yield { seq, at: item.offset, bytes: FRAME_HEADER_BYTES + length, headerCrc };
  }
}

async function lostIn(place: Place, rewrite: Rewrite): Promise<[number, number][]> {
  const { source, header, lastSeq } = rewrite;
  const lost: [number, number][] = [];
  let expected = header.base;
  if (source !== undefined) {
    await withFile(place, source.name, async (file) => {
      for await (const { seq } of kept(file, rewrite)) {
        if (seq > expected) lost.push([expected, seq - 1]);
        expected = seq + 1;
      }
    });
  }
  if (expected <= lastSeq) lost.push([expected, lastSeq]);
  return lost;
}

function whereabouts({ checkpoints, walId }: Survey, firstLsn: number, lastLsn: number): Omit<LostRange, 'firstLsn' | 'lastLsn'> {
  const delivered: Tier[] = [];
  const inDoubt: Tier[] = [];
  const missing: Tier[] = [];
  for (const { tier, state } of checkpoints) {
    if (state?.walId !== walId || state === undefined) inDoubt.push(tier);
    else if (state.nextLsn > lastLsn) delivered.push(tier);
    else if (state.plan !== undefined && state.plan.toLsn >= firstLsn) inDoubt.push(tier);
    else missing.push(tier);
  }
  return { delivered, inDoubt, missing };
}

async function carryOut(options: RepairOptions, plan: RepairPlan): Promise<void> {
  const { storage, directory, nowMs } = options;
  for (const name of TEMPORARY_FILES) await removeIfThere(storage, path.join(directory, name));
  const aside = (name: string): string => path.join(directory, `${name}.${nowMs}.damaged`);
  for (const { from, to } of plan.renamed) await storage.rename(path.join(directory, from), path.join(directory, to));
  for (const rewrite of plan.rewrites) {
    if (rewrite.source !== undefined) await copyAside(options, ownName(rewrite.source), aside(ownName(rewrite.source)));
    await writeAgain(options, rewrite);
  }
  for (const { name } of plan.aside) await storage.rename(path.join(directory, name), aside(name));
  await syncDirectory(storage, directory);
}

async function copyAside(options: RepairOptions, name: string, to: string): Promise<void> {
  const { storage } = options;
  await removeIfThere(storage, to);
  const copy = await storage.open(to, 'create');
  try {
    await withFile(options, name, async (file) => copyRange(file, 0, await file.size(), { file: copy, position: 0 }));
    await syncFile(copy, to);
  } finally {
    await copy.close();
  }
  await syncDirectory(storage, options.directory);
}

async function writeAgain(options: RepairOptions, rewrite: Rewrite): Promise<void> {
  const { storage, directory } = options;
  const temporary = path.join(directory, RECOVERED_FILE_NAME);
  const target = await storage.open(temporary, 'create');
  try {
    await writeSegment(options, rewrite, target);
    await syncFile(target, temporary);
  } finally {
    await target.close();
  }
  await storage.rename(temporary, path.join(directory, segmentFileName(rewrite.header.segmentNumber)));
  await syncDirectory(storage, directory);
}

async function writeSegment(options: RepairOptions, rewrite: Rewrite, target: StorageFile): Promise<void> {
  const { header, source, lastSeq } = rewrite;
  const seed = frameSeed(header);
  let end = SEGMENT_HEADER_BYTES;
  let expected = header.base;
  let checksum = 0;
  const fill = async (before: number): Promise<void> => {
    while (expected < before) {
      const count = Math.min(FILL_AT_ONCE, before - expected);
      const frames = Array.from({ length: count }, (_, index) => encodeLostEntry(expected + index, options.nowMs, seed));
      for (const frame of frames) checksum = checksumWith(checksum, headerCrcOf(frame));
      await writeFully(target, frames, end);
      end += frames.reduce((sum, frame) => sum + frame.length, 0);
      expected += count;
    }
  };
  await writeFully(target, [encodeSegmentHeader(header)], 0);
  if (source !== undefined) {
    await withFile(options, ownName(source), async (file) => {
      for await (const { seq, at, bytes, headerCrc } of kept(file, rewrite)) {
        await fill(seq);
        // Salt and number of the segment stay, so the frame is valid in the new file as it is.
        await copyRange(file, at, bytes, { file: target, position: end });
        checksum = checksumWith(checksum, headerCrc);
        end += bytes;
        expected = seq + 1;
      }
    });
  }
  await fill(lastSeq + 1);
  const entries = lastSeq - header.base + 1;
  const seal: Seal = { base: header.base, entries, lastSeq, reason: 'recovered', checksum };
  await writeFully(target, [encodeSeal(seal, options.nowMs, seed)], end);
}
