/**
 * The composition root: builds every part from the configuration, starts stores and sinks first and adapters last, stops in
 * reverse. The only place where the parts know each other.
 */
import { join } from 'node:path';
import { collectDefaultMetrics } from 'prom-client';
import { AdminServer } from './admin/server';
import type { Config } from './config';
import { type Lsn, lsn, type TableName } from './core/ids';
import type { DeliveryProgress } from './core/ingest';
import { LIMITS } from './core/limits';
import type { Sink } from './core/sink';
import type { Tier } from './core/table-schema';
import { EmbeddedClickHouse } from './embedded/clickhouse/launcher';
import { EmbeddedPostgres } from './embedded/postgres';
import { WalIngest } from './ingest/ingest';
import { ClickHouseSql } from './query/cold';
import { PostgresSql } from './query/hot';
import type { SqlStore } from './query/answer';
import { FileRegistry } from './registry/registry';
import { ClickHouseSink } from './sinks/clickhouse/sink';
import { PostgresSink } from './sinks/postgres/sink';
import { type Logger, Telemetry } from './telemetry';
import { Delivery } from './tiering/delivery';
import { createRouter } from './tiering/routing';
import { FileDeliveryStateStore } from './wal/delivery-state';
import { FileStorage } from './wal/file-storage';
import { FileWal } from './wal/file-wal';

/** Where the server listens, as `host:port`. */
export interface Addresses {
  readonly grpc: string;
  readonly http: string;
  readonly admin: string;
}

/** Longest wait for the stores before the server takes rows without them. */
const STORES_WAIT_MS = 10_000;

type StopStep = () => Promise<void>;
