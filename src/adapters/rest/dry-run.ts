/** What a write would do, as `POST /write/{table}?dry_run=1` answers it. Pure: nothing is made, registered or stored. */
import type { TableBatch } from '../../core/batch';
import { storeForm } from '../../core/column-name';
import type { TableName } from '../../core/ids';
import type { StoreTables } from '../../core/schema-registry';
import type { TableSchema, Tier } from '../../core/table-schema';
import type { WritePlan } from '../schema-on-write';
import { schemaJson } from './reply';

export interface DryRun {
  readonly table: TableName;
  /** Undefined for a body without rows. */
  readonly plan: WritePlan | undefined;
  readonly known: TableSchema | undefined;
  readonly stores: readonly StoreTables[];
  readonly tiersOf: (schema: TableSchema, batches: readonly TableBatch[]) => readonly Tier[];
}

export function dryRunReport({ table, plan, known, stores, tiersOf }: DryRun): object {
  const { batches = [], acceptedRows = 0, rejectedRows = 0, rejections = [] } = plan?.decoded ?? {};
  // A request whose rows are all refused changes nothing.
  const after = acceptedRows === 0 ? known : plan?.schema;
  return {
    dry_run: true,
    table,
    would_accept: acceptedRows,
    would_reject: rejectedRows,
    rejections,
    tiers: after === undefined ? [] : tiersOf(after, batches),
    schema: {
      current: known === undefined ? null : schemaJson(known),
      after: after === undefined ? null : schemaJson(after),
      changes: after === undefined ? [] : changesOf(known, after),
    },
    stores: after === undefined ? [] : stores.map((store) => storeReport(store, known, after)),
  };
}

/** What a schema has that the one before had not. */
export function changesOf(known: TableSchema | undefined, after: TableSchema): object[] {
  const before = new Map(known?.columns.map(({ name, type }) => [name, type]));
  return after.columns.flatMap(({ name, type }): object[] => {
    const from = before.get(name);
    if (from === undefined) return [{ change: 'added', column: name, type }];
    return from === type ? [] : [{ change: 'widened', column: name, from, type }];
  });
}

function storeReport(store: StoreTables, known: TableSchema | undefined, after: TableSchema): object {
  const types = store.columnsOf(after);
  const stored = storeForm(after);
  return {
    tier: store.tier,
    columns: after.columns.map(({ name, type }, i) => {
      const storeColumn = stored.columns[i].name;
      return { column: name, type, store_column: storeColumn, store_type: types.get(storeColumn) };
    }),
    ddl: known === after ? [] : store.explain(after, known),
  };
}
