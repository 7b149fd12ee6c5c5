/**
 * Views with the names, columns, order and types of other people's tables, over ours, so that their dashboards keep working:
 * `otel_*` as the ClickHouse exporter of the OpenTelemetry Collector creates them, and `logs` (timestamp, node, ...).
 *
 * Guarantees: each column has the type of the exporter's column; times carry the time zone UTC (the value is the same, and a
 * condition on them still prunes partitions). What the exporter's tables cannot hold is shown as it would have stored it: a
 * missing number is 0, an integer value is its nearest double, a negative duration is 0.
 * Not guaranteed: the exporter's ALIAS columns and its `otel_traces_trace_id_ts` look-up table are not there.
 */

import { jsonMap } from '../../core/clickhouse-sql';
import type { TableName } from '../../core/ids';
import { METRIC_VIEWS } from './metric-views';
import { eachItem, itemText, itemTime, lowCardinality, orZero, SCOPE, selectList, text, type View } from './view-parts';

const OTEL_LOGS: View = {
  name: 'otel_logs',
  select: (table) =>
    selectList(table, [
      ['`timestamp`', 'Timestamp'],
      ['toDateTime(`timestamp`)', 'TimestampTime'],
      ['`trace_id`', 'TraceId'],
      ['`span_id`', 'SpanId'],
      [`toUInt8(bitAnd(${orZero('`flags`')}, 255))`, 'TraceFlags'],
      ['`severity_text`', 'SeverityText'],
      [`toUInt8(${orZero('`severity_number`')})`, 'SeverityNumber'],
      ['`app`', 'ServiceName'],
      ['`message`', 'Body'],
      [lowCardinality(SCOPE.resourceSchemaUrl), 'ResourceSchemaUrl'],
      ['`resource`', 'ResourceAttributes'],
      [lowCardinality(SCOPE.schemaUrl), 'ScopeSchemaUrl'],
      [SCOPE.name, 'ScopeName'],
      [lowCardinality(SCOPE.version), 'ScopeVersion'],
      [SCOPE.attributes, 'ScopeAttributes'],
      ['`labels`', 'LogAttributes'],
      [text('`event_name`'), 'EventName'],
    ]),
};

/** Logs by node, as the first users of this server query them. */
const LOGS: View = {
  name: 'logs',
  select: (table) =>
    selectList(table, [
      ['`timestamp`', 'timestamp'],
      ['`host`', 'node'],
      ['`app`', 'app'],
      ['`level`', 'level'],
      ['`message`', 'message'],
      ['`labels`', 'labels'],
      ['`trace_id`', 'trace_id'],
      ['`span_id`', 'span_id'],
      ['`severity_number`', 'severity_number'],
      ['`event_name`', 'event_name'],
      ['`resource`', 'resource'],
    ]),
};

/** `server` as `Server`; an unknown number stays its digits, nothing is the first name of the enumeration. */
const enumName = (column: string, zero: string): string => lowCardinality(`if(${column} = '', '${zero}', initcap(${column}))`);

const OTEL_TRACES: View = {
  name: 'otel_traces',
  select: (table) =>
    selectList(table, [
      ['`start_time`', 'Timestamp'],
      ['`trace_id`', 'TraceId'],
      ['`span_id`', 'SpanId'],
      ['`parent_span_id`', 'ParentSpanId'],
      ['`trace_state`', 'TraceState'],
      ['`name`', 'SpanName'],
      [enumName('`kind`', 'Unspecified'), 'SpanKind'],
      ['`app`', 'ServiceName'],
      ['`resource`', 'ResourceAttributes'],
      [SCOPE.name, 'ScopeName'],
      [SCOPE.version, 'ScopeVersion'],
      ['`attributes`', 'SpanAttributes'],
      [`toUInt64(greatest(${orZero('`duration_ns`')}, 0))`, 'Duration'],
      [enumName('`status_code`', 'Unset'), 'StatusCode'],
      ['`status_message`', 'StatusMessage'],
      [eachItem('`events`', itemTime('time_unix_nano')), 'Events.Timestamp'],
      [`CAST(${eachItem('`events`', itemText('name'))}, 'Array(LowCardinality(String))')`, 'Events.Name'],
      [eachItem('`events`', jsonMap("JSONExtractRaw(item, 'attributes')")), 'Events.Attributes'],
      [eachItem('`links`', itemText('trace_id')), 'Links.TraceId'],
      [eachItem('`links`', itemText('span_id')), 'Links.SpanId'],
      [eachItem('`links`', itemText('trace_state')), 'Links.TraceState'],
      [eachItem('`links`', jsonMap("JSONExtractRaw(item, 'attributes')")), 'Links.Attributes'],
    ]),
};

const VIEWS: ReadonlyMap<string, readonly View[]> = new Map([
  ['logs_events', [OTEL_LOGS, LOGS]],
  ['traces_spans', [OTEL_TRACES]],
  ...METRIC_VIEWS,
]);

/** The views over a table; none for a table that is not built in. */
export const viewsOf = (table: TableName): readonly View[] => VIEWS.get(table) ?? [];
