/** Views over our tables, as tools made for the OpenTelemetry Collector's ClickHouse tables read them. */
import { recordBatch } from '../../src/columnar/record-batch';
import {
  BUILTIN_TABLES,
  LOGS_EVENTS,
  METRICS_EVENTS,
  METRICS_HISTOGRAMS,
  METRICS_SUMMARIES,
  TRACES_SPANS,
} from '../../src/core/builtin-tables';
import { lsn, type WalId } from '../../src/core/ids';
import type { TableSchema } from '../../src/core/table-schema';
import { ClickHouseSink } from '../../src/sinks/clickhouse/sink';
import { silentLogger } from '../../src/telemetry';
import { startClickHouse, type TestClickHouse } from '../support/clickhouse';
import { type ColumnValue, columnOf } from '../support/columns';
import { NOTHING_REFUSED } from '../support/refusals';

jest.setTimeout(60_000);

const AT = 1_767_312_000_123_456_789n;
const RESOURCE = { 'service.name': 'checkout', 'host.name': 'node-1' };
const SCOPE = {
  name: 'io.example',
  version: '1.2',
  schema_url: 'https://opentelemetry.io/schemas/1.27.0',
  attributes: '{"team":"pay\\"ments","tier":1,"big":18446744073709551615}',
  dropped_attributes_count: '3',
  resource: '{"schema_url":"https://opentelemetry.io/schemas/1.26.0","dropped_attributes_count":1}',
};

let clickhouse: TestClickHouse;
let sink: ClickHouseSink;
let written = 0;

beforeAll(async () => {
  clickhouse = await startClickHouse();
  sink = new ClickHouseSink({ url: clickhouse.url, logger: silentLogger() });
  await sink.start();
  for (const schema of BUILTIN_TABLES) await sink.ensureTable(schema);
});

afterAll(async () => {
  await sink?.stop();
  await clickhouse?.stop();
});

async function write(schema: TableSchema, rows: readonly Readonly<Record<string, ColumnValue>>[]): Promise<void> {
  const at = lsn(++written);
  const names = new Set(rows.flatMap((row) => Object.keys(row)));
  const batch = recordBatch(
    schema.columns
      .filter(({ name }) => names.has(name))
      .map(({ name, type, lowCardinality }) => {
        const form = lowCardinality === true || name === 'resource' || name === 'scope' ? 'shared' : 'plain';
        return {
          name,
          data: columnOf(
            type,
            rows.map((row) => row[name] ?? null),
            form,
          ),
        };
      }),
  );
  const id = { walId: 'c'.repeat(32) as WalId, lsn: at, lastLsn: at, table: schema.table, partition: '20260102' };
  await sink.write({ id, schema, batch, mayHaveRun: false, ...NOTHING_REFUSED });
}

const EXPORTER = {
  otel_logs:
    'Timestamp DateTime64(9), TimestampTime DateTime, TraceId String, SpanId String, TraceFlags UInt8, ' +
    'SeverityText LowCardinality(String), SeverityNumber UInt8, ServiceName LowCardinality(String), Body String, ' +
    'ResourceSchemaUrl LowCardinality(String), ResourceAttributes Map(LowCardinality(String), String), ' +
    'ScopeSchemaUrl LowCardinality(String), ScopeName String, ScopeVersion LowCardinality(String), ' +
    'ScopeAttributes Map(LowCardinality(String), String), LogAttributes Map(LowCardinality(String), String), EventName String',
  otel_traces:
    'Timestamp DateTime64(9), TraceId String, SpanId String, ParentSpanId String, TraceState String, ' +
    'SpanName LowCardinality(String), SpanKind LowCardinality(String), ServiceName LowCardinality(String), ' +
    'ResourceAttributes Map(LowCardinality(String), String), ScopeName String, ScopeVersion String, ' +
    'SpanAttributes Map(LowCardinality(String), String), Duration UInt64, StatusCode LowCardinality(String), ' +
    'StatusMessage String, Events.Timestamp Array(DateTime64(9)), Events.Name Array(LowCardinality(String)), ' +
    'Events.Attributes Array(Map(LowCardinality(String), String)), Links.TraceId Array(String), Links.SpanId Array(String), ' +
    'Links.TraceState Array(String), Links.Attributes Array(Map(LowCardinality(String), String))',
} as const;

const METRIC_HEAD =
  'ResourceAttributes Map(LowCardinality(String), String), ResourceSchemaUrl String, ScopeName String, ScopeVersion String, ' +
  'ScopeAttributes Map(LowCardinality(String), String), ScopeDroppedAttrCount UInt32, ScopeSchemaUrl String, ' +
  'ServiceName LowCardinality(String), MetricName String, MetricDescription String, MetricUnit String, ' +
  'Attributes Map(LowCardinality(String), String), StartTimeUnix DateTime64(9), TimeUnix DateTime64(9), ';
const EXEMPLARS =
  'Exemplars.FilteredAttributes Array(Map(LowCardinality(String), String)), Exemplars.TimeUnix Array(DateTime64(9)), ' +
  'Exemplars.Value Array(Float64), Exemplars.SpanId Array(String), Exemplars.TraceId Array(String)';

const METRIC_TABLES = {
  otel_metrics_gauge: `${METRIC_HEAD}Value Float64, Flags UInt32, ${EXEMPLARS}`,
  otel_metrics_sum: `${METRIC_HEAD}Value Float64, Flags UInt32, ${EXEMPLARS}, AggregationTemporality Int32, IsMonotonic Bool`,
  otel_metrics_histogram:
    `${METRIC_HEAD}Count UInt64, Sum Float64, BucketCounts Array(UInt64), ExplicitBounds Array(Float64), ${EXEMPLARS}, ` +
    'Flags UInt32, Min Float64, Max Float64, AggregationTemporality Int32',
  otel_metrics_exponential_histogram:
    `${METRIC_HEAD}Count UInt64, Sum Float64, Scale Int32, ZeroCount UInt64, PositiveOffset Int32, ` +
    'PositiveBucketCounts Array(UInt64), NegativeOffset Int32, NegativeBucketCounts Array(UInt64), ' +
    `${EXEMPLARS}, Flags UInt32, Min Float64, Max Float64, AggregationTemporality Int32`,
  otel_metrics_summary:
    `${METRIC_HEAD}Count UInt64, Sum Float64, ValueAtQuantiles.Quantile Array(Float64), ValueAtQuantiles.Value Array(Float64), ` +
    'Flags UInt32',
} as const;

const METRIC = {
  app: 'checkout',
  time: AT,
  start_time: AT - 1n,
  labels: { route: '/pay' },
  metric: 'http.server.duration',
  description: 'how long',
  unit: 'ms',
  resource: RESOURCE,
  scope: SCOPE,
};

const METRIC_ORIGIN = [
  RESOURCE,
  'https://opentelemetry.io/schemas/1.26.0',
  'io.example',
  '1.2',
  { team: 'pay"ments', tier: '1', big: '18446744073709551615' },
  3,
  'https://opentelemetry.io/schemas/1.27.0',
  'checkout',
  'http.server.duration',
  'how long',
  'ms',
  { route: '/pay' },
  '2026-01-02 00:00:00.123456788',
  '2026-01-02 00:00:00.123456789',
];

const EXEMPLAR_JSON = JSON.stringify([
  {
    time_unix_nano: '1767312000000000001',
    value: 0.5,
    trace_id: '0af7651916cd43dd8448eb211c80319c',
    span_id: 'b7ad6b7169203331',
    filtered_attributes: { user: 'u1', n: 7 },
  },
  { time_unix_nano: '1767312000000000002', value_int: '42' },
  { time_unix_nano: '1767312000000000003', value: 'Infinity' },
]);

const EXEMPLAR_VALUES = [
  [{ user: 'u1', n: '7' }, {}, {}],
  ['2026-01-02 00:00:00.000000001', '2026-01-02 00:00:00.000000002', '2026-01-02 00:00:00.000000003'],
  [0.5, 42, 'inf'],
  ['b7ad6b7169203331', '', ''],
  ['0af7651916cd43dd8448eb211c80319c', '', ''],
];

/** Logs by node between two times, the way the dashboards of the first users ask. */
const between = (from: string, to: string): Promise<unknown[][]> =>
  clickhouse.rows(
    `SELECT node, count() AS total FROM logs WHERE timestamp >= ${from} AND timestamp <= ${to} ` +
      'GROUP BY node ORDER BY total DESC, node LIMIT 5',
  );

describe('views in ClickHouse', () => {
  it.each(Object.entries({ ...EXPORTER, ...METRIC_TABLES }))(
    '%s has the columns of the Collector’s table, times in UTC',
    async (view, columns) => {
      const found = await clickhouse.rows(`SELECT name, type FROM system.columns WHERE table = '${view}' ORDER BY position`);
      expect(
        found.map(([name, type]) => `${String(name)} ${String(type)}`.replace(", 'UTC'", '').replace("('UTC')", '')).join(', '),
      ).toBe(columns);
    },
  );

  it('otel_logs shows a log record', async () => {
    await write(LOGS_EVENTS, [
      {
        timestamp: AT,
        app: 'checkout',
        host: 'node-1',
        trace_id: '0af7651916cd43dd8448eb211c80319c',
        span_id: 'b7ad6b7169203331',
        message: "it's paid \0",
        labels: { route: '/pay' },
        severity_number: 17,
        severity_text: 'ERR',
        level: 'ERROR',
        flags: 257,
        event_name: 'paid',
        resource: RESOURCE,
        scope: SCOPE,
      },
      { timestamp: AT + 1n },
    ]);
    expect(await clickhouse.rows('SELECT * FROM otel_logs ORDER BY Timestamp')).toEqual([
      [
        '2026-01-02 00:00:00.123456789',
        '2026-01-02 00:00:00',
        '0af7651916cd43dd8448eb211c80319c',
        'b7ad6b7169203331',
        1,
        'ERR',
        17,
        'checkout',
        "it's paid \0",
        'https://opentelemetry.io/schemas/1.26.0',
        RESOURCE,
        'https://opentelemetry.io/schemas/1.27.0',
        'io.example',
        '1.2',
        { team: 'pay"ments', tier: '1', big: '18446744073709551615' },
        { route: '/pay' },
        'paid',
      ],
      ['2026-01-02 00:00:00.123456790', '2026-01-02 00:00:00', '', '', 0, '', 0, '', '', '', {}, '', '', '', {}, {}, ''],
    ]);
  });

  it('logs answers a count by node between two times', async () => {
    const expected = [
      ['', '1'],
      ['node-1', '1'],
    ];
    expect(await between('1767312000', '1767312001')).toEqual(expected);
    expect(await between("'2026-01-02 00:00:00'", "'2026-01-02 00:00:01'")).toEqual(expected);
    expect(await between('fromUnixTimestamp64Milli(1767312000000)', 'fromUnixTimestamp64Milli(1767312000124)')).toEqual(expected);
  });

  it('otel_traces shows a span with its events and links', async () => {
    await write(TRACES_SPANS, [
      {
        start_time: AT,
        end_time: AT + 1_500n,
        duration_ns: 1_500n,
        trace_id: '0af7651916cd43dd8448eb211c80319c',
        span_id: 'b7ad6b7169203331',
        parent_span_id: '00f067aa0ba902b7',
        trace_state: 'a=b',
        name: 'POST /pay',
        kind: 'server',
        status_code: 'error',
        status_message: 'declined',
        app: 'checkout',
        attributes: { route: '/pay' },
        events: JSON.stringify([
          { time_unix_nano: '1767312000123456790', name: 'exception', attributes: { type: 'E', n: 1 } },
          { time_unix_nano: '1767312000123456791', name: 'retry' },
        ]),
        links: JSON.stringify([
          { trace_id: 'ff'.repeat(16), span_id: '01'.repeat(8), trace_state: 'x=y', attributes: { why: 'retry' } },
        ]),
        resource: RESOURCE,
        scope: SCOPE,
      },
      { start_time: AT + 1n, duration_ns: -5n, kind: '9', name: 'odd' },
    ]);
    expect(await clickhouse.rows('SELECT * FROM otel_traces ORDER BY Timestamp')).toEqual([
      [
        '2026-01-02 00:00:00.123456789',
        '0af7651916cd43dd8448eb211c80319c',
        'b7ad6b7169203331',
        '00f067aa0ba902b7',
        'a=b',
        'POST /pay',
        'Server',
        'checkout',
        RESOURCE,
        'io.example',
        '1.2',
        { route: '/pay' },
        '1500',
        'Error',
        'declined',
        ['2026-01-02 00:00:00.123456790', '2026-01-02 00:00:00.123456791'],
        ['exception', 'retry'],
        [{ type: 'E', n: '1' }, {}],
        ['ff'.repeat(16)],
        ['01'.repeat(8)],
        ['x=y'],
        [{ why: 'retry' }],
      ],
      [
        '2026-01-02 00:00:00.123456790',
        '',
        '',
        '',
        '',
        'odd',
        '9',
        '',
        {},
        '',
        '',
        {},
        '0',
        'Unset',
        '',
        [],
        [],
        [],
        [],
        [],
        [],
        [],
      ],
    ]);
    expect(
      await clickhouse.rows('SELECT SpanName, Events.Name FROM otel_traces ARRAY JOIN Events ORDER BY Events.Timestamp'),
    ).toEqual([
      ['POST /pay', 'exception'],
      ['POST /pay', 'retry'],
    ]);
  });

  it('otel_metrics_gauge and _sum show values, and each row is in one of them', async () => {
    await write(METRICS_EVENTS, [
      { ...METRIC, kind: 'gauge', value: 0.25, exemplars: EXEMPLAR_JSON },
      { ...METRIC, kind: 'sum', value: 7, value_int: 7n, monotonic: true, temporality: 'cumulative', flags: 1 },
      { ...METRIC, kind: 'sum', temporality: 'delta' },
      { time: AT, value: 1 },
    ]);
    expect(await clickhouse.rows("SELECT * FROM otel_metrics_gauge WHERE MetricName != ''")).toEqual([
      [...METRIC_ORIGIN, 0.25, 0, ...EXEMPLAR_VALUES],
    ]);
    expect(await clickhouse.rows("SELECT Value, StartTimeUnix FROM otel_metrics_gauge WHERE MetricName = ''")).toEqual([
      [1, '1970-01-01 00:00:00.000000000'],
    ]);
    expect(await clickhouse.rows('SELECT * FROM otel_metrics_sum ORDER BY AggregationTemporality')).toEqual([
      [...METRIC_ORIGIN, 0, 0, [], [], [], [], [], 1, false],
      [...METRIC_ORIGIN, 7, 1, [], [], [], [], [], 2, true],
    ]);
  });

  it('otel_metrics_histogram and _exponential_histogram show distributions', async () => {
    await write(METRICS_HISTOGRAMS, [
      {
        ...METRIC,
        kind: 'histogram',
        temporality: 'delta',
        count: 2n ** 64n - 1n,
        sum: 1.5,
        min: 0.5,
        max: 1,
        bucket_counts: [1n, 2n ** 63n],
        explicit_bounds: [0.75],
        exemplars: EXEMPLAR_JSON,
      },
      {
        ...METRIC,
        kind: 'exponential_histogram',
        temporality: 'cumulative',
        count: 3n,
        scale: -2,
        zero_count: 1n,
        positive_offset: -4,
        positive_bucket_counts: [1n, 1n],
        negative_offset: 5,
        negative_bucket_counts: [],
      },
    ]);
    expect(await clickhouse.rows('SELECT * FROM otel_metrics_histogram')).toEqual([
      [...METRIC_ORIGIN, '18446744073709551615', 1.5, ['1', '9223372036854775808'], [0.75], ...EXEMPLAR_VALUES, 0, 0.5, 1, 1],
    ]);
    expect(await clickhouse.rows('SELECT * FROM otel_metrics_exponential_histogram')).toEqual([
      [...METRIC_ORIGIN, '3', 0, -2, '1', -4, ['1', '1'], 5, [], [], [], [], [], [], 0, 0, 0, 2],
    ]);
  });

  it('otel_metrics_summary shows quantiles', async () => {
    await write(METRICS_SUMMARIES, [
      { ...METRIC, kind: 'summary', count: 2n, sum: 3, quantiles: [0, 0.99], quantile_values: [1, Number.NaN] },
    ]);
    expect(await clickhouse.rows('SELECT * FROM otel_metrics_summary')).toEqual([
      [...METRIC_ORIGIN, '2', 3, [0, 0.99], [1, 'nan'], 0],
    ]);
  });

  it('leave a table of the same name alone', async () => {
    await clickhouse.command('DROP VIEW otel_logs');
    await clickhouse.command('CREATE TABLE otel_logs (mine Int32) ENGINE = MergeTree ORDER BY mine');
    const other = new ClickHouseSink({ url: clickhouse.url, logger: silentLogger() });
    await other.start();
    await other.ensureTable(LOGS_EVENTS);
    await other.stop();
    expect(await clickhouse.rows("SELECT engine FROM system.tables WHERE name = 'otel_logs'")).toEqual([['MergeTree']]);
  });

  it('are renewed when their definition has changed', async () => {
    await clickhouse.command("CREATE OR REPLACE VIEW logs AS SELECT 1 AS old COMMENT 'thermocline 0000'");
    const other = new ClickHouseSink({ url: clickhouse.url, logger: silentLogger() });
    await other.start();
    await other.ensureTable(LOGS_EVENTS);
    await other.stop();
    expect(await clickhouse.rows("SELECT name FROM system.columns WHERE table = 'logs' LIMIT 2")).toEqual([
      ['timestamp'],
      ['node'],
    ]);
  });
});
