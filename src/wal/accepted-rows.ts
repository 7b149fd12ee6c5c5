/**
 * Rows accepted since a server began to count them, by tier (`none`: parked rows) and table: `accepted.state` in the WAL directory, two lines of text,
 * format version 1.
 *
 *   thermocline-accepted 1 <crc-32 of the second line, 8 hex digits>
 *   {"walId":"...","nextLsn":1,"tiers":{"hot":{"sinceMs":0,"rows":{"<table>":1}}}}
 *
 * Counted from the entries alone, so that it can be held against what the sinks say they have done. The file counts the entries
 * before `nextLsn` and is replaced as a whole (R12); entries from there on stay in the WAL (`releasableLsn`) and are counted again
 * at start: the counts are exact after any crash. Not guaranteed: counts across a lost or damaged file, or a checkpoint of a sink
 * that is gone; then the tier begins anew at its cursor with what the checkpoint vouches for, and `sinceMs` says when.
 */
import * as path from 'node:path';
import { crc32 } from 'node:zlib';
import { parkedTable } from '../columnar/parked-ipc';
import { neededFrom, pendingFrom } from '../core/delivery-state';
import { type Lsn, lsn, type TableName, type WalId } from '../core/ids';
import type { AcceptedCounts, CountedTier, DeliveryState, Wal, WalBatch } from '../core/wal';
import type { Logger } from '../telemetry';
import { isNotFound, SyncFailedError } from './errors';
import { readFully, replaceFile } from './io';
import type { Storage } from './storage';

const FILE = 'accepted.state';
const VERSION = 1;
const READ_BYTES = 4 * 1024 * 1024;
const SAVE_INTERVAL_MS = 2_000;

interface TierCount {
  readonly sinceMs: number;
  readonly rows: Map<string, number>;
}

interface Stored {
  readonly walId: WalId;
  readonly nextLsn: Lsn;
  readonly tiers: Map<CountedTier, TierCount>;
}

export interface AcceptedRowsOptions {
  readonly directory: string;
  readonly storage: Storage;
  readonly wal: Wal;
  /**
   * Checkpoints as they were loaded, for each tier that is counted: of its sink, or of the parked rows; undefined where there is none
   * yet.
   */
  readonly checkpoints: ReadonlyMap<CountedTier, DeliveryState | undefined>;
  readonly clock: () => number;
  readonly logger: Logger;
  /** Called when a sync fails (R8): the process must stop. */
  readonly onFatal: (error: Error) => void;
  /** Told when `releasableLsn` has moved. */
  readonly onRelease: () => void;
}

export class AcceptedRows implements AcceptedCounts {
  private readonly tiers = new Map<CountedTier, TierCount>();
  private nextLsn = lsn(1);
  private savedLsn = lsn(1);
  /** Entries before `nextLsn` of which nobody told. */
  private readonly missed = new Set<Lsn>();
  private queue: Promise<void> = Promise.resolve();
  private timer: NodeJS.Timeout | undefined;

  private constructor(private readonly options: AcceptedRowsOptions) {}

  /** Counts what the file does not cover. Call it while neither appends nor deliveries go on. */
  static async open(options: AcceptedRowsOptions): Promise<AcceptedRows> {
    const accepted = new AcceptedRows(options);
    await accepted.load();
    await accepted.save();
    accepted.timer = setInterval(() => {
      accepted.save().catch((error: unknown) => options.logger.error({ err: error }, 'cannot save the count of accepted rows'));
    }, SAVE_INTERVAL_MS);
    accepted.timer.unref();
    return accepted;
  }

  of(tier: CountedTier): TierCount | undefined {
    return this.tiers.get(tier);
  }

  /** The first entry that a restart must count: what is before it can be deleted. */
  get releasableLsn(): Lsn {
    return this.savedLsn;
  }

  /** Told of every durable entry. */
  add(at: Lsn, batches: readonly WalBatch[]): void {
    if (at < this.nextLsn && !this.missed.delete(at)) return;
    for (; this.nextLsn < at; this.nextLsn++) this.missed.add(this.nextLsn);
    this.nextLsn = lsn(Math.max(this.nextLsn, at + 1));
    for (const [tier, { rows }] of this.tiers) addRows(rows, tier, batches);
  }

  async close(): Promise<void> {
    clearInterval(this.timer);
    await this.save();
  }

  /** Resolves when the counts are on stable storage. One at a time; nothing is written when nothing is new. */
  private save(): Promise<void> {
    const turn = this.queue.then(() => this.saveNow());
    this.queue = turn.catch(() => undefined);
    return turn;
  }

  private async saveNow(): Promise<void> {
    const { directory, storage, wal, onFatal, onRelease } = this.options;
    for (const at of this.missed) {
      const [entry] = await wal.read(at, 1);
      if (entry?.lsn === at) this.add(at, entry.batches);
    }
    if (this.nextLsn === this.savedLsn) return;
    const { nextLsn } = this;
    const bytes = encode({ walId: wal.walId, nextLsn, tiers: this.tiers });
    try {
      await replaceFile(storage, path.join(directory, FILE), bytes);
    } catch (error) {
      if (error instanceof SyncFailedError) onFatal(error);
      throw error;
    }
    this.savedLsn = nextLsn;
    onRelease();
  }

  private async load(): Promise<void> {
    const { wal, checkpoints, clock, logger } = this.options;
    const { firstLsn, durableLsn } = wal.stats();
    const stored = await this.read();
    const usable = stored !== undefined && stored.nextLsn >= firstLsn && stored.nextLsn <= durableLsn + 1;
    /** By tier, from where on rows of a table are to be counted, and the least of it. */
    const from = new Map<CountedTier, { first: Lsn; of: (table: TableName) => Lsn }>();
    for (const [tier, checkpoint] of checkpoints) {
      const known = stored?.tiers.get(tier);
      if (usable && known !== undefined && checkpoint?.totals !== undefined) {
        this.tiers.set(tier, known);
        from.set(tier, { first: stored.nextLsn, of: () => stored.nextLsn });
        continue;
      }
      if (checkpoint !== undefined) logger.warn({ tier }, 'the count of accepted rows begins anew');
      const vouched = Object.entries(checkpoint?.totals ?? {}).map(([table, each]): [string, number] => [
        table,
        each.delivered + each.deadLetters + (each.diverted ?? 0),
      ]);
      this.tiers.set(tier, { sinceMs: clock(), rows: new Map(vouched) });
      if (checkpoint === undefined) from.set(tier, { first: firstLsn, of: () => firstLsn });
      else from.set(tier, { first: neededFrom(checkpoint), of: (table) => pendingFrom(checkpoint, table) });
    }
    const first = lsn(Math.min(durableLsn + 1, ...[...from.values()].map((start) => start.first)));
    for (let at = first; at <= durableLsn; ) {
      const entries = await wal.read(at, READ_BYTES);
      if (entries.length === 0) break;
      for (const { lsn: position, batches } of entries) {
        for (const [tier, { rows }] of this.tiers) {
          const uncounted = batches.filter(({ table }) => position >= from.get(tier)!.of(table));
          addRows(rows, tier, uncounted);
        }
      }
      at = lsn(entries.at(-1)!.lsn + 1);
    }
    this.nextLsn = lsn(durableLsn + 1);
    // Also without new entries: a tier that has begun anew must be found again.
    this.savedLsn = lsn(0);
  }

  /** The file, or undefined when there is none that belongs to this WAL. */
  private async read(): Promise<Stored | undefined> {
    const { directory, storage, wal, logger } = this.options;
    const file = path.join(directory, FILE);
    let text: string;
    try {
      const handle = await storage.open(file, 'read');
      try {
        const bytes = Buffer.alloc(await handle.size());
        text = bytes.toString('utf8', 0, await readFully(handle, bytes, 0));
      } finally {
        await handle.close();
      }
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
    const stored = decode(text);
    if (stored?.walId === wal.walId) return stored;
    logger.error({ file }, 'the count of accepted rows is damaged or of another wal');
    return undefined;
  }
}

function addRows(rows: Map<string, number>, tier: CountedTier, batches: readonly WalBatch[]): void {
  for (const batch of batches) {
    const table = tier === 'none' ? parkedTable(batch) : batch.tiers.includes(tier) ? batch.table : undefined;
    if (table !== undefined) rows.set(table, (rows.get(table) ?? 0) + batch.rows);
  }
}

function encode({ walId, nextLsn, tiers }: Stored): Buffer {
  const counts = [...tiers].map(([tier, { sinceMs, rows }]) => [tier, { sinceMs, rows: Object.fromEntries(rows) }]);
  const body = JSON.stringify({ walId, nextLsn, tiers: Object.fromEntries(counts) });
  const crc = crc32(body).toString(16).padStart(8, '0');
  return Buffer.from(`thermocline-accepted ${VERSION} ${crc}\n${body}\n`);
}

/** Undefined for a text that is damaged or of another version: what it says is only a count. */
function decode(text: string): Stored | undefined {
  const [, version, crc, body] = /^thermocline-accepted (\d+) ([0-9a-f]{8})\n(.*)\n$/.exec(text) ?? [];
  if (body === undefined || Number(version) !== VERSION || crc32(body) !== Number.parseInt(crc, 16)) return undefined;
  const { walId, nextLsn, tiers } = JSON.parse(body) as {
    walId: WalId;
    nextLsn: Lsn;
    tiers: Partial<Record<CountedTier, { sinceMs: number; rows: Record<string, number> }>>;
  };
  const counts = Object.entries(tiers).map(([tier, { sinceMs, rows }]): [CountedTier, TierCount] => [
    tier as CountedTier,
    { sinceMs, rows: new Map(Object.entries(rows)) },
  ]);
  return { walId, nextLsn, tiers: new Map(counts) };
}
