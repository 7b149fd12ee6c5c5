import { BUILTIN_TABLES, LOGS_EVENTS, TRACES_SPANS } from '../core/builtin-tables';
import type { TableName } from '../core/ids';
import type { TableSchema, Tier } from '../core/table-schema';

/** Tiers by signal, as configured. */
export interface RoutingConfig {
  readonly metrics: readonly Tier[];
  readonly traces: readonly Tier[];
  readonly logs: readonly Tier[];
}

/** Where the rows of each table go when they arrive: the built-in tables by signal, all others to their home tier. */
export function createRouter(
  config: RoutingConfig,
  schemaOf: (table: TableName) => TableSchema | undefined,
): (table: TableName) => readonly Tier[] {
  const builtin = new Map<TableName, readonly Tier[]>(
    BUILTIN_TABLES.map(({ table }) => {
      if (table === LOGS_EVENTS.table) return [table, config.logs];
      return [table, table === TRACES_SPANS.table ? config.traces : config.metrics];
    }),
  );
  return (table) => builtin.get(table) ?? [schemaOf(table)?.tier ?? 'hot'];
}
