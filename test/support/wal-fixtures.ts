import type { TableName } from '../../src/core/ids';
import { type Lsn, lsn } from '../../src/core/ids';
import type { Wal, WalBatch, WalEntry } from '../../src/core/wal';
import { FileWal, type FileWalOptions } from '../../src/wal/file-wal';
import type { Storage } from '../../src/wal/storage';

/** A batch whose bytes depend on `seed`, so that any mix-up of entries shows. */
export function walBatch(seed: number, sizeBytes: number, pieces = 1): WalBatch {
  const bytes = Buffer.alloc(sizeBytes);
  for (let at = 0; at < sizeBytes; at++) bytes[at] = (seed * 31 + at * 7 + (at >> 8)) & 0xff;
  const step = Math.max(1, Math.ceil(sizeBytes / pieces));
  const ipc: Uint8Array[] = [];
  for (let at = 0; at < sizeBytes; at += step) ipc.push(bytes.subarray(at, at + step));
  const tiers = seed % 3 === 0 ? (['hot'] as const) : seed % 3 === 1 ? (['cold'] as const) : (['hot', 'cold'] as const);
  return { table: `table_${seed % 5}` as TableName, schemaVersion: 1 + (seed % 7), tiers: [...tiers], rows: seed, ipc };
}

/** Everything of a batch that must come back, as a text to compare. */
export function fingerprint(batches: readonly WalBatch[]): string {
  return batches
    .map((batch) => {
      const ipc = Buffer.concat(batch.ipc).toString('base64');
      return `${batch.table}|${batch.schemaVersion}|${batch.tiers.join('+')}|${batch.rows}|${ipc}`;
    })
    .join('\n');
}

/** All entries from `from` on, read in answers of about `bytesMax`. */
export async function readAll(wal: Wal, from: Lsn = wal.stats().firstLsn, bytesMax = 4096): Promise<WalEntry[]> {
  const entries: WalEntry[] = [];
  for (let at = from; ; ) {
    const part = await wal.read(at, bytesMax);
    if (part.length === 0) return entries;
    entries.push(...part);
    at = lsn(at + part.length);
  }
}

/** Opens a small WAL for a test; any fatal error fails the test unless it is expected. */
export function openWal(storage: Storage, directory: string, options: Partial<FileWalOptions> = {}): Promise<FileWal> {
  return FileWal.open({
    storage,
    directory,
    segmentBytes: 4096,
    frameBytesMax: 64 * 1024,
    clock: () => 1_700_000_000_000,
    onFatal: (error) => {
      throw error;
    },
    ...options,
  });
}
