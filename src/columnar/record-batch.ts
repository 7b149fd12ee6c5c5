import { type Data, type DataType, Field, RecordBatch, Schema, Struct } from 'apache-arrow';
import { dataOf } from './slab';

const NO_METADATA: ReadonlyMap<string, string> = new Map();

/** The names and types of a batch's columns, to be used for many batches. */
export class BatchShape {
  private readonly schema: Schema;
  private readonly type: Struct;

  constructor(columns: readonly { name: string; type: DataType }[]) {
    const fields = columns.map(({ name, type }) => new Field(name, type, true));
    this.schema = new Schema(fields);
    this.type = new Struct(fields);
  }

  /** A batch of these columns, which have exactly these types and one length. */
  batch(columns: Data[]): RecordBatch {
    const length = columns[0]?.length ?? 0;
    for (const [i, column] of columns.entries()) {
      if (column.length === length) continue;
      throw new RangeError(`column ${this.schema.fields[i].name} has ${column.length} rows, expected ${length}`);
    }
    const data = dataOf({ type: this.type, length, children: columns });
    // As `new RecordBatch(schema, data)` leaves it, which would first copy the schema to make all columns equally long.
    return Object.assign(Object.create(RecordBatch.prototype) as RecordBatch, {
      schema: this.schema,
      data,
      _metadata: NO_METADATA,
    });
  }
}

/** Puts finished columns together as an Arrow record batch. All columns must have the same length. */
export function recordBatch(columns: readonly { name: string; data: Data }[]): RecordBatch {
  return new BatchShape(columns.map(({ name, data }) => ({ name, type: data.type }))).batch(columns.map(({ data }) => data));
}

/** The data of a column, or undefined when the batch does not have it. */
export function columnData(batch: RecordBatch, name: string): Data | undefined {
  const index = batch.schema.fields.findIndex((field) => field.name === name);
  return index < 0 ? undefined : batch.data.children[index];
}
