/** What happens to rows with abnormal labels (columnar/labels.ts) before they are appended: the policy is the operator's. */
import { type Data, DataType, type RecordBatch, type Schema } from 'apache-arrow';
import { cutRows } from '../columnar/cut';
import { abnormalLabels, type LabelLimits, type LabelProblem, labelValues, repairedLabels } from '../columnar/labels';
import { positionOf, viewColumn } from '../columnar/read';
import { recordBatch } from '../columnar/record-batch';
import type { TableBatch, UnfitReason, UnfitRows } from '../core/batch';
import type { RejectionCode } from '../core/errors';
import type { TableName } from '../core/ids';
import type { LabelPolicy } from '../core/label-policy';

export interface LabelGuardOptions extends LabelLimits {
  readonly policy: LabelPolicy;
  /** Told how many rows of a table were found to be abnormal. */
  readonly onFound: (table: TableName, problem: LabelProblem, rows: number) => void;
}

export interface GuardedBatches {
  readonly batches: readonly TableBatch[];
  readonly parked: readonly UnfitRows[];
}

/** Labels that are to be repaired, and rows that are to be parked, of one column. */
interface Found {
  readonly name: string;
  readonly data: Data;
  readonly bad: ReadonlyMap<number, LabelProblem>;
}

/** The batches with normal labels only, and the rows that are parked instead. Normal batches are given back as they are. */
export function guardLabels(batches: readonly TableBatch[], options: LabelGuardOptions): GuardedBatches {
  const found = batches.map((batch) => abnormalColumns(batch.batch, options));
  if (found.every((columns) => columns.length === 0)) return { batches, parked: [] };
  const parked: UnfitRows[] = [];
  const guarded = batches.flatMap((batch, i): TableBatch[] => {
    if (found[i].length === 0) return [batch];
    const rows = abnormalRows(found[i]);
    countProblems(batch.table, rows, options);
    if (options.policy !== 'dead_letter') return [{ ...batch, batch: repaired(batch.batch, found[i], options) }];
    parked.push(unfitRows(batch, rows, options));
    const rest = Array.from({ length: batch.batch.numRows }, (_, row) => row).filter((row) => !rows.has(row));
    return rest.length === 0 ? [] : [{ ...batch, batch: cutRows(batch.batch, rest) }];
  });
  return { batches: guarded, parked };
}

/** By schema, of which decoders have one for many requests. */
const known = new WeakMap<Schema, readonly number[]>();

/** Positions of the columns that hold labels. */
function labelColumns(schema: Schema): readonly number[] {
  let columns = known.get(schema);
  if (columns === undefined) {
    columns = schema.fields.flatMap(({ type }, i) => (isLabels(type) ? [i] : []));
    known.set(schema, columns);
  }
  return columns;
}

const isLabels = (type: DataType): boolean => DataType.isMap(DataType.isDictionary(type) ? type.dictionary : type);

function abnormalColumns(batch: RecordBatch, limits: LabelLimits): Found[] {
  const found: Found[] = [];
  for (const i of labelColumns(batch.schema)) {
    const data = batch.data.children[i];
    const values = labelValues(data);
    const bad = values === undefined ? undefined : abnormalLabels(values, limits);
    if (bad !== undefined && bad.size > 0) found.push({ name: batch.schema.fields[i].name, data, bad });
  }
  return found;
}

/** By row, its first problem and the column that has it. */
function abnormalRows(found: readonly Found[]): Map<number, { column: string; problem: LabelProblem }> {
  const rows = new Map<number, { column: string; problem: LabelProblem }>();
  for (const { name, data, bad } of found) {
    const view = DataType.isDictionary(data.type) ? viewColumn(data) : undefined;
    for (let row = 0; row < data.length; row++) {
      const problem = bad.get(view === undefined ? row : positionOf(view, row));
      if (problem !== undefined && !rows.has(row)) rows.set(row, { column: name, problem });
    }
  }
  return rows;
}

function countProblems(
  table: TableName,
  rows: ReadonlyMap<number, { problem: LabelProblem }>,
  { onFound }: LabelGuardOptions,
): void {
  const counts = new Map<LabelProblem, number>();
  for (const { problem } of rows.values()) counts.set(problem, (counts.get(problem) ?? 0) + 1);
  for (const [problem, count] of counts) onFound(table, problem, count);
}

function repaired(batch: RecordBatch, found: readonly Found[], limits: LabelGuardOptions): RecordBatch {
  const repair = limits.policy === 'truncate' ? 'truncate' : 'side_column';
  const fixed = new Map(found.map(({ name, data, bad }) => [name, repairedLabels(data, new Set(bad.keys()), limits, repair)]));
  return recordBatch(batch.schema.fields.map(({ name }, i) => ({ name, data: fixed.get(name) ?? batch.data.children[i] })));
}

const CODES: Readonly<Record<LabelProblem, RejectionCode>> = {
  too_many: 'too_large',
  key_too_long: 'too_large',
  value_too_long: 'too_large',
  illegal_key: 'invalid_name',
};

function unfitRows(
  { table, schemaVersion, batch }: TableBatch,
  rows: ReadonlyMap<number, { column: string; problem: LabelProblem }>,
  limits: LabelLimits,
): UnfitRows {
  const sorted = [...rows.keys()].sort((a, b) => a - b);
  const reasons = sorted.map((row): UnfitReason => {
    const { column, problem } = rows.get(row)!;
    return { stage: 'decode', code: CODES[problem], column, message: messageOf(problem, limits) };
  });
  return { table, schemaVersion, batch: cutRows(batch, sorted), reasons, jsonColumns: [] };
}

function messageOf(problem: LabelProblem, { countMax, keyBytesMax, valueBytesMax }: LabelLimits): string {
  switch (problem) {
    case 'too_many':
      return `more than ${countMax} labels`;
    case 'key_too_long':
      return `a label has a key of more than ${keyBytesMax} bytes`;
    case 'value_too_long':
      return `a label has a value of more than ${valueBytesMax} bytes`;
    case 'illegal_key':
      return 'a label has an empty key, or one that holds NUL';
  }
}
