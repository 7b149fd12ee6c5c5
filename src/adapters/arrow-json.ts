/**
 * Values of foreign Arrow columns as text: how structs, maps and lists of any depth become JSON (a struct is an object of all its
 * members, a map an object of its keys), and scalars JSON or plain text. Nothing is lost: integers and decimals have all their
 * digits, times are RFC 3339 with the digits of their unit, bytes base64, NaN and the infinities strings.
 */
import type { Data } from 'apache-arrow';
import { decimalTextAt } from '../columnar/decimal';
import type { ForeignField } from '../columnar/foreign-schema';
import { positionOf, viewColumn } from '../columnar/read';
import { doubleText, PER_SECOND, timeText } from './cell-text';

/** The text of the value at a position of plain data, which is not null. */
type TextAt = (at: number) => string;

/** The JSON text of each row of a column, which may be dictionary-encoded; `null` for null. */
export function jsonRows(field: ForeignField, data: Data): TextAt {
  const view = viewColumn(data);
  const text = jsonText(field, view.values);
  return (row) => {
    const at = positionOf(view, row);
    return at < 0 ? 'null' : text(at);
  };
}

/** JSON text of plain data. */
export function jsonText(field: ForeignField, values: Data): TextAt {
  switch (field.type.kind) {
    case 'struct':
      return structText(field, values);
    case 'list':
      return listText(field, values);
    case 'map':
      return mapText(field, values);
    case 'float': {
      const numbers = values.values as Float64Array;
      return (at) => (Number.isFinite(numbers[at]) ? doubleText(numbers[at]) : `"${numbers[at]}"`);
    }
    case 'null':
      return () => 'null';
    case 'bool':
    case 'int':
    case 'decimal':
      return scalarText(field, values);
    case 'utf8':
    case 'binary':
    case 'fixed_binary':
    case 'timestamp':
    case 'date':
    default: {
      const text = scalarText(field, values);
      return (at) => JSON.stringify(text(at));
    }
  }
}

/** Plain text of scalar data. */
export function scalarText({ type }: ForeignField, values: Data): TextAt {
  const { valueOffsets } = values;
  const bytes = values.values as Uint8Array;
  const numbers = values.values as unknown as ArrayLike<number | bigint>;
  switch (type.kind) {
    case 'utf8':
    case 'binary':
    case 'fixed_binary': {
      const encoding = type.kind === 'utf8' ? 'utf8' : 'base64';
      const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      return (at) => buffer.toString(encoding, valueOffsets[at], valueOffsets[at + 1]);
    }
    case 'bool':
      return (at) => String(((bytes[at >> 3] >> (at & 7)) & 1) === 1);
    case 'decimal':
      return (at) => decimalTextAt(values, at);
    case 'timestamp':
      return (at) => timeText(BigInt(numbers[at]), PER_SECOND[type.unit]);
    case 'date':
      return type.unit === 'day' ? (at) => dayText(Number(numbers[at])) : (at) => timeText(BigInt(numbers[at]), PER_SECOND.ms);
    case 'int':
    case 'float':
    case 'null':
    case 'list':
    case 'map':
    case 'struct':
    default:
      return (at) => String(numbers[at]);
  }
}

function dayText(days: number): string {
  const date = new Date(days * 86_400_000);
  return Number.isNaN(date.getTime()) ? String(days) : date.toISOString().slice(0, -'T00:00:00.000Z'.length);
}

function structText({ children }: ForeignField, values: Data): TextAt {
  const members = children.map((child, i) => ({
    key: `${JSON.stringify(child.name)}:`,
    text: jsonRows(child, values.children[i]),
  }));
  return (at) => {
    let text = '{';
    for (const { key, text: valueOf } of members) text += `${text.length > 1 ? ',' : ''}${key}${valueOf(at)}`;
    return `${text}}`;
  };
}

function listText({ children }: ForeignField, values: Data): TextAt {
  const item = jsonRows(children[0], values.children[0]);
  const { valueOffsets } = values;
  return (at) => {
    let text = '[';
    for (let i = valueOffsets[at]; i < valueOffsets[at + 1]; i++) text += `${text.length > 1 ? ',' : ''}${item(i)}`;
    return `${text}]`;
  };
}

/** Keys are JSON strings, so one that is not is put in quotes. */
function mapText({ children }: ForeignField, values: Data): TextAt {
  const [keyField, valueField] = children[0].children;
  const [keys, items] = values.children[0].children;
  const key = jsonRows(keyField, keys);
  const item = jsonRows(valueField, items);
  const { valueOffsets } = values;
  return (at) => {
    let text = '{';
    for (let i = valueOffsets[at]; i < valueOffsets[at + 1]; i++) {
      const name = key(i);
      text += `${text.length > 1 ? ',' : ''}${name.startsWith('"') ? name : JSON.stringify(name)}:${item(i)}`;
    }
    return `${text}}`;
  };
}
