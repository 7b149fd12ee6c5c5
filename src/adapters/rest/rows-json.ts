/**
 * Where the rows of a JSON body are. `json`: one value, an array of rows, or values one after the other; `ndjson`: one value
 * a line.
 * A body has at most LIMITS.rowsPerRequestMax rows (`payload_too_large`).
 * A `json` body whose first line is a whole value and that goes on in the next line is read as NDJSON.
 */
import { isUtf8 } from 'node:buffer';
import { IngestError } from '../../core/errors';
import { LIMITS } from '../../core/limits';
import { JSON_BYTE, JsonReader } from '../json-reader';
import { tooManyRows } from '../row-rejections';

export type JsonKind = 'json' | 'ndjson';

export interface RowVisitor {
  /** The reader is at the first byte of a row's value, which must be consumed. Nothing counts before `done`. */
  row(reader: JsonReader, byte: number): void;
  /** The row is complete and sound JSON. */
  done(): void;
  /** The line is not JSON: what `row` made of it must be forgotten. */
  broken(error: IngestError, line: Uint8Array): void;
}

/**
 * Calls the visitor for every row in order; blank lines are no rows.
 * Throws IngestError `invalid_argument` when the body as a whole cannot be read (not for one line of NDJSON).
 */
export function readRows(body: Uint8Array, kind: JsonKind, visitor: RowVisitor): void {
  const counted = new CountingVisitor(visitor);
  if (kind === 'ndjson') readLines(body, counted);
  else readValues(body, counted);
}

/** Hands every row on, up to the limit. */
class CountingVisitor implements RowVisitor {
  private rows = 0;

  constructor(private readonly visitor: RowVisitor) {}

  row(reader: JsonReader, byte: number): void {
    if (++this.rows > LIMITS.rowsPerRequestMax) throw tooManyRows();
    this.visitor.row(reader, byte);
  }

  done(): void {
    this.visitor.done();
  }

  broken(error: IngestError, line: Uint8Array): void {
    this.visitor.broken(error, line);
  }
}

function readValues(body: Uint8Array, visitor: RowVisitor): void {
  // The array around the rows is a level of its own.
  const reader = new JsonReader(body, LIMITS.nestingDepthMax + 1);
  const first = reader.peek();
  if (first === JSON_BYTE.end) reader.fail('the body is empty', 0);
  if (first === JSON_BYTE.openArray) {
    readArray(reader, visitor);
    return;
  }
  const start = reader.pos;
  reader.skipValue();
  const end = reader.pos;
  if (reader.peek() !== JSON_BYTE.end && !hasNewline(reader.bytes, start, end) && hasNewline(reader.bytes, end, reader.pos)) {
    readLines(body, visitor);
    return;
  }
  reader.window(start, body.length);
  for (let byte = reader.peek(); byte !== JSON_BYTE.end; byte = reader.peek()) {
    reader.resetScratch();
    visitor.row(reader, byte);
    visitor.done();
  }
}

function readArray(reader: JsonReader, visitor: RowVisitor): void {
  reader.beginArray();
  for (let first = true; reader.nextElement(first); first = false) {
    reader.resetScratch();
    visitor.row(reader, reader.peek());
    visitor.done();
  }
  reader.expectEnd();
}

const NEWLINE = 0x0a;

const hasNewline = (bytes: Uint8Array, start: number, end: number): boolean => bytes.subarray(start, end).includes(NEWLINE);

function readLines(body: Uint8Array, visitor: RowVisitor): void {
  const reader = new JsonReader(body, LIMITS.nestingDepthMax, false);
  const valid = isUtf8(reader.bytes);
  for (let start = 0; start < body.length; ) {
    const newline = reader.bytes.indexOf(NEWLINE, start);
    const end = newline < 0 ? body.length : newline;
    readLine(reader, start, end, valid, visitor);
    start = end + 1;
  }
}

function readLine(reader: JsonReader, start: number, end: number, valid: boolean, visitor: RowVisitor): void {
  reader.window(start, end);
  const byte = reader.peek();
  if (byte === JSON_BYTE.end) return;
  try {
    if (!valid && !isUtf8(reader.bytes.subarray(start, end))) reader.fail('the line is not valid UTF-8', start);
    visitor.row(reader, byte);
    reader.expectEnd();
  } catch (error) {
    if (!(error instanceof IngestError) || error.code !== 'invalid_argument') throw error;
    visitor.broken(error, reader.bytes.subarray(start, end));
    return;
  }
  visitor.done();
}
