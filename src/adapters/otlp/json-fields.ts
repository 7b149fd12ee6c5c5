/**
 * The fields of the OTLP messages, as OTLP/JSON names them and as protobuf numbers them (`proto/opentelemetry`, OTLP 1.7).
 * A test compares this table with the .proto files. Notation: `[number, type]`; a type that ends in `[]` is repeated;
 * a type that is the name of a table entry is a message or an enum.
 */
import { KeyTable } from '../key-table';

/** `id`: bytes in protobuf, hex in JSON (OTLP specification, "JSON Protobuf Encoding"; rule OJ1). */
type ScalarType =
  | 'string'
  | 'bytes'
  | 'id'
  | 'bool'
  | 'double'
  | 'fixed64'
  | 'sfixed64'
  | 'fixed32'
  | 'int64'
  | 'uint64'
  | 'uint32'
  | 'sint32';

type FieldTable = Readonly<Record<string, readonly [number: number, type: string]>>;

export const ENUMS: Readonly<Record<string, readonly string[]>> = {
  SeverityNumber: [
    'SEVERITY_NUMBER_UNSPECIFIED',
    ...['TRACE', 'DEBUG', 'INFO', 'WARN', 'ERROR', 'FATAL'].flatMap((level) =>
      ['', '2', '3', '4'].map((suffix) => `SEVERITY_NUMBER_${level}${suffix}`),
    ),
  ],
  SpanKind: [
    'SPAN_KIND_UNSPECIFIED',
    'SPAN_KIND_INTERNAL',
    'SPAN_KIND_SERVER',
    'SPAN_KIND_CLIENT',
    'SPAN_KIND_PRODUCER',
    'SPAN_KIND_CONSUMER',
  ],
  StatusCode: ['STATUS_CODE_UNSET', 'STATUS_CODE_OK', 'STATUS_CODE_ERROR'],
  AggregationTemporality: [
    'AGGREGATION_TEMPORALITY_UNSPECIFIED',
    'AGGREGATION_TEMPORALITY_DELTA',
    'AGGREGATION_TEMPORALITY_CUMULATIVE',
  ],
};

/** Members of which at most one may be set (OJ10). No message has more than one oneof. */
export const ONEOFS: Readonly<Record<string, readonly string[]>> = {
  AnyValue: ['stringValue', 'boolValue', 'intValue', 'doubleValue', 'arrayValue', 'kvlistValue', 'bytesValue'],
  Metric: ['gauge', 'sum', 'histogram', 'exponentialHistogram', 'summary'],
  NumberDataPoint: ['asDouble', 'asInt'],
  Exemplar: ['asDouble', 'asInt'],
};

export const MESSAGES: Readonly<Record<string, FieldTable>> = {
  AnyValue: {
    stringValue: [1, 'string'],
    boolValue: [2, 'bool'],
    intValue: [3, 'int64'],
    doubleValue: [4, 'double'],
    arrayValue: [5, 'ArrayValue'],
    kvlistValue: [6, 'KeyValueList'],
    bytesValue: [7, 'bytes'],
  },
  ArrayValue: { values: [1, 'AnyValue[]'] },
  KeyValueList: { values: [1, 'KeyValue[]'] },
  KeyValue: { key: [1, 'string'], value: [2, 'AnyValue'] },
  InstrumentationScope: {
    name: [1, 'string'],
    version: [2, 'string'],
    attributes: [3, 'KeyValue[]'],
    droppedAttributesCount: [4, 'uint32'],
  },
  EntityRef: {
    schemaUrl: [1, 'string'],
    type: [2, 'string'],
    idKeys: [3, 'string[]'],
    descriptionKeys: [4, 'string[]'],
  },
  Resource: {
    attributes: [1, 'KeyValue[]'],
    droppedAttributesCount: [2, 'uint32'],
    entityRefs: [3, 'EntityRef[]'],
  },

  ExportLogsServiceRequest: { resourceLogs: [1, 'ResourceLogs[]'] },
  ResourceLogs: { resource: [1, 'Resource'], scopeLogs: [2, 'ScopeLogs[]'], schemaUrl: [3, 'string'] },
  ScopeLogs: { scope: [1, 'InstrumentationScope'], logRecords: [2, 'LogRecord[]'], schemaUrl: [3, 'string'] },
  LogRecord: {
    timeUnixNano: [1, 'fixed64'],
    observedTimeUnixNano: [11, 'fixed64'],
    severityNumber: [2, 'SeverityNumber'],
    severityText: [3, 'string'],
    body: [5, 'AnyValue'],
    attributes: [6, 'KeyValue[]'],
    droppedAttributesCount: [7, 'uint32'],
    flags: [8, 'fixed32'],
    traceId: [9, 'id'],
    spanId: [10, 'id'],
    eventName: [12, 'string'],
  },

  ExportTraceServiceRequest: { resourceSpans: [1, 'ResourceSpans[]'] },
  ResourceSpans: { resource: [1, 'Resource'], scopeSpans: [2, 'ScopeSpans[]'], schemaUrl: [3, 'string'] },
  ScopeSpans: { scope: [1, 'InstrumentationScope'], spans: [2, 'Span[]'], schemaUrl: [3, 'string'] },
  Span: {
    traceId: [1, 'id'],
    spanId: [2, 'id'],
    traceState: [3, 'string'],
    parentSpanId: [4, 'id'],
    flags: [16, 'fixed32'],
    name: [5, 'string'],
    kind: [6, 'SpanKind'],
    startTimeUnixNano: [7, 'fixed64'],
    endTimeUnixNano: [8, 'fixed64'],
    attributes: [9, 'KeyValue[]'],
    droppedAttributesCount: [10, 'uint32'],
    events: [11, 'Event[]'],
    droppedEventsCount: [12, 'uint32'],
    links: [13, 'Link[]'],
    droppedLinksCount: [14, 'uint32'],
    status: [15, 'Status'],
  },
  Event: {
    timeUnixNano: [1, 'fixed64'],
    name: [2, 'string'],
    attributes: [3, 'KeyValue[]'],
    droppedAttributesCount: [4, 'uint32'],
  },
  Link: {
    traceId: [1, 'id'],
    spanId: [2, 'id'],
    traceState: [3, 'string'],
    attributes: [4, 'KeyValue[]'],
    droppedAttributesCount: [5, 'uint32'],
    flags: [6, 'fixed32'],
  },
  Status: { message: [2, 'string'], code: [3, 'StatusCode'] },

  ExportMetricsServiceRequest: { resourceMetrics: [1, 'ResourceMetrics[]'] },
  ResourceMetrics: { resource: [1, 'Resource'], scopeMetrics: [2, 'ScopeMetrics[]'], schemaUrl: [3, 'string'] },
  ScopeMetrics: { scope: [1, 'InstrumentationScope'], metrics: [2, 'Metric[]'], schemaUrl: [3, 'string'] },
  Metric: {
    name: [1, 'string'],
    description: [2, 'string'],
    unit: [3, 'string'],
    gauge: [5, 'Gauge'],
    sum: [7, 'Sum'],
    histogram: [9, 'Histogram'],
    exponentialHistogram: [10, 'ExponentialHistogram'],
    summary: [11, 'Summary'],
    metadata: [12, 'KeyValue[]'],
  },
  Gauge: { dataPoints: [1, 'NumberDataPoint[]'] },
  Sum: {
    dataPoints: [1, 'NumberDataPoint[]'],
    aggregationTemporality: [2, 'AggregationTemporality'],
    isMonotonic: [3, 'bool'],
  },
  Histogram: { dataPoints: [1, 'HistogramDataPoint[]'], aggregationTemporality: [2, 'AggregationTemporality'] },
  ExponentialHistogram: {
    dataPoints: [1, 'ExponentialHistogramDataPoint[]'],
    aggregationTemporality: [2, 'AggregationTemporality'],
  },
  Summary: { dataPoints: [1, 'SummaryDataPoint[]'] },
  NumberDataPoint: {
    attributes: [7, 'KeyValue[]'],
    startTimeUnixNano: [2, 'fixed64'],
    timeUnixNano: [3, 'fixed64'],
    asDouble: [4, 'double'],
    asInt: [6, 'sfixed64'],
    exemplars: [5, 'Exemplar[]'],
    flags: [8, 'uint32'],
  },
  HistogramDataPoint: {
    attributes: [9, 'KeyValue[]'],
    startTimeUnixNano: [2, 'fixed64'],
    timeUnixNano: [3, 'fixed64'],
    count: [4, 'fixed64'],
    sum: [5, 'double'],
    bucketCounts: [6, 'fixed64[]'],
    explicitBounds: [7, 'double[]'],
    exemplars: [8, 'Exemplar[]'],
    flags: [10, 'uint32'],
    min: [11, 'double'],
    max: [12, 'double'],
  },
  ExponentialHistogramDataPoint: {
    attributes: [1, 'KeyValue[]'],
    startTimeUnixNano: [2, 'fixed64'],
    timeUnixNano: [3, 'fixed64'],
    count: [4, 'fixed64'],
    sum: [5, 'double'],
    scale: [6, 'sint32'],
    zeroCount: [7, 'fixed64'],
    positive: [8, 'Buckets'],
    negative: [9, 'Buckets'],
    flags: [10, 'uint32'],
    exemplars: [11, 'Exemplar[]'],
    min: [12, 'double'],
    max: [13, 'double'],
    zeroThreshold: [14, 'double'],
  },
  Buckets: { offset: [1, 'sint32'], bucketCounts: [2, 'uint64[]'] },
  SummaryDataPoint: {
    attributes: [7, 'KeyValue[]'],
    startTimeUnixNano: [2, 'fixed64'],
    timeUnixNano: [3, 'fixed64'],
    count: [4, 'fixed64'],
    sum: [5, 'double'],
    quantileValues: [6, 'ValueAtQuantile[]'],
    flags: [8, 'uint32'],
  },
  ValueAtQuantile: { quantile: [1, 'double'], value: [2, 'double'] },
  Exemplar: {
    filteredAttributes: [7, 'KeyValue[]'],
    timeUnixNano: [2, 'fixed64'],
    asDouble: [3, 'double'],
    asInt: [6, 'sfixed64'],
    spanId: [4, 'id'],
    traceId: [5, 'id'],
  },
};

/** Kinds of fields as small numbers, for one switch on the hot path. */
export const FIELD_KIND = {
  string: 0,
  id: 1,
  bytes: 2,
  bool: 3,
  double: 4,
  fixed64: 5,
  sfixed64: 6,
  fixed32: 7,
  int64: 8,
  uint64: 9,
  uint32: 10,
  sint32: 11,
  enum: 12,
  message: 13,
} as const satisfies Record<ScalarType | 'enum' | 'message', number>;

export interface Field {
  readonly name: string;
  readonly nameBytes: Uint8Array;
  /** The name as a member of an object begins: with quotes and colon. */
  readonly memberBytes: Uint8Array;
  readonly number: number;
  readonly kind: (typeof FIELD_KIND)[keyof typeof FIELD_KIND];
  readonly repeated: boolean;
  /** The bit of the field in the set of fields seen in one message; all members of a oneof have the same. */
  readonly seenBit: number;
  /** Whether a second value cannot simply replace the first on the wire: messages, repeated fields, members of a oneof. */
  readonly onlyOnce: boolean;
  readonly inOneof: boolean;
  /** The type of a `message` field. */
  readonly message: MessageType | undefined;
  /** Names of an `enum` field by their number. */
  readonly names: readonly string[] | undefined;
  /** The field that came after this one last time: a guess, nothing more. */
  next: Field | undefined;
}

/** A message type: finds its fields by the bytes of their JSON names. */
export class MessageType extends KeyTable<Field> {
  /** Bytes that the length of the last such message took: a guess for the next one, nothing more. */
  lengthWidth = 1;
  /** The field that came first last time: a guess as well. */
  first: Field | undefined;

  constructor(readonly name: string) {
    super();
  }
}

const TYPES = new Map(Object.keys(MESSAGES).map((name) => [name, new MessageType(name)]));
for (const [message, type] of TYPES) addFields(type, message);

function addFields(type: MessageType, message: string): void {
  const oneof = ONEOFS[message] ?? [];
  for (const [position, [name, [number, typeText]]] of Object.entries(MESSAGES[message]).entries()) {
    const repeated = typeText.endsWith('[]');
    const base = repeated ? typeText.slice(0, -2) : typeText;
    const inOneof = oneof.includes(name);
    const fieldMessage = TYPES.get(base);
    const names = ENUMS[base];
    const kind = fieldMessage ? FIELD_KIND.message : names ? FIELD_KIND.enum : FIELD_KIND[base as ScalarType];
    type.add({
      name,
      nameBytes: new Uint8Array(Buffer.from(name)),
      memberBytes: new Uint8Array(Buffer.from(`"${name}":`)),
      number,
      kind,
      repeated,
      seenBit: inOneof ? 1 << 30 : 1 << position,
      onlyOnce: repeated || inOneof || fieldMessage !== undefined,
      inOneof,
      message: fieldMessage,
      names,
      next: undefined,
    });
  }
}

/** A message type of the table. */
export function messageType(
  name: 'ExportLogsServiceRequest' | 'ExportTraceServiceRequest' | 'ExportMetricsServiceRequest',
): MessageType {
  return TYPES.get(name)!;
}
