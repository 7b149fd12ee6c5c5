import { type BytesBuilder, utf8Builder } from '../../columnar/bytes-builder';
import { jsonText, writeText, writeUint64 } from './json-text';

const FIRST = jsonText('[');
const NEXT = jsonText(',');
const LAST = jsonText(']');

/** A column of JSON arrays written element by element; a row without elements is null. */
export class JsonListColumn {
  readonly builder: BytesBuilder = utf8Builder();
  private elements = 0;

  /** Starts the next element of row `row`: write it into the result. */
  element(row: number): BytesBuilder {
    this.builder.padNulls(row);
    writeText(this.builder, this.elements++ === 0 ? FIRST : NEXT);
    return this.builder;
  }

  /** Closes the row. One without elements becomes null when a later one has some, or by `padNulls`. */
  endRow(): void {
    if (this.elements === 0) return;
    writeText(this.builder, LAST);
    this.builder.endValue();
    this.elements = 0;
  }

  reset(): void {
    this.builder.reset();
    this.elements = 0;
  }

  /** Forgets the elements of the open row. */
  dropRow(): void {
    this.builder.truncate(this.builder.length);
    this.elements = 0;
  }
}

const DROPPED_COUNT = jsonText(',"dropped_attributes_count":');

/** Writes the count as another member of an object unless it is 0. */
export function writeDroppedCount(out: BytesBuilder, count: number): void {
  if (count === 0) return;
  writeText(out, DROPPED_COUNT);
  writeUint64(out, count, 0);
}
