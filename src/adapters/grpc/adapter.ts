/** `thermocline.ingest.v1.IngestService` (proto/thermocline/ingest/v1/ingest.proto). */
import type { ServerDuplexStream, ServerUnaryCall, sendUnaryData } from '@grpc/grpc-js';
import { ColumnFullError } from '../../columnar/builders';
import type { DecodedRequest } from '../../core/batch';
import { IngestError } from '../../core/errors';
import type { BatchId } from '../../core/ids';
import type { BatchStatus, Ingest, WriteReceipt } from '../../core/ingest';
import type { SchemaRegistry } from '../../core/schema-registry';
import type { Telemetry } from '../../telemetry';
import { GrowingAdmission } from '../growing-admission';
import { takeAdmission } from '../grpc-call-guard';
import type { GrpcService } from '../grpc-contract';
import { grpcServiceError } from '../grpc-status';
import { IDEMPOTENCY_HEADER, idempotencyOf } from '../idempotency-key';
import { RequestMetrics } from '../request-metrics';
import { checkTableName, decodeForTable } from '../schema-on-write';
import { registrationOf } from '../table-registration';
import { namedRows } from './decode';
import * as messages from './messages';
import { contentOf, readStreamRequest, readWrite, type WireWrite } from './write-request';
import { WriteStreamCall } from './write-stream';

export interface IngestServiceOptions {
  readonly ingest: Ingest;
  readonly registry: SchemaRegistry;
  readonly batches: BatchStatus;
  readonly telemetry: Telemetry;
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
          RegisterTable: unary((call) => this.registerTable(call.request)),
          GetTable: unary((call) => this.getTable(call.request)),
          ListTables: unary(() => ({ tables: options.registry.list().map(messages.tableMessage) })),
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
    const admission = takeAdmission(call.metadata) ?? new GrowingAdmission(this.options.ingest);
    const receivedAtMs = performance.now();
    try {
      if (call.cancelled) throw new IngestError('cancelled', 'the client cancelled the call');
      admission.reserve(call.request.length);
      this.metrics.received(call.request.length);
      const write = readWrite(call.request);
      const decoded = await this.decode(write);
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
    const stream = new WriteStreamCall(call, { take: (message) => this.takeStreamed(message) });
    this.streams.add(stream);
    void stream.done.then(() => this.streams.delete(stream));
  }

  /** Decodes a request of a stream and hands it to the log. Never rejects. */
  private async takeStreamed(message: Buffer): Promise<{ stored: Promise<object> }> {
    const admission = new GrowingAdmission(this.options.ingest);
    const receivedAtMs = performance.now();
    let requestId = '';
    const refuse = (reason: unknown): object => ({ requestId, error: messages.writeError(this.failed(reason)) });
    try {
      const request = readStreamRequest(message);
      requestId = request.requestId;
      admission.reserve(message.length);
      this.metrics.received(message.length);
      const write = request.write();
      const decoded = await this.decode(write);
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

  private async decode(write: WireWrite): Promise<DecodedRequest> {
    const table = checkTableName(write.table);
    try {
      const rows = namedRows(write, { arrivalNs: this.nowNs() });
      const decoded = await decodeForTable(this.options.registry, table, rows);
      if (decoded.acceptedRows === 0 && decoded.rejectedRows > 0) throw new messages.RefusedRows(decoded, write.table);
      return decoded;
    } catch (error) {
      if (!(error instanceof ColumnFullError)) throw error;
      throw new IngestError('payload_too_large', 'the rows of this request are too large', { cause: error });
    }
  }

  private store(write: WireWrite, { batches }: DecodedRequest, metadataKey?: string): Promise<WriteReceipt> {
    const idempotency = idempotencyOf(write.idempotencyKey ?? metadataKey, contentOf(write));
    return this.options.ingest.write({ protocol: 'ingest_grpc', batches, ack: write.ack, ...idempotency });
  }

  /** Counts a failed write. */
  private failed(reason: unknown): IngestError {
    const error = IngestError.from(reason);
    if (error instanceof messages.RefusedRows) this.metrics.refused(error.decoded, error.table);
    else this.metrics.failed(error.code);
    return error;
  }

  private async registerTable(message: Buffer): Promise<object> {
    const { registry } = this.options;
    const request = messages.readRequest('RegisterTable', message) as messages.RegisterTableRequest;
    const asked = {
      table: checkTableName(request.table),
      columns: request.columns,
      timeColumn: request.timeColumn === '' ? undefined : request.timeColumn,
      tier: messages.readTier(request.tier),
    };
    const { columns, options } = registrationOf(asked, registry.get(asked.table));
    const schema = await registry.register({ table: asked.table, columns, ...options });
    // Another request may have made the table, or a column of it, otherwise meanwhile.
    registrationOf(asked, schema);
    return { table: messages.tableMessage(schema) };
  }

  private getTable(message: Buffer): object {
    const { table } = messages.readRequest('GetTable', message) as { table: string };
    const schema = this.options.registry.get(checkTableName(table));
    if (schema === undefined) throw new IngestError('not_found', 'no such table', { at: 'table' });
    return { table: messages.tableMessage(schema) };
  }

  private getBatch(message: Buffer): object {
    const { batchId } = messages.readRequest('GetBatch', message) as { batchId: string };
    const tiers = this.options.batches.status(batchId as BatchId);
    if (tiers === undefined) throw new IngestError('not_found', 'no such batch', { at: 'batch_id' });
    return messages.batchMessage(batchId, tiers);
  }
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
