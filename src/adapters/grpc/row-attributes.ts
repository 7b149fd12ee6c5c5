/** The attributes column of a built-in table: what rows give it by its name, and every value that has no column. */
import type { Data } from 'apache-arrow';
import { AttributesBuilder } from '../../columnar/attributes';
import { decimalTextAt } from '../../columnar/decimal';
import { ATTRIBUTE_KIND } from '../../core/table-schema';
import { jsonProblem } from '../arrow-values';
import { type CellProblem, mismatch } from '../cell-problem';
import { doubleText } from '../cell-text';
import type { Wire } from '../wire';
import { nestedAttribute, readEntries } from './nested-values';
import type { LaneColumns, NestedLane, RowColumn, ScalarLane } from './row-column';
import { type Attribute, jsonAttribute, timeText, writeEntry } from './value';

export interface OverflowSource {
  /** The attributes column itself, when rows name it. */
  readonly explicit: RowColumn | undefined;
  /** Columns that the table does not have. */
  readonly columns: readonly RowColumn[];
  readonly lanes: LaneColumns;
  readonly refuse: (row: number, column: string, problem: CellProblem) => void;
}

/** An attribute, or why there is none. */
type ReadAttribute = (at: number) => Attribute | CellProblem;

/** Values of one lane as attributes under one name. */
interface Writer {
  readonly name: string;
  /** Undefined: the value's entries are written instead. */
  readonly read: ReadAttribute | undefined;
  readonly lane: ScalarLane | NestedLane;
}

/** One attributes value for each of `rows` rows. */
export function overflowAttributes(wire: Wire, rows: number, source: OverflowSource): Data {
  const writers = writersOf(wire, source);
  const { starts, order } = byRow(writers, rows);
  const out = new AttributesBuilder();
  for (let row = 0; row < rows; row++) {
    for (let i = starts[row]; i < starts[row + 1]; i++) {
      const { name, read, lane } = writers[order[i * 2]];
      const at = order[i * 2 + 1];
      const problem = read === undefined ? writeMap(wire, lane, at, out) : write(name, read(at), out);
      if (problem !== undefined) source.refuse(row, name, problem);
    }
    out.endRow();
  }
  return out.finish();
}

function writersOf(wire: Wire, { explicit, columns, lanes, refuse }: OverflowSource): Writer[] {
  const writers: Writer[] = [];
  for (const lane of explicit?.lanes ?? []) {
    const name = explicit?.name ?? '';
    if (lane.kind === 'map') writers.push({ name, read: undefined, lane });
    else for (const row of lane.rows) refuse(row, name, mismatch('attributes'));
  }
  for (const { name, lanes: own } of columns) {
    for (const lane of own)
      writers.push({ name, read: 'spans' in lane ? nested(wire, lane) : scalar(lane, lanes.of(name, lane).data), lane });
  }
  return writers;
}

/** Pairs of writer and position, row by row: what row `r` has is in [starts[r], starts[r + 1]). */
function byRow(writers: readonly Writer[], rows: number): { starts: Int32Array; order: Int32Array } {
  const starts = new Int32Array(rows + 1);
  for (const { lane } of writers) for (const row of lane.rows) starts[row + 1]++;
  for (let row = 0; row < rows; row++) starts[row + 1] += starts[row];
  const next = starts.slice();
  const order = new Int32Array(starts[rows] * 2);
  for (const [index, { lane }] of writers.entries()) {
    for (const [at, row] of lane.rows.entries()) {
      const slot = next[row]++ * 2;
      order[slot] = index;
      order[slot + 1] = at;
    }
  }
  return { starts, order };
}

function write(name: string, attribute: Attribute | CellProblem, out: AttributesBuilder): CellProblem | undefined {
  if ('message' in attribute) return attribute;
  writeEntry(name, attribute, out);
  return undefined;
}

const spanAt = (lane: NestedLane, at: number): { start: number; stop: number } => ({
  start: lane.spans[at * 2],
  stop: lane.spans[at * 2 + 1],
});

function writeMap(wire: Wire, lane: ScalarLane | NestedLane, at: number, out: AttributesBuilder): CellProblem | undefined {
  return 'spans' in lane ? readEntries(wire, spanAt(lane, at), out) : undefined;
}

const nested =
  (wire: Wire, lane: NestedLane): ReadAttribute =>
  (at) =>
    nestedAttribute(wire, lane.kind, spanAt(lane, at));

function scalar({ kind }: ScalarLane, data: Data): ReadAttribute {
  const numbers = data.values as unknown as ArrayLike<number | bigint>;
  const bytesAt = (at: number): Buffer => {
    const { buffer, byteOffset } = data.values as Uint8Array;
    const start = data.valueOffsets[at];
    return Buffer.from(buffer, byteOffset + start, data.valueOffsets[at + 1] - start);
  };
  switch (kind) {
    case 'bool':
      return (at) => ({
        kind: ATTRIBUTE_KIND.bool,
        text: String((((data.values as Uint8Array)[at >> 3] >> (at & 7)) & 1) === 1),
      });
    case 'int':
      return (at) => ({ kind: ATTRIBUTE_KIND.int, text: String(numbers[at]) });
    case 'uint':
      return (at) => ({ kind: numbers[at] > INT64_MAX ? ATTRIBUTE_KIND.string : ATTRIBUTE_KIND.int, text: String(numbers[at]) });
    case 'double':
      return (at) => ({ kind: ATTRIBUTE_KIND.double, text: doubleText(Number(numbers[at])) });
    case 'bytes':
      return (at) => ({ kind: ATTRIBUTE_KIND.bytes, text: bytesAt(at).toString('base64') });
    case 'timestamp':
      return (at) => ({ kind: ATTRIBUTE_KIND.string, text: timeText(BigInt(numbers[at])) });
    case 'decimal':
      return (at) => ({ kind: ATTRIBUTE_KIND.string, text: decimalTextAt(data, at) });
    case 'json':
      return (at) => jsonProblem(bytesAt(at)) ?? jsonAttribute(bytesAt(at).toString().trim());
    case 'string':
    default:
      return (at) => ({ kind: ATTRIBUTE_KIND.string, text: bytesAt(at).toString() });
  }
}

const INT64_MAX = 2n ** 63n - 1n;
