/** Questions over both tiers: part of the composition root. */
import type { Stores } from './app-stores';
import type { Config } from './config';
import type { TableSchema } from './core/table-schema';
import { BothTiersSql } from './query/all';
import type { Logger } from './telemetry';
import type { Router } from './tiering/routing';

export interface QueryParts {
  readonly config: Config['query'];
  readonly stores: Pick<Stores, 'sql' | 'scratch' | 'tables'>;
  readonly tables: () => readonly TableSchema[];
  readonly router: Router;
  readonly logger: Logger;
}

/** Undefined without stores. */
export function bothTiersSql({ config, stores, tables, router, logger }: QueryParts): BothTiersSql | undefined {
  const { scratch, sql } = stores;
  const cold = stores.tables.find(({ tier }) => tier === 'cold');
  if (sql.hot === undefined || sql.cold === undefined || scratch === undefined || cold === undefined) return undefined;
  scratch.dropLeftovers().catch((error: unknown) => logger.debug({ err: error }, 'cannot look for tables of earlier questions'));
  return new BothTiersSql({
    hot: sql.hot,
    cold: sql.cold,
    scratch,
    tables,
    coldColumns: (schema) => cold.columnsOf(schema),
    onceIn: router.onceIn.bind(router),
    hotRowsMax: config.hot_rows_max,
  });
}
