import * as path from 'node:path';
import { WalVersionError } from './errors';
import { type Seal, type SegmentHeader, segmentNumberOf } from './format';
import { readSegmentHeader, type ScanItem, scanSegment } from './segment-scan';
import type { Storage, StorageFile } from './storage';

/** One segment file as it lies there. `unknown_version`: another release wrote it. */
export interface SegmentReport {
  readonly file: string;
  readonly sizeBytes: number;
  readonly status: 'sealed' | 'open' | 'damaged' | 'unknown_version';
  readonly header: SegmentHeader | undefined;
  readonly seal: Seal | undefined;
  readonly entries: number;
  /** First and last readable entry; 0 when there is none. */
  readonly firstLsn: number;
  readonly lastLsn: number;
  /** Stretches that cannot be read. In an open segment a torn tail, or the stale bytes of a recycled file, is one of them. */
  readonly damages: readonly (ScanItem & { kind: 'damage' })[];
}

/**
 * Reports every segment of a directory in order, and each of its items to `onItem` on the way. Changes nothing, takes no lock and
 * needs no memory for the size of the log; of a log that is being written the last segment may look torn.
 */
export async function* inspectSegments(
  storage: Storage,
  directory: string,
  onItem?: (file: string, item: ScanItem) => void,
): AsyncGenerator<SegmentReport> {
  const names = (await storage.list(directory)).filter((name) => segmentNumberOf(name) !== undefined).sort();
  for (const name of names) {
    const file = await storage.open(path.join(directory, name), 'read');
    try {
      yield await inspectSegment(file, name, onItem);
    } finally {
      await file.close();
    }
  }
}

async function inspectSegment(
  file: StorageFile,
  name: string,
  onItem: ((file: string, item: ScanItem) => void) | undefined,
): Promise<SegmentReport> {
  const sizeBytes = await file.size();
  const nothing = { file: name, sizeBytes, header: undefined, seal: undefined, entries: 0, firstLsn: 0, lastLsn: 0, damages: [] };
  const result = await readSegmentHeader(file);
  if (result.status !== 'ok') return { ...nothing, status: result.status };
  const { header } = result;
  const damages: (ScanItem & { kind: 'damage' })[] = [];
  let seal: Seal | undefined;
  let entries = 0;
  let firstLsn = 0;
  let lastLsn = 0;
  try {
    for await (const item of scanSegment(file, { header, fileBytes: sizeBytes, name })) {
      onItem?.(name, item);
      if (item.kind === 'damage') damages.push(item);
      else if (item.kind === 'seal') seal = item.seal;
      else {
        entries++;
        firstLsn ||= item.frame.seq;
        lastLsn = item.frame.seq;
      }
    }
  } catch (error) {
    if (!(error instanceof WalVersionError)) throw error;
    return { ...nothing, status: 'unknown_version', header };
  }
  const isDamaged = damages.some((damage) => damage.lastSeq !== undefined);
  const status = isDamaged ? 'damaged' : seal === undefined ? 'open' : 'sealed';
  return { file: name, sizeBytes, status, header, seal, entries, firstLsn, lastLsn, damages };
}
