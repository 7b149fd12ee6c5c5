/** The five `otel_metrics_*` views: one for each kind of metric of the OpenTelemetry data model. See `views.ts`. */
import { jsonMap } from '../../core/clickhouse-sql';
import { eachItem, itemText, itemTime, orZero, SCOPE, selectList, text, type View, type ViewColumn } from './view-parts';

/** Columns that the five tables begin with. */
const ORIGIN: readonly ViewColumn[] = [
  ['`resource`', 'ResourceAttributes'],
  [SCOPE.resourceSchemaUrl, 'ResourceSchemaUrl'],
  [SCOPE.name, 'ScopeName'],
  [SCOPE.version, 'ScopeVersion'],
  [SCOPE.attributes, 'ScopeAttributes'],
  [SCOPE.droppedAttributesCount, 'ScopeDroppedAttrCount'],
  [SCOPE.schemaUrl, 'ScopeSchemaUrl'],
  ['`app`', 'ServiceName'],
  [text('`metric`'), 'MetricName'],
  [text('`description`'), 'MetricDescription'],
  [text('`unit`'), 'MetricUnit'],
  ['`labels`', 'Attributes'],
  ["ifNull(`start_time`, toDateTime64(0, 9, 'UTC'))", 'StartTimeUnix'],
  ['`time`', 'TimeUnix'],
];

/** Doubles that JSON has no number for stand as strings: NaN, Infinity, -Infinity. */
const EXEMPLAR_VALUE =
  "toFloat64OrZero(trim(BOTH '\"' FROM JSONExtractRaw(item, if(JSONHas(item, 'value_int'), 'value_int', 'value'))))";

const EXEMPLARS: readonly ViewColumn[] = [
  [eachItem('`exemplars`', jsonMap("JSONExtractRaw(item, 'filtered_attributes')")), 'Exemplars.FilteredAttributes'],
  [eachItem('`exemplars`', itemTime('time_unix_nano')), 'Exemplars.TimeUnix'],
  [eachItem('`exemplars`', EXEMPLAR_VALUE), 'Exemplars.Value'],
  [eachItem('`exemplars`', itemText('span_id')), 'Exemplars.SpanId'],
  [eachItem('`exemplars`', itemText('trace_id')), 'Exemplars.TraceId'],
];

const FLAGS: ViewColumn = [orZero('`flags`'), 'Flags'];
const VALUE: ViewColumn = [orZero('`value`'), 'Value'];
const COUNT: ViewColumn = [orZero('`count`'), 'Count'];
const SUM: ViewColumn = [orZero('`sum`'), 'Sum'];
const RANGE: readonly ViewColumn[] = [
  [orZero('`min`'), 'Min'],
  [orZero('`max`'), 'Max'],
];
/** The number in `opentelemetry.proto.metrics.v1.AggregationTemporality`. */
const TEMPORALITY: ViewColumn = [
  "CAST(multiIf(`temporality` = 'delta', 1, `temporality` = 'cumulative', 2, toInt32OrZero(`temporality`)), 'Int32')",
  'AggregationTemporality',
];

/** Rows without a kind come from `POST /write/metrics`: values at a time, which is what a gauge is. */
const GAUGE: View = {
  name: 'otel_metrics_gauge',
  select: (table) => selectList(table, [...ORIGIN, VALUE, FLAGS, ...EXEMPLARS], "`kind` IN ('gauge', '')"),
};

const SUM_VIEW: View = {
  name: 'otel_metrics_sum',
  select: (table) =>
    selectList(
      table,
      [...ORIGIN, VALUE, FLAGS, ...EXEMPLARS, TEMPORALITY, ['ifNull(`monotonic`, false)', 'IsMonotonic']],
      "`kind` = 'sum'",
    ),
};

const HISTOGRAM: View = {
  name: 'otel_metrics_histogram',
  select: (table) =>
    selectList(
      table,
      [
        ...ORIGIN,
        COUNT,
        SUM,
        ['`bucket_counts`', 'BucketCounts'],
        ['`explicit_bounds`', 'ExplicitBounds'],
        ...EXEMPLARS,
        FLAGS,
        ...RANGE,
        TEMPORALITY,
      ],
      "`kind` = 'histogram'",
    ),
};

const EXPONENTIAL_HISTOGRAM: View = {
  name: 'otel_metrics_exponential_histogram',
  select: (table) =>
    selectList(
      table,
      [
        ...ORIGIN,
        COUNT,
        SUM,
        [orZero('`scale`'), 'Scale'],
        [orZero('`zero_count`'), 'ZeroCount'],
        [orZero('`positive_offset`'), 'PositiveOffset'],
        ['`positive_bucket_counts`', 'PositiveBucketCounts'],
        [orZero('`negative_offset`'), 'NegativeOffset'],
        ['`negative_bucket_counts`', 'NegativeBucketCounts'],
        ...EXEMPLARS,
        FLAGS,
        ...RANGE,
        TEMPORALITY,
      ],
      "`kind` = 'exponential_histogram'",
    ),
};

const SUMMARY: View = {
  name: 'otel_metrics_summary',
  select: (table) =>
    selectList(table, [
      ...ORIGIN,
      COUNT,
      SUM,
      ['`quantiles`', 'ValueAtQuantiles.Quantile'],
      ['`quantile_values`', 'ValueAtQuantiles.Value'],
      FLAGS,
    ]),
};

export const METRIC_VIEWS: readonly (readonly [string, readonly View[]])[] = [
  ['metrics_events', [GAUGE, SUM_VIEW]],
  ['metrics_histograms', [HISTOGRAM, EXPONENTIAL_HISTOGRAM]],
  ['metrics_summaries', [SUMMARY]],
];
