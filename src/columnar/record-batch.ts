import { type Data, Field, makeData, RecordBatch, Schema, Struct } from 'apache-arrow';

/** Puts finished columns together as an Arrow record batch. All columns must have the same length. */
export function recordBatch(columns: readonly { name: string; data: Data }[]): RecordBatch {
  const fields = columns.map(({ name, data }) => new Field(name, data.type, true));
  const length = columns[0]?.data.length ?? 0;
  for (const { name, data } of columns) {
    if (data.length !== length) throw new RangeError(`column ${name} has ${data.length} rows, expected ${length}`);
  }
  const data = makeData({ type: new Struct(fields), length, nullCount: 0, children: columns.map((column) => column.data) });
  return new RecordBatch(new Schema(fields), data);
}

/** The data of a column, or undefined when the batch does not have it. */
export function columnData(batch: RecordBatch, name: string): Data | undefined {
  const index = batch.schema.fields.findIndex((field) => field.name === name);
  return index < 0 ? undefined : batch.data.children[index];
}
