import type { ColumnBuilder, Int64Builder, NumberBuilder } from '../../columnar/builders';
import type { BytesBuilder } from '../../columnar/bytes-builder';
import { ListBuilder } from '../../columnar/nested-builders';
import type { ColumnSchema } from '../../core/table-schema';
import { type CellProblem, mismatch, outOfRange } from '../cell-problem';
import { type Int64Halves, namedDouble, parseDouble } from '../json-number';
import { JSON_BYTE, type JsonReader } from '../json-reader';
import { isNumberStart } from './attribute-entries';
import { Column, readInt64, refuse } from './columns';

type ItemsBuilder = ColumnBuilder & { truncate(length: number): void };

/** Lists of one type; null is no element. Elements go straight to the builder and are taken back with the row. */
export class ListColumn<B extends ItemsBuilder> extends Column<ListBuilder<B>> {
  private rowStart = 0;

  constructor(
    schema: ColumnSchema,
    private readonly items: B,
    private readonly readItem: (reader: JsonReader, byte: number, items: B) => CellProblem | undefined,
  ) {
    super(schema, new ListBuilder(items));
  }

  read(reader: JsonReader, byte: number): CellProblem | undefined {
    if (byte !== JSON_BYTE.openArray) return refuse(reader, mismatch('an array'));
    this.items.truncate(this.rowStart);
    let problem: CellProblem | undefined;
    reader.beginArray();
    for (let first = true; reader.nextElement(first); first = false) {
      problem = this.readItem(reader, reader.peek(), this.items) ?? problem;
    }
    return problem;
  }

  protected append(): void {
    this.builder.endRow();
    this.rowStart = this.items.length;
  }

  override drop(): void {
    super.drop();
    this.items.truncate(this.rowStart);
  }
}

const ITEM: Int64Halves = { low: 0, high: 0 };

export const readIntItem =
  (unsigned: boolean) =>
  (reader: JsonReader, byte: number, items: Int64Builder): CellProblem | undefined => {
    const problem = readInt64(reader, byte, unsigned, ITEM);
    if (problem === undefined) items.append(ITEM.low, ITEM.high);
    return problem;
  };

export function readStringItem(reader: JsonReader, byte: number, items: BytesBuilder): CellProblem | undefined {
  if (byte !== JSON_BYTE.quote) return refuse(reader, mismatch('an array of strings'));
  reader.string();
  items.append(reader.text, reader.textStart, reader.textEnd);
  return undefined;
}

export function readFloatItem(reader: JsonReader, byte: number, items: NumberBuilder<Float64Array>): CellProblem | undefined {
  let value: number | undefined;
  if (byte === JSON_BYTE.quote) {
    reader.string();
    value = namedDouble(reader.text, reader.textStart, reader.textEnd);
  } else if (isNumberStart(byte)) {
    reader.number();
    value = parseDouble(reader.text, reader.textStart, reader.textEnd);
    if (!Number.isFinite(value)) return outOfRange('float64');
  } else {
    return refuse(reader, mismatch('an array of numbers'));
  }
  if (value === undefined) return mismatch('an array of numbers');
  items.append(value);
  return undefined;
}
