/** What a write or a registration would do, for the answer to a dry run. Pure: nothing is made, registered or stored. */
import { type DecodedRequest, parkedRowsOf, type TableBatch } from '../core/batch';
import { storeForm } from '../core/column-name';
import type { RowRejection } from '../core/errors';
import type { TableName } from '../core/ids';
import type { Registry } from '../core/ingest';
import type { SchemaRegistry, StoreTables, TableDefinition } from '../core/schema-registry';
import type { ColumnType, TableSchema, Tier } from '../core/table-schema';
import type { Parking } from './row-rejections';
import { schemaJson } from './schema-json';
import { type NamedRows, planWrite } from './schema-on-write';

/** The key in gRPC metadata; over HTTP it is the query parameter `dry_run`. */
export const DRY_RUN_HEADER = 'thermocline-dry-run';

/** What a dry run knows of the stores. */
export interface DryRunStores {
  readonly stores: readonly StoreTables[];
  /** Tiers to which these rows of the table go. */
  readonly tiersOf: (schema: TableSchema, batches: readonly TableBatch[]) => readonly Tier[];
}

/** Without stores there is no DDL, and rows go to the home of their table. */
export const NO_STORES: DryRunStores = { stores: [], tiersOf: (schema) => [schema.tier] };

export interface SchemaChange {
  readonly change: 'added' | 'widened';
  readonly column: string;
  /** The type before, of a column that is widened. */
  readonly from?: ColumnType;
  readonly type: ColumnType;
}

export interface StorePlan {
  readonly tier: Tier;
  readonly columns: readonly {
    readonly column: string;
    readonly type: ColumnType;
    readonly storeColumn: string;
    readonly storeType: string | undefined;
  }[];
  readonly ddl: readonly string[];
}

export interface DryRun {
  readonly table: TableName;
  readonly acceptedRows: number;
  /** Rows that would become dead letters. */
  readonly parkedRows: number;
  readonly rejectedRows: number;
  readonly rejections: readonly RowRejection[];
  readonly tiers: readonly Tier[];
  readonly current: TableSchema | undefined;
  readonly after: TableSchema | undefined;
  readonly changes: readonly SchemaChange[];
  readonly stores: readonly StorePlan[];
}

/** What a write of these rows would do. Throws IngestError as the write would. */
export function dryRunOfRows(
  registry: Registry,
  table: TableName,
  rows: NamedRows,
  stores: DryRunStores,
  parking?: Parking,
): DryRun {
  const { known, schema, decoded } = planWrite(registry, table, rows, parking);
  // A request whose rows are all refused changes nothing.
  return dryRunOf({ table, known, after: decoded.acceptedRows === 0 ? known : schema }, decoded, stores);
}

/** What a registration would do. Throws IngestError as the registration would. */
export function dryRunOfDefinition(registry: SchemaRegistry, definition: TableDefinition, stores: DryRunStores): DryRun {
  const { table } = definition;
  const after = registry.previewRegistration(definition);
  return dryRunOf({ table, known: registry.get(table), after }, NO_ROWS, stores);
}

export const NO_ROWS: DecodedRequest = { batches: [], acceptedRows: 0, rejectedRows: 0, rejections: [] };

/** `known`: the schema in force; `after`: the one that the request needs. */
export function dryRunOf(
  { table, known, after }: { table: TableName; known: TableSchema | undefined; after: TableSchema | undefined },
  decoded: DecodedRequest,
  { stores, tiersOf }: DryRunStores,
): DryRun {
  const { batches, acceptedRows, rejectedRows, rejections } = decoded;
  return {
    table,
    acceptedRows,
    parkedRows: parkedRowsOf(decoded),
    rejectedRows,
    rejections,
    tiers: after === undefined ? [] : tiersOf(after, batches),
    current: known,
    after,
    changes: after === undefined ? [] : changesOf(known, after),
    stores: after === undefined ? [] : stores.map((store) => storePlan(store, known, after)),
  };
}

/** What a schema has that the one before had not. */
function changesOf(known: TableSchema | undefined, after: TableSchema): SchemaChange[] {
  const before = new Map(known?.columns.map(({ name, type }) => [name, type]));
  return after.columns.flatMap(({ name, type }): SchemaChange[] => {
    const from = before.get(name);
    if (from === undefined) return [{ change: 'added', column: name, type }];
    return from === type ? [] : [{ change: 'widened', column: name, from, type }];
  });
}

function storePlan(store: StoreTables, known: TableSchema | undefined, after: TableSchema): StorePlan {
  const types = store.columnsOf(after);
  const stored = storeForm(after);
  return {
    tier: store.tier,
    columns: after.columns.map(({ name, type }, i) => {
      const storeColumn = stored.columns[i].name;
      return { column: name, type, storeColumn, storeType: types.get(storeColumn) };
    }),
    ddl: known === after ? [] : store.explain(after, known),
  };
}

/** The answer in JSON. */
export function dryRunJson(run: DryRun): object {
  const { table, acceptedRows, parkedRows, rejectedRows, rejections, tiers, current, after, changes, stores } = run;
  return {
    dry_run: true,
    table,
    would_accept: acceptedRows,
    would_reject: rejectedRows,
    rejections,
    ...(parkedRows === 0 ? {} : { would_park: parkedRows }),
    tiers,
    schema: {
      current: current === undefined ? null : schemaJson(current),
      after: after === undefined ? null : schemaJson(after),
      changes,
    },
    stores: stores.map(storeJson),
  };
}

const storeJson = ({ tier, columns, ddl }: StorePlan): object => ({
  tier,
  columns: columns.map(({ column, type, storeColumn, storeType }) => ({
    column,
    type,
    store_column: storeColumn,
    store_type: storeType,
  })),
  ddl,
});
