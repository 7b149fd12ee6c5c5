/** Roll-ups of the configured tables: part of the composition root. */
import { tableOptions } from './app-stores';
import type { Config } from './config';
import { durationMs } from './core/duration';
import type { MovedDaysOf, Rollup } from './core/rollup';
import type { TableSchema } from './core/table-schema';
import { ClickHouseRollups } from './sinks/clickhouse/rollups';
import type { Logger, Telemetry } from './telemetry';
import { RollupKeeper } from './tiering/rollups';

export interface RollupParts {
  readonly config: Config;
  /** The cold store, or one shard of it. */
  readonly url: string;
  readonly tables: () => readonly TableSchema[];
  readonly movedDays: MovedDaysOf;
  readonly telemetry: Telemetry;
  readonly logger: Logger;
}

/** Starts to keep roll-ups. Gives what ends it. */
export function startRollups({ config, url, tables, ...parts }: RollupParts): { stop(): Promise<void> } {
  const store = new ClickHouseRollups({ url, logger: parts.logger, ...tableOptions(config) });
  const keeper = new RollupKeeper({
    ...parts,
    store,
    rollups: () => tables().flatMap((schema) => rollupsOf(schema, config.rollups)),
    closeAfterMs: config.rollups.close_after_ms,
    intervalMs: config.rollups.interval_ms,
    clock: Date.now,
  });
  keeper.start();
  return {
    async stop() {
      await keeper.stop();
      await store.close();
    },
  };
}

/** What the configuration asks for. */
function rollupsOf(source: TableSchema, { tables, keep_days: keepDays }: Config['rollups']): Rollup[] {
  const names = Object.hasOwn(tables, source.table) ? tables[source.table] : [];
  return names.map((name) => ({
    source,
    period: { name, seconds: durationMs(name)! / 1_000 },
    keepDays: Object.hasOwn(keepDays, name) ? keepDays[name] : undefined,
  }));
}
