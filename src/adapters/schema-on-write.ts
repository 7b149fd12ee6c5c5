/** Rows whose table is made, or grown, as they need it: the same for every protocol that takes rows by name. */
import type { DecodedRequest, TableBatch } from '../core/batch';
import { IngestError } from '../core/errors';
import { type TableName, tableName } from '../core/ids';
import type { Registry } from '../core/ingest';
import type { TableSchema } from '../core/table-schema';
import type { InferredColumns } from './new-columns';

/** Rows in the form of a protocol: what columns they need, and they as a record batch. Both throw IngestError `invalid_argument`. */
export interface NamedRows {
  infer(known: TableSchema | undefined): InferredColumns;
  decode(schema: TableSchema): DecodedRequest;
}

/** The rows under a schema that is in force: it is made durable only when there is a row for it. Throws IngestError. */
export async function decodeForTable(registry: Registry, table: TableName, rows: NamedRows): Promise<DecodedRequest> {
  const known = registry.get(table);
  const { columns, timeColumn } = rows.infer(known);
  if (known !== undefined && columns.length === 0) return rows.decode(known);
  const wanted: TableSchema = {
    table,
    version: (known?.version ?? 0) + 1,
    columns: [...(known?.columns ?? []), ...columns],
    timeColumn,
    tier: known?.tier ?? 'hot',
  };
  const decoded = rows.decode(wanted);
  if (decoded.acceptedRows === 0) return decoded;
  const schema = await registry.evolve(table, columns, { timeColumn });
  // Another request may have made a column of the same name with another type meanwhile.
  if (!covers(schema, wanted)) return rows.decode(schema);
  const batches = decoded.batches.map((batch): TableBatch => ({ ...batch, schemaVersion: schema.version }));
  return { ...decoded, batches };
}

/** Whether the schema has every column of the other one with the same type. */
function covers(schema: TableSchema, wanted: TableSchema): boolean {
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
