import type { RecordBatch } from 'apache-arrow';
import { cutRows } from '../columnar/cut';
import { decodeIpc, encodeIpc } from '../columnar/ipc';
import { hasType, widenBatch } from '../columnar/widen';
import type { TableBatch } from '../core/batch';
import type { Refit, Refitted } from '../core/dead-letter';
import type { RoutedBatch } from '../core/ingest';
import type { TableSchema } from '../core/table-schema';
import type { WalBatch } from '../core/wal';
import type { Letters } from './format';

/** What takes the place of letters: their rows as they are delivered, and by row of the group why the others stay. */
export interface Replayed {
  readonly batches: readonly WalBatch[];
  readonly refused: ReadonlyMap<number, string>;
}

/** Which tiers the rows of a batch go to; it may take the batch apart. */
export type Route = (batch: TableBatch) => readonly RoutedBatch[];

export interface ReplayTarget {
  readonly schema: TableSchema;
  readonly route: Route;
  readonly refit: Refit;
}

/** Rows of a group for the table as it is now, or the reason why none of them can be replayed. */
export function rowsAgain(
  { head, ipc }: Letters,
  rows: readonly number[],
  { schema, route, refit }: ReplayTarget,
): Replayed | string {
  const { table, version } = schema;
  const batch = cutRows(decodeIpc(ipc), rows);
  const isOfTable = head.tier !== undefined;
  if (isOfTable) {
    const known = new Set(schema.columns.map(({ name }) => name));
    const unknown = batch.schema.fields.find(({ name }) => !known.has(name));
    if (unknown !== undefined) return `column ${unknown.name} is not in version ${version} of ${table}`;
  }
  const { jsonColumns = [], wholeRows = false, atMs } = head;
  const { batches, refused }: Refitted =
    isOfTable && isInForm(batch, schema)
      ? { batches: [batch], refused: new Map() }
      : refit({ batch, jsonColumns, wholeRows, atMs }, schema);
  const routed = batches.flatMap((each) => route({ table, schemaVersion: version, batch: each }));
  if (routed.some(({ tiers }) => tiers.length === 0)) return 'a routing rule sends the row to the dead letters: name a tier';
  return {
    batches: routed.map(({ tiers, batch: rowsOf }) => {
      return { table, schemaVersion: version, tiers, rows: rowsOf.numRows, ipc: [encodeIpc(rowsOf)] };
    }),
    refused: new Map(Array.from(refused, ([row, reason]) => [rows[row], reason])),
  };
}

/** Has every column, made wider where it must be, the type that the table has now? */
function isInForm(batch: RecordBatch, schema: TableSchema): boolean {
  const types = new Map(schema.columns.map(({ name, type }) => [name, type]));
  return widenBatch(batch, schema).schema.fields.every(({ name, type }) => {
    const wanted = types.get(name);
    return wanted !== undefined && hasType(type, wanted);
  });
}
