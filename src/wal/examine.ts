/**
 * What the segments of a directory hold and what is wrong with them (R7), for the start, for `wal inspect` and for `wal repair`.
 * Nothing is changed. What is known to be durable: the durable number in any frame, also in later ones, the base of a later
 * segment, a seal, and the checkpoints of the sinks.
 */
import * as path from 'node:path';
import type { CheckpointEvidence } from './delivery-state';
import type { DamagedRange } from './errors';
import { checksumWith, FRAME_HEADER_BYTES, SEAL_BYTES, SEGMENT_HEADER_BYTES, type Seal, type SegmentHeader } from './format';
import { Segment } from './segment';
import { readSeal, type ScanItem, scanSegment } from './segment-scan';
import type { Storage, StorageFile } from './storage';

/** Where the files are. */
export interface Place {
  readonly storage: Storage;
  readonly directory: string;
}

export type Damage = ScanItem & { kind: 'damage' };

/** One segment as it was found. */
export interface Scanned {
  readonly name: string;
  readonly segment: Segment;
  readonly seal: Seal | undefined;
  readonly damages: Damage[];
  /** Readable ones, also behind damage; for a trusted seal those it tells of. */
  readonly entries: number;
  /** Everything up to it was durable, says this segment. */
  readonly vouchedSeq: number;
  /** The last entry that is readable, also behind damage; `base - 1` when there is none. */
  readonly lastSeen: number;
  /** Where the last item ends that certainly belongs to this segment. */
  readonly usedEnd: number;
}

export interface FoundHeader {
  readonly name: string;
  readonly header: SegmentHeader;
}

/** Opens a file of the directory for reading. */
export async function withFile<T>(options: Place, name: string, use: (file: StorageFile) => Promise<T>): Promise<T> {
  const file = await options.storage.open(path.join(options.directory, name), 'read');
  try {
    return await use(file);
  } finally {
    await file.close();
  }
}

/** Reads one segment; `mayTrustSeal`: not its frames when its seal is whole. */
export async function scanFile(options: Place, found: FoundHeader, how: { mayTrustSeal: boolean }): Promise<Scanned> {
  return await withFile(options, found.name, async (file) => {
    const fileBytes = await file.size();
    const segment = new Segment({ header: found.header, path: path.join(options.directory, found.name), fileBytes });
    const base = found.header.base;
    if (how.mayTrustSeal) {
      const seal = await readSeal(file, fileBytes, segment.seed);
      if (seal !== undefined && seal.base === base) {
        segment.lastSeq = seal.lastSeq;
        segment.endOffset = fileBytes - SEAL_BYTES;
        segment.sealed = true;
        return {
          name: found.name,
          segment,
          seal,
          damages: [],
          entries: seal.entries,
          vouchedSeq: seal.lastSeq,
          lastSeen: seal.lastSeq,
          usedEnd: fileBytes,
        };
      }
    }
    return await scanItems(file, { name: found.name, segment, fileBytes });
  });
}

async function scanItems(file: StorageFile, what: { name: string; segment: Segment; fileBytes: number }): Promise<Scanned> {
  const { name, segment, fileBytes } = what;
  const { header } = segment;
  let seal: Seal | undefined;
  let vouchedSeq = segment.base - 1;
  let lastSeen = segment.base - 1;
  let entries = 0;
  let usedEnd = SEGMENT_HEADER_BYTES;
  const damages: Damage[] = [];
  for await (const item of scanSegment(file, { header, fileBytes, name })) {
    if (item.kind === 'seal') {
      seal = item.seal;
      segment.sealed = true;
      vouchedSeq = Math.max(vouchedSeq, seal.lastSeq);
    } else if (item.kind === 'damage') {
      damages.push(item);
      vouchedSeq = Math.max(vouchedSeq, item.durableSeq);
      if (item.lastSeq !== undefined || !header.recycled) usedEnd = item.endOffset;
    } else {
      usedEnd = item.offset + FRAME_HEADER_BYTES + item.frame.length;
      vouchedSeq = Math.max(vouchedSeq, item.frame.durableSeq);
      lastSeen = item.frame.seq;
      entries++;
      // Behind damage nothing is served, whichever way it is judged.
      if (damages.length > 0) continue;
      segment.index.add(item.frame.seq, item.offset);
      segment.checksum = checksumWith(segment.checksum, item.frame.headerCrc);
      segment.lastSeq = item.frame.seq;
      segment.endOffset = usedEnd;
    }
  }
  return { name, segment, seal, damages, entries, vouchedSeq, lastSeen, usedEnd };
}

export interface Judgement {
  /** Acknowledged entries that are damaged or missing. */
  readonly ranges: readonly DamagedRange[];
  /** The torn tail of the last segment: was never acknowledged. */
  readonly torn: Damage | undefined;
  /** The last entry that something vouches for. */
  readonly vouchedSeq: number;
  /** Segments that hold the same positions: of two histories. */
  readonly overlap: string | undefined;
}

/** Judges all damage of the segments, in their order. */
export function judge(scans: readonly Scanned[], checkpoints: readonly CheckpointEvidence[]): Judgement {
  const vouchedSeq = Math.max(
    ...scans.map((scan) => scan.vouchedSeq),
    ...checkpoints.map((checkpoint) => checkpoint.durableBelow - 1),
  );
  const ranges: DamagedRange[] = [];
  let torn: Damage | undefined;
  let overlap: string | undefined;
  for (const [index, scan] of scans.entries()) {
    const next = scans[index + 1];
    const limit = next === undefined ? vouchedSeq : next.segment.base - 1;
    for (const damage of scan.damages) {
      const lastLsn = Math.min(damage.lastSeq ?? limit, limit);
      if (damage.firstSeq <= lastLsn) {
        ranges.push({ file: scan.name, firstLsn: damage.firstSeq, lastLsn, reason: damage.reason });
      } else if (next === undefined) {
        torn ??= damage;
      }
    }
    if (next !== undefined && next.segment.base <= scan.lastSeen) {
      overlap ??= `${next.name} begins at lsn ${next.segment.base}, which ${scan.name} holds too: segments of two histories`;
    }
    ranges.push(...gapBehind(scan, { next, limit }));
  }
  const needed = scans.length === 0 ? undefined : missingStart(scans[0], checkpoints);
  if (needed !== undefined) ranges.unshift(needed);
  return { ranges, torn, vouchedSeq, overlap };
}

/** Each segment ends where the next one begins, the last one where the evidence ends. */
function gapBehind(scan: Scanned, { next, limit }: { next: Scanned | undefined; limit: number }): DamagedRange[] {
  const covered = Math.max(scan.lastSeen, ...scan.damages.map((damage) => damage.lastSeq ?? limit));
  if (covered < limit) {
    const reason = next === undefined ? 'the end of the log is missing' : 'missing before the next segment';
    return [{ file: scan.name, firstLsn: covered + 1, lastLsn: limit, reason }];
  }
  if (next === undefined && scan.seal?.reason === 'full') {
    return [{ file: scan.name, firstLsn: covered + 1, lastLsn: covered + 1, reason: 'the following segment is missing' }];
  }
  return [];
}

/** Segments missing at the start. Below every checkpoint that is how released segments look (R12). */
function missingStart(first: Scanned, checkpoints: readonly CheckpointEvidence[]): DamagedRange | undefined {
  const firstLsn = Math.min(...checkpoints.map((checkpoint) => checkpoint.neededFrom));
  if (firstLsn >= first.segment.base) return undefined;
  return { file: first.name, firstLsn, lastLsn: first.segment.base - 1, reason: 'segment missing above a checkpoint' };
}
