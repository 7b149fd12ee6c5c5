import { type Data, DataType, type RecordBatch } from 'apache-arrow';
import { concatRows, expandDictionary } from './concat';
import { dictionaryValues } from './read';
import { recordBatch } from './record-batch';

/**
 * Some rows of a batch, in the given order, as a batch that no longer needs the whole one: a dictionary with more values than there
 * are rows becomes plain values.
 */
export function cutRows(batch: RecordBatch, rows: readonly number[]): RecordBatch {
  const runs = runsOf(rows);
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

/** Rows that follow one another as one run. */
function runsOf(rows: readonly number[]): Int32Array {
  const runs: number[] = [];
  for (const row of rows) {
    if (row === runs.at(-1)) runs[runs.length - 1] = row + 1;
    else runs.push(row, row + 1);
  }
  return Int32Array.from(runs);
}
