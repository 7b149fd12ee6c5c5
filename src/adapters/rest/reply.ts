import { IngestError } from '../../core/errors';
import type { TableSchema } from '../../core/table-schema';
import type { HttpReply } from '../http-contract';

export function json(status: number, value: object): HttpReply {
  return { status, contentType: 'application/json', body: JSON.stringify(value) };
}

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

/** A switch in the query: `1` or `true`, `0` or `false`. Throws IngestError `invalid_argument` for anything else. */
export function isSet(value: string | null, name: string): boolean {
  if (value === null || value === '0' || value === 'false') return false;
  if (value === '1' || value === 'true') return true;
  throw new IngestError('invalid_argument', `${name} must be 1 or 0`, { at: name });
}
