/** OTLP/gRPC (OTLP specification, "OTLP/gRPC"; rules OG1-OG10): the three Export services, on raw message bytes. */
import type { Metadata, ServerUnaryCall, ServiceDefinition, sendUnaryData } from '@grpc/grpc-js';
import type { Signal } from '../../core/builtin-tables';
import { IngestError } from '../../core/errors';
import type { Ingest } from '../../core/ingest';
import { LIMITS } from '../../core/limits';
import type { Telemetry } from '../../telemetry';
import { parseAck } from '../ack';
import { clientOfPeer } from '../client-key';
import { DRY_RUN_HEADER, type DryRunStores, NO_STORES } from '../dry-run';
import { GrowingAdmission } from '../growing-admission';
import { takeAdmission } from '../grpc-call-guard';
import { asBytes, type GrpcService } from '../grpc-contract';
import { grpcServiceError } from '../grpc-status';
import { IDEMPOTENCY_HEADER, idempotencyOf } from '../idempotency-key';
import { RequestMetrics } from '../request-metrics';
import { isSet } from '../switch';
import { exportReport } from './dry-run';
import { encodePartial, encodeResponse, withParked } from './response';
import { type OtlpDecoders, SIGNAL_LIST, SIGNALS, wallClockNs } from './signal';

export interface OtlpGrpcAdapterOptions {
  readonly ingest: Ingest;
  readonly decoders: OtlpDecoders;
  readonly telemetry: Telemetry;
  readonly responseBytesMax?: number;
  /** For dry runs; none by default. */
  readonly stores?: DryRunStores;
  readonly nowNs?: () => bigint;
}

const PROTO_FILES: Readonly<Record<Signal, string>> = {
  logs: 'opentelemetry/proto/collector/logs/v1/logs_service.proto',
  metrics: 'opentelemetry/proto/collector/metrics/v1/metrics_service.proto',
  traces: 'opentelemetry/proto/collector/trace/v1/trace_service.proto',
};

export class OtlpGrpcAdapter {
  readonly services: readonly GrpcService[];
  private readonly metrics: RequestMetrics;
  private readonly nowNs: () => bigint;

  constructor(private readonly options: OtlpGrpcAdapterOptions) {
    this.metrics = new RequestMetrics(options.telemetry, 'otlp_grpc');
    this.nowNs = options.nowNs ?? wallClockNs;
    this.services = SIGNAL_LIST.map((signal) => this.service(signal));
  }

  private service(signal: Signal): GrpcService {
    const name = SIGNALS[signal].grpcService;
    return {
      name,
      definition: exportDefinition(name),
      implementation: {
        export: (call: ServerUnaryCall<Buffer, Buffer>, callback: sendUnaryData<Buffer>) => {
          this.export(signal, call).then(
            (response) => callback(null, response),
            (reason: unknown) => callback(grpcServiceError(IngestError.from(reason))),
          );
        },
      },
      protoFile: PROTO_FILES[signal],
      admission: { ingest: this.options.ingest, refused: (error) => this.metrics.failed(error.code) },
    };
  }

  private async export(signal: Signal, call: ServerUnaryCall<Buffer, Buffer>): Promise<Buffer> {
    const { ingest, decoders, responseBytesMax = LIMITS.responseBytesMax } = this.options;
    const receivedAtMs = performance.now();
    const admission = takeAdmission(call.metadata) ?? new GrowingAdmission(ingest, clientOfPeer(call.getPeer()));
    try {
      if (call.cancelled) throw new IngestError('cancelled', 'the client cancelled the call');
      admission.reserve(call.request.length);
      this.metrics.received(call.request.length);
      const ack = parseAck(metadataText(call.metadata, 'x-ack'));
      const key = idempotencyOf(metadataText(call.metadata, IDEMPOTENCY_HEADER), [signal, call.request]);
      const dryRun = isSet(metadataText(call.metadata, DRY_RUN_HEADER), DRY_RUN_HEADER);
      const decoded = decoders[signal].decode(call.request, { arrivalNs: this.nowNs() });
      if (dryRun) {
        // The answer has one place for a text: partial_success.error_message.
        const report = JSON.stringify(exportReport(decoded, this.options.stores ?? NO_STORES));
        return encodePartial(decoded.rejectedRows, report);
      }
      const receipt = await ingest.write({ protocol: 'otlp_grpc', batches: decoded.batches, ack, ...key });
      this.metrics.acknowledged(decoded, receivedAtMs, SIGNALS[signal].table);
      return encodeResponse(withParked(decoded, receipt), responseBytesMax);
    } catch (error) {
      this.metrics.failed(IngestError.from(error).code);
      throw error;
    } finally {
      admission.release();
    }
  }
}

/** The first value of a metadata key. */
function metadataText(metadata: Metadata, key: string): string | undefined {
  const [value] = metadata.get(key);
  return value === undefined ? undefined : String(value);
}

function exportDefinition(service: string): ServiceDefinition {
  return {
    export: {
      path: `/${service}/Export`,
      requestStream: false,
      responseStream: false,
      requestSerialize: asBytes,
      requestDeserialize: asBytes,
      responseSerialize: asBytes,
      responseDeserialize: asBytes,
    },
  };
}
