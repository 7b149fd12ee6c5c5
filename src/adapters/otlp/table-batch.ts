import type { Data } from 'apache-arrow';
import { AttributesBuilder } from '../../columnar/attributes';
import type { ColumnBuilder } from '../../columnar/builders';
import { BytesBuilder } from '../../columnar/bytes-builder';
import { InternedBuilder } from '../../columnar/interned';
import { DictionaryBuilder } from '../../columnar/nested-builders';
import { BatchShape } from '../../columnar/record-batch';
import type { Keep } from '../../columnar/slab';
import type { TableBatch } from '../../core/batch';
import type { TableSchema } from '../../core/table-schema';
import { notUtf8 } from './validate';

/** Sets of columns remembered: a sender's requests have one or two, a hostile sender could make many. */
const SHAPES_MAX = 64;

/** The columns of one table under construction. */
export class TableColumns {
  private readonly names: readonly string[];
  private readonly builders: readonly ColumnBuilder[];
  private readonly shapes = new Map<string, BatchShape>();

  constructor(
    private readonly schema: TableSchema,
    columns: Readonly<Record<string, ColumnBuilder>>,
  ) {
    this.names = Object.keys(columns);
    this.builders = Object.values(columns);
  }

  /** Puts the columns together. Checks the UTF-8 of all text (PB5); leaves out columns that are null in every row. */
  finish(keep: Keep): TableBatch {
    const names: string[] = [];
    const data: Data[] = [];
    for (const [i, column] of this.builders.entries()) {
      if (column.length === column.nullCount) continue;
      if (!isTextValid(column)) throw notUtf8(`column ${this.names[i]}`);
      names.push(this.names[i]);
      data.push(column.finish(keep));
    }
    const key = names.join();
    let shape = this.shapes.get(key);
    if (shape === undefined) {
      shape = new BatchShape(names.map((name, i) => ({ name, type: data[i].type })));
      if (this.shapes.size >= SHAPES_MAX) this.shapes.clear();
      this.shapes.set(key, shape);
    }
    return { table: this.schema.table, schemaVersion: this.schema.version, batch: shape.batch(data) };
  }

  reset(): void {
    for (const column of this.builders) column.reset();
  }
}

function isTextValid(column: ColumnBuilder): boolean {
  if (column instanceof BytesBuilder) return column.isUtf8();
  if (column instanceof InternedBuilder) return column.interner.values.isUtf8();
  if (column instanceof AttributesBuilder) return column.text.isUtf8() && column.keys.values.isUtf8();
  if (column instanceof DictionaryBuilder) return isTextValid(column.values as ColumnBuilder);
  return true;
}
