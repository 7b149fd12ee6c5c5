/**
 * Two servers' idea of one table as one schema that has room for the rows of both. Nothing is ever taken away: columns are
 * united, types joined in the lattice of type-lattice.ts. Up to the order of columns and to policies the result does not depend
 * on who merges first.
 */
import { storeNameOf } from './column-name';
import type { TableName } from './ids';
import { CONFLICT_POLICIES, type ColumnSchema, TABLE_POLICIES, type TableSchema } from './table-schema';
import { holds, joinTypes, needsExact } from './type-lattice';

/** The columns of both, `a`'s order first, and exact companions for integers that became doubles. */
export function mergeColumns(a: readonly ColumnSchema[], b: readonly ColumnSchema[], newer?: Newer): readonly ColumnSchema[] {
  const others = new Map(b.map((column) => [column.name, column]));
  const names = new Set(a.map(({ name }) => name));
  const merged = [
    ...a.map((column) => mergeColumn(column, others.get(column.name), newer)),
    ...b.filter(({ name }) => !names.has(name)),
  ];
  const mine = new Map(a.map((column) => [column.name, column]));
  const halved = merged.filter(({ name, type }) =>
    [mine.get(name), others.get(name)].some((column) => column !== undefined && needsExact(column.type, type)),
  );
  for (const { name } of halved) addExact(merged, name);
  return merged;
}

/** Adds the column with the exact integers of a float64 column, unless there is one. */
function addExact(columns: ColumnSchema[], name: string): void {
  if (columns.some((column) => column.exactOf === name)) return;
  const exact = freeName(`${name}_int`, columns);
  const storeName = storeNameOf(exact);
  columns.push({ name: exact, type: 'int64', nullable: true, ...(storeName === undefined ? {} : { storeName }), exactOf: name });
}

function freeName(wanted: string, columns: readonly ColumnSchema[]): string {
  const names = new Set(columns.map(({ name }) => name));
  for (let i = 1; ; i++) {
    const name = i === 1 ? wanted : `${wanted}_${i}`;
    if (!names.has(name)) return name;
  }
}

function mergeColumn(a: ColumnSchema, b: ColumnSchema | undefined, newer: Newer): ColumnSchema {
  if (b === undefined) return a;
  const conflict = chosen(CONFLICT_POLICIES, a.conflict, b.conflict, newer);
  const storeName = a.storeName ?? b.storeName;
  const exactOf = a.exactOf ?? b.exactOf;
  return {
    name: a.name,
    type: joinTypes(a.type, b.type),
    nullable: a.nullable || b.nullable,
    ...(a.lowCardinality === true || b.lowCardinality === true ? { lowCardinality: true } : {}),
    ...(conflict === undefined ? {} : { conflict }),
    ...(storeName === undefined ? {} : { storeName }),
    ...(exactOf === undefined ? {} : { exactOf }),
  };
}

/** Which side has changed last; undefined when that is not known. */
type Newer = 'a' | 'b' | undefined;

/** A setting of the newer side; without one, that which comes later in the list, so that both sides choose the same. */
function chosen<T>(order: readonly T[], a: T | undefined, b: T | undefined, newer: Newer): T | undefined {
  if (a === undefined || b === undefined) return a ?? b;
  if (newer !== undefined) return newer === 'a' ? a : b;
  return order.indexOf(a) < order.indexOf(b) ? b : a;
}

/**
 * `shared` with what only `local` has. Where they cannot both be had (time column, home tier) `shared` stands, because tables
 * were made by it; policies are those of the greater version. The version is above that of each side that lacked something.
 */
export function mergeSchemas(shared: TableSchema, local: TableSchema): TableSchema {
  const newer = shared.version === local.version ? undefined : shared.version > local.version ? 'a' : 'b';
  const policy = chosen(TABLE_POLICIES, shared.policy, local.policy, newer);
  const merged: TableSchema = {
    table: shared.table,
    version: 0,
    columns: mergeColumns(shared.columns, local.columns, newer).map((column) =>
      column.name === shared.timeColumn ? { ...column, type: 'timestamp', nullable: false } : column,
    ),
    timeColumn: shared.timeColumn,
    tier: shared.tier,
    ...(policy === undefined ? {} : { policy }),
  };
  // Each side's next version, unless it has all of this already: one number never stands for two schemas.
  const next = ({ version }: TableSchema, same: boolean): number => (same ? version : version + 1);
  const version = Math.max(next(shared, sameContent(merged, shared)), next(local, sameContent(merged, local)));
  return { ...merged, version };
}

/** Do they say the same, but for version and order of columns? */
export function sameContent(a: TableSchema, b: TableSchema): boolean {
  return JSON.stringify(contentOf(a)) === JSON.stringify(contentOf(b));
}

function contentOf({ columns, timeColumn, tier, policy = 'evolve' }: TableSchema): unknown {
  const sorted = columns.map(
    ({ name, type, nullable, lowCardinality = false, conflict = 'widen', storeName = '', exactOf = '' }) =>
      [name, type, nullable, lowCardinality, conflict, storeName, exactOf] as const,
  );
  return [sorted.sort(([a], [b]) => (a < b ? -1 : 1)), timeColumn, tier, policy];
}

/** Has `schema` room for every value of a table that is like `other`? */
export function covers(schema: TableSchema, other: TableSchema): boolean {
  if (schema === other) return true;
  const types = new Map(schema.columns.map(({ name, type }) => [name, type]));
  return (
    schema.version >= other.version &&
    other.columns.every(({ name, type }) => {
      const found = types.get(name);
      return found !== undefined && holds(found, type);
    })
  );
}

/** A column as `table_registry` keeps it and clients see it; a member without a value is left out of JSON. */
export function columnToJson(column: ColumnSchema): Record<string, unknown> {
  const { name, type, nullable, lowCardinality, conflict, storeName, exactOf } = column;
  return { name, type, nullable, low_cardinality: lowCardinality, conflict, store_name: storeName, exact_of: exactOf };
}

/** A schema as `table_registry` keeps it. */
export function schemaToJson(schema: TableSchema): Record<string, unknown> {
  return {
    columns: schema.columns.map(columnToJson),
    time_column: schema.timeColumn,
  };
}

interface StoredColumn extends Pick<ColumnSchema, 'name' | 'type' | 'nullable' | 'conflict'> {
  readonly low_cardinality?: boolean;
  readonly store_name?: string;
  readonly exact_of?: string;
}

export interface StoredSchema {
  readonly table_name: string;
  readonly schema: { readonly columns?: readonly StoredColumn[]; readonly time_column?: string } | null;
  readonly version: number | null;
  readonly tier: string | null;
  readonly policy: string | null;
}

/** A row of `table_registry`; undefined for one that somebody else wrote in another form. */
export function schemaOfRow(row: StoredSchema): TableSchema | undefined {
  const { columns, time_column: timeColumn } = row.schema ?? {};
  if (columns === undefined || timeColumn === undefined || row.version === null) return undefined;
  const policy = TABLE_POLICIES.find((name) => name === row.policy);
  return {
    table: row.table_name as TableName,
    version: row.version,
    columns: columns.map(({ low_cardinality, store_name, exact_of, ...column }) => ({
      ...column,
      ...(low_cardinality === true ? { lowCardinality: true } : {}),
      ...(store_name === undefined ? {} : { storeName: store_name }),
      ...(exact_of === undefined ? {} : { exactOf: exact_of }),
    })),
    timeColumn,
    tier: row.tier === 'cold' ? 'cold' : 'hot',
    ...(policy === undefined ? {} : { policy }),
  };
}
