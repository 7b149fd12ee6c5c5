/** What would be done to PostgreSQL for a schema, without a store: names, types and statements. */
import { storeForm } from '../../core/column-name';
import type { TableSchema } from '../../core/table-schema';
import { addColumns, createIndexes, createTable, pgColumns } from './ddl';
import { createHypertable, type TimescaleOptions } from './timescale';
import { widenColumn, wideningsOf } from './widen';

export const columnsOfSchema = (schema: TableSchema): ReadonlyMap<string, string> =>
  new Map(pgColumns(storeForm(schema)).map(({ name, type }) => [name, type]));

/** Day partitions, which depend on the clock, are left out. A widening is shown as it is done in a small table. */
export function explainTable(schema: TableSchema, before: TableSchema | undefined, timescale?: TimescaleOptions): string[] {
  const stored = storeForm(schema);
  if (before === undefined) {
    const hypertable = timescale === undefined ? [] : [createHypertable(stored, timescale)];
    const create = [createTable(stored, timescale === undefined), ...hypertable];
    return [...create, ...createIndexes(stored)];
  }
  const existing = new Map(columnsOfSchema(before));
  const widenings = wideningsOf(stored, existing);
  for (const { column, oldName, isExact } of widenings) if (isExact) existing.set(oldName, existing.get(column.name) ?? '');
  const indexes = new Set(createIndexes(storeForm(before)));
  return [
    ...widenings.flatMap((widening) => widenColumn(stored, widening, true)),
    ...[addColumns(stored, existing) ?? []].flat(),
    ...createIndexes(stored).filter((index) => !indexes.has(index)),
  ];
}
