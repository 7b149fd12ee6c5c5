/** Idempotency keys on disk: batches of keys in a WAL of their own, the oldest released when they are past the window. */

import { int64Builder } from '../columnar/builders';
import { binaryBuilder, utf8Builder } from '../columnar/bytes-builder';
import { decodeIpc, encodeIpc, joinPieces } from '../columnar/ipc';
import { columnData, recordBatch } from '../columnar/record-batch';
import { type Lsn, lsn, type TableName } from '../core/ids';
import type { Wal } from '../core/wal';

export interface StoredKey {
  readonly key: string;
  readonly digest: Buffer;
  /** Of the request's entry in the log of requests. */
  readonly lsn: Lsn;
  readonly atMs: number;
}

const TABLE = '_idempotency_keys' as TableName;
const READ_BYTES = 4 * 1024 * 1024;

export class KeyLog {
  /** Position and age of each entry, oldest first. */
  private readonly entries: { at: Lsn; newestMs: number }[] = [];

  constructor(private readonly wal: Wal) {}

  async *read(): AsyncGenerator<StoredKey> {
    const { firstLsn, durableLsn } = this.wal.stats();
    for (let at = firstLsn; at <= durableLsn; ) {
      const entries = await this.wal.read(at, READ_BYTES);
      if (entries.length === 0) return;
      for (const entry of entries) {
        this.entries.push({ at: entry.lsn, newestMs: entry.appendedAtMs });
        for (const batch of entry.batches) yield* decodeKeys(joinPieces(batch.ipc));
      }
      at = lsn(entries.at(-1)!.lsn + 1);
    }
  }

  async append(keys: readonly StoredKey[]): Promise<void> {
    const ipc = encodeKeys(keys);
    const at = await this.wal.append([{ table: TABLE, schemaVersion: 1, tiers: ['hot'], rows: keys.length, ipc: [ipc] }]);
    this.entries.push({ at, newestMs: keys.reduce((newest, key) => Math.max(newest, key.atMs), 0) });
  }

  async releaseBefore(sinceMs: number): Promise<void> {
    const old = this.entries.findIndex(({ newestMs }) => newestMs >= sinceMs);
    const [last] = this.entries.splice(0, Math.max(old, 0)).slice(-1);
    if (last !== undefined) await this.wal.release(lsn(last.at + 1));
  }
}

function encodeKeys(keys: readonly StoredKey[]): Uint8Array {
  const key = utf8Builder(keys.length);
  const digest = binaryBuilder(keys.length);
  const at = int64Builder(keys.length);
  const time = int64Builder(keys.length);
  for (const stored of keys) {
    key.appendString(stored.key);
    digest.append(stored.digest, 0, stored.digest.length);
    at.appendBigInt(BigInt(stored.lsn));
    time.appendBigInt(BigInt(Math.floor(stored.atMs)));
  }
  const columns = { key, digest, lsn: at, at_ms: time };
  return encodeIpc(recordBatch(Object.entries(columns).map(([name, builder]) => ({ name, data: builder.finish() }))));
}

function* decodeKeys(ipc: Uint8Array): Generator<StoredKey> {
  const batch = decodeIpc(ipc);
  const [key, digest, at, time] = ['key', 'digest', 'lsn', 'at_ms'].map((name) => columnData(batch, name)!);
  const slice = (data: typeof key, row: number): Buffer =>
    Buffer.from((data.values as Uint8Array).slice(data.valueOffsets[row], data.valueOffsets[row + 1]));
  for (let row = 0; row < batch.numRows; row++) {
    yield {
      key: slice(key, row).toString('utf8'),
      digest: slice(digest, row),
      lsn: lsn(Number((at.values as BigInt64Array)[row])),
      atMs: Number((time.values as BigInt64Array)[row]),
    };
  }
}
