/**
 * JSON rows that do not fit their table, as they came: a column for each member, of the type that its values have in JSON. Numbers,
 * booleans and strings have columns of their types; arrays, objects and members of several types are JSON text. Rows that cannot be
 * columns (no JSON object, too many members, a number that no column holds) are kept as the text that they are.
 */
import { isUtf8 } from 'node:buffer';
import type { RecordBatch } from 'apache-arrow';
import { utf8Builder } from '../../columnar/bytes-builder';
import { recordBatch } from '../../columnar/record-batch';
import type { UnfitReason, UnfitRows } from '../../core/batch';
import { IngestError } from '../../core/errors';
import { LIMITS } from '../../core/limits';
import type { ColumnType, TableSchema } from '../../core/table-schema';
import { JSON_BYTE, type JsonReader } from '../json-reader';
import { KeyTable } from '../key-table';
import type { Column } from './columns';
import { SEEN, seenMembers } from './infer';
import { makeColumn } from './make-column';
import { type RowVisitor, readRows } from './rows-json';

export interface UnfitJson {
  /** The row in the request. */
  readonly text: Uint8Array;
  readonly reason: UnfitReason;
}

/** Cells of one batch: a few rows may have very many members. */
const CELLS_MAX = 8_000_000;
const WHOLE_ROW = '_row';

/** The rows as one or two batches. */
export function unfitRows({ table, version }: Pick<TableSchema, 'table' | 'version'>, rows: readonly UnfitJson[]): UnfitRows[] {
  const found: UnfitRows[] = [];
  const add = (some: readonly UnfitJson[], form: Pick<UnfitRows, 'batch' | 'jsonColumns' | 'wholeRows'>): void => {
    found.push({ table, schemaVersion: version, reasons: some.map(({ reason }) => reason), ...form });
  };
  const objects = rows.filter(({ reason }) => reason.stage === 'schema');
  const typed = objects.length === 0 ? undefined : typedRows(objects.map(({ text }) => text));
  if (typed !== undefined) add(objects, typed);
  const whole = typed === undefined ? rows : rows.filter(({ reason }) => reason.stage !== 'schema');
  if (whole.length > 0) add(whole, { batch: wholeRows(whole), jsonColumns: [], wholeRows: true });
  return found;
}

function wholeRows(rows: readonly UnfitJson[]): RecordBatch {
  const builder = utf8Builder(rows.length);
  for (const { text } of rows) {
    const bytes = isUtf8(text) ? text : Buffer.from(Buffer.from(text).toString());
    builder.append(bytes, 0, bytes.length);
  }
  return recordBatch([{ name: WHOLE_ROW, data: builder.finish() }]);
}

export interface TypedRows {
  readonly batch: RecordBatch;
  readonly jsonColumns: readonly string[];
}

/** JSON objects by columns; undefined when they cannot be. */
export function typedRows(texts: readonly Uint8Array[]): TypedRows | undefined {
  const body = jsonArray(texts);
  try {
    const types = new Map(
      Array.from(seenMembers(body, 'json'))
        .filter(([, seen]) => seen !== 0)
        .map(([name, seen]) => [name, typeOf(seen)]),
    );
    if (types.size === 0 || types.size > LIMITS.columnsMax || types.size * texts.length > CELLS_MAX) return undefined;
    const reader = new MemberReader(types);
    readRows(body, 'json', reader);
    if (reader.failed) return undefined;
    return { batch: reader.finish(), jsonColumns: [...types].flatMap(([name, type]) => (type === 'json' ? [name] : [])) };
  } catch (error) {
    if (error instanceof IngestError && error.code === 'invalid_argument') return undefined;
    throw error;
  }
}

function jsonArray(texts: readonly Uint8Array[]): Uint8Array {
  const comma = Buffer.from(',');
  const parts = texts.flatMap((text, i) => (i === 0 ? [text] : [comma, text]));
  return new Uint8Array(Buffer.concat([Buffer.from('['), ...parts, Buffer.from(']')]));
}

/** The type that holds all that was seen as it was. */
function typeOf(seen: number): ColumnType {
  switch (seen & ~(SEEN.time | SEEN.negative)) {
    case SEEN.int:
      return 'int64';
    case SEEN.large:
    case SEEN.large | SEEN.int:
      return (seen & SEEN.negative) === 0 ? 'uint64' : 'json';
    case SEEN.float:
      return 'float64';
    case SEEN.bool:
      return 'bool';
    case SEEN.timeText:
    case SEEN.otherText:
    case SEEN.timeText | SEEN.otherText:
      return 'string';
    default:
      return 'json';
  }
}

interface Member {
  readonly nameBytes: Uint8Array;
  readonly column: Column;
}

class MemberReader implements RowVisitor {
  failed = false;
  private readonly columns: readonly Member[];
  private readonly byName = new KeyTable<Member>();

  constructor(types: ReadonlyMap<string, ColumnType>) {
    this.columns = Array.from(types, ([name, type]) => {
      return { nameBytes: new Uint8Array(Buffer.from(name)), column: makeColumn({ name, type, nullable: true }) };
    });
    for (const member of this.columns) this.byName.add(member);
  }

  row(reader: JsonReader, byte: number): void {
    if (byte !== JSON_BYTE.openObject) {
      reader.skipValue();
      this.failed = true;
      return;
    }
    reader.beginObject();
    for (let first = true; reader.nextMember(first); first = false) {
      const column = this.byName.find(reader.text, reader.textStart, reader.textEnd)?.column;
      const value = reader.peek();
      if (column === undefined || value === JSON_BYTE.n) {
        reader.skipValue();
        if (column !== undefined) column.isSet = false;
        continue;
      }
      if (column.read(reader, value) === undefined) column.isSet = true;
      else this.failed = true;
    }
  }

  done(): void {
    for (const { column } of this.columns) column.commit();
  }

  broken(): void {
    this.failed = true;
  }

  finish(): RecordBatch {
    return recordBatch(this.columns.map(({ column }) => ({ name: column.schema.name, data: column.finish() })));
  }
}
