/**
 * Which rows of a batch a routing rule is about. Columns are looked at one by one; a value that many rows share (dictionaries) is
 * judged once.
 */
import { type Data, DataType, type RecordBatch } from 'apache-arrow';
import { positionOf, viewColumn } from '../columnar/read';
import { columnData } from '../columnar/record-batch';
import { type RowConditions, SEVERITY_NUMBERS, type SeverityName } from '../core/routing';
import type { TableSchema } from '../core/table-schema';

/** True for a row. Rows are asked in any order. */
type RowTest = (row: number) => boolean;

const NEVER: RowTest = () => false;

/** A test of rows of this batch that answers true where all conditions hold. */
export function rowTest(conditions: RowConditions, batch: RecordBatch, schema: TableSchema | undefined): RowTest {
  const tests = Object.entries(conditions.labels ?? {}).map(([label, texts]) => labelTest(label, texts, batch, schema));
  if (conditions.severity !== undefined) tests.push(severityTest(SEVERITY_NUMBERS[conditions.severity], batch));
  if (tests.includes(NEVER)) return NEVER;
  return (row) => tests.every((test) => test(row));
}

/** What a column says of a row: undefined when it says nothing. */
type RowText = (row: number) => string | undefined;

/**
 * A label is a text column of this name, such as `app`, or else an entry of the row's labels, attributes or resource, in this order:
 * the first that has it counts.
 */
function labelTest(label: string, texts: readonly string[], batch: RecordBatch, schema: TableSchema | undefined): RowTest {
  const sources = [textColumn(label, batch), ...entryColumns(label, batch, schema)].filter((source) => source !== undefined);
  if (sources.length === 0) return NEVER;
  const accepts = textTest(texts);
  return (row) => {
    for (const source of sources) {
      const text = source(row);
      if (text !== undefined) return accepts(text);
    }
    return false;
  };
}

/** `*` stands for any characters, also none. */
function textTest(texts: readonly string[]): (text: string) => boolean {
  const exact = new Set(texts.filter((text) => !text.includes('*')));
  const escape = (part: string): string => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
  const patterns = texts
    .filter((text) => text.includes('*'))
    .map((text) => new RegExp(`^${text.split('*').map(escape).join('.*')}$`, 's'));
  return (text) => exact.has(text) || patterns.some((pattern) => pattern.test(text));
}

const utf8Of = (values: Data, position: number): string => {
  const offsets = values.valueOffsets as Int32Array;
  const { buffer, byteOffset } = values.values as Uint8Array;
  return Buffer.from(buffer, byteOffset + offsets[position], offsets[position + 1] - offsets[position]).toString();
};

/** `of` is asked once for each position of the column's values. */
function memoized<T>(data: Data, of: (values: Data, position: number) => T | undefined): (row: number) => T | undefined {
  const column = viewColumn(data);
  if (column.indexes === undefined) {
    return (row) => (positionOf(column, row) < 0 ? undefined : of(column.values, row));
  }
  const known = new Map<number, T | undefined>();
  return (row) => {
    const position = positionOf(column, row);
    if (position < 0) return undefined;
    if (!known.has(position)) known.set(position, of(column.values, position));
    return known.get(position);
  };
}

const plainType = (data: Data): DataType => (DataType.isDictionary(data.type) ? data.type.dictionary : data.type);

function textColumn(name: string, batch: RecordBatch): RowText | undefined {
  const data = columnData(batch, name);
  return data === undefined || !DataType.isUtf8(plainType(data)) ? undefined : memoized(data, utf8Of);
}

/** Where labels are looked for, before any other column of such a type. */
const FIRST = ['labels', 'attributes', 'resource'];

function entryColumns(label: string, batch: RecordBatch, schema: TableSchema | undefined): RowText[] {
  const json = new Set(schema?.columns.filter(({ type }) => type === 'json').map(({ name }) => name));
  const rank = (name: string): number => (FIRST.includes(name) ? FIRST.indexOf(name) : FIRST.length);
  return batch.schema.fields
    .map(({ name }, i) => ({ name, data: batch.data.children[i] }))
    .filter(({ name, data }) => DataType.isMap(plainType(data)) || (json.has(name) && rank(name) < FIRST.length))
    .sort((a, b) => rank(a.name) - rank(b.name))
    .map(({ data }) => memoized(data, DataType.isMap(plainType(data)) ? entryOf(label) : memberOf(label)));
}

/** The text of an entry of an attributes column (see core/table-schema.ts). */
const entryOf = (label: string) => {
  const ids = new Map<Data, number>();
  return (values: Data, position: number): string | undefined => {
    const offsets = values.valueOffsets as Int32Array;
    const [key, value] = values.children[0].children;
    const keys = viewColumn(key);
    const text = value.children[1];
    if (keys.indexes !== undefined) {
      const id = ids.get(keys.values) ?? findText(keys.values, label);
      ids.set(keys.values, id);
      if (id < 0) return undefined;
      for (let entry = offsets[position]; entry < offsets[position + 1]; entry++) {
        if (keys.indexes[entry] === id) return utf8Of(text, entry);
      }
      return undefined;
    }
    for (let entry = offsets[position]; entry < offsets[position + 1]; entry++) {
      if (utf8Of(keys.values, entry) === label) return utf8Of(text, entry);
    }
    return undefined;
  };
};

function findText(values: Data, text: string): number {
  for (let i = 0; i < values.length; i++) if (utf8Of(values, i) === text) return i;
  return -1;
}

/** The text of a member of a JSON object; JSON text for what is no string. */
const memberOf =
  (label: string) =>
  (values: Data, position: number): string | undefined => {
    const json: unknown = JSON.parse(utf8Of(values, position));
    if (typeof json !== 'object' || json === null || !Object.hasOwn(json, label)) return undefined;
    const value = (json as Record<string, unknown>)[label];
    return typeof value === 'string' ? value : JSON.stringify(value);
  };

/** The severity of a row: its number, or else its level by name; a span has `error` or `info` by its status. */
function severityTest(least: number, batch: RecordBatch): RowTest {
  const sources = [
    numberColumn('severity_number', batch),
    named(textColumn('level', batch), severityNamed),
    named(textColumn('severity_text', batch), severityNamed),
    named(textColumn('severity', batch), severityNamed),
    named(textColumn('status_code', batch), (status) => (status === 'error' ? SEVERITY_NUMBERS.error : SEVERITY_NUMBERS.info)),
  ].filter((source) => source !== undefined);
  if (sources.length === 0) return NEVER;
  return (row) => {
    for (const source of sources) {
      const severity = source(row);
      if (severity !== undefined && severity > 0) return severity >= least;
    }
    return false;
  };
}

const named = (text: RowText | undefined, number: (text: string) => number | undefined) =>
  text === undefined
    ? undefined
    : (row: number): number | undefined => {
        const name = text(row);
        return name === undefined ? undefined : number(name);
      };

/** Names of severities in common use, beside those of OTLP (logs data model, appendix B). */
const NAMES: Readonly<Record<string, SeverityName>> = {
  information: 'info',
  informational: 'info',
  notice: 'info',
  warning: 'warn',
  err: 'error',
  severe: 'error',
  critical: 'fatal',
  crit: 'fatal',
  alert: 'fatal',
  emerg: 'fatal',
  emergency: 'fatal',
  panic: 'fatal',
};

/** The severity of a name such as `WARN`, `Error2` or `critical`; undefined for a text that is none. */
function severityNamed(text: string): number | undefined {
  const name = text.toLowerCase().replace(/[2-4]$/, '');
  if (Object.hasOwn(NAMES, name)) return SEVERITY_NUMBERS[NAMES[name]];
  return Object.hasOwn(SEVERITY_NUMBERS, name) ? SEVERITY_NUMBERS[name as SeverityName] : undefined;
}

function numberColumn(name: string, batch: RecordBatch): ((row: number) => number | undefined) | undefined {
  const data = columnData(batch, name);
  if (data === undefined || !DataType.isInt(plainType(data))) return undefined;
  return memoized(data, (values, position) => Number((values.values as Int32Array | BigInt64Array)[position]));
}
