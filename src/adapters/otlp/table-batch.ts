import { AttributesBuilder } from '../../columnar/attributes';
import { type ColumnBuilder, ColumnFullError } from '../../columnar/builders';
import { BytesBuilder } from '../../columnar/bytes-builder';
import { InternedBuilder } from '../../columnar/interned';
import { DictionaryBuilder } from '../../columnar/nested-builders';
import { recordBatch } from '../../columnar/record-batch';
import type { TableBatch } from '../../core/batch';
import { IngestError } from '../../core/errors';
import type { TableSchema } from '../../core/table-schema';
import { notUtf8 } from './validate';

/**
 * Puts the columns of a table together. Checks the UTF-8 of all text (PB5); leaves out columns that are null in every row.
 */
export function tableBatch(schema: TableSchema, columns: Readonly<Record<string, ColumnBuilder>>): TableBatch {
  const present = Object.entries(columns).filter(([, column]) => column.length > column.nullCount);
  for (const [name, column] of present) {
    if (!isTextValid(column)) throw notUtf8(`column ${name}`);
  }
  const batch = recordBatch(present.map(([name, column]) => ({ name, data: column.finish() })));
  return { table: schema.table, schemaVersion: schema.version, batch };
}

function isTextValid(column: ColumnBuilder): boolean {
  if (column instanceof BytesBuilder) return column.isUtf8();
  if (column instanceof InternedBuilder) return column.interner.values.isUtf8();
  if (column instanceof AttributesBuilder) return column.text.isUtf8() && column.keys.values.isUtf8();
  if (column instanceof DictionaryBuilder) return isTextValid(column.values as ColumnBuilder);
  return true;
}

/** Runs a decoder; a column that outgrows its bound is the request's fault. */
export function bounded<T>(decode: () => T): T {
  try {
    return decode();
  } catch (error) {
    if (error instanceof ColumnFullError)
      throw new IngestError('payload_too_large', 'the rows of this request are too large', { cause: error });
    throw error;
  }
}
