/**
 * What the OTLP decoders must make of a request, worked out from the objects that protobufjs decodes: every row of every table
 * with every column, and every rejection. Written from core/builtin-tables.ts and the rules OD1-OD5.
 */

import { requestType, type Signal } from './otlp-requests';
import {
  type AnyValue,
  doubleJson,
  type Entry,
  entries,
  entriesJson,
  hex,
  type KeyValue,
  longOf,
  valueText,
} from './otlp-values';

export type Row = Record<string, unknown>;

export interface Expected {
  tables: Record<string, Row[]>;
  accepted: number;
  rejections: { row: number; code: string; column: string }[];
}

/** A decoded message: fields by camelCase name, defaults on the prototype. */
type Message = Record<string, unknown>;

const INT64_MAX = 2n ** 63n - 1n;

class Refused extends Error {
  constructor(
    readonly code: string,
    readonly column: string,
  ) {
    super(code);
  }
}

/** Throws what protobufjs throws when the bytes are not a valid request. */
export function expectedOf(signal: Signal, body: Uint8Array, arrivalNs: bigint): Expected {
  // Not a Buffer: only its plain reader checks UTF-8.
  const request = requestType(signal).decode(new Uint8Array(body)) as unknown as Message;
  const expected: Expected = { tables: {}, accepted: 0, rejections: [] };
  const take = (table: string, make: () => Row): void => {
    try {
      (expected.tables[table] ??= []).push(make());
      expected.accepted++;
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      expected.rejections.push({ row: expected.accepted + expected.rejections.length, code: error.code, column: error.column });
    }
  };
  const lists = { logs: 'Logs', traces: 'Spans', metrics: 'Metrics' }[signal];
  for (const resource of list(request, `resource${lists}`)) {
    for (const scope of list(resource, `scope${lists}`)) {
      const origin = originOf(resource, scope);
      if (signal === 'logs')
        for (const record of list(scope, 'logRecords')) take('logs_events', () => ({ ...logRow(record, arrivalNs), ...origin }));
      if (signal === 'traces')
        for (const span of list(scope, 'spans')) take('traces_spans', () => ({ ...spanRow(span), ...origin }));
      if (signal === 'metrics') for (const metric of list(scope, 'metrics')) takeMetric(metric, origin, take);
    }
  }
  for (const name of Object.keys(expected.tables)) if (expected.tables[name].length === 0) delete expected.tables[name];
  return expected;
}

const list = (message: Message, name: string): Message[] => (message[name] as Message[] | undefined) ?? [];
const text = (message: Message, name: string): string => message[name] as string;
const orNull = (value: string): string | null => (value === '' ? null : value);
const bytes = (message: Message, name: string): Uint8Array => Uint8Array.from(message[name] as ArrayLike<number>);
const number = (message: Message, name: string): number => message[name] as number;
const optional = (message: Message, name: string): number | null => (Object.hasOwn(message, name) ? number(message, name) : null);
const keyValues = (message: Message, name: string): KeyValue[] => list(message, name) as unknown as KeyValue[];

function time(message: Message, field: string, column: string): bigint {
  const value = longOf(message[field]);
  if (value > INT64_MAX) throw new Refused('out_of_range', column);
  return value;
}

const timeOrNull = (value: bigint): bigint | null => (value === 0n ? null : value);

const isId = (id: Uint8Array, length: number): boolean => id.length === length && id.some((byte) => byte !== 0);

function idOrNull(message: Message, name: string, length: number): string | null {
  const id = bytes(message, name);
  return isId(id, length) ? hex(id) : null;
}

function originOf(resourceBlock: Message, scopeBlock: Message): Row {
  const resource = (resourceBlock.resource ?? undefined) as Message | undefined;
  const scope = (scopeBlock.scope ?? undefined) as Message | undefined;
  const attributes = resource === undefined ? [] : entries(keyValues(resource, 'attributes'));
  const named = (key: string): string | null => orNull(attributes.find(([name]) => name === key)?.[2] ?? '');
  const parts: Entry[] = [];
  const part = (key: string, kind: number, value: string): void => void parts.push([key, kind, value]);
  if (scope !== undefined) {
    if (text(scope, 'name') !== '') part('name', 1, text(scope, 'name'));
    if (text(scope, 'version') !== '') part('version', 1, text(scope, 'version'));
    if (list(scope, 'attributes').length > 0) part('attributes', 6, entriesJson(keyValues(scope, 'attributes')));
    if (number(scope, 'droppedAttributesCount') > 0)
      part('dropped_attributes_count', 3, String(number(scope, 'droppedAttributesCount')));
  }
  if (text(scopeBlock, 'schemaUrl') !== '') part('schema_url', 1, text(scopeBlock, 'schemaUrl'));
  const extras = resourceExtras(resource, text(resourceBlock, 'schemaUrl'));
  if (extras !== '{}') part('resource', 6, extras);
  return {
    app: named('service.name'),
    host: named('host.name') ?? named('k8s.node.name'),
    resource: attributes.length === 0 ? null : attributes,
    scope: parts.length === 0 ? null : parts,
  };
}

function resourceExtras(resource: Message | undefined, schemaUrl: string): string {
  const extras: Row = {};
  if (schemaUrl !== '') extras.schema_url = schemaUrl;
  if (resource !== undefined) {
    if (number(resource, 'droppedAttributesCount') > 0)
      extras.dropped_attributes_count = number(resource, 'droppedAttributesCount');
    const refs = list(resource, 'entityRefs').map((ref) => ({
      ...(text(ref, 'schemaUrl') === '' ? {} : { schema_url: text(ref, 'schemaUrl') }),
      ...(text(ref, 'type') === '' ? {} : { type: text(ref, 'type') }),
      ...(list(ref, 'idKeys').length === 0 ? {} : { id_keys: ref.idKeys }),
      ...(list(ref, 'descriptionKeys').length === 0 ? {} : { description_keys: ref.descriptionKeys }),
    }));
    if (refs.length > 0) extras.entity_refs = refs;
  }
  return JSON.stringify(extras);
}

const LEVELS = ['TRACE', 'DEBUG', 'INFO', 'WARN', 'ERROR', 'FATAL'];
const BODY_TYPES = ['empty', 'string', 'bool', 'int', 'double', 'array', 'kvlist', 'bytes'];

function logRow(record: Message, arrivalNs: bigint): Row {
  const at = time(record, 'timeUnixNano', 'timestamp');
  const observed = time(record, 'observedTimeUnixNano', 'observed_timestamp');
  const severity = number(record, 'severityNumber');
  const body = (record.body ?? undefined) as AnyValue | undefined;
  const [kind, message] = body === undefined ? [null, null] : valueText(body);
  return {
    timestamp: timeOrNull(at) ?? timeOrNull(observed) ?? arrivalNs,
    observed_timestamp: timeOrNull(observed),
    trace_id: idOrNull(record, 'traceId', 16),
    span_id: idOrNull(record, 'spanId', 8),
    message: kind === 0 ? null : message,
    body_type: kind === null ? null : BODY_TYPES[kind],
    labels: entries(keyValues(record, 'attributes')),
    severity_number: severity,
    severity_text: orNull(text(record, 'severityText')),
    level: severity >= 1 && severity <= 24 ? LEVELS[Math.floor((severity - 1) / 4)] : orNull(text(record, 'severityText')),
    flags: number(record, 'flags'),
    event_name: orNull(text(record, 'eventName')),
    dropped_attributes_count: number(record, 'droppedAttributesCount'),
  };
}

const named = (names: readonly string[], value: number): string => names[value] ?? String(value);
const jsonList = (items: string[]): string | null => (items.length === 0 ? null : `[${items.join(',')}]`);
const unlessZero = (key: string, value: number): string => (value === 0 ? '' : `,"${key}":${value}`);

function spanRow(span: Message): Row {
  if (!isId(bytes(span, 'traceId'), 16)) throw new Refused('invalid_id', 'trace_id');
  if (!isId(bytes(span, 'spanId'), 8)) throw new Refused('invalid_id', 'span_id');
  if (![0, 8].includes(bytes(span, 'parentSpanId').length)) throw new Refused('invalid_id', 'parent_span_id');
  if (longOf(span.startTimeUnixNano) === 0n) throw new Refused('invalid_time', 'start_time');
  const start = time(span, 'startTimeUnixNano', 'start_time');
  const end = time(span, 'endTimeUnixNano', 'end_time');
  const status = (span.status ?? undefined) as Message | undefined;
  return {
    start_time: start,
    end_time: timeOrNull(end),
    duration_ns: end === 0n ? null : end - start,
    trace_id: hex(bytes(span, 'traceId')),
    span_id: hex(bytes(span, 'spanId')),
    parent_span_id: idOrNull(span, 'parentSpanId', 8),
    trace_state: orNull(text(span, 'traceState')),
    flags: number(span, 'flags'),
    name: text(span, 'name'),
    kind: named(['unspecified', 'internal', 'server', 'client', 'producer', 'consumer'], number(span, 'kind')),
    status_code: named(['unset', 'ok', 'error'], status === undefined ? 0 : number(status, 'code')),
    status_message: status === undefined ? null : orNull(text(status, 'message')),
    attributes: entries(keyValues(span, 'attributes')),
    dropped_attributes_count: number(span, 'droppedAttributesCount'),
    events: jsonList(list(span, 'events').map(eventJson)),
    dropped_events_count: number(span, 'droppedEventsCount'),
    links: jsonList(list(span, 'links').map(linkJson)),
    dropped_links_count: number(span, 'droppedLinksCount'),
  };
}

const eventJson = (event: Message): string =>
  `{"time_unix_nano":"${time(event, 'timeUnixNano', 'events')}","name":${JSON.stringify(text(event, 'name'))},` +
  `"attributes":${entriesJson(keyValues(event, 'attributes'))}` +
  `${unlessZero('dropped_attributes_count', number(event, 'droppedAttributesCount'))}}`;

const linkJson = (link: Message): string =>
  `{"trace_id":"${hex(bytes(link, 'traceId'))}","span_id":"${hex(bytes(link, 'spanId'))}"` +
  (text(link, 'traceState') === '' ? '' : `,"trace_state":${JSON.stringify(text(link, 'traceState'))}`) +
  `,"attributes":${entriesJson(keyValues(link, 'attributes'))}` +
  `${unlessZero('dropped_attributes_count', number(link, 'droppedAttributesCount'))}${unlessZero('flags', number(link, 'flags'))}}`;

function takeMetric(metric: Message, origin: Row, take: (table: string, make: () => Row) => void): void {
  const member = metric.data as string | undefined;
  if (member === undefined) return;
  const data = metric[member] as Message;
  const shared: Row = {
    ...origin,
    metric: text(metric, 'name'),
    description: orNull(text(metric, 'description')),
    unit: orNull(text(metric, 'unit')),
    kind: member === 'exponentialHistogram' ? 'exponential_histogram' : member,
    temporality: ['gauge', 'summary'].includes(member)
      ? null
      : named(['unspecified', 'delta', 'cumulative'], number(data, 'aggregationTemporality')),
    metadata: list(metric, 'metadata').length === 0 ? null : entries(keyValues(metric, 'metadata')),
  };
  for (const point of list(data, 'dataPoints')) {
    switch (member) {
      case 'gauge':
      case 'sum':
        take('metrics_events', () => ({
          ...shared,
          ...numberRow(point),
          monotonic: member === 'sum' ? data.isMonotonic : null,
        }));
        break;
      case 'histogram':
        take('metrics_histograms', () => ({ ...shared, ...histogramRow(point) }));
        break;
      case 'exponentialHistogram':
        take('metrics_histograms', () => ({ ...shared, ...exponentialRow(point) }));
        break;
      default:
        take('metrics_summaries', () => ({ ...shared, ...summaryRow(point) }));
    }
  }
}

const isRecorded = (point: Message): boolean => (number(point, 'flags') & 1) === 0;

function pointRow(point: Message): Row {
  if (longOf(point.timeUnixNano) === 0n) throw new Refused('invalid_time', 'time');
  return {
    time: time(point, 'timeUnixNano', 'time'),
    start_time: timeOrNull(time(point, 'startTimeUnixNano', 'start_time')),
    labels: entries(keyValues(point, 'attributes')),
    flags: number(point, 'flags'),
  };
}

const exemplars = (point: Message): string | null => jsonList(list(point, 'exemplars').map(exemplarJson));

function exemplarJson(exemplar: Message): string {
  const member = exemplar.value as string | undefined;
  const value =
    member === 'asInt'
      ? `"value_int":${longOf(exemplar.asInt)}`
      : `"value":${member === undefined ? 'null' : doubleJson(number(exemplar, 'asDouble'))}`;
  const id = (key: string, field: string): string =>
    bytes(exemplar, field).length === 0 ? '' : `,"${key}":"${hex(bytes(exemplar, field))}"`;
  return (
    `{"time_unix_nano":"${time(exemplar, 'timeUnixNano', 'exemplars')}",${value}${id('trace_id', 'traceId')}` +
    `${id('span_id', 'spanId')},"filtered_attributes":${entriesJson(keyValues(exemplar, 'filteredAttributes'))}}`
  );
}

function numberRow(point: Message): Row {
  const shared = pointRow(point);
  const member = point.value as string | undefined;
  const recorded = isRecorded(point);
  if (member === undefined && recorded) throw new Refused('invalid_value', 'value');
  const int = member === 'asInt' && recorded ? longOf(point.asInt) : null;
  const double = member === 'asDouble' && recorded ? number(point, 'asDouble') : null;
  return { ...shared, value: int === null ? double : Number(int), value_int: int, exemplars: exemplars(point) };
}

const NO_BUCKETS: Row = {
  bucket_counts: null,
  explicit_bounds: null,
  scale: null,
  zero_count: null,
  zero_threshold: null,
  positive_offset: null,
  positive_bucket_counts: null,
  negative_offset: null,
  negative_bucket_counts: null,
};

const totals = (point: Message): Row =>
  isRecorded(point)
    ? { count: longOf(point.count), sum: optional(point, 'sum'), min: optional(point, 'min'), max: optional(point, 'max') }
    : { count: null, sum: null, min: null, max: null };

function histogramRow(point: Message): Row {
  const shared = pointRow(point);
  const counts = list(point, 'bucketCounts').map(longOf);
  const bounds = list(point, 'explicitBounds') as unknown as number[];
  const matching = counts.length === bounds.length + 1 || (counts.length === 0 && bounds.length === 0);
  if (!matching) throw new Refused('invalid_value', 'bucket_counts');
  const increasing = bounds.every((bound, i) => !Number.isNaN(bound) && (i === 0 || bound > bounds[i - 1]));
  if (!increasing) throw new Refused('invalid_value', 'explicit_bounds');
  return {
    ...shared,
    ...totals(point),
    ...NO_BUCKETS,
    bucket_counts: counts,
    explicit_bounds: [...bounds],
    exemplars: exemplars(point),
  };
}

function exponentialRow(point: Message): Row {
  const buckets = (field: string): Row => {
    const message = (point[field] ?? undefined) as Message | undefined;
    return {
      [`${field}_offset`]: message === undefined ? null : number(message, 'offset'),
      [`${field}_bucket_counts`]: message === undefined ? null : list(message, 'bucketCounts').map(longOf),
    };
  };
  return {
    ...pointRow(point),
    ...totals(point),
    ...NO_BUCKETS,
    scale: number(point, 'scale'),
    zero_count: isRecorded(point) ? longOf(point.zeroCount) : null,
    zero_threshold: number(point, 'zeroThreshold'),
    ...buckets('positive'),
    ...buckets('negative'),
    exemplars: exemplars(point),
  };
}

function summaryRow(point: Message): Row {
  const quantiles = list(point, 'quantileValues');
  return {
    ...pointRow(point),
    count: isRecorded(point) ? longOf(point.count) : null,
    sum: isRecorded(point) ? number(point, 'sum') : null,
    quantiles: quantiles.map((q) => number(q, 'quantile')),
    quantile_values: quantiles.map((q) => number(q, 'value')),
  };
}
