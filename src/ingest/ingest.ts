import { setTimeout as sleep } from 'node:timers/promises';
import { encodeIpc } from '../columnar/ipc';
import { encodeParked, parkedTable } from '../columnar/parked-ipc';
import { parkedRowsOf, type TableBatch, type UnfitReason, type UnfitRows } from '../core/batch';
import type { ParkingRoom } from '../core/dead-letter';
import { IngestError } from '../core/errors';
import { batchId, type Lsn, lsn } from '../core/ids';
import type { AckProgress, Admission, Ingest, RoutedBatch, WriteReceipt, WriteRequest } from '../core/ingest';
import { LIMITS } from '../core/limits';
import type { Tier } from '../core/table-schema';
import type { Wal, WalBatch } from '../core/wal';
import type { Telemetry } from '../telemetry';
import { AdmissionBudget, type RefusalReason } from './admission';
import type { BackPressure } from './back-pressure';
import type { IdempotencyKeys } from './idempotency';
import { guardLabels, type LabelGuardOptions } from './label-guard';

export interface WalIngestOptions {
  readonly wal: Wal;
  /** The rows of a batch by the tiers that they go to when they arrive; each row once. */
  readonly route: (batch: TableBatch) => readonly RoutedBatch[];
  readonly progress: AckProgress;
  /** Told of every durable entry, so that delivery knows its backlog. */
  readonly onDurable: (at: Lsn, batches: readonly WalBatch[]) => void;
  readonly labels: LabelGuardOptions;
  /** For rows that become dead letters. */
  readonly parking: ParkingRoom;
  readonly inFlightBytesMax: number;
  readonly backPressure: BackPressure;
  readonly idempotency: IdempotencyKeys;
  readonly telemetry: Telemetry;
}

interface RoutedRequest extends WriteRequest {
  readonly batches: readonly RoutedBatch[];
  readonly parked: readonly UnfitRows[];
}

/** A rule sends these rows to no tier. */
const isUnroutable = ({ tiers }: RoutedBatch): boolean => tiers.length === 0;

function unroutable({ table, schemaVersion, batch }: RoutedBatch): UnfitRows {
  const reason: UnfitReason = {
    stage: 'schema',
    code: 'unroutable',
    message: 'a routing rule sends the row to the dead letters',
  };
  return { table, schemaVersion, batch, reasons: Array.from({ length: batch.numRows }, () => reason), jsonColumns: [] };
}

/** The way from record batches to the WAL: route, encode, append, and acknowledge when the wished level holds. */
export class WalIngest implements Ingest {
  private readonly budget: AdmissionBudget;

  constructor(private readonly options: WalIngestOptions) {
    this.budget = new AdmissionBudget({
      bytesMax: options.inFlightBytesMax,
      onChange: (bytes) => options.telemetry.inFlightBytes.set(bytes),
      onRefused: (reason) => this.countRefused(reason),
    });
  }

  /** Why requests are refused now; undefined while they are let in. */
  get notAccepting(): string | undefined {
    return this.budget.refused ?? this.options.backPressure.refusal()?.message;
  }

  /** From now on clients are told to come back later, with this reason. */
  refuse(reason: string): void {
    this.budget.refuse(reason);
  }

  admit(bytes: number, client = ''): Admission {
    const { backPressure } = this.options;
    const refusal = this.budget.refused === undefined ? backPressure.refusal() : undefined;
    if (refusal !== undefined) {
      this.countRefused(backPressure.pressure.cause);
      throw refusal;
    }
    return this.budget.admit(bytes, client);
  }

  async write(received: WriteRequest): Promise<WriteReceipt> {
    const { wal, idempotency, labels } = this.options;
    const guarded = guardLabels(received.batches, labels);
    const routed = guarded.batches.flatMap(this.options.route);
    const lost = routed.filter(isUnroutable);
    const parked = lost.length === 0 ? guarded.parked : [...guarded.parked, ...lost.map(unroutable)];
    const batches = lost.length === 0 ? routed : routed.filter((batch) => !isUnroutable(batch));
    const request: RoutedRequest = { ...received, batches, parked: [...(received.parked ?? []), ...parked] };
    if (batches.length === 0 && request.parked.length === 0) return { batch: batchId(wal.walId, lsn(0)), lsn: lsn(0) };
    const at =
      request.idempotency === undefined
        ? await this.append(request)
        : await idempotency.once(request.idempotency, (note) => this.append(request, note));
    const [refused] = await Promise.all([this.acknowledge(request, at), this.slowDown()]);
    const parkedRows = parkedRowsOf({ parked }) + refused;
    return { batch: batchId(wal.walId, at), lsn: at, ...(parkedRows === 0 ? {} : { parkedRows }) };
  }

  /** Over the soft mark of the log clients wait for their answers; what they sent is durable already. */
  private async slowDown(): Promise<void> {
    const { backPressure, telemetry } = this.options;
    const { delayMs } = backPressure;
    if (delayMs < 1) return;
    telemetry.delayedRequests.inc();
    await sleep(delayMs);
  }

  private countRefused(reason: RefusalReason): void {
    this.options.telemetry.refusedRequests.inc({ reason });
  }

  private async append(request: RoutedRequest, note?: Uint8Array): Promise<Lsn> {
    const { parked } = request;
    const batches = [...request.batches.map(toWal), ...parked.map(encodeParked)];
    if (parked.length === 0) return this.appendBatches(request, batches, note);
    const bytes = batches.reduce((sum, batch) => sum + (batch.tiers.length === 0 ? bytesOf(batch) : 0), 0);
    const room = this.options.parking.reserve(bytes);
    try {
      const at = await this.appendBatches(request, batches, note);
      this.countParked(parked);
      return at;
    } finally {
      room.release();
    }
  }

  private async appendBatches(request: WriteRequest, batches: readonly WalBatch[], note?: Uint8Array): Promise<Lsn> {
    const { wal, telemetry } = this.options;
    const at = await wal.append(batches, note);
    this.options.onDurable(at, batches);
    for (const batch of batches) {
      const labels = { table: parkedTable(batch) ?? batch.table, protocol: request.protocol };
      telemetry.acceptedRows.inc(labels, batch.rows);
      telemetry.acceptedBytes.inc(labels, bytesOf(batch));
    }
    return at;
  }

  private countParked(parked: readonly UnfitRows[]): void {
    const { deadLetters } = this.options.telemetry;
    for (const { table, reasons } of parked) {
      for (const { code } of reasons) deadLetters.inc({ table, tier: 'none', code });
    }
  }

  /** Resolves when the ack level holds, with the number of rows that became dead letters instead of being in the stores. */
  private async acknowledge(request: WriteRequest, at: Lsn): Promise<number> {
    if (request.ack === 'wal') return 0;
    const tiers: readonly Tier[] = request.ack === 'all' ? ['hot', 'cold'] : [request.ack];
    const signal = AbortSignal.timeout(LIMITS.ackTimeoutMs);
    try {
      const tables = request.batches.map(({ table }) => table);
      await Promise.all(tiers.map((tier) => this.options.progress.delivered(tier, at, signal, tables)));
      const letters = await this.options.progress.deadLetters(at, tiers);
      // A row that both stores refuse is one row.
      return Math.min(
        letters,
        request.batches.reduce((sum, { batch }) => sum + batch.numRows, 0),
      );
    } catch (error) {
      const text = `the rows are durable but not yet in ${request.ack === 'all' ? 'both stores' : `the ${request.ack} store`}`;
      throw new IngestError('deadline_exceeded', text, { cause: error });
    }
  }
}

const toWal = ({ table, schemaVersion, tiers, batch }: RoutedBatch): WalBatch => ({
  table,
  schemaVersion,
  tiers,
  rows: batch.numRows,
  ipc: [encodeIpc(batch)],
});

const bytesOf = (batch: WalBatch): number => batch.ipc.reduce((sum, piece) => sum + piece.byteLength, 0);
