/** Demotions: part of the composition root. */
import { type Config, hotRetentionMs } from './config';
import type { Demotion } from './core/demotion';
import type { MovedDaysOf } from './core/rollup';
import type { Sink } from './core/sink';
import { ClickHouseDemotions } from './sinks/clickhouse/demoted';
import { PostgresDemotions } from './sinks/postgres/demotions';
import type { Logger } from './telemetry';
import { movedDaysOf } from './tiering/demotion/moved-days';
import { DemotionRunner, type DemotionRunnerOptions } from './tiering/demotion/runner';

/** The two stores, and the sinks on them. */
export interface DemotionStores {
  readonly hotUrl: string;
  /** Of every shard. */
  readonly coldUrls: readonly string[];
  readonly distributed: boolean | undefined;
  readonly partitioning: Config['postgres']['partitioning'];
  readonly hot: Sink;
  readonly cold: Sink;
}

export interface DemotionParts extends Pick<DemotionRunnerOptions, 'schemaOf' | 'tables' | 'isInBoth' | 'telemetry'> {
  readonly config: Config['demotion'];
  readonly stores: DemotionStores;
  readonly logger: Logger;
}

export interface Demotions {
  readonly runner: DemotionRunner;
  readonly list: (table?: string) => Promise<readonly Demotion[]>;
  readonly movedDays: MovedDaysOf;
  stop(): Promise<void>;
}

export function startDemotions({ config, stores, logger, ...parts }: DemotionParts): Demotions {
  const hot = new PostgresDemotions({
    url: stores.hotUrl,
    logger,
    partitionsAreForeign: stores.partitioning === 'partman',
  });
  const cold = new ClickHouseDemotions({ urls: stores.coldUrls, sink: stores.cold, distributed: stores.distributed });
  const runner = new DemotionRunner({
    ...parts,
    hot,
    cold,
    logger,
    ensureHot: (schema) => stores.hot.ensureTable(schema),
    retentionMs: (table) => hotRetentionMs(config, table),
    rowsPerSecond: config.rows_per_second,
    intervalMs: config.interval_ms,
    clock: Date.now,
  });
  runner.start();
  return {
    runner,
    list: (table) => hot.list(table === undefined ? {} : { table }),
    movedDays: async (table) => movedDaysOf(await hot.list({ table })),
    stop: async () => {
      await runner.stop();
      await Promise.all([hot.stop(), cold.stop()]);
    },
  };
}
