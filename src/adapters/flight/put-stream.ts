/**
 * The receiving side of DoPut and DoExchange (rules FL1-FL9, FS2-FS4).
 *
 * - Each batch is one entry of the WAL. Several may wait for their fsync at the same time, so that one commit serves many; how
 *   many is bounded by bytes.
 * - A batch that carried app_metadata is answered with the same bytes after it is durable, in the order of the stream, never
 *   before. After a batch that could not be stored nothing is acknowledged any more and the call ends with its error. Batches
 *   behind it may be durable: who repeats everything that was not acknowledged loses nothing.
 * - While there is no room, in this stream's window or in the server's budget, nothing is read: HTTP/2 flow control holds the
 *   client.
 * - Rows that cannot be stored are left out of their batch. Their number and the first of them come in the trailers, and the
 *   number of those that became dead letters; a stream of which no row was taken ends as INVALID_ARGUMENT.
 */
import { Metadata, type ServerDuplexStream } from '@grpc/grpc-js';
import type { RecordBatch } from 'apache-arrow';
import { ForeignStream } from '../../columnar/validate';
import type { DecodedRequest } from '../../core/batch';
import { IngestError, type RowRejection } from '../../core/errors';
import type { TableName } from '../../core/ids';
import type { AckLevel, Admission, Ingest, WriteReceipt } from '../../core/ingest';
import { LIMITS } from '../../core/limits';
import { clientOfPeer } from '../client-key';
import { GrowingAdmission } from '../growing-admission';
import { arrivingOf } from '../grpc-call-guard';
import { grpcServiceError } from '../grpc-status';
import { readOneAhead } from '../grpc-stream';
import { idempotencyOf } from '../idempotency-key';
import type { RequestMetrics } from '../request-metrics';
import { nothingTaken, settled } from '../row-rejections';
import { rowViolations, type StatusDetails } from '../status';
import { BatchKeys } from './batch-keys';
import { type FlightData, readFlightData, writeUpdateResult } from './messages';
import type { TableWriter } from './table-writer';

export interface PutOptions {
  readonly ingest: Ingest;
  readonly metrics: RequestMetrics;
  readonly nowNs: () => bigint;
  readonly ack: AckLevel;
  /** Idempotency key in the header of the call, see batch-keys.ts. */
  readonly key: string | undefined;
  /** Bytes of one stream between socket and WAL, beside the message that is being read. */
  readonly windowBytes: number;
  /** Longest wait for room in the server's budget, milliseconds. */
  readonly admissionWaitMs: number;
  /** Made from the first message. Throws IngestError. */
  readonly writer: (first: FlightData) => TableWriter;
  /** The acknowledgement of a batch. */
  readonly writeAck: (appMetadata: Buffer) => Buffer;
  /** Of a dry run: what the stream would do. Then refused rows are no failure. */
  readonly report?: (table: TableName, rows: DecodedRequest) => Buffer;
}

type PutCall = ServerDuplexStream<Buffer, Buffer>;

/** Acknowledgements that the client has not taken yet; above, nothing more is read. */
const UNSENT_ACK_BYTES_MAX = 4 * 1024 * 1024;
/** What an acknowledgement takes beside its bytes. */
const ACK_OVERHEAD_BYTES = 256;
const ADMISSION_PAUSE_MS = { first: 5, max: 100 };
/** Rejections in the trailers: headers are small. */
const REJECTIONS_SHOWN_MAX = 10;
const REJECTION_TEXT_MAX = 200;
const VIOLATION_BYTES_MAX = 1_200;

export class PutStream {
  private readonly arrow = new ForeignStream();
  private readonly dictionaryRoom: GrowingAdmission;
  private readonly client: string;
  private readonly arriving: ReturnType<typeof arrivingOf>;
  private writer: TableWriter | undefined;
  private isOpen = false;
  private windowUsedBytes = 0;
  private unsentAckBytes = 0;
  /** Ends when the last batch read so far is durable and answered. */
  private tail: Promise<void> = Promise.resolve();
  /** A batch was not stored: nothing behind it is acknowledged. */
  private isCut = false;
  private failure: IngestError | undefined;
  /** Ends the pause of the reading loop: something may be different now. */
  private wake: () => void = () => undefined;
  private readonly keys: BatchKeys;
  private acceptedRows = 0;
  private parkedRows = 0;
  private rejectedRows = 0;
  /** Rows of the batches before this one, for the row numbers of rejections. */
  private rowsBefore = 0;
  private readonly rejections: RowRejection[] = [];
  private lastBatch: string | undefined;

  constructor(
    private readonly call: PutCall,
    private readonly options: PutOptions,
  ) {
    this.keys = new BatchKeys(options.key);
    this.client = clientOfPeer(call.getPeer());
    this.dictionaryRoom = new GrowingAdmission(options.ingest, this.client);
    readOneAhead(call);
    this.arriving = arrivingOf(call.metadata);
    if (this.arriving !== undefined) this.arriving.onRefused = (error) => this.fail(error);
    call.once('cancelled', () => this.fail(new IngestError('cancelled', 'the client cancelled the call')));
  }

  /** Reads no further, answers what is on its way, and ends with this error. */
  fail(error: unknown): void {
    this.failure ??= IngestError.from(error);
    this.wake();
  }

  /** Serves the whole call; never rejects. */
  async run(): Promise<void> {
    try {
      await this.readAll();
    } catch (error) {
      this.failure ??= IngestError.from(error);
    }
    await this.tail;
    this.dictionaryRoom.release();
    if (this.failure !== undefined) this.options.metrics.failed(this.failure.code);
    const isRefused = this.acceptedRows === 0 && this.parkedRows === 0 && this.rejectedRows > 0;
    if (this.failure === undefined && isRefused && this.options.report === undefined) this.failure = this.nothingAccepted();
    this.finish();
  }

  private async readAll(): Promise<void> {
    const { call } = this;
    call.on('readable', () => this.wake());
    call.once('end', () => this.wake());
    // Not by its async iterator, which destroys the call, status and all, when the call ends with an error.
    while (!call.readableEnded) {
      const message = call.read() as Buffer | null;
      if (message === null) await this.pause();
      else await this.take(message);
    }
  }

  /** Until `wake`. Throws when the stream has failed before or meanwhile. */
  private async pause(): Promise<void> {
    if (this.failure === undefined) {
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
    }
    if (this.failure !== undefined) throw this.failure;
  }

  private async take(message: Buffer): Promise<void> {
    const receivedAtMs = performance.now();
    const data = readFlightData(message);
    if (this.writer === undefined) {
      this.writer = this.options.writer(data);
      this.writer.check();
    }
    // FL1, FL4: a message without a header is a descriptor or metadata alone, not a batch.
    if (data.header.length === 0) {
      this.arriving?.taken();
      return;
    }
    this.options.metrics.received(message.length);
    const admission = await this.admit(message.length);
    this.arriving?.taken();
    let isTaken = false;
    try {
      this.arrow.beginRequest();
      const batch = this.arrow.message(data.header, data.body);
      const { unpackedBytes } = this.arrow;
      const sizeBytes = message.length + unpackedBytes;
      if (unpackedBytes > 0) await this.whenThereIsRoom(() => admission.grow(unpackedBytes));
      if (batch === undefined) await this.prepare(this.writer);
      else {
        await this.store(this.writer, batch, { data, sizeBytes, admission, receivedAtMs });
        isTaken = true;
      }
    } finally {
      if (!isTaken) admission.release();
    }
  }

  /** After a schema or a dictionary. */
  private async prepare(writer: TableWriter): Promise<void> {
    const { fields, dictionaryBytes } = this.arrow;
    if (!this.isOpen && fields !== undefined) {
      await writer.open(fields);
      this.isOpen = true;
    }
    if (dictionaryBytes > LIMITS.requestBytesMax) {
      throw new IngestError('payload_too_large', `the dictionaries of a stream have at most ${LIMITS.requestBytesMax} bytes`);
    }
    if (dictionaryBytes > 0) await this.whenThereIsRoom(() => this.dictionaryRoom.reserve(dictionaryBytes));
  }

  /** Resolves when the batch is on its way into the log. */
  private async store(
    writer: TableWriter,
    batch: RecordBatch,
    given: { data: FlightData; sizeBytes: number; admission: Admission; receivedAtMs: number },
  ): Promise<void> {
    const { ingest, metrics, ack, nowNs } = this.options;
    const { data, sizeBytes, admission, receivedAtMs } = given;
    const decoded = await writer.decode(batch, nowNs());
    if (this.failure !== undefined) throw this.failure;
    const before = this.tail;
    this.windowUsedBytes += sizeBytes;
    const written = ingest
      .write({
        protocol: 'flight',
        batches: decoded.batches,
        parked: decoded.parked ?? [],
        ack,
        ...this.idempotency(writer, data),
      })
      .finally(() => {
        admission.release();
        this.windowUsedBytes -= sizeBytes;
        this.wake();
      });
    this.tail = Promise.allSettled([before, written]).then(([, result]) => {
      if (this.isCut) return;
      if (result.status === 'rejected') {
        this.isCut = true;
        this.fail(result.reason);
        return;
      }
      this.countRows(decoded, result.value);
      if (this.options.report === undefined) {
        if (nothingTaken(decoded)) metrics.refused(decoded, writer.destination.table);
        else metrics.acknowledged(decoded, receivedAtMs, writer.destination.table);
      }
      if (writer.destination.results === 'batches' && data.appMetadata.length > 0) this.acknowledge(data.appMetadata);
    });
  }

  private idempotency(writer: TableWriter, { header, body, appMetadata }: FlightData): ReturnType<typeof idempotencyOf> {
    const { table, key: pathKey } = writer.destination;
    const key = this.keys.next(appMetadata, pathKey);
    if (key === undefined) return {};
    return idempotencyOf(key, [table, header, body, ...this.arrow.dictionaryBuffers()]);
  }

  private countRows(decoded: DecodedRequest, receipt: WriteReceipt): void {
    const { batch, lsn } = receipt;
    const { acceptedRows, parkedRows, rejectedRows, rejections } = settled(decoded, receipt);
    this.acceptedRows += acceptedRows;
    this.parkedRows += parkedRows;
    this.rejectedRows += rejectedRows;
    for (const rejection of rejections) {
      if (this.rejections.length === LIMITS.rejectionsListedMax) break;
      this.rejections.push({ ...rejection, row: this.rowsBefore + rejection.row });
    }
    this.rowsBefore += acceptedRows + parkedRows + rejectedRows;
    if (lsn > 0) this.lastBatch = batch;
  }

  private acknowledge(appMetadata: Buffer): void {
    if (this.call.destroyed) return;
    const sizeBytes = appMetadata.length + ACK_OVERHEAD_BYTES;
    this.unsentAckBytes += sizeBytes;
    this.call.write(this.options.writeAck(appMetadata), () => {
      this.unsentAckBytes -= sizeBytes;
      this.wake();
    });
  }

  /** Room for a message in the window of this stream and in the budget of the server. */
  private async admit(bytes: number): Promise<Admission> {
    const { windowBytes, ingest } = this.options;
    while (
      this.unsentAckBytes > UNSENT_ACK_BYTES_MAX ||
      (this.windowUsedBytes > 0 && this.windowUsedBytes + bytes > windowBytes)
    ) {
      await this.pause();
    }
    return this.whenThereIsRoom(() => ingest.admit(bytes, this.client));
  }

  /** Tries until `reserve` finds room, and gives its error when the wait is over. */
  private async whenThereIsRoom<T>(reserve: () => T): Promise<T> {
    const untilMs = performance.now() + this.options.admissionWaitMs;
    for (let pauseMs = ADMISSION_PAUSE_MS.first; ; pauseMs = Math.min(pauseMs * 2, ADMISSION_PAUSE_MS.max)) {
      try {
        return reserve();
      } catch (reason) {
        const error = IngestError.from(reason);
        if (!error.retryable || performance.now() >= untilMs) throw error;
      }
      // Not all streams at the same moment.
      const timer = setTimeout(() => this.wake(), pauseMs * (0.5 + Math.random()));
      await this.pause().finally(() => clearTimeout(timer));
    }
  }

  private nothingAccepted(): IngestError {
    const [first] = this.rejections;
    const at = first?.column === undefined ? `row ${first?.row}` : `row ${first.row}, column ${first.column}`;
    return new IngestError('invalid_argument', `none of ${this.rejectedRows} rows was accepted: ${first?.message}`, { at });
  }

  private finish(): void {
    const { call, failure } = this;
    if (call.destroyed) return;
    const isTotal = this.writer?.destination.results === 'total';
    if (isTotal && (failure === undefined || this.acceptedRows > 0)) call.write(writeUpdateResult(this.acceptedRows));
    this.writeReport();
    const trailers = this.trailers();
    if (failure === undefined) {
      call.end(trailers);
      return;
    }
    const details = failure.code === 'invalid_argument' && this.acceptedRows === 0 ? this.violations() : undefined;
    const status = grpcServiceError(failure, details);
    status.metadata.merge(trailers);
    call.emit('error', status);
  }

  /** `google.rpc.BadRequest` by row and column, when rows were refused. */
  private violations(): StatusDetails | undefined {
    if (this.rejections.length === 0) return undefined;
    return { violations: rowViolations(this.rejections, VIOLATION_BYTES_MAX) };
  }

  private writeReport(): void {
    const { report, writeAck } = this.options;
    if (report === undefined || this.writer === undefined || this.failure !== undefined) return;
    const { acceptedRows, rejectedRows, rejections } = this;
    this.call.write(writeAck(report(this.writer.destination.table, { batches: [], acceptedRows, rejectedRows, rejections })));
  }

  private trailers(): Metadata {
    const trailers = new Metadata();
    if (this.lastBatch !== undefined) trailers.set('thermocline-last-batch', this.lastBatch);
    if (this.parkedRows > 0) trailers.set('thermocline-dead-letter-rows', String(this.parkedRows));
    if (this.rejectedRows === 0) return trailers;
    trailers.set('thermocline-rejected-rows', String(this.rejectedRows));
    const shown = this.rejections
      .slice(0, REJECTIONS_SHOWN_MAX)
      .map((rejection) => ({ ...rejection, message: rejection.message.slice(0, REJECTION_TEXT_MAX) }));
    trailers.set('thermocline-rejections-bin', Buffer.from(JSON.stringify(shown)));
    return trailers;
  }
}
