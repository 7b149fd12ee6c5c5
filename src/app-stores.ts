/** The stores: given ones or embedded ones, with the sinks and readers on them. Part of the composition root. */
import { join } from 'node:path';
import type { DemotionStores } from './app-demotion';
import type { Config } from './config';
import type { DeadLetterCopy } from './core/dead-letter';
import type { RowEraser } from './core/row-eraser';
import type { SharedRegistry, StoreTables } from './core/schema-registry';
import type { Sink } from './core/sink';
import type { TableSchema } from './core/table-schema';
import { EmbeddedClickHouse } from './embedded/clickhouse/launcher';
import { EmbeddedPostgres } from './embedded/postgres';
import type { SqlStore } from './query/answer';
import { ClickHouseSql } from './query/cold';
import { PostgresSql } from './query/hot';
import { ScratchTables } from './query/scratch';
import type { DdlOptions } from './sinks/clickhouse/ddl-options';
import { ClickHouseEraser } from './sinks/clickhouse/erase';
import { ShardedClickHouseSink } from './sinks/clickhouse/sharded-sink';
import { ClickHouseSink } from './sinks/clickhouse/sink';
import { PostgresDeadLetterTable } from './sinks/postgres/dead-letter-table';
import { PostgresEraser } from './sinks/postgres/erase';
import { ensureReaderRole } from './sinks/postgres/reader-role';
import { PostgresSink } from './sinks/postgres/sink';
import type { StopList } from './stop-list';
import type { Logger, Telemetry } from './telemetry';

export interface Stores {
  readonly sinks: readonly Sink[];
  readonly sql: { readonly hot: PostgresSql | undefined; readonly cold: SqlStore | undefined };
  /** Tables of one question over both tiers. */
  readonly scratch: ScratchTables | undefined;
  readonly erasers: readonly RowEraser[];
  readonly tables: readonly StoreTables[];
  readonly shared: SharedRegistry | undefined;
  /** The letters of the hot store's SQL. */
  readonly letters: DeadLetterCopy | undefined;
  /** Of the cold store, one for each shard. */
  readonly coldUrls: readonly string[];
  readonly demotion: DemotionStores | undefined;
}

export const NO_STORES: Stores = {
  sinks: [],
  sql: { hot: undefined, cold: undefined },
  scratch: undefined,
  erasers: [],
  tables: [],
  shared: undefined,
  letters: undefined,
  coldUrls: [],
  demotion: undefined,
};

export interface StoresOptions {
  readonly config: Config;
  readonly onSchema: (schema: TableSchema) => Promise<TableSchema>;
  readonly telemetry: Telemetry;
  readonly logger: Logger;
  readonly stops: StopList;
  /** Short texts for people. */
  readonly progress: (text: string) => void;
}

export async function openStores(options: StoresOptions): Promise<Stores> {
  const { config, logger, telemetry, onSchema } = options;
  const limits = { rowsMax: config.query.rows_max, timeoutMs: config.query.timeout_ms };
  const [postgres, clickhouse] = await Promise.all([postgresUrl(options), clickhouseUrl(options)]);
  const coldUrls = config.clickhouse.shard_urls.length > 0 ? config.clickhouse.shard_urls : [clickhouse];
  const timescale = { chunkHours: config.timescale.chunk_hours, compressAfterDays: config.timescale.compress_after_days };
  const { partitioning } = config.postgres;
  const hot = new PostgresSink({ url: postgres, logger, telemetry, onSchema, partitioning, timescale });
  const cold = coldSink(coldUrls, config, logger);
  const reader = config.postgres_url === undefined ? await ensureReaderRole(postgres) : postgres;
  const sql = { hot: new PostgresSql(reader, limits), cold: new ClickHouseSql(clickhouse, limits) };
  const scratch = new ScratchTables(clickhouse, limits.timeoutMs);
  const letters = new PostgresDeadLetterTable({ url: postgres, logger });
  options.stops.add('connections', async () => {
    await Promise.all([sql.hot.close(), sql.cold.close(), scratch.close(), letters.close(), hot.stop(), cold.stop()]);
  });
  const erasers = [new PostgresEraser(postgres), new ClickHouseEraser(clickhouse, tableOptions(config))];
  const { distributed } = config.clickhouse;
  const demotion = { hotUrl: postgres, coldUrls, distributed, partitioning, hot, cold };
  return { sinks: [hot, cold], sql, scratch, erasers, tables: [hot, cold], shared: hot, letters, coldUrls, demotion };
}

function coldSink(urls: readonly string[], config: Config, logger: Logger): ClickHouseSink | ShardedClickHouseSink {
  const [first, ...others] = urls.map((url) => new ClickHouseSink({ url, logger, ...tableOptions(config) }));
  return others.length === 0 ? first : new ShardedClickHouseSink([first, ...others]);
}

/** How tables are made in ClickHouse. */
export function tableOptions({ clickhouse }: Config): Omit<DdlOptions, 'database'> {
  const {
    cluster,
    replicated,
    replica_path: path,
    replica_name: replica,
    distributed,
    storage_policy: storagePolicy,
  } = clickhouse;
  return {
    distributed,
    keepDays: clickhouse.keep_days,
    ...(cluster === undefined ? {} : { cluster }),
    ...(replicated ? { replicated: { path, replica } } : {}),
    ...(storagePolicy === undefined ? {} : { storagePolicy }),
  };
}

async function postgresUrl({ config, logger, stops, progress }: StoresOptions): Promise<string> {
  if (config.postgres_url !== undefined) return config.postgres_url;
  progress('starting the embedded PostgreSQL (the first start makes the database, some seconds)');
  const server = await EmbeddedPostgres.start({ dataDir: join(config.data_dir, 'postgres'), logger });
  stops.add('embedded PostgreSQL', () => server.stop());
  return server.url;
}

async function clickhouseUrl({ config, logger, stops, progress }: StoresOptions): Promise<string> {
  if (config.clickhouse_url !== undefined) return config.clickhouse_url;
  progress('starting the embedded ClickHouse engine');
  const server = await EmbeddedClickHouse.start({
    dataDir: join(config.data_dir, 'clickhouse'),
    host: '127.0.0.1',
    port: 0,
    logger,
  });
  stops.add('embedded ClickHouse', () => server.stop());
  return server.url;
}
