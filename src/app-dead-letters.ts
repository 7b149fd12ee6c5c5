/** Composition of the dead letters: their log, the store on it, what feeds it, and the delivery of rows that are replayed. */
import { join } from 'node:path';
import { refit } from './adapters/rest/refit';
import type { Parking } from './adapters/row-rejections';
import type { ParkedCounts } from './app-ledger';
import type { Config } from './config';
import type { DeadLetterCopy } from './core/dead-letter';
import { type Lsn, lsn, type TableName, type WalId } from './core/ids';
import type { Sink } from './core/sink';
import type { TableSchema, Tier } from './core/table-schema';
import type { DeliveryState } from './core/wal';
import { Mirror } from './deadletter/mirror';
import { ParkedMover } from './deadletter/parked-mover';
import { ReplayLog } from './deadletter/replay-log';
import type { Route } from './deadletter/replay-rows';
import { LogDeadLetterStore } from './deadletter/store';
import type { LabelGuardOptions } from './ingest/label-guard';
import type { Logger, Telemetry } from './telemetry';
import { Delivery } from './tiering/delivery';
import type { DeliveryOptions } from './tiering/delivery-options';
import { FileDeliveryStateStore } from './wal/delivery-state';
import type { FileStorage } from './wal/file-storage';
import type { FileWal } from './wal/file-wal';

/** Folder of the log in the data directory. */
export const DEAD_LETTERS_FOLDER = 'dead-letters';
export const DEAD_LETTERS_SEGMENT_BYTES = 8 * 1024 * 1024;

/** Options that the delivery of the WAL and that of replays have in common. */
export type CommonDeliveryOptions = Omit<DeliveryOptions, 'wal' | 'sink' | 'states' | 'onAdvance'>;

export interface DeadLettersOptions {
  readonly config: Config;
  /** The log in `DEAD_LETTERS_FOLDER`, held open by the caller. */
  readonly log: FileWal;
  /** The log of requests, which holds parked rows. */
  readonly wal: FileWal;
  readonly route: Route;
  readonly storage: FileStorage;
  readonly schemaOf: (table: TableName) => TableSchema | undefined;
  /** The delivery of this WAL to the tier; undefined when it is not one of ours. */
  readonly deliveryOf: (walId: WalId, tier: Tier) => Delivery | undefined;
  readonly telemetry: Telemetry;
  readonly logger: Logger;
  readonly onFatal: (error: Error) => void;
  /** Told when more of the log of requests may be deleted. */
  readonly onRelease: () => void;
}

/** Which rows that do not fit a table become dead letters, as configured. */
export function parkingOf({ dead_letters: { tables }, labels: { policy } }: Config): (table: TableName) => Parking {
  const all = new Set(tables);
  const others: Parking = policy === 'dead_letter' ? 'labels' : 'columns';
  return (table) => (all.has('*') || all.has(table) ? 'all' : others);
}

/** What happens to abnormal labels, as configured. */
export function labelsOf({ labels }: Config, telemetry: Telemetry): LabelGuardOptions {
  const { policy, count_max: countMax, key_bytes_max: keyBytesMax, value_bytes_max: valueBytesMax } = labels;
  const onFound: LabelGuardOptions['onFound'] = (table, reason, rows) =>
    telemetry.abnormalLabels.inc({ table, reason, policy }, rows);
  return { policy, countMax, keyBytesMax, valueBytesMax, onFound };
}

export class DeadLetters {
  private replays: Delivery[] = [];
  private opened: LogDeadLetterStore | undefined;
  private parkedRows: ParkedMover | undefined;
  private mirror: Mirror | undefined;

  private constructor(private readonly options: DeadLettersOptions) {}

  static async open(options: DeadLettersOptions): Promise<DeadLetters> {
    const parts = new DeadLetters(options);
    const { log, wal, config, schemaOf, route, logger } = options;
    parts.opened = await LogDeadLetterStore.open({
      log,
      bytesMax: config.dead_letters.bytes_max,
      settled: (tier, { walId, table, lsn: at }) => parts.deliveryOf(walId, tier)?.isSettled(table, at) ?? true,
      schemaOf,
      route,
      refit,
      onReplayed: (batches) => {
        for (const replay of parts.replays) replay.backlog.add(batches);
      },
      replayedBelow: () => lsn(Math.min(log.stats().durableLsn + 1, ...parts.replays.map((replay) => replay.releasableLsn))),
      onChange: (group) => parts.mirror?.note(group),
      clock: Date.now,
      logger,
    });
    parts.parkedRows = await ParkedMover.open({ wal, store: parts.opened, onRelease: options.onRelease, logger });
    return parts;
  }

  /** Parked rows of requests on their way to the letters. */
  get mover(): ParkedMover {
    if (this.parkedRows === undefined) throw new Error('the dead letters are not open');
    return this.parkedRows;
  }

  /** Parked rows of the log of requests for the ledger. */
  parked(): ParkedCounts {
    const { store, mover } = this;
    return { totals: store.parkedProgress(this.options.wal.walId)?.totals ?? {}, pending: mover.pending };
  }

  /** Rows of a batch that are dead letters, or are to become some. */
  async ofBatch({ walId, lsn: at }: { readonly walId: WalId; readonly lsn: Lsn }): Promise<number> {
    const waiting = walId === this.options.wal.walId ? this.mover.rowsOf(at) : 0;
    return waiting > 0 ? waiting : this.store.lettersOf(walId, at);
  }

  /** What became of parked rows of the log of requests, in the form of a sink's checkpoint; undefined when there never were any. */
  get checkpoint(): DeliveryState | undefined {
    const progress = this.store.parkedProgress(this.options.wal.walId);
    if (progress === undefined) return undefined;
    const totals = Object.entries(progress.totals).map(([table, deadLetters]) => [table, { delivered: 0, deadLetters }]);
    return { nextLsn: progress.nextLsn, plan: undefined, totals: Object.fromEntries(totals) as DeliveryState['totals'] };
  }

  get store(): LogDeadLetterStore {
    if (this.opened === undefined) throw new Error('the dead letters are not open');
    return this.opened;
  }

  /** A write belongs to the WAL or to a replay; one of another log is never repeated. */
  private deliveryOf(walId: WalId, tier: Tier): Delivery | undefined {
    if (walId !== this.options.log.walId) return this.options.deliveryOf(walId, tier);
    return this.replays.find((replay) => replay.tier === tier);
  }

  /** Begins to deliver replayed rows; `common` are the options that every delivery has. */
  async startReplays(sinks: readonly Sink[], common: CommonDeliveryOptions): Promise<void> {
    const { log, storage, config, onFatal } = this.options;
    this.replays = sinks.map((sink) => {
      const directory = join(config.data_dir, DEAD_LETTERS_FOLDER);
      const onDamage = (text: string): void => this.options.logger.error(text);
      return new Delivery({
        ...common,
        wal: new ReplayLog(log),
        sink,
        states: new FileDeliveryStateStore({ directory, storage, walId: log.walId, onFatal, onDamage }),
        onAdvance: () => void this.store.release(),
      });
    });
    for (const replay of this.replays) await replay.start();
    this.mover.start();
  }

  /** Keeps a copy of the letters for SQL. */
  startCopy(copy: DeadLetterCopy): void {
    const { log, logger } = this.options;
    this.mirror = new Mirror({ store: this.store, logId: log.walId, copy, logger });
    this.mirror.start();
  }

  /** Stops at once: what is not delivered stays in the log. */
  async stop(): Promise<void> {
    await this.mover.stop();
    await Promise.all([this.mirror?.stop(), ...this.replays.map((replay) => replay.stop(1))]);
  }

  /** Replayed rows and bytes that a tier has not got yet. */
  pending(tier: Tier): { rows: number; bytes: number } {
    const replay = this.replays.find((delivery) => delivery.tier === tier);
    return { rows: replay?.backlog.rows ?? 0, bytes: replay?.backlog.bytes ?? 0 };
  }

  refreshGauges(): void {
    const { letters, sizeBytes } = this.store.stats();
    this.options.telemetry.deadLettersKept.set(letters);
    this.options.telemetry.deadLettersBytes.set(sizeBytes);
  }
}
