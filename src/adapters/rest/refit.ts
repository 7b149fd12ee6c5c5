/**
 * Rows of dead letters for the table as it is now: by the rules for rows from outside, and texts are also taken for what they say,
 * so that `"12.5"` fits a double and an RFC 3339 time a timestamp. Exactly or not at all: a row of which a value does not fit stays
 * a dead letter, with the reason.
 */
import { isUtf8 } from 'node:buffer';
import { type Data, DataType, type RecordBatch } from 'apache-arrow';
import { utf8Builder } from '../../columnar/bytes-builder';
import { encodeIpc } from '../../columnar/ipc';
import { type ColumnView, positionOf, viewColumn } from '../../columnar/read';
import { columnData, recordBatch } from '../../columnar/record-batch';
import { readForeignStream } from '../../columnar/validate';
import type { RefitRows, Refitted } from '../../core/dead-letter';
import { IngestError } from '../../core/errors';
import { LIMITS } from '../../core/limits';
import type { ColumnSchema, TableSchema } from '../../core/table-schema';
import { ConflictingValues } from '../arrow-conflicts';
import { fitArrowRows, type Refusal } from '../arrow-rows';
import type { CellProblem } from '../cell-problem';
import { aliasesOf, overflowColumn } from '../friendly-names';
import { JSON_BYTE, JsonReader } from '../json-reader';
import type { Column } from './columns';
import { makeAnyTextColumn, makeColumn } from './make-column';
import { type TypedRows, typedRows } from './unfit-rows';

/** The rows in the form of the schema, and by row why the others do not fit. */
export function refit(rows: RefitRows, schema: TableSchema): Refitted {
  return rows.wholeRows ? refitTexts(rows, schema) : refitTyped(rows, schema);
}

/** Rows that are texts, one by one: together they may have very many columns. */
function refitTexts(rows: RefitRows, schema: TableSchema): Refitted {
  const batches: RecordBatch[] = [];
  const refused = new Map<number, string>();
  const view = viewColumn(rows.batch.data.children[0]);
  for (let row = 0; row < rows.batch.numRows; row++) {
    const typed = typedRows([textAt(view, row)]);
    if (typed === undefined) {
      refused.set(row, 'the row is no JSON object that can be columns');
      continue;
    }
    const one = refitTyped({ ...typed, wholeRows: false, atMs: rows.atMs }, schema);
    batches.push(...one.batches);
    for (const reason of one.refused.values()) refused.set(row, reason);
  }
  return { batches, refused };
}

function refitTyped(rows: RefitRows, schema: TableSchema): Refitted {
  const { atMs } = rows;
  const { batch, jsonColumns } = withFoldedLabels(rows, schema);
  const refused = new Map<number, Refusal>();
  const refuse: Refuse = (row, column, problem) => {
    if (!refused.has(row)) refused.set(row, { problem, column });
  };
  const columns = texted(batch, new Set(jsonColumns), schema, refuse);
  try {
    const { fields, batches } = readForeignStream(encodeIpc(recordBatch(columns)));
    const arrivalNs = BigInt(Math.floor(atMs)) * 1_000_000n;
    const fitted = fitArrowRows(fields, batches, schema, {
      arrivalNs,
      begun: { refused, conflicts: new ConflictingValues(schema, refuse) },
    });
    const reasons = Array.from(fitted?.refused ?? [], ([row, refusal]): [number, string] => [row, reasonOf(refusal)]);
    return { batches: fitted?.batch === undefined ? [] : [fitted.batch], refused: new Map(reasons) };
  } catch (error) {
    // A column that the table cannot take at all.
    if (!(error instanceof IngestError) || error.code !== 'invalid_argument') throw error;
    const { message } = error;
    return { batches: [], refused: new Map(Array.from({ length: batch.numRows }, (_, row) => [row, message])) };
  }
}

/** JSON members of a built-in table that have no column, as members of its label column, where their kinds are kept. */
function withFoldedLabels({ batch, jsonColumns }: TypedRows, schema: TableSchema): TypedRows {
  const overflow = overflowColumn(schema);
  const known = new Set([...schema.columns.map(({ name }) => name), ...aliasesOf(schema).map(([name]) => name)]);
  const extra = new Set(jsonColumns.filter((name) => !known.has(name)));
  if (overflow === undefined || extra.size === 0) return { batch, jsonColumns };
  const own = columnData(batch, overflow);
  if (own !== undefined && !jsonColumns.includes(overflow)) return { batch, jsonColumns };
  const columns = batch.schema.fields.map(({ name }, i) => ({ name, data: batch.data.children[i] }));
  const members = columns
    .filter(({ name }) => extra.has(name))
    .map(({ name, data }) => ({ key: JSON.stringify(name), view: viewColumn(data) }));
  const labels = utf8Builder(batch.numRows);
  const ownView = own === undefined ? undefined : viewColumn(own);
  for (let row = 0; row < batch.numRows; row++) labels.appendString(labelsText(row, ownView, members));
  const rest = columns.filter(({ name }) => name !== overflow && !extra.has(name));
  return { batch: recordBatch([...rest, { name: overflow, data: labels.finish() }]), jsonColumns: [...jsonColumns, overflow] };
}

/** The labels of a row with more members; labels that are no object stay what they are, to be refused. */
function labelsText(row: number, own: ColumnView | undefined, members: readonly { key: string; view: ColumnView }[]): string {
  const text = own === undefined || positionOf(own, row) < 0 ? '{}' : Buffer.from(textAt(own, row)).toString().trim();
  if (!text.startsWith('{')) return text;
  const inner = text.slice(1, -1).trim();
  const added = members
    .filter(({ view }) => positionOf(view, row) >= 0)
    .map(({ key, view }) => `${key}:${Buffer.from(textAt(view, row)).toString()}`);
  return `{${[...(inner === '' ? [] : [inner]), ...added].join(',')}}`;
}

const reasonOf = ({ problem, column }: Refusal): string =>
  column === undefined ? `${problem.code}: ${problem.message}` : `column ${column}: ${problem.code}: ${problem.message}`;

type Refuse = (row: number, column: string, problem: CellProblem) => void;

/** The columns of the batch, those with texts for columns of other types in these types. */
function texted(
  batch: RecordBatch,
  json: ReadonlySet<string>,
  schema: TableSchema,
  refuse: Refuse,
): { name: string; data: Data }[] {
  const byName = new Map(schema.columns.map((column) => [column.name, column]));
  const aliases = new Map(aliasesOf(schema));
  return batch.schema.fields.map(({ name }, i) => {
    const data = batch.data.children[i];
    const target = byName.get(name) ?? byName.get(aliases.get(name) ?? '');
    const view = viewColumn(data);
    if (!DataType.isUtf8(view.values.type)) return { name, data };
    // A column without a place: JSON texts of an attribute or of an overflow column stay what they are.
    if (target === undefined) return { name, data };
    if (target.type === (json.has(name) ? 'json' : 'string')) return { name, data };
    return { name, data: fromTexts(view, data.length, target, json.has(name), (row, problem) => refuse(row, name, problem)) };
  });
}

function fromTexts(
  view: ColumnView,
  rows: number,
  target: ColumnSchema,
  isJson: boolean,
  report: (row: number, problem: CellProblem) => void,
): Data {
  // Required or not is decided when all columns are there.
  const schema: ColumnSchema = { name: target.name, type: target.type, nullable: true };
  const column = target.type === 'string' ? makeAnyTextColumn(schema) : makeColumn(schema);
  for (let row = 0; row < rows; row++) {
    if (positionOf(view, row) >= 0) {
      const text = textAt(view, row);
      const problem = isJson ? readJson(column, text) : readText(column, text);
      if (problem === undefined) column.isSet = true;
      else {
        column.drop();
        report(row, problem);
      }
    }
    column.commit();
  }
  return column.finish();
}

/** A JSON text: its value, or that which a string in it says. */
function readJson(column: Column, json: Uint8Array): CellProblem | undefined {
  const direct = readValue(column, json);
  if (direct === undefined) return undefined;
  column.drop();
  if (json[0] !== JSON_BYTE.quote) return direct;
  return readText(column, Buffer.from(JSON.parse(Buffer.from(json).toString()) as string));
}

/** A text: first what it says (a number, a list), then the text itself (a time, base64). */
function readText(column: Column, text: Uint8Array): CellProblem | undefined {
  if (isJsonText(text)) {
    if (readValue(column, text) === undefined) return undefined;
    column.drop();
  }
  return readValue(column, Buffer.from(JSON.stringify(Buffer.from(text).toString())));
}

function readValue(column: Column, json: Uint8Array): CellProblem | undefined {
  const reader = new JsonReader(json, LIMITS.nestingDepthMax, false);
  return column.read(reader, reader.peek());
}

function isJsonText(text: Uint8Array): boolean {
  if (text.length === 0 || !isUtf8(text)) return false;
  try {
    const reader = new JsonReader(text, LIMITS.nestingDepthMax, false);
    if (reader.peek() === JSON_BYTE.n) return false;
    reader.skipValue();
    reader.expectEnd();
    return true;
  } catch (error) {
    if (error instanceof IngestError) return false;
    throw error;
  }
}

function textAt(view: ColumnView, row: number): Uint8Array {
  const at = positionOf(view, row);
  const { values, valueOffsets } = view.values;
  return new Uint8Array((values as Uint8Array).subarray(valueOffsets[at], valueOffsets[at + 1]));
}
