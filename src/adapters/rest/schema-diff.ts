import type { StoreTables } from '../../core/schema-registry';
import type { TableSchema, Tier } from '../../core/table-schema';

/** One thing in which a store's table is not what the registry says. */
export interface SchemaDifference {
  readonly tier: Tier;
  readonly kind: 'missing_table' | 'missing_column' | 'other_type' | 'not_readable';
  /** Name in the store. */
  readonly column?: string;
  readonly expected?: string;
  readonly found?: string;
}

/** Compares a schema with its table in every store. A store that does not answer is a difference too. */
export async function diffSchema(schema: TableSchema, stores: readonly StoreTables[]): Promise<SchemaDifference[]> {
  const perStore = stores.map(async (store): Promise<SchemaDifference[]> => {
    try {
      return compare(store.tier, store.columnsOf(schema), await store.describe(schema.table));
    } catch (error) {
      return [{ tier: store.tier, kind: 'not_readable', found: (error as Error).message }];
    }
  });
  return (await Promise.all(perStore)).flat();
}

/** Columns that only the store has are no difference: nothing is ever taken away there. */
export function compare(
  tier: Tier,
  expected: ReadonlyMap<string, string>,
  found: ReadonlyMap<string, string> | undefined,
): SchemaDifference[] {
  if (found === undefined) return [{ tier, kind: 'missing_table' }];
  return [...expected].flatMap(([column, type]): SchemaDifference[] => {
    const stored = found.get(column);
    if (stored === undefined) return [{ tier, kind: 'missing_column', column, expected: type }];
    return stored === type ? [] : [{ tier, kind: 'other_type', column, expected: type, found: stored }];
  });
}
