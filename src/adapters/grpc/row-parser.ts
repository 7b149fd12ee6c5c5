/** The message `Rows` of ingest.proto, walked once: its values by column. */
import { IngestError } from '../../core/errors';
import { LIMITS } from '../../core/limits';
import type { Refusal } from '../arrow-rows';
import { tooManyRows } from '../row-rejections';
import type { Wire } from '../wire';
import { type Span, spansOf, tagOf, textOf, WIRE } from './fields';
import { RowColumn } from './row-column';
import { readValue } from './value';

export interface ParsedRows {
  readonly columns: readonly RowColumn[];
  readonly rows: number;
  /** Rows whose values cannot be told from the bytes. */
  readonly refused: ReadonlyMap<number, Refusal>;
}

const ROWS = { columns: 1, rows: 2 } as const;
const FIELD_TAG = tagOf(1, WIRE.delimited);
const VALUE_TAG = tagOf(2, WIRE.delimited);

/** Throws IngestError `invalid_argument` or `payload_too_large`. */
export function parseRows(wire: Wire, spans: readonly Span[]): ParsedRows {
  const positional: RowColumn[] = [];
  const parser = new RowParser(wire);
  spansOf(wire, spans, (number, span) => {
    if (number === ROWS.columns) positional.push(parser.column(span));
  });
  if (new Set(positional).size < positional.length) {
    throw new IngestError('invalid_argument', 'a column is there twice', { at: 'columns' });
  }
  spansOf(wire, spans, (number, span) => {
    if (number === ROWS.rows) parser.row(span, positional);
  });
  return parser.finish();
}

class RowParser {
  private rows = 0;
  /** By the bytes of the name, one character a byte. */
  private readonly byName = new Map<string, RowColumn>();
  private readonly touched: RowColumn[] = [];
  private readonly refused = new Map<number, Refusal>();
  private readonly bytes: Buffer;
  /** Position of the next positional value of the open row. */
  private nextValue = 0;

  constructor(private readonly wire: Wire) {
    const { buffer, byteOffset, byteLength } = wire.bytes;
    this.bytes = Buffer.from(buffer, byteOffset, byteLength);
  }

  column(name: Span): RowColumn {
    const key = this.bytes.toString('latin1', name.start, name.stop);
    let column = this.byName.get(key);
    if (column === undefined) {
      if (this.byName.size === LIMITS.internedKeysMax) {
        throw new IngestError('payload_too_large', `rows of a request have at most ${LIMITS.internedKeysMax} different names`);
      }
      column = new RowColumn(textOf(this.wire, name));
      this.byName.set(key, column);
    }
    return column;
  }

  row({ start, stop }: Span, positional: readonly RowColumn[]): void {
    const { wire } = this;
    if (this.rows === LIMITS.rowsPerRequestMax) throw tooManyRows();
    this.nextValue = 0;
    for (let p = start; p < stop; ) {
      p = wire.tag(p, stop);
      const tag = wire.low;
      if (tag !== FIELD_TAG && tag !== VALUE_TAG) {
        p = wire.skip(tag, p, stop);
        continue;
      }
      p = wire.open(p, stop);
      const end = wire.stop;
      if (tag === FIELD_TAG) this.field(p, end);
      else this.value(p, end, positional);
      p = end;
    }
    this.commit();
  }

  /** An entry of `Row.fields`: key 1, value 2. */
  private field(start: number, stop: number): void {
    const { wire } = this;
    let name: Span = { start, stop: start };
    let valueStart = start;
    let valueStop = start;
    for (let p = start; p < stop; ) {
      p = wire.tag(p, stop);
      const tag = wire.low;
      if (tag !== FIELD_TAG && tag !== VALUE_TAG) {
        p = wire.skip(tag, p, stop);
        continue;
      }
      p = wire.open(p, stop);
      if (tag === FIELD_TAG) name = { start: p, stop: wire.stop };
      else {
        valueStart = p;
        valueStop = wire.stop;
      }
      p = wire.stop;
    }
    const column = this.column(name);
    this.touch(column);
    column.named = true;
    readValue(wire, valueStart, valueStop, column.cell);
  }

  private value(start: number, stop: number, positional: readonly RowColumn[]): void {
    const column = positional[this.nextValue++];
    if (column === undefined) {
      const text = `the row has more than ${positional.length} values, as many as there are names in columns`;
      throw new IngestError('invalid_argument', text, { at: `rows[${this.rows}]` });
    }
    const named = column.cellRow === this.rows && column.named;
    this.touch(column);
    if (!named) readValue(this.wire, start, stop, column.cell);
  }

  private touch(column: RowColumn): void {
    if (column.cellRow === this.rows) return;
    column.cellRow = this.rows;
    column.named = false;
    this.touched.push(column);
  }

  private commit(): void {
    for (const column of this.touched) {
      const problem = column.commit(this.wire);
      if (problem !== undefined && !this.refused.has(this.rows)) this.refused.set(this.rows, { problem, column: column.name });
    }
    this.touched.length = 0;
    this.rows++;
  }

  finish(): ParsedRows {
    const columns = [...this.byName.values()];
    for (const column of columns) column.checkTexts();
    return { columns, rows: this.rows, refused: this.refused };
  }
}
