import type { TableSchema } from '../core/table-schema';

/** A schema as clients see it. */
export function schemaJson(schema: TableSchema): Record<string, unknown> {
  const { table, version, tier, policy = 'evolve', timeColumn, columns } = schema;
  return {
    table,
    version,
    tier,
    policy,
    time_column: timeColumn,
    columns: columns.map(({ name, type, nullable, lowCardinality = false, conflict = 'widen', storeName, exactOf }) => ({
      name,
      type,
      nullable,
      low_cardinality: lowCardinality,
      conflict,
      store_name: storeName,
      exact_of: exactOf,
    })),
  };
}
