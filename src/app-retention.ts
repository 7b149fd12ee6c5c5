/** Retention of the hot tier: part of the composition root. */
import { type Config, hotRetentionMs } from './config';
import { PostgresRetention } from './sinks/postgres/retention';
import { RetentionKeeper, type RetentionKeeperOptions } from './tiering/retention';

export interface RetentionParts extends Pick<RetentionKeeperOptions, 'tables' | 'telemetry' | 'logger'> {
  readonly config: Config;
  readonly url: string;
  readonly isInBoth: RetentionKeeperOptions['isDemoted'];
}

/** Drops what PostgreSQL keeps no longer. Gives what ends it; undefined when everything is kept. */
export function startRetention({ config, url, isInBoth, ...parts }: RetentionParts): { stop(): Promise<void> } | undefined {
  const { keep_days: keepDays } = config.postgres;
  if (Object.keys(keepDays).length === 0) return undefined;
  const store = new PostgresRetention({ url, logger: parts.logger });
  const keeper = new RetentionKeeper({
    ...parts,
    store,
    keepDays: (table) => (Object.hasOwn(keepDays, table) ? keepDays[table] : undefined),
    isDemoted: (table) => hotRetentionMs(config.demotion, table) !== undefined && !isInBoth(table),
    clock: Date.now,
  });
  keeper.start();
  return {
    async stop() {
      await keeper.stop();
      await store.stop();
    },
  };
}
