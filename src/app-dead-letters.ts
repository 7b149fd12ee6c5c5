/** Composition of the dead letters: their log, the store on it, and the delivery of rows that are replayed. */
import { join } from 'node:path';
import type { Config } from './config';
import { type Lsn, lsn, type TableName, type WalId } from './core/ids';
import type { Sink } from './core/sink';
import type { TableSchema, Tier } from './core/table-schema';
import { ReplayLog } from './deadletter/replay-log';
import { LogDeadLetterStore } from './deadletter/store';
import type { Logger, Telemetry } from './telemetry';
import { Delivery, type DeliveryOptions } from './tiering/delivery';
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
  readonly storage: FileStorage;
  readonly schemaOf: (table: TableName) => TableSchema | undefined;
  /** First entry of the WAL that the sink of the tier may still ask for. */
  readonly releasable: (walId: WalId, tier: Tier) => Lsn | undefined;
  readonly telemetry: Telemetry;
  readonly logger: Logger;
  readonly onFatal: (error: Error) => void;
}

export class DeadLetters {
  private replays: Delivery[] = [];

  private opened: LogDeadLetterStore | undefined;

  private constructor(private readonly options: DeadLettersOptions) {}

  static async open(options: DeadLettersOptions): Promise<DeadLetters> {
    const parts = new DeadLetters(options);
    const { log, config, schemaOf, logger } = options;
    parts.opened = await LogDeadLetterStore.open({
      log,
      bytesMax: config.dead_letters.bytes_max,
      settled: (tier, { walId, lsn: at }) => (parts.releasable(walId, tier) ?? Number.POSITIVE_INFINITY) > at,
      schemaOf,
      onReplayed: (batches) => {
        for (const replay of parts.replays) replay.backlog.add(batches);
      },
      replayedBelow: () => lsn(Math.min(log.stats().durableLsn + 1, ...parts.replays.map((replay) => replay.releasableLsn))),
      clock: Date.now,
      logger,
    });
    return parts;
  }

  get store(): LogDeadLetterStore {
    if (this.opened === undefined) throw new Error('the dead letters are not open');
    return this.opened;
  }

  /** A write belongs to the WAL or to a replay; one of another log is never repeated. */
  private releasable(walId: WalId, tier: Tier): Lsn | undefined {
    if (walId !== this.options.log.walId) return this.options.releasable(walId, tier);
    return this.replays.find((replay) => replay.tier === tier)?.releasableLsn;
  }

  /** Begins to deliver replayed rows; `common` are the options that every delivery has. */
  async startReplays(sinks: readonly Sink[], common: CommonDeliveryOptions): Promise<void> {
    const { log, storage, config, onFatal } = this.options;
    this.replays = sinks.map((sink) => {
      const directory = join(config.data_dir, DEAD_LETTERS_FOLDER);
      return new Delivery({
        ...common,
        wal: new ReplayLog(log),
        sink,
        states: new FileDeliveryStateStore({ directory, storage, walId: log.walId, onFatal }),
        onAdvance: () => void this.store.release(),
      });
    });
    for (const replay of this.replays) await replay.start();
  }

  /** Stops at once: what is not delivered stays in the log. */
  async stop(): Promise<void> {
    await Promise.all(this.replays.map((replay) => replay.stop(1)));
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
