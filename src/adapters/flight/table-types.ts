import { Field, Schema } from 'apache-arrow';
import { arrowType } from '../../columnar/arrow-type';
import type { TableSchema } from '../../core/table-schema';
import { schemaMessage } from './ipc-parts';

/** The schema in which rows of the table travel, as an encapsulated IPC message (FL12). */
export function tableSchemaMessage(schema: TableSchema): Uint8Array {
  return schemaMessage(new Schema(schema.columns.map(({ name, type, nullable }) => new Field(name, arrowType(type), nullable))));
}
