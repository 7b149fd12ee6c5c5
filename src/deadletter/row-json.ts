import { type Data, DataType, type RecordBatch, type Timestamp, TimeUnit } from 'apache-arrow';
import { decimalTextAt } from '../columnar/decimal';
import { positionOf, viewColumn } from '../columnar/read';
import { ATTRIBUTE_KIND } from '../core/table-schema';
import { DAY_MS } from '../core/utc-day';

const UNIT_NS: Readonly<Record<number, bigint>> = {
  [TimeUnit.SECOND]: 1_000_000_000n,
  [TimeUnit.MILLISECOND]: 1_000_000n,
  [TimeUnit.MICROSECOND]: 1_000n,
  [TimeUnit.NANOSECOND]: 1n,
};

/**
 * A row as a JSON object, without its nulls. 64-bit integers and decimals are strings, timestamps ISO 8601 with nanoseconds, bytes base64, NaN and
 * infinities strings; a column of JSON text is a string with that text, which may hold what no JSON parser keeps.
 */
export function rowJson(batch: RecordBatch, row: number): string {
  const fields: [string, unknown][] = [];
  for (const [i, { name }] of batch.schema.fields.entries()) {
    const value = valueAt(batch.data.children[i], row);
    if (value !== null) fields.push([name, value]);
  }
  return JSON.stringify(Object.fromEntries(fields));
}

function valueAt(data: Data, row: number): unknown {
  const view = viewColumn(data);
  const at = positionOf(view, row);
  return at < 0 ? null : plainValue(view.values, at);
}

function plainValue(values: Data, at: number): unknown {
  const { type, valueOffsets } = values;
  if (DataType.isUtf8(type)) return bytesAt(values, at).toString('utf8');
  if (DataType.isBinary(type)) return bytesAt(values, at).toString('base64');
  if (DataType.isBool(type)) return (((values.values as Uint8Array)[at >> 3] >> (at & 7)) & 1) === 1;
  if (DataType.isMap(type)) return attributes(values, at);
  if (DataType.isList(type)) return indexes(valueOffsets, at).map((i) => valueAt(values.children[0], i));
  if (DataType.isStruct(type)) {
    return Object.fromEntries(type.children.map(({ name }, i) => [name, valueAt(values.children[i], at)]));
  }
  if (DataType.isDecimal(type)) return decimalTextAt(values, at);
  const value = (values.values as ArrayLike<unknown>)[at];
  if (DataType.isTimestamp(type)) return isoTime(value as bigint, type);
  if (DataType.isDate(type)) return new Date(Number(value) * DAY_MS).toISOString().slice(0, 10);
  if (typeof value === 'bigint') return value.toString();
  return typeof value === 'number' && !Number.isFinite(value) ? String(value) : value;
}

const bytesAt = (values: Data, at: number): Buffer =>
  Buffer.from((values.values as Uint8Array).subarray(values.valueOffsets[at], values.valueOffsets[at + 1]));

const indexes = (offsets: Int32Array, at: number): number[] =>
  Array.from({ length: offsets[at + 1] - offsets[at] }, (_, i) => offsets[at] + i);

function isoTime(value: bigint, type: Timestamp): string {
  const ns = value * UNIT_NS[type.unit];
  const seconds = ns / 1_000_000_000n - (ns % 1_000_000_000n < 0n ? 1n : 0n);
  const fraction = (ns - seconds * 1_000_000_000n).toString().padStart(9, '0');
  return `${new Date(Number(seconds) * 1_000).toISOString().slice(0, -5)}.${fraction}Z`;
}

/** Attributes keep the kind of a value beside its text (core/table-schema.ts). */
function attributes(map: Data, at: number): Record<string, unknown> {
  const [keys, values] = map.children[0].children;
  const entries = indexes(map.valueOffsets, at).map((i) => [valueAt(keys, i), valueAt(values, i)] as [string, unknown]);
  return Object.fromEntries(entries.map(([key, value]) => [key, attributeValue(value)]));
}

function attributeValue(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || !('kind' in value) || !('text' in value)) return value;
  const { kind, text } = value as { kind: number; text: string };
  if (kind === ATTRIBUTE_KIND.empty) return null;
  if (kind === ATTRIBUTE_KIND.bool) return text === 'true';
  return text;
}
