import { type Data, DataType, type RecordBatch } from 'apache-arrow';
import { concatRows, expandDictionary } from './concat';
import { dictionaryValues } from './read';
import { recordBatch } from './record-batch';

/**
 * Some rows of a batch, in the given order, as a batch that no longer needs the whole one: a dictionary with more values than there
 * are rows becomes plain values.
 */
export function cutRows(batch: RecordBatch, rows: readonly number[]): RecordBatch {
  const runs = Int32Array.from(rows.flatMap((row) => [row, row + 1]));
  const few = (data: Data): boolean => DataType.isDictionary(data.type) && dictionaryValues(data).length > rows.length;
  const columns = batch.schema.fields.map(({ name }, i) => ({ name, data: batch.data.children[i] }));
  return recordBatch(
    columns.map(({ name, data }) => {
      if (few(data)) return { name, data: expandDictionary(data, runs) };
      const [cut] = concatRows([{ batch: recordBatch([{ name, data }]), runs }]).data.children;
      return { name, data: cut };
    }),
  );
}
