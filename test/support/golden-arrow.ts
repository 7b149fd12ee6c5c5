/** The Arrow streams that pyarrow wrote (test/golden/arrow/generate.py), and their values in the form of its JSON. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { RecordBatch } from 'apache-arrow';
import type { ForeignField } from '../../src/columnar/foreign-schema';
import { readForeignStream } from '../../src/columnar/validate';
import { plainRows } from './plain-rows';

const FOLDER = join(__dirname, '../golden/arrow');
export const GOLDEN_STREAMS = ['plain', 'nested', 'views', 'delta', 'replaced', 'inner', 'lz4', 'zstd'] as const;

export const goldenStream = (name: string, folder = FOLDER): Buffer => readFileSync(join(folder, `${name}.arrows`));

/** Column -> rows, as pyarrow sees them. */
export const goldenValues = (name: string, folder = FOLDER): Record<string, unknown[]> =>
  JSON.parse(readFileSync(join(folder, `${name}.json`), 'utf8')) as Record<string, unknown[]>;

/** Column -> rows of a stream, as this server reads it. Throws IngestError. */
export function readValues(bytes: Uint8Array): Record<string, unknown[]> {
  const { fields, batches } = readForeignStream(bytes);
  return valuesOf(fields, batches);
}

export function valuesOf(fields: readonly ForeignField[], batches: readonly RecordBatch[]): Record<string, unknown[]> {
  const rows = batches.flatMap(plainRows);
  return Object.fromEntries(fields.map((field) => [field.name, rows.map((row) => comparable(row[field.name], field))]));
}

/** Integers and doubles as text, the way of the JSON files. */
function comparable(value: unknown, field: ForeignField): unknown {
  if (value === undefined || value === null) return null;
  const { type, children } = field;
  switch (type.kind) {
    case 'float':
      return doubleText(value as number);
    case 'list':
      return (value as unknown[]).map((item) => comparable(item, children[0]));
    case 'struct':
      return (value as [string, unknown][]).map(([name, item], i) => [name, comparable(item, children[i])]);
    case 'map':
      return (value as [unknown, unknown][]).map((entry) => entry.map((item, i) => comparable(item, children[0].children[i])));
    case 'int':
    case 'decimal':
    case 'timestamp':
    case 'date':
      return (value as number | bigint).toString();
    default:
      return value;
  }
}

function doubleText(value: number): string {
  const bytes = Buffer.alloc(8);
  bytes.writeDoubleBE(value);
  return bytes.toString('hex');
}
