/** The form `columns` of a write: arrays of values by column, into the columns of a table. */
import type { Data, RecordBatch } from 'apache-arrow';
import type { ForeignField } from '../../columnar/foreign-schema';
import { recordBatch } from '../../columnar/record-batch';
import { IngestError } from '../../core/errors';
import { LIMITS } from '../../core/limits';
import type { ColumnType } from '../../core/table-schema';
import { convertColumn } from '../arrow-convert';
import { arrowRows } from '../arrow-named-rows';
import { tooManyRows } from '../row-rejections';
import type { NamedRows } from '../schema-on-write';
import type { Wire } from '../wire';
import { ARRAYS, type ColumnArray, DECIMALS_FIELD, JSONS_FIELD } from './column-arrays';
import { type Span, spansOf, textOf } from './fields';
import { fieldOfType } from './foreign-fields';

const COLUMN = { name: 1, validity: 2 } as const;

/** The columns of the message. Throws IngestError `invalid_argument` or `payload_too_large`. */
export function readColumns(wire: Wire, spans: readonly Span[], context: { readonly arrivalNs: bigint }): NamedRows {
  const fields: ForeignField[] = [];
  const columns: { name: string; data: Data }[] = [];
  /** Columns whose texts are something else. */
  const types = new Map<string, ColumnType>();
  const names = new Set<string>();
  spansOf(wire, spans, (number, span) => {
    if (number !== 1) return;
    const column = readColumn(wire, span);
    if (names.has(column.name)) throw new IngestError('invalid_argument', 'a column is there twice', { at: column.name });
    names.add(column.name);
    if (names.size > LIMITS.columnsMax) {
      throw new IngestError('invalid_argument', `a table has at most ${LIMITS.columnsMax} columns`, { at: 'columns' });
    }
    if (column.array === undefined) return;
    fields.push(column.array.field);
    columns.push({ name: column.name, data: column.array.data });
    if (column.type !== undefined) types.set(column.name, column.type);
  });
  checkLengths(columns);
  const batches: RecordBatch[] = columns.length === 0 ? [] : [recordBatch(columns)];
  return arrowRows(fields, batches, context, types);
}

function checkLengths(columns: readonly { name: string; data: Data }[]): void {
  const [first] = columns;
  if (first === undefined) return;
  if (first.data.length > LIMITS.rowsPerRequestMax) throw tooManyRows();
  const other = columns.find(({ data }) => data.length !== first.data.length);
  if (other === undefined) return;
  const text = `columns must have the same number of values, this one has ${other.data.length}, the first ${first.data.length}`;
  throw new IngestError('invalid_argument', text, { at: other.name });
}

interface WireColumn {
  readonly name: string;
  /** Undefined for a column without values. */
  readonly array: ColumnArray | undefined;
  /** What the texts of the array are, when that is not text. */
  readonly type?: ColumnType;
}

function readColumn(wire: Wire, column: Span): WireColumn {
  let name = '';
  let validity: Span | undefined;
  let kind = 0;
  let found: Span[] = [];
  spansOf(wire, [column], (number, span) => {
    if (number === COLUMN.name) name = textOf(wire, span);
    else if (number === COLUMN.validity) validity = span;
    else if (ARRAYS.has(number)) {
      if (number !== kind) found = [];
      kind = number;
      found.push(span);
    }
  });
  const array = ARRAYS.get(kind)?.(wire, name, found);
  if (array === undefined) return { name, array };
  const data = withValidity(
    array.data,
    validity === undefined ? undefined : wire.bytes.slice(validity.start, validity.stop),
    name,
  );
  if (kind === DECIMALS_FIELD) return { name, array: decimals({ field: array.field, data }), type: 'decimal' };
  const sound = { field: array.field, data: checkIndexes(data, name) };
  return kind === JSONS_FIELD ? { name, array: sound, type: 'json' } : { name, array: sound };
}

/** Texts as decimals when all of them are; otherwise as they are, so that the rows which are wrong are refused with their text. */
function decimals(texts: ColumnArray): ColumnArray {
  let isSound = true;
  const data = convertColumn(texts.data, texts.field, 'decimal', () => {
    isSound = false;
  });
  return isSound ? { field: fieldOfType(texts.field.name, 'decimal'), data } : texts;
}

/** Arrow's bitmap, least significant bit first; what follows the last row is ignored. */
function withValidity(data: Data, bits: Uint8Array | undefined, name: string): Data {
  if (bits === undefined || bits.length === 0) return data;
  if (bits.length !== (data.length + 7) >> 3) {
    const text = `the validity of ${data.length} values takes ${(data.length + 7) >> 3} bytes, there are ${bits.length}`;
    throw new IngestError('invalid_argument', text, { at: name });
  }
  let valid = 0;
  for (let row = 0; row < data.length; row++) valid += (bits[row >> 3] >> (row & 7)) & 1;
  if (valid === data.length) return data;
  const { type, length, valueOffsets, values, typeIds } = data;
  return data.clone(type, 0, length, length - valid, [valueOffsets, values, bits, typeIds] as never);
}

/** Indexes of rows that are not null must be in range; the others become 0. */
function checkIndexes(data: Data, name: string): Data {
  const values = data.dictionary;
  if (values === undefined || values === null) return data;
  const indexes = data.values as Int32Array;
  const bits = data.nullCount > 0 ? data.nullBitmap : undefined;
  for (let row = 0; row < data.length; row++) {
    const at = indexes[row] >>> 0;
    if (at < values.length) continue;
    if (bits === undefined || ((bits[row >> 3] >> (row & 7)) & 1) === 1) {
      throw new IngestError('invalid_argument', `row ${row} refers to a text that the dictionary does not have`, { at: name });
    }
    indexes[row] = 0;
  }
  return data;
}
