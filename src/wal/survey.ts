/**
 * Everything that is known about a WAL directory, damaged or not, for `wal inspect` and `wal repair`. Judged by the same rules as a
 * start (`examine.ts`), but nothing stops it: files that do not belong to the log are set apart, and the rest is read on.
 */
import type { WalId } from '../core/ids';
import { type CheckpointReport, evidenceOf, readCheckpoints } from './delivery-state';
import { isNotFound, WalVersionError } from './errors';
import { type Judgement, judge, type Place, type Scanned, scanFile, withFile } from './examine';
import {
  decodeFrameHeader,
  FORMAT_VERSION,
  FRAME_ENTRY,
  FRAME_HEADER_BYTES,
  frameSeed,
  SEGMENT_HEADER_BYTES,
  type SegmentHeader,
  segmentFileName,
  segmentNumberOf,
} from './format';
import { readFully } from './io';
import { readSegmentHeader } from './segment-scan';
import type { StorageFile } from './storage';

/** A segment of the log. */
export interface Member extends Scanned {
  /** The header is damaged; what it must have said is known from the file's name, the log and the frames. */
  readonly headerRebuilt: boolean;
  /** The file has not the name of its segment. */
  readonly misnamed: boolean;
}

/** A segment file that is no part of the log. */
export interface Stray {
  readonly name: string;
  readonly reason: string;
}

export interface Survey extends Judgement {
  /** Undefined when nothing says which log this is. */
  readonly walId: WalId | undefined;
  readonly members: readonly Member[];
  readonly strays: readonly Stray[];
  readonly checkpoints: readonly CheckpointReport[];
  /** What is wrong beside the ranges. */
  readonly problems: readonly string[];
}

interface Found {
  readonly name: string;
  readonly number: number;
  readonly header: SegmentHeader | undefined;
}

/** Reads every checksum of the directory; memory does not grow with the log. Throws WalVersionError and the device's errors. */
export async function survey(place: Place): Promise<Survey> {
  // Before the segments for what they must hold, and again behind them for what they need not hold: a server may be running.
  const before = await readCheckpoints(place.storage, place.directory);
  const found = await readHeaders(place);
  const walId = chooseWalId(found, before);
  const strays: Stray[] = [];
  const members = walId === undefined ? [] : await readMembers(place, { found, walId, strays });
  const after = await readCheckpoints(place.storage, place.directory);
  const own = (reports: readonly CheckpointReport[]) => evidenceOf(reports).filter((evidence) => evidence.walId === walId);
  const later = new Map(own(after).map((evidence) => [evidence.tier, evidence.neededFrom]));
  const evidence = own(before).map((each) => ({ ...each, neededFrom: later.get(each.tier) ?? each.neededFrom }));
  const judgement: Judgement = members.length === 0 ? judgeNothing(evidence) : judge(members, evidence);
  if (walId === undefined) for (const { name } of found) strays.push({ name, reason: 'the segment header is damaged' });
  return { ...judgement, walId, members, strays, checkpoints: after, problems: problemsOf(after, walId, members) };
}

/** Undefined for a file that a running server has released meanwhile. */
async function ifThere<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await work;
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}

async function readHeaders(place: Place): Promise<Found[]> {
  const found: Found[] = [];
  for (const name of (await place.storage.list(place.directory)).sort()) {
    const number = segmentNumberOf(name);
    if (number === undefined) continue;
    const result = await ifThere(withFile(place, name, readSegmentHeader));
    if (result === undefined) continue;
    if (result.status === 'unknown_version') throw new WalVersionError(name, result.version);
    found.push({ name, number, header: result.status === 'ok' ? result.header : undefined });
  }
  return found;
}

/** The log that the checkpoints are of, if a segment is; otherwise the one that most segments are of. */
function chooseWalId(found: readonly Found[], checkpoints: readonly CheckpointReport[]): WalId | undefined {
  const counts = new Map<WalId, number>();
  for (const { header } of found) if (header !== undefined) counts.set(header.walId, (counts.get(header.walId) ?? 0) + 1);
  const vouched = checkpoints.flatMap(({ state }) => (state === undefined ? [] : [state.walId]));
  const known = vouched.find((walId) => counts.has(walId));
  if (known !== undefined) return known;
  const [most] = [...counts].sort((a, b) => b[1] - a[1]);
  return most?.[0] ?? vouched[0];
}

async function readMembers(
  place: Place,
  { found, walId, strays }: { found: readonly Found[]; walId: WalId; strays: Stray[] },
): Promise<Member[]> {
  const names = new Set(found.map(({ name }) => name));
  const usable: (Found & { header: SegmentHeader; headerRebuilt: boolean })[] = [];
  for (const each of found) {
    const { name, header: stored } = each;
    const known = { walId, number: each.number };
    const header = stored ?? (await ifThere(withFile(place, name, (file) => rebuildHeader(file, known))));
    const own = header === undefined ? name : segmentFileName(header.segmentNumber);
    if (header === undefined) strays.push({ name, reason: 'the segment header is damaged' });
    else if (header.walId !== walId) strays.push({ name, reason: `belongs to wal ${header.walId}` });
    else if (own !== name && names.has(own)) strays.push({ name, reason: `a copy of ${own}` });
    else usable.push({ ...each, header, headerRebuilt: stored === undefined });
  }
  usable.sort((a, b) => a.header.segmentNumber - b.header.segmentNumber);
  const members: Member[] = [];
  for (const { name, header, headerRebuilt } of usable) {
    const own = segmentFileName(header.segmentNumber);
    if (members.some((member) => member.segment.header.segmentNumber === header.segmentNumber)) {
      strays.push({ name, reason: `a copy of ${own}` });
      continue;
    }
    const scanned = await ifThere(scanFile(place, { name, header }, { mayTrustSeal: false }));
    if (scanned !== undefined) members.push({ ...scanned, headerRebuilt, misnamed: own !== name });
  }
  return members;
}

/** The header of a file whose header is damaged elsewhere than in the salt: the first frame shows whether the salt is right. */
async function rebuildHeader(file: StorageFile, known: { walId: WalId; number: number }): Promise<SegmentHeader | undefined> {
  const bytes = Buffer.alloc(SEGMENT_HEADER_BYTES + FRAME_HEADER_BYTES);
  if ((await readFully(file, bytes, 0)) < bytes.length) return undefined;
  const identity = { walId: known.walId, segmentNumber: known.number, salt: bytes.readUInt32LE(12) };
  const lengthMax = (await file.size()) - bytes.length;
  const first = decodeFrameHeader(bytes, SEGMENT_HEADER_BYTES, frameSeed(identity), lengthMax);
  if (first.status !== 'ok' || first.frame.type !== FRAME_ENTRY) return undefined;
  // Taken for recycled: then bytes behind the log are no damage.
  return { ...identity, version: FORMAT_VERSION, epoch: 1, base: first.frame.seq, recycled: true };
}

function judgeNothing(evidence: ReturnType<typeof evidenceOf>): Judgement {
  const vouchedSeq = Math.max(0, ...evidence.map(({ durableBelow }) => durableBelow - 1));
  const firstLsn = Math.min(...evidence.map(({ neededFrom }) => neededFrom));
  const range = { file: '(no segment)', firstLsn, lastLsn: vouchedSeq, reason: 'every segment is missing' };
  return { ranges: firstLsn <= vouchedSeq ? [range] : [], torn: undefined, vouchedSeq, overlap: undefined };
}

function problemsOf(checkpoints: readonly CheckpointReport[], walId: WalId | undefined, members: readonly Member[]): string[] {
  const problems: string[] = [];
  for (const { file, state, problem } of checkpoints) {
    if (problem !== undefined) problems.push(problem);
    else if (state !== undefined && state.walId !== walId) problems.push(`${file} belongs to wal ${state.walId}`);
  }
  const needed = checkpoints.some(({ state }) => state !== undefined && state.walId === walId && state.nextLsn > 1);
  if (members.length === 0 && needed) problems.push('there is no segment, but a checkpoint of one');
  for (const { name, headerRebuilt, misnamed } of members) {
    if (headerRebuilt) problems.push(`the header of ${name} is damaged, its entries can be read`);
    if (misnamed) problems.push(`${name} is a renamed segment`);
  }
  return problems;
}

/** Whether a start would refuse the directory. */
export const isDamaged = ({ ranges, overlap, strays, problems }: Survey): boolean =>
  ranges.length > 0 || overlap !== undefined || strays.length > 0 || problems.length > 0;
