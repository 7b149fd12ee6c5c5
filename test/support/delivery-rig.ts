import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { RecordBatch } from 'apache-arrow';
import { refit } from '../../src/adapters/rest/refit';
import { encodeIpc } from '../../src/columnar/ipc';
import type { DeadLetterParking, DeadLetterSelection } from '../../src/core/dead-letter';
import { lsn } from '../../src/core/ids';
import type { Sink } from '../../src/core/sink';
import type { TableSchema, Tier } from '../../src/core/table-schema';
import type { WalBatch } from '../../src/core/wal';
import { ReplayLog } from '../../src/deadletter/replay-log';
import { LogDeadLetterStore } from '../../src/deadletter/store';
import { silentLogger, Telemetry } from '../../src/telemetry';
import { Delivery } from '../../src/tiering/delivery';
import { FileDeliveryStateStore } from '../../src/wal/delivery-state';
import { FileStorage } from '../../src/wal/file-storage';
import { FileWal } from '../../src/wal/file-wal';

export interface RigOptions {
  readonly schemas: TableSchema[];
  readonly makeSink: () => Sink;
  /** Stands between delivery and the dead letters. */
  readonly wrap?: (parking: DeadLetterParking) => DeadLetterParking;
  readonly rowsMax?: number;
}

/** WAL, delivery, dead letters and replays in front of one sink, as app.ts puts them together; stops and starts on the same files. */
export class DeliveryRig {
  readonly telemetry = new Telemetry();
  private sink!: Sink;
  private log!: FileWal;
  private replays!: Delivery;
  wal!: FileWal;
  delivery!: Delivery;
  store!: LogDeadLetterStore;

  private constructor(
    private readonly directory: string,
    readonly options: RigOptions,
  ) {}

  static async start(options: RigOptions): Promise<DeliveryRig> {
    const rig = new DeliveryRig(await mkdtemp(join(tmpdir(), 'thermocline-rig-')), options);
    await rig.open();
    return rig;
  }

  async open(): Promise<void> {
    const { options } = this;
    this.sink = options.makeSink();
    this.wal = await this.openLog('wal');
    this.log = await this.openLog('dead-letters');
    const { wal, log, sink } = this;
    this.store = await LogDeadLetterStore.open({
      log,
      bytesMax: 64 * 1024 * 1024,
      settled: (_tier, id) => (id.walId === log.walId ? this.replays : this.delivery).isSettled(id.table, id.lsn),
      schemaOf: (table) => options.schemas.find((schema) => schema.table === table),
      route: (batch) => [{ ...batch, tiers: ['hot'] }],
      refit,
      onReplayed: (batches) => this.replays.backlog.add(batches),
      replayedBelow: () => this.replays.releasableLsn,
      clock: Date.now,
      logger: silentLogger(),
    });
    const make = (folder: string, source: FileWal, from: FileWal | ReplayLog): Delivery =>
      new Delivery({
        wal: from,
        sink,
        states: new FileDeliveryStateStore({
          directory: join(this.directory, folder),
          storage: new FileStorage(),
          walId: source.walId,
        }),
        deadLetters: options.wrap?.(this.store) ?? this.store,
        schemaOf: (table) => options.schemas.find((schema) => schema.table === table),
        tables: () => options.schemas,
        rowsMax: options.rowsMax ?? 100_000,
        bytesMax: 64 * 1024 * 1024,
        intervalMs: 20,
        heldPauseMaxMs: 300,
        telemetry: this.telemetry,
        logger: silentLogger(),
        onAdvance: () => undefined,
      });
    this.delivery = make('wal', wal, wal);
    this.replays = make('dead-letters', log, new ReplayLog(log));
    await this.delivery.start();
    await this.replays.start();
  }

  private openLog(folder: string): Promise<FileWal> {
    return FileWal.open({
      directory: join(this.directory, folder),
      segmentBytes: 8 * 1024 * 1024,
      frameBytesMax: 64 * 1024 * 1024,
      storage: new FileStorage(),
      clock: Date.now,
      onFatal: (error) => {
        throw error;
      },
    });
  }

  async append(schema: TableSchema, batch: RecordBatch): Promise<void> {
    const { table, version, tier } = schema;
    const stored: WalBatch = { table, schemaVersion: version, tiers: [tier], rows: batch.numRows, ipc: [encodeIpc(batch)] };
    await this.wal.append([stored]);
    this.delivery.backlog.add([stored]);
  }

  /** Resolves when all rows and all replays are delivered or parked. */
  async drained(timeoutMs = 60_000): Promise<void> {
    await this.delivery.delivered(this.wal.stats().durableLsn, AbortSignal.timeout(timeoutMs));
    await this.replays.delivered(lsn(this.log.stats().durableLsn), AbortSignal.timeout(timeoutMs));
  }

  /** Replays until no letter of the selection waits for its own write to be finished; gives the number of letters. */
  async replay(selection: DeadLetterSelection, tiers?: readonly Tier[]): Promise<number> {
    for (let done = 0; ; await new Promise((resolve) => setTimeout(resolve, 10))) {
      const outcome = await this.store.replay(selection, tiers);
      done += outcome.done;
      if (!outcome.kept.some(({ reason }) => reason.includes('not finished'))) return done;
    }
  }

  /** Stops as a process that is told to end at once: what is under way is repeated after `open`. */
  async halt(): Promise<void> {
    await Promise.all([this.delivery.stop(1), this.replays.stop(1)]);
    await this.wal.close();
    await this.log.close();
    await this.sink.stop();
  }

  async restart(): Promise<void> {
    await this.halt();
    await this.open();
  }

  async stop(): Promise<void> {
    await this.halt();
    await rm(this.directory, { recursive: true, force: true });
  }
}
