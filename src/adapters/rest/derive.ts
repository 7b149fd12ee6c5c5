/**
 * Values that a row of a built-in table, or of one with columns that became doubles, implies but does not spell out, so that
 * REST rows look like OTLP rows.
 */
import { LOGS_EVENTS, METRICS_EVENTS, TRACES_SPANS } from '../../core/builtin-tables';
import type { TableSchema } from '../../core/table-schema';
import { JSON_BYTE } from '../json-reader';
import { type Column, FloatColumn, Int64Column, TextColumn, TimestampColumn } from './columns';

type ColumnOf = (name: string) => Column;
/** Completes the open row of the table; called before it is committed. */
export type Derive = () => void;

export function deriveFor(schema: TableSchema, columnOf: ColumnOf): Derive | undefined {
  const { table } = schema;
  if (table === METRICS_EVENTS.table) return deriveMetric(columnOf('value'), columnOf('value_int'));
  if (table === LOGS_EVENTS.table) return deriveLog(columnOf('message'), columnOf('body_type'));
  if (table === TRACES_SPANS.table) return deriveSpan(columnOf('start_time'), columnOf('end_time'), columnOf('duration_ns'));
  const exact = schema.columns.flatMap(({ name, exactOf }) => {
    return exactOf === undefined ? [] : (deriveMetric(columnOf(exactOf), columnOf(name)) ?? []);
  });
  return exact.length === 0 ? undefined : () => exact.forEach((derive) => derive());
}

/** An integer value is also kept exactly; an exact value also has its double. */
function deriveMetric(value: Column, exact: Column): Derive | undefined {
  if (!(value instanceof FloatColumn) || !(exact instanceof Int64Column)) return undefined;
  return () => {
    if (value.isSet && !exact.isSet && value.isExact) {
      exact.value.low = value.exact.low;
      exact.value.high = value.exact.high;
      exact.isSet = true;
    } else if (exact.isSet && !value.isSet) {
      value.value = Number(BigInt.asIntN(64, (BigInt(exact.value.high) << 32n) | BigInt(exact.value.low)));
      value.isSet = true;
    }
  };
}

const BODY_TYPES = Object.fromEntries(
  ['string', 'bool', 'int', 'double', 'array', 'kvlist'].map((name) => [name, new Uint8Array(Buffer.from(name))]),
);

function deriveLog(message: Column, bodyType: Column): Derive | undefined {
  if (!(message instanceof TextColumn) || !(bodyType instanceof TextColumn)) return undefined;
  return () => {
    if (!message.isSet || bodyType.isSet) return;
    const name = BODY_TYPES[bodyTypeOf(message)];
    bodyType.set(name, 0, name.length);
  };
}

function bodyTypeOf(message: TextColumn): string {
  switch (message.firstByte) {
    case JSON_BYTE.quote:
      return 'string';
    case JSON_BYTE.t:
    case JSON_BYTE.f:
      return 'bool';
    case JSON_BYTE.openArray:
      return 'array';
    case JSON_BYTE.openObject:
      return 'kvlist';
    default:
      return message.isInteger ? 'int' : 'double';
  }
}

/** The difference of two int64 may need 65 bits: then there is no duration. */
function deriveSpan(start: Column, end: Column, duration: Column): Derive | undefined {
  if (!(start instanceof TimestampColumn) || !(end instanceof TimestampColumn) || !(duration instanceof Int64Column))
    return undefined;
  return () => {
    if (!start.isSet || !end.isSet || duration.isSet) return;
    const ns = end.ns() - start.ns();
    if (BigInt.asIntN(64, ns) !== ns) return;
    duration.value.low = Number(BigInt.asUintN(32, ns));
    duration.value.high = Number(BigInt.asUintN(32, ns >> 32n));
    duration.isSet = true;
  };
}
