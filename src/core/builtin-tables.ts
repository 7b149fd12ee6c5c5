import type { TableName } from './ids';
import type { ColumnSchema, ColumnType, TableSchema, Tier } from './table-schema';

const col = (name: string, type: ColumnType): ColumnSchema => ({ name, type, nullable: true });
const required = (name: string, type: ColumnType): ColumnSchema => ({ name, type, nullable: false });
/** A column of few distinct strings. */
const tag = (name: string): ColumnSchema => ({ name, type: 'string', nullable: true, lowCardinality: true });

const table = (name: string, tier: Tier, columns: ColumnSchema[]): TableSchema => ({
  table: name as TableName,
  version: 1,
  columns,
  timeColumn: columns[0]?.name ?? '',
  tier,
});

/** Columns that every metric table shares, after time, app, host and labels. */
const METRIC_IDENTITY = [
  tag('metric'),
  tag('description'),
  tag('unit'),
  tag('kind'),
  col('start_time', 'timestamp'),
  tag('temporality'),
];
/**
 * `resource` holds the resource attributes. `scope` holds what else stands above a row: `name`, `version`, `attributes`,
 * `dropped_attributes_count`, `schema_url` of the instrumentation scope, and `resource` (schema_url, dropped_attributes_count,
 * entity_refs) where the sender set them.
 */
const ORIGIN = [col('resource', 'attributes'), col('scope', 'attributes')];

/** Gauges and sums, one row a data point; also the rows of `POST /write/metrics`. */
export const METRICS_EVENTS = table('metrics_events', 'hot', [
  required('time', 'timestamp'),
  tag('app'),
  tag('host'),
  col('labels', 'attributes'),
  /** The value as a double; for an integer point its nearest double. Null when the point has no recorded value. */
  col('value', 'float64'),
  col('trace_id', 'string'),
  tag('level'),
  ...METRIC_IDENTITY,
  col('monotonic', 'bool'),
  /** The exact value of an integer point. */
  col('value_int', 'int64'),
  col('flags', 'uint32'),
  /** JSON array: time_unix_nano, value or value_int, trace_id, span_id, filtered_attributes. Null when there is none. */
  col('exemplars', 'json'),
  col('metadata', 'attributes'),
  ...ORIGIN,
]);

/** Explicit and exponential histograms, one row a data point. `kind` tells which. */
export const METRICS_HISTOGRAMS = table('metrics_histograms', 'hot', [
  required('time', 'timestamp'),
  tag('app'),
  tag('host'),
  col('labels', 'attributes'),
  ...METRIC_IDENTITY,
  col('count', 'uint64'),
  col('sum', 'float64'),
  col('min', 'float64'),
  col('max', 'float64'),
  col('bucket_counts', 'list<uint64>'),
  col('explicit_bounds', 'list<float64>'),
  col('scale', 'int32'),
  col('zero_count', 'uint64'),
  col('zero_threshold', 'float64'),
  col('positive_offset', 'int32'),
  col('positive_bucket_counts', 'list<uint64>'),
  col('negative_offset', 'int32'),
  col('negative_bucket_counts', 'list<uint64>'),
  col('flags', 'uint32'),
  col('exemplars', 'json'),
  col('metadata', 'attributes'),
  ...ORIGIN,
]);

/** Summaries, one row a data point. */
export const METRICS_SUMMARIES = table('metrics_summaries', 'hot', [
  required('time', 'timestamp'),
  tag('app'),
  tag('host'),
  col('labels', 'attributes'),
  ...METRIC_IDENTITY,
  col('count', 'uint64'),
  col('sum', 'float64'),
  col('quantiles', 'list<float64>'),
  col('quantile_values', 'list<float64>'),
  col('flags', 'uint32'),
  col('metadata', 'attributes'),
  ...ORIGIN,
]);

/** One row a span. Ids are lower-case hex. */
export const TRACES_SPANS = table('traces_spans', 'hot', [
  required('start_time', 'timestamp'),
  col('end_time', 'timestamp'),
  /** end_time - start_time, nanoseconds; negative when the sender's clock went back. */
  col('duration_ns', 'int64'),
  col('trace_id', 'string'),
  col('span_id', 'string'),
  col('parent_span_id', 'string'),
  col('trace_state', 'string'),
  col('flags', 'uint32'),
  tag('name'),
  /** unspecified, internal, server, client, producer, consumer; an unknown number as its decimal digits. */
  tag('kind'),
  /** unset, ok, error; an unknown number as its decimal digits. */
  tag('status_code'),
  col('status_message', 'string'),
  tag('app'),
  tag('host'),
  col('attributes', 'attributes'),
  col('dropped_attributes_count', 'uint32'),
  /** JSON array: time_unix_nano, name, attributes, dropped_attributes_count. Null when there is none. */
  col('events', 'json'),
  col('dropped_events_count', 'uint32'),
  /** JSON array: trace_id, span_id, trace_state, attributes, dropped_attributes_count, flags. Null when there is none. */
  col('links', 'json'),
  col('dropped_links_count', 'uint32'),
  ...ORIGIN,
]);

/** One row a log record; also the rows of `POST /write/logs`. */
export const LOGS_EVENTS = table('logs_events', 'cold', [
  required('timestamp', 'timestamp'),
  tag('app'),
  tag('host'),
  col('trace_id', 'string'),
  /** The body: a string as it is, any other AnyValue as JSON text; `body_type` tells which. */
  col('message', 'string'),
  col('labels', 'attributes'),
  col('observed_timestamp', 'timestamp'),
  col('span_id', 'string'),
  col('severity_number', 'int32'),
  tag('severity_text'),
  /** TRACE, DEBUG, INFO, WARN, ERROR or FATAL from the severity number; without one, the severity text. */
  tag('level'),
  col('flags', 'uint32'),
  tag('event_name'),
  /** empty, string, bool, int, double, array, kvlist, bytes. */
  tag('body_type'),
  col('dropped_attributes_count', 'uint32'),
  ...ORIGIN,
]);

export const BUILTIN_TABLES: readonly TableSchema[] = [
  METRICS_EVENTS,
  METRICS_HISTOGRAMS,
  METRICS_SUMMARIES,
  TRACES_SPANS,
  LOGS_EVENTS,
];

export const SIGNALS = ['metrics', 'traces', 'logs'] as const;
export type Signal = (typeof SIGNALS)[number];

const SIGNAL_OF: ReadonlyMap<TableName, Signal> = new Map([
  [METRICS_EVENTS.table, 'metrics'],
  [METRICS_HISTOGRAMS.table, 'metrics'],
  [METRICS_SUMMARIES.table, 'metrics'],
  [TRACES_SPANS.table, 'traces'],
  [LOGS_EVENTS.table, 'logs'],
]);

/** The signal of a built-in table; undefined for every other one. */
export const signalOf = (name: TableName): Signal | undefined => SIGNAL_OF.get(name);
