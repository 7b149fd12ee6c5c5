/** Columns of a foreign stream that a built-in table does not have, as attributes of its rows. */
import type { Data } from 'apache-arrow';
import { AttributesBuilder } from '../columnar/attributes';
import type { ForeignField } from '../columnar/foreign-schema';
import { positionOf, viewColumn } from '../columnar/read';
import { ATTRIBUTE_KIND } from '../core/table-schema';
import { jsonText, scalarText } from './arrow-json';
import { doubleText, timeText } from './cell-text';

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
  const view = viewColumn(data);
  const write = valueWriter(field, view.values, out);
  return (row) => {
    const at = positionOf(view, row);
    if (at < 0) return;
    out.key(key);
    write(at);
  };
}

/** The members of each struct as attributes, without those that are null; a null struct has none. */
export function structAttributes(field: ForeignField, data: Data): Data {
  const view = viewColumn(data);
  const out = new AttributesBuilder();
  const writers = field.children.map((child, i) => writer(child, view.values.children[i], out));
  for (let row = 0; row < data.length; row++) {
    const at = positionOf(view, row);
    if (at < 0) {
      out.appendNull();
      continue;
    }
    for (const write of writers) write(at);
    out.endRow();
  }
  return out.finish();
}

/** Map<utf8, T> as attributes; a null value is the empty one. `data` is not dictionary-encoded. */
export function mapAttributes(field: ForeignField, data: Data): Data {
  const [keys, items] = data.children[0].children.map(viewColumn);
  const out = new AttributesBuilder();
  const write = valueWriter(field.children[0].children[1], items.values, out);
  const names = keys.values.values as Uint8Array;
  const rows = viewColumn(data);
  for (let row = 0; row < data.length; row++) {
    if (positionOf(rows, row) < 0) {
      out.appendNull();
      continue;
    }
    for (let entry = data.valueOffsets[row]; entry < data.valueOffsets[row + 1]; entry++) {
      const name = positionOf(keys, entry);
      out.key(out.keys.intern(names, keys.values.valueOffsets[name], keys.values.valueOffsets[name + 1]));
      const at = positionOf(items, entry);
      if (at < 0) out.endEntry(ATTRIBUTE_KIND.empty);
      else write(at);
    }
    out.endRow();
  }
  return out.finish();
}

/** Writes the value at a position of plain data and ends the entry. */
function valueWriter(field: ForeignField, values: Data, out: AttributesBuilder): (at: number) => void {
  const kind = kindOf(field);
  const { text } = out;
  if (field.type.kind === 'utf8') {
    return (at) => {
      text.write(values.values as Uint8Array, values.valueOffsets[at], values.valueOffsets[at + 1]);
      out.endEntry(kind);
    };
  }
  const textOf = attributeText(field, values);
  return (at) => {
    text.writeString(textOf(at));
    out.endEntry(kind);
  };
}

/** What has no kind of its own is a string (times, dates, decimals, uint64) or JSON. */
function kindOf({ type }: ForeignField): number {
  switch (type.kind) {
    case 'null':
      return ATTRIBUTE_KIND.empty;
    case 'bool':
      return ATTRIBUTE_KIND.bool;
    case 'int':
      return type.bits === 64 && !type.signed ? ATTRIBUTE_KIND.string : ATTRIBUTE_KIND.int;
    case 'float':
      return ATTRIBUTE_KIND.double;
    case 'binary':
    case 'fixed_binary':
      return ATTRIBUTE_KIND.bytes;
    case 'list':
      return ATTRIBUTE_KIND.array;
    case 'map':
    case 'struct':
      return ATTRIBUTE_KIND.kvlist;
    case 'utf8':
    case 'timestamp':
    case 'date':
    case 'decimal':
    default:
      return ATTRIBUTE_KIND.string;
  }
}

/** Times and dates become RFC 3339, nested values JSON, everything else its plain text. */
function attributeText(field: ForeignField, values: Data): (at: number) => string {
  const { type } = field;
  const numbers = values.values as unknown as ArrayLike<number | bigint>;
  switch (type.kind) {
    case 'list':
    case 'map':
    case 'struct':
      return jsonText(field, values);
    case 'float':
      return (at) => doubleText(Number(numbers[at]));
    case 'date':
      return (at) => timeText(BigInt(numbers[at]) * (type.unit === 'day' ? 86_400n : 1n), type.unit === 'day' ? 1n : 1000n);
    case 'null':
      return () => '';
    case 'bool':
    case 'int':
    case 'decimal':
    case 'utf8':
    case 'binary':
    case 'fixed_binary':
    case 'timestamp':
    default:
      return scalarText(field, values);
  }
}
