import { columnToJson } from '../core/merge-schema';
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
    columns: columns.map((column) => {
      const { lowCardinality = false, conflict = 'widen' } = column;
      return columnToJson({ ...column, lowCardinality, conflict });
    }),
  };
}
