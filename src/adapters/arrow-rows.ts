/**
 * Rows of foreign Arrow batches into one record batch of a table, by the same rules as JSON rows: friendly names and
 * overflow into
 * attributes for built-in tables, the arrival time for rows without a time, row by row rejection. Columns that have the
 * right form
 * are taken over without a copy.
 */
import { type Data, makeData, type RecordBatch, TimestampNanosecond } from 'apache-arrow';
import { ColumnFullError } from '../columnar/builders';
import { concatRows, wholeBatch } from '../columnar/concat';
import { cutRows } from '../columnar/cut';
import type { ForeignField } from '../columnar/foreign-schema';
import { positionOf, viewColumn } from '../columnar/read';
import { columnData, recordBatch } from '../columnar/record-batch';
import type { DecodedRequest, UnfitReason } from '../core/batch';
import { IngestError } from '../core/errors';
import { LIMITS } from '../core/limits';
import type { ColumnSchema, ColumnType, TableSchema } from '../core/table-schema';
import { addAttributes } from './arrow-attributes';
import { ConflictingValues } from './arrow-conflicts';
import { convertColumn, type ForeignColumn } from './arrow-convert';
import { deriveColumns } from './arrow-derive';
import type { CellProblem } from './cell-problem';
import { aliasesOf, overflowColumn } from './friendly-names';
import { isParked, type Parking, Rejections, unfitReason } from './row-rejections';

/** Why a row is refused. */
export interface Refusal {
  readonly problem: CellProblem;
  readonly column: string | undefined;
}

export interface BegunRows {
  readonly refused: Map<number, Refusal>;
  /** Refuses rows in `refused`. */
  readonly conflicts: ConflictingValues;
}

export interface ArrowRowsContext {
  /** When the request arrived, nanoseconds since 1970: the time of rows that have none. */
  readonly arrivalNs: bigint;
  /** Of the only batch, when some of its values were looked at before: rows that are refused, and values that were set aside. */
  readonly begun?: BegunRows;
  /** Default: `columns`. */
  readonly parking?: Parking;
  /** The rows as they came, should some be parked; by default those of the batches. */
  readonly asTheyCame?: () => { readonly batch: RecordBatch; readonly jsonColumns: readonly string[] } | undefined;
}

/** What fits of some rows. */
export interface FittedRows {
  /** All rows of all batches, as they came. */
  readonly joined: RecordBatch;
  /** The rows that are not refused; undefined when there is none. */
  readonly batch: RecordBatch | undefined;
  /** By position in `joined`. */
  readonly refused: ReadonlyMap<number, Refusal>;
  /** Types that would hold values for which rows were refused, by column. */
  readonly wider: ReadonlyMap<string, ColumnType>;
}

/**
 * The rows of all batches of one stream. `fields` and `batches` come from `ForeignStream`. Throws IngestError `invalid_argument` for
 * a column that cannot be one of the table by its name, `payload_too_large` when the rows take too much room.
 */
export function decodeArrowBatches(...given: Parameters<typeof decode>): DecodedRequest {
  try {
    return decode(...given);
  } catch (error) {
    if (!(error instanceof ColumnFullError)) throw error;
    throw new IngestError('payload_too_large', 'the rows of this request are too large', { cause: error });
  }
}

function decode(
  fields: readonly ForeignField[],
  batches: readonly RecordBatch[],
  schema: TableSchema,
  context: ArrowRowsContext,
): DecodedRequest {
  const fitted = fitArrowRows(fields, batches, schema, context);
  if (fitted === undefined) return new Rejections().decoded(undefined);
  const { wider } = fitted;
  const decoded = decodedOf(fitted, schema, context);
  return wider.size === 0 ? decoded : { ...decoded, conflicts: wider };
}

/** As `decodeArrowBatches`, with every refused row; undefined for no rows. */
export function fitArrowRows(
  fields: readonly ForeignField[],
  batches: readonly RecordBatch[],
  schema: TableSchema,
  context: ArrowRowsContext,
): FittedRows | undefined {
  const filled = batches.filter((batch) => batch.numRows > 0);
  if (filled.length === 0) return undefined;
  const joined = concatRows(filled.map(wholeBatch));
  const refused = context.begun?.refused ?? new Map<number, Refusal>();
  const refuse = (row: number, column: string, problem: CellProblem): void => {
    if (!refused.has(row)) refused.set(row, { problem, column });
  };
  const sorted = assign(fields, joined, schema);
  const columns = new Map<string, Data>();
  const conflicts = context.begun?.conflicts ?? new ConflictingValues(schema, refuse);
  for (const [column, foreign] of sorted.own) {
    const converted = conflicts.convert(column, foreign);
    // Nothing but nulls says nothing, and when no value fits it need not have the column's form.
    if (converted.nullCount < joined.numRows) columns.set(column.name, converted);
  }
  addExact(columns, sorted.own, schema);
  for (const foreign of sorted.unknown) conflicts.placeUnknown(foreign);
  conflicts.addTo(columns, joined.numRows);
  const overflow = overflowColumn(schema);
  if (overflow !== undefined && sorted.overflow.length > 0) {
    columns.set(overflow, addAttributes(columns.get(overflow), sorted.overflow, joined.numRows));
  }
  const value = [...sorted.own].find(([{ name }]) => name === 'value')?.[1];
  deriveColumns(schema, columns, joined.numRows, value);
  columns.set(schema.timeColumn, withArrival(columns.get(schema.timeColumn), joined.numRows, context.arrivalNs));
  for (const { name, nullable } of schema.columns) if (!nullable) refuseMissing(name, columns.get(name), joined.numRows, refuse);
  return { joined, batch: accepted(columns, joined.numRows, refused), refused, wider: conflicts.wider };
}

/** Refused rows are parked or rejected, as the policy is. */
function decodedOf({ joined, batch, refused }: FittedRows, schema: TableSchema, context: ArrowRowsContext): DecodedRequest {
  const { table, version: schemaVersion } = schema;
  const rejections = new Rejections();
  const parked: number[] = [];
  const reasons: UnfitReason[] = [];
  for (const row of [...refused.keys()].sort((a, b) => a - b)) {
    const { problem, column } = refused.get(row)!;
    if (isParked(schema, context.parking ?? 'columns', column)) {
      parked.push(row);
      reasons.push(unfitReason(problem, column));
    } else {
      rejections.add(row, problem, column);
    }
  }
  const fits = batch === undefined ? undefined : { table, schemaVersion, batch };
  if (parked.length === 0) return rejections.decoded(fits);
  const came = context.asTheyCame?.() ?? { batch: joined, jsonColumns: [] };
  return rejections.decoded(fits, [
    { table, schemaVersion, batch: cutRows(came.batch, parked), reasons, jsonColumns: came.jsonColumns },
  ]);
}

interface Assignment {
  readonly own: ReadonlyMap<ColumnSchema, ForeignColumn>;
  readonly overflow: readonly ForeignColumn[];
  readonly unknown: readonly ForeignColumn[];
}

/** Which column of the stream goes where. */
function assign(fields: readonly ForeignField[], batch: RecordBatch, schema: TableSchema): Assignment {
  const aliases = new Map(aliasesOf(schema));
  const byName = new Map(schema.columns.map((column) => [column.name, column]));
  const present = new Set(fields.map(({ name }) => name));
  const own = new Map<ColumnSchema, ForeignColumn>();
  const rest: ForeignColumn[] = [];
  for (const field of fields) {
    const data = columnData(batch, field.name);
    // Nothing but nulls says nothing.
    if (data === undefined || field.type.kind === 'null') continue;
    const alias = aliases.get(field.name);
    const column = byName.get(field.name) ?? (alias !== undefined && !present.has(alias) ? byName.get(alias) : undefined);
    if (column === undefined || own.has(column)) rest.push({ field, data });
    else own.set(column, { field, data });
  }
  if (overflowColumn(schema) === undefined) return { own, overflow: [], unknown: rest };
  return { own, overflow: rest, unknown: [] };
}

/** The exact integers of columns that are doubles. */
function addExact(columns: Map<string, Data>, own: Assignment['own'], schema: TableSchema): void {
  for (const { name, exactOf } of schema.columns) {
    const from = exactOf === undefined ? undefined : [...own].find(([column]) => column.name === exactOf)?.[1];
    if (from?.field.type.kind !== 'int' || columns.has(name)) continue;
    columns.set(
      name,
      convertColumn(from.data, from.field, 'int64', () => undefined),
    );
  }
}

const MISSING: CellProblem = { code: 'missing_column', message: 'the column must have a value' };

function refuseMissing(
  name: string,
  data: Data | undefined,
  rows: number,
  refuse: (row: number, column: string, problem: CellProblem) => void,
): void {
  const view = data === undefined ? undefined : viewColumn(data);
  for (let row = 0; row < rows; row++) if (view === undefined || positionOf(view, row) < 0) refuse(row, name, MISSING);
}

/** The time column with the arrival time where it is null. */
function withArrival(data: Data | undefined, rows: number, arrivalNs: bigint): Data {
  const times = new BigInt64Array(rows).fill(arrivalNs);
  if (data !== undefined) {
    const view = viewColumn(data);
    if (data.nullCount === 0 && view.valueBits === undefined) return data;
    const from = view.values.values as BigInt64Array;
    for (let row = 0; row < rows; row++) {
      const at = positionOf(view, row);
      if (at >= 0) times[row] = from[at];
    }
  }
  return makeData({ type: new TimestampNanosecond('UTC'), length: rows, nullCount: 0, data: times });
}

function accepted(
  columns: ReadonlyMap<string, Data>,
  rows: number,
  refused: ReadonlyMap<number, Refusal>,
): RecordBatch | undefined {
  if (refused.size === rows) return undefined;
  const all = recordBatch(Array.from(columns, ([name, data]) => ({ name, data })));
  const batch = refused.size === 0 ? all : concatRows([{ batch: all, runs: runsWithout(rows, refused) }]);
  const sizeBytes = batch.data.children.reduce((sum, data) => sum + bytesOf(data), 0);
  if (sizeBytes > LIMITS.walFrameBytesMax) {
    throw new IngestError('payload_too_large', `the rows take more than ${LIMITS.walFrameBytesMax} bytes`);
  }
  return batch;
}

/** Runs of the rows that are not refused. */
function runsWithout(rows: number, refused: ReadonlyMap<number, unknown>): Int32Array {
  const runs: number[] = [];
  for (let row = 0; row < rows; row++) {
    if (refused.has(row)) continue;
    if (runs.at(-1) === row) runs[runs.length - 1] = row + 1;
    else runs.push(row, row + 1);
  }
  return Int32Array.from(runs);
}

/** Bytes that the column takes when it is written out: columns may share a dictionary in memory, not on disk. */
function bytesOf(data: Data): number {
  const own = [data.valueOffsets, data.values, data.nullBitmap].reduce(
    (sum, buffer) => sum + ((buffer as Uint8Array)?.byteLength ?? 0),
    0,
  );
  const dictionary = data.dictionary?.data.reduce((sum, values) => sum + bytesOf(values), 0) ?? 0;
  return own + dictionary + data.children.reduce((sum, child) => sum + bytesOf(child), 0);
}
