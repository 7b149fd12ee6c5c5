/** Rows whose table is made, or grown, as they need it: the same for every protocol that takes rows by name. */
import type { DecodedRequest, TableBatch } from '../core/batch';
import { IngestError } from '../core/errors';
import { type TableName, tableName } from '../core/ids';
import type { Registry } from '../core/ingest';
import type { ColumnSchema, TableSchema } from '../core/table-schema';
import type { InferredColumns } from './new-columns';
import type { Parking } from './row-rejections';

/** Rows in the form of a protocol: what columns they need, and they as a record batch. Both throw IngestError `invalid_argument`. */
export interface NamedRows {
  infer(known: TableSchema | undefined): InferredColumns;
  decode(schema: TableSchema, parking: Parking): DecodedRequest;
}

/** What a write would do. */
export interface WritePlan {
  /** The schema in force, undefined for a new table. */
  readonly known: TableSchema | undefined;
  /** The schema that the rows need; the one in force when it will do. */
  readonly schema: TableSchema;
  readonly decoded: DecodedRequest;
  /** What the registry is asked for. */
  readonly asked: readonly ColumnSchema[];
  readonly timeColumn: string;
}

/** Rows are read again with wider columns at most this often: a type has fewer steps above it. */
const WIDENINGS_MAX = 6;

/** The rows under the schema that they need, which is not made yet. Nothing is changed. Throws IngestError. */
export function planWrite(
  registry: Pick<Registry, 'get' | 'preview'>,
  table: TableName,
  rows: NamedRows,
  parking: Parking = 'columns',
): WritePlan {
  const known = registry.get(table);
  const { columns, timeColumn } = rows.infer(known);
  const preview = (asked: readonly ColumnSchema[]): TableSchema =>
    known !== undefined && asked.length === 0 ? known : registry.preview(table, asked, { timeColumn });
  // A request without rows names no column, and makes no table.
  const nothing: TableSchema = { table, version: 1, columns, timeColumn, tier: 'hot' };
  let schema = known === undefined && columns.length === 0 ? nothing : preview(columns);
  let plan: WritePlan = { known, schema, decoded: rows.decode(schema, parking), asked: columns, timeColumn };
  for (let pass = 0; pass < WIDENINGS_MAX && plan.decoded.conflicts !== undefined; pass++) {
    const asked = withConflicts(plan);
    schema = preview(asked);
    if (sameTypes(schema, plan.schema)) break;
    const decoded = rows.decode(schema, parking);
    // A column that is widened for nothing stays as it is.
    if (decoded.acceptedRows <= plan.decoded.acceptedRows) break;
    plan = { known, schema, decoded, asked, timeColumn };
  }
  return plan;
}

/** The columns that the plan asks for, wide enough for the values that did not fit. */
function withConflicts({ asked, schema, decoded }: WritePlan): readonly ColumnSchema[] {
  const present = new Map(schema.columns.map((column) => [column.name, column]));
  const wanted = new Map(asked.map((column) => [column.name, column]));
  for (const [name, type] of decoded.conflicts ?? []) {
    const before = wanted.get(name) ?? present.get(name);
    if (before !== undefined) wanted.set(name, { ...before, type });
  }
  return [...wanted.values()];
}

/**
 * The rows under a schema that is in force: it is made durable only when there is a row for it. Without the table there are no dead
 * letters of it. Throws IngestError.
 */
export async function decodeForTable(
  registry: Registry,
  table: TableName,
  rows: NamedRows,
  parking: Parking = 'columns',
): Promise<DecodedRequest> {
  const plan = planWrite(registry, table, rows, parking);
  const { decoded, asked, timeColumn } = plan;
  if (plan.known === undefined && decoded.acceptedRows === 0) return rows.decode(plan.schema, 'none');
  if (plan.schema === plan.known || decoded.acceptedRows === 0) return decoded;
  const schema = await registry.evolve(table, asked, { timeColumn });
  // Another request may have made a column of the same name with another type meanwhile.
  if (!sameTypes(schema, plan.schema)) return rows.decode(schema, parking);
  const batches = decoded.batches.map((batch): TableBatch => ({ ...batch, schemaVersion: schema.version }));
  return { ...decoded, batches };
}

/** Whether the schema has every column of the other one with the same type. */
function sameTypes(schema: TableSchema, wanted: TableSchema): boolean {
  const types = new Map(schema.columns.map(({ name, type }) => [name, type]));
  return schema.timeColumn === wanted.timeColumn && wanted.columns.every(({ name, type }) => types.get(name) === type);
}

/** A table name from a request. Throws IngestError `invalid_argument` for a text that cannot be one. */
export function checkTableName(text: string): TableName {
  const table = tableName(text);
  if (table !== undefined) return table;
  const rule = 'a table name is a letter, then letters, digits or _, at most 63, and none of the reserved names';
  throw new IngestError('invalid_argument', rule, { at: 'table' });
}
