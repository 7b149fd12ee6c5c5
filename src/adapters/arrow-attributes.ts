/** Columns of a foreign stream that a built-in table does not have, as attributes of its rows. */
import type { Data } from 'apache-arrow';
import { AttributesBuilder } from '../columnar/attributes';
import { corrupt } from '../columnar/foreign-error';
import type { ForeignField } from '../columnar/foreign-schema';
import { positionOf, viewColumn } from '../columnar/read';
import type { TableName } from '../core/ids';
import { ATTRIBUTE_KIND } from '../core/table-schema';
import { doubleText } from './cell-text';

/** Throws IngestError for a type that cannot be an attribute. */
export function checkAttribute(field: ForeignField, table: TableName): void {
  if (kindOf(field) === undefined) {
    throw corrupt(`table ${table} has no column ${field.name}, and a ${field.type.kind} cannot be an attribute`);
  }
}

/** The attributes column `known` (or none) with one more entry for each value of the columns that is not null. */
export function addAttributes(
  known: Data | undefined,
  columns: readonly { field: ForeignField; data: Data }[],
  rows: number,
): Data {
  const out = new AttributesBuilder();
  const copy = known === undefined ? undefined : copier(known, out);
  const writers = columns.map(({ field, data }) => writer(field, data, out));
  for (let row = 0; row < rows; row++) {
    copy?.(row);
    for (const write of writers) write(row);
    out.endRow();
  }
  return out.finish();
}

/** Copies the entries of a row. */
function copier(data: Data, out: AttributesBuilder): (row: number) => void {
  const view = viewColumn(data);
  const [key, value] = view.values.children[0].children;
  const keyView = viewColumn(key);
  const [kind, text] = value.children;
  const kinds = kind.values as Uint8Array;
  const names = keyView.values.values as Uint8Array;
  return (row) => {
    const at = positionOf(view, row);
    if (at < 0) return;
    for (let entry = view.values.valueOffsets[at]; entry < view.values.valueOffsets[at + 1]; entry++) {
      const name = positionOf(keyView, entry);
      const { valueOffsets } = keyView.values;
      out.key(out.keys.intern(names, valueOffsets[name], valueOffsets[name + 1]));
      out.text.write(text.values as Uint8Array, text.valueOffsets[entry], text.valueOffsets[entry + 1]);
      out.endEntry(kinds[entry]);
    }
  };
}

function writer(field: ForeignField, data: Data, out: AttributesBuilder): (row: number) => void {
  const key = out.keys.internString(field.name);
  const kind = kindOf(field) ?? ATTRIBUTE_KIND.empty;
  const view = viewColumn(data);
  const write = textOf(field, view.values, out);
  return (row) => {
    const at = positionOf(view, row);
    if (at < 0) return;
    out.key(key);
    write(at);
    out.endEntry(kind);
  };
}

function kindOf({ type }: ForeignField): number | undefined {
  switch (type.kind) {
    case 'utf8':
    case 'timestamp':
    case 'date':
      return ATTRIBUTE_KIND.string;
    case 'bool':
      return ATTRIBUTE_KIND.bool;
    case 'int':
      return type.bits === 64 && !type.signed ? ATTRIBUTE_KIND.string : ATTRIBUTE_KIND.int;
    case 'float':
      return ATTRIBUTE_KIND.double;
    case 'binary':
    case 'fixed_binary':
      return ATTRIBUTE_KIND.bytes;
    case 'null':
    case 'decimal':
    case 'list':
    case 'map':
    case 'struct':
    default:
      return undefined;
  }
}

/** Writes the text of a value. Times and dates become RFC 3339, uint64 its digits. */
function textOf({ type }: ForeignField, values: Data, out: AttributesBuilder): (at: number) => void {
  const { text } = out;
  const bytes = values.values as Uint8Array;
  const numbers = values.values as unknown as ArrayLike<number | bigint>;
  switch (type.kind) {
    case 'utf8':
      return (at) => text.write(bytes, values.valueOffsets[at], values.valueOffsets[at + 1]);
    case 'binary':
    case 'fixed_binary':
      return (at) =>
        text.writeString(Buffer.from(bytes.subarray(values.valueOffsets[at], values.valueOffsets[at + 1])).toString('base64'));
    case 'bool':
      return (at) => text.writeString(String(((bytes[at >> 3] >> (at & 7)) & 1) === 1));
    case 'float':
      return (at) => text.writeString(doubleText(Number(numbers[at])));
    case 'timestamp':
      return (at) => text.writeString(timeText(BigInt(numbers[at]), PER_SECOND[type.unit]));
    case 'date':
      return (at) =>
        text.writeString(timeText(BigInt(numbers[at]) * (type.unit === 'day' ? 86_400n : 1n), type.unit === 'day' ? 1n : 1000n));
    case 'int':
    case 'null':
    case 'decimal':
    case 'list':
    case 'map':
    case 'struct':
    default:
      return (at) => text.writeString(String(numbers[at]));
  }
}

const PER_SECOND = { s: 1n, ms: 1000n, us: 1_000_000n, ns: 1_000_000_000n } as const;

/** A time as RFC 3339; one that no calendar has as its number. */
function timeText(value: bigint, perSecond: bigint): string {
  const fraction = ((value % perSecond) + perSecond) % perSecond;
  const date = new Date(Number((value - fraction) / perSecond) * 1000);
  if (Number.isNaN(date.getTime())) return String(value);
  const digits = perSecond === 1n ? '' : `.${String(fraction).padStart(String(perSecond).length - 1, '0')}`;
  return date.toISOString().replace(/\.\d+Z$/, `${digits}Z`);
}
