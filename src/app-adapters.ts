/** The adapters of the two ports that take rows: part of the composition root. */

import { FlightAdapter } from './adapters/flight/adapter';
import { IngestServiceAdapter } from './adapters/grpc/adapter';
import type { GrpcService } from './adapters/grpc-contract';
import type { HttpAdapter } from './adapters/http-contract';
import { OTLP_DECODERS } from './adapters/otlp/decoders';
import { OtlpGrpcAdapter } from './adapters/otlp/grpc-adapter';
import { OtlpHttpAdapter } from './adapters/otlp/http-adapter';
import { RestAdapter } from './adapters/rest/adapter';
import type { Parking } from './adapters/row-rejections';
import type { startSchemas } from './app-schemas';
import type { TableName } from './core/ids';
import type { BatchStatus, DeliveryProgress, Ingest } from './core/ingest';
import type { RowEraser } from './core/row-eraser';
import type { SchemaRegistry } from './core/schema-registry';
import type { Tier } from './core/table-schema';
import type { SqlStore } from './query/answer';
import type { Telemetry } from './telemetry';
import type { FileWal } from './wal/file-wal';

export interface AdapterParts {
  readonly ingest: Ingest;
  readonly registry: SchemaRegistry;
  readonly wal: FileWal;
  readonly sql: Readonly<Record<Tier, SqlStore | undefined>>;
  readonly erasers: readonly RowEraser[];
  readonly schemas: ReturnType<typeof startSchemas>;
  readonly batches: BatchStatus;
  readonly delivered: DeliveryProgress['delivered'];
  readonly telemetry: Telemetry;
  readonly bodyBytesMax: number;
  readonly parking: (table: TableName) => Parking;
}

/** All of them, by the listener that they belong to. */
export function ingestAdapters(parts: AdapterParts): { http: HttpAdapter[]; grpc: GrpcService[] } {
  const { ingest, registry, wal, sql, erasers, schemas, batches, delivered, telemetry, bodyBytesMax, parking } = parts;
  const { stores, ensureTable } = schemas;
  const progress = { durableLsn: () => wal.stats().durableLsn, delivered };
  const making = ensureTable === undefined ? {} : { ensureTable };
  return {
    http: [
      new OtlpHttpAdapter({ ingest, decoders: OTLP_DECODERS, telemetry, bodyBytesMax, stores }),
      new RestAdapter({ ingest, registry, telemetry, bodyBytesMax, parking, stores, ...making }),
    ],
    grpc: [
      ...new OtlpGrpcAdapter({ ingest, decoders: OTLP_DECODERS, telemetry, stores }).services,
      ...new IngestServiceAdapter({ ingest, registry, batches, telemetry, parking, stores }).services,
      ...new FlightAdapter({ ingest, registry, telemetry, parking, sql, erasers, batches, progress, stores }).services,
    ],
  };
}
