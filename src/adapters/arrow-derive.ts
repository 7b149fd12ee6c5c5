/** What columns of a built-in table imply, as `rest/derive.ts` does for JSON rows. */
import type { Data } from 'apache-arrow';
import { int64Builder, NumberBuilder } from '../columnar/builders';
import { InternedBuilder } from '../columnar/interned';
import { positionOf, viewColumn } from '../columnar/read';
import { LOGS_EVENTS, METRICS_EVENTS, TRACES_SPANS } from '../core/builtin-tables';
import type { TableSchema } from '../core/table-schema';
import { convertColumn, type ForeignColumn } from './arrow-convert';

/** Adds the implied columns that are not there. `value` is the stream's column of that name, if it has one. */
export function deriveColumns(
  schema: TableSchema,
  columns: Map<string, Data>,
  rows: number,
  value: ForeignColumn | undefined,
): void {
  if (schema.table === METRICS_EVENTS.table) {
    deriveExact(columns, value);
    deriveValue(columns, rows);
  }
  if (schema.table === LOGS_EVENTS.table) deriveBodyType(columns, rows);
  if (schema.table === TRACES_SPANS.table) deriveDuration(columns, rows);
}

/** Integers are also kept exactly; what int64 does not hold has its double only. */
function deriveExact(columns: Map<string, Data>, value: ForeignColumn | undefined): void {
  if (value?.field.type.kind !== 'int' || columns.has('value_int')) return;
  columns.set(
    'value_int',
    convertColumn(value.data, value.field, 'int64', () => undefined),
  );
}

/** An exact value also has its double. */
function deriveValue(columns: Map<string, Data>, rows: number): void {
  const exact = columns.get('value_int');
  if (exact === undefined || columns.has('value')) return;
  const view = viewColumn(exact);
  const numbers = view.values.values as BigInt64Array;
  const value = NumberBuilder.float64(rows);
  for (let row = 0; row < rows; row++) {
    const at = positionOf(view, row);
    if (at < 0) value.appendNull();
    else value.append(Number(numbers[at]));
  }
  columns.set('value', value.finish());
}

function deriveBodyType(columns: Map<string, Data>, rows: number): void {
  const message = columns.get('message');
  if (message === undefined || columns.has('body_type')) return;
  const view = viewColumn(message);
  const bodyType = new InternedBuilder(rows);
  const text = bodyType.interner.internString('string');
  for (let row = 0; row < rows; row++) bodyType.appendRun(positionOf(view, row) < 0 ? -1 : text, 1);
  columns.set('body_type', bodyType.finish());
}

/** The difference of two int64 may need 65 bits: then there is no duration. */
function deriveDuration(columns: Map<string, Data>, rows: number): void {
  const start = columns.get('start_time');
  const end = columns.get('end_time');
  if (start === undefined || end === undefined || columns.has('duration_ns')) return;
  const views = [viewColumn(start), viewColumn(end)];
  const [from, to] = views.map((view) => view.values.values as BigInt64Array);
  const duration = int64Builder(rows);
  for (let row = 0; row < rows; row++) {
    const [first, last] = views.map((view) => positionOf(view, row));
    const ns = first < 0 || last < 0 ? undefined : to[last] - from[first];
    if (ns === undefined || BigInt.asIntN(64, ns) !== ns) duration.appendNull();
    else duration.appendBigInt(ns);
  }
  columns.set('duration_ns', duration.finish());
}
