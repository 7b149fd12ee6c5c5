import type { RecordBatch } from 'apache-arrow';
import { recordBatch } from '../columnar/record-batch';
import { widenBatch } from '../columnar/widen';
import { storeForm } from '../core/column-name';
import type { SinkWrite } from '../core/sink';
import type { TableSchema } from '../core/table-schema';

/**
 * The write as the store has its table: columns in the types of `schema`, which may be newer than the batch, and by their store
 * names.
 */
export function storeWrite(write: SinkWrite, schema: TableSchema): SinkWrite {
  const stored = storeForm(schema);
  const batch = widenBatch(write.batch, schema);
  return { ...write, schema: stored, batch: stored === schema ? batch : renamed(batch, schema) };
}

function renamed(batch: RecordBatch, schema: TableSchema): RecordBatch {
  const names = new Map(schema.columns.map(({ name, storeName = name }) => [name, storeName]));
  return recordBatch(batch.schema.fields.map(({ name }, i) => ({ name: names.get(name) ?? name, data: batch.data.children[i] })));
}
