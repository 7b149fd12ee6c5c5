/** `thermocline.ingest.v1.IngestService` (proto/thermocline/ingest/v1/ingest.proto). */
import type { Metadata, ServerDuplexStream, ServerUnaryCall, sendUnaryData } from '@grpc/grpc-js';
import { ColumnFullError } from '../../columnar/builders';
import type { DecodedRequest } from '../../core/batch';
import { IngestError } from '../../core/errors';
import type { BatchId, TableName } from '../../core/ids';
import type { BatchStatus, Ingest, WriteReceipt } from '../../core/ingest';
import type { SchemaRegistry } from '../../core/schema-registry';
import type { Telemetry } from '../../telemetry';
import { clientOfPeer } from '../client-key';
import { DRY_RUN_HEADER, type DryRunStores, dryRunOfDefinition, dryRunOfRows, NO_STORES } from '../dry-run';
import { GrowingAdmission } from '../growing-admission';
import { takeAdmission } from '../grpc-call-guard';
import type { GrpcService } from '../grpc-contract';
import { grpcServiceError } from '../grpc-status';
import { IDEMPOTENCY_HEADER, idempotencyOf } from '../idempotency-key';
import { RequestMetrics } from '../request-metrics';
import { nothingTaken, type Parking } from '../row-rejections';
import { checkTableName, decodeForTable, type NamedRows } from '../schema-on-write';
import { isSet } from '../switch';
import { definitionOf } from '../table-registration';
import { namedRows } from './decode';
import * as messages from './messages';
import { dryRunMessage, type RegisterTableRequest, readRegistration, tableMessage } from './table-messages';
import { contentOf, readStreamRequest, readWrite, type WireWrite } from './write-request';
import { WriteStreamCall } from './write-stream';

export interface IngestServiceOptions {
  readonly ingest: Ingest;
  readonly registry: SchemaRegistry;
  readonly batches: BatchStatus;
  /** For dry runs; none by default. */
  readonly stores?: DryRunStores;
  readonly telemetry: Telemetry;
  /** Which rows that do not fit a table become dead letters; by default those of columns whose policy says so. */
  readonly parking?: (table: TableName) => Parking;
  readonly nowNs?: () => bigint;
}

type UnaryCall = ServerUnaryCall<Buffer, object>;

export class IngestServiceAdapter {
  readonly services: readonly GrpcService[];
  private readonly metrics: RequestMetrics;
  private readonly nowNs: () => bigint;
  private readonly streams = new Set<WriteStreamCall>();

  constructor(private readonly options: IngestServiceOptions) {
    this.metrics = new RequestMetrics(options.telemetry, 'ingest_grpc');
    this.nowNs = options.nowNs ?? (() => BigInt(Date.now()) * 1_000_000n);
    this.services = [
      {
        name: messages.SERVICE,
        definition: messages.DEFINITION,
        implementation: {
          Write: unary((call) => this.write(call)),
          WriteStream: (call: ServerDuplexStream<Buffer, object>) => this.writeStream(call),
          RegisterTable: unary((call) => this.registerTable(call)),
          GetTable: unary((call) => this.getTable(call.request)),
          ListTables: unary(() => ({ tables: options.registry.list().map(tableMessage) })),
          GetBatch: unary((call) => this.getBatch(call.request)),
        },
        protoFile: messages.PROTO_FILE,
        admission: { ingest: options.ingest, refused: (error) => this.metrics.failed(error.code) },
        drain: () => {
          for (const stream of this.streams) stream.drain();
        },
      },
    ];
  }

  private async write(call: UnaryCall): Promise<object> {
    const admission = takeAdmission(call.metadata) ?? new GrowingAdmission(this.options.ingest, clientOfPeer(call.getPeer()));
    const receivedAtMs = performance.now();
    try {
      if (call.cancelled) throw new IngestError('cancelled', 'the client cancelled the call');
      admission.reserve(call.request.length);
      this.metrics.received(call.request.length);
      const write = readWrite(call.request);
      if (write.dryRun || isDryRun(call.metadata)) return this.dryRun(write, admission);
      const decoded = await this.decode(write, admission);
      const receipt = await this.store(write, decoded, call.metadata.get(IDEMPOTENCY_HEADER)[0]?.toString());
      this.metrics.acknowledged(decoded, receivedAtMs, write.table);
      return messages.writeResponse(decoded, receipt);
    } catch (error) {
      throw this.failed(error);
    } finally {
      admission.release();
    }
  }

  private writeStream(call: ServerDuplexStream<Buffer, object>): void {
    let dryRun: boolean;
    try {
      dryRun = isDryRun(call.metadata);
    } catch (error) {
      call.emit('error', grpcServiceError(IngestError.from(error)));
      return;
    }
    const client = clientOfPeer(call.getPeer());
    const stream = new WriteStreamCall(call, { take: (message) => this.takeStreamed(message, dryRun, client) });
    this.streams.add(stream);
    void stream.done.then(() => this.streams.delete(stream));
  }

  /** Decodes a request of a stream and hands it to the log. Never rejects. */
  private async takeStreamed(message: Buffer, dryRun: boolean, client: string): Promise<{ stored: Promise<object> }> {
    const admission = new GrowingAdmission(this.options.ingest, client);
    const receivedAtMs = performance.now();
    let requestId = '';
    const refuse = (reason: unknown): object => ({ requestId, error: messages.writeError(this.failed(reason)) });
    try {
      const request = readStreamRequest(message);
      requestId = request.requestId;
      admission.reserve(message.length);
      this.metrics.received(message.length);
      const write = request.write();
      if (write.dryRun || dryRun) {
        const response = this.dryRun(write, admission);
        admission.release();
        return { stored: Promise.resolve({ requestId, response }) };
      }
      const decoded = await this.decode(write, admission);
      const stored = this.store(write, decoded).then((receipt) => {
        this.metrics.acknowledged(decoded, receivedAtMs, write.table);
        return { requestId, response: messages.writeResponse(decoded, receipt) };
      }, refuse);
      return { stored: stored.finally(() => admission.release()) };
    } catch (error) {
      admission.release();
      return { stored: Promise.resolve(refuse(error)) };
    }
  }

  private async decode(write: WireWrite, admission: GrowingAdmission): Promise<DecodedRequest> {
    const table = checkTableName(write.table);
    try {
      const rows = this.rows(write, admission);
      const decoded = await decodeForTable(this.options.registry, table, rows, this.options.parking?.(table));
      if (nothingTaken(decoded)) throw new messages.RefusedRows(decoded, write.table);
      return decoded;
    } catch (error) {
      throw tooLarge(error);
    }
  }

  private dryRun(write: WireWrite, admission: GrowingAdmission): object {
    const { registry, stores = NO_STORES } = this.options;
    const table = checkTableName(write.table);
    try {
      const rows = this.rows(write, admission);
      return messages.dryRunResponse(dryRunOfRows(registry, table, rows, stores, this.options.parking?.(table)));
    } catch (error) {
      throw tooLarge(error);
    }
  }

  private rows(write: WireWrite, admission: GrowingAdmission): NamedRows {
    const reserveUnpacked = (totalBytes: number): void => admission.reserve(write.wire.bytes.length + totalBytes);
    return namedRows(write, { arrivalNs: this.nowNs(), reserveUnpacked });
  }

  private store(write: WireWrite, { batches, parked = [] }: DecodedRequest, metadataKey?: string): Promise<WriteReceipt> {
    const idempotency = idempotencyOf(write.idempotencyKey ?? metadataKey, contentOf(write));
    return this.options.ingest.write({ protocol: 'ingest_grpc', batches, parked, ack: write.ack, ...idempotency });
  }

  /** Counts a failed write. */
  private failed(reason: unknown): IngestError {
    const error = IngestError.from(reason);
    if (error instanceof messages.RefusedRows) this.metrics.refused(error.decoded, error.table);
    else this.metrics.failed(error.code);
    return error;
  }

  private async registerTable(call: UnaryCall): Promise<object> {
    const { registry, stores = NO_STORES } = this.options;
    const message = messages.readRequest('RegisterTable', call.request) as RegisterTableRequest;
    const request = readRegistration(message);
    const definition = definitionOf(request, registry.get(request.table));
    if (!message.dryRun && !isDryRun(call.metadata)) return { table: tableMessage(await registry.register(definition)) };
    const run = dryRunOfDefinition(registry, definition, stores);
    return { table: run.after === undefined ? undefined : tableMessage(run.after), dryRun: dryRunMessage(run) };
  }

  private getTable(message: Buffer): object {
    const { table } = messages.readRequest('GetTable', message) as { table: string };
    const schema = this.options.registry.get(checkTableName(table));
    if (schema === undefined) throw new IngestError('not_found', 'no such table', { at: 'table' });
    return { table: tableMessage(schema) };
  }

  private getBatch(message: Buffer): object {
    const { batchId } = messages.readRequest('GetBatch', message) as { batchId: string };
    const tiers = this.options.batches.status(batchId as BatchId);
    if (tiers === undefined) throw new IngestError('not_found', 'no such batch', { at: 'batch_id' });
    return messages.batchMessage(batchId, tiers);
  }
}

const isDryRun = (metadata: Metadata): boolean => isSet(metadata.get(DRY_RUN_HEADER)[0]?.toString(), DRY_RUN_HEADER);

/** A column that cannot hold more is a request that is too large. */
function tooLarge(error: unknown): unknown {
  if (!(error instanceof ColumnFullError)) return error;
  return new IngestError('payload_too_large', 'the rows of this request are too large', { cause: error });
}

/** A handler of a unary method. */
function unary(handle: (call: UnaryCall) => object | Promise<object>) {
  return (call: UnaryCall, callback: sendUnaryData<object>): void => {
    const answer = async (): Promise<object> => handle(call);
    answer().then(
      (response) => callback(null, response),
      (reason: unknown) => {
        const error = IngestError.from(reason);
        callback(grpcServiceError(error, error instanceof messages.RefusedRows ? messages.refusalDetails(error) : undefined));
      },
    );
  };
}
