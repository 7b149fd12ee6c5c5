/** One OTLP/JSON request per signal that uses every field, and what SQL must find of it. */
import type { TestServer } from '../../support/server';

const SECOND = 1_790_000_000;
/** OTLP/JSON nanoseconds. */
const nano = (offset: number) => `${SECOND}${String(offset).padStart(9, '0')}`;
/** The same as /api/sql prints it: PostgreSQL keeps microseconds, ClickHouse nanoseconds. */
const iso = (fraction: string) => `2026-09-21T14:13:20.${fraction}Z`;

const TRACE_ID = '0af7651916cd43dd8448eb211c80319c';
const SPAN_ID = 'b7ad6b7169203331';
const PARENT_ID = '00f067aa0ba902b7';
const INT64_MAX = '9223372036854775807';
const INT64_MIN = '-9223372036854775808';
const UINT64_BIG = '18446744073709551615';
const TEXT = 'Grüße, 世界 "quoted"\n\t\\ \u{1F9CA}';

type AnyValue = Readonly<Record<string, unknown>>;
interface KeyValue {
  readonly key: string;
  readonly value: AnyValue;
}
const kv = (key: string, value: AnyValue): KeyValue => ({ key, value });
const text = (stringValue: string): AnyValue => ({ stringValue });
const int = (intValue: string): AnyValue => ({ intValue });
const double = (doubleValue: number): AnyValue => ({ doubleValue });

/** Every kind of AnyValue. */
const ATTRIBUTES: readonly KeyValue[] = [
  kv('text', text(TEXT)),
  kv('empty', text('')),
  kv('largest', int(INT64_MAX)),
  kv('smallest', int(INT64_MIN)),
  kv('double', double(0.1)),
  kv('huge', double(1.7976931348623157e308)),
  kv('true', { boolValue: true }),
  kv('false', { boolValue: false }),
  kv('bytes', { bytesValue: 'AAEC/w==' }),
  kv('list', { arrayValue: { values: [text('a'), int('2'), { boolValue: false }, { arrayValue: { values: [double(2.5)] } }] } }),
  kv('map', {
    kvlistValue: { values: [kv('inner', int(INT64_MAX)), kv('deeper', { kvlistValue: { values: [kv('x', text('y'))] } })] },
  }),
  kv('__proto__', text('a key like any other')),
  kv('key with \'quotes\', "more" and dots.', text('x')),
];

/** Attributes as text, key by key; a non-string value is its JSON. */
const EXPECTED: Readonly<Record<string, string>> = Object.assign(Object.create(null) as Record<string, string>, {
  text: TEXT,
  empty: '',
  largest: INT64_MAX,
  smallest: INT64_MIN,
  double: '0.1',
  true: 'true',
  false: 'false',
  bytes: 'AAEC/w==',
  list: '["a",2,false,[2.5]]',
  map: `{"inner":${INT64_MAX},"deeper":{"x":"y"}}`,
  ['__proto__']: 'a key like any other',
  'key with \'quotes\', "more" and dots.': 'x',
});

const resource = (app: string) => ({
  attributes: [kv('service.name', text(app)), kv('host.name', text('node-7')), kv('answer', int('42'))],
  droppedAttributesCount: 3,
});
const scope = { name: 'interop', version: '1.2.3', attributes: [kv('scoped', { boolValue: true })], droppedAttributesCount: 4 };

const BODIES: readonly { value: AnyValue; type: string; message: string }[] = [
  { value: text(TEXT), type: 'string', message: TEXT },
  { value: int(INT64_MIN), type: 'int', message: INT64_MIN },
  { value: double(0.1), type: 'double', message: '0.1' },
  { value: { boolValue: false }, type: 'bool', message: 'false' },
  { value: { bytesValue: 'AAEC/w==' }, type: 'bytes', message: 'AAEC/w==' },
  { value: { arrayValue: { values: [text('a'), int('1')] } }, type: 'array', message: '["a",1]' },
  { value: { kvlistValue: { values: [kv('k', int(INT64_MAX))] } }, type: 'kvlist', message: `{"k":${INT64_MAX}}` },
  { value: {}, type: 'empty', message: '' },
];

export const logsRequest = (app: string) => ({
  resourceLogs: [
    {
      resource: resource(app),
      schemaUrl: 'https://example.com/resource/1',
      scopeLogs: [
        {
          scope,
          schemaUrl: 'https://example.com/scope/1',
          logRecords: BODIES.map(({ value }, index) => ({
            timeUnixNano: nano(index + 1),
            observedTimeUnixNano: nano(500_000_000 + index),
            severityNumber: 18,
            severityText: 'error2',
            eventName: 'payment.declined',
            body: value,
            attributes: ATTRIBUTES,
            droppedAttributesCount: 5,
            flags: 1,
            traceId: TRACE_ID,
            spanId: SPAN_ID,
          })),
        },
      ],
    },
  ],
});

export const tracesRequest = (app: string) => ({
  resourceSpans: [
    {
      resource: resource(app),
      scopeSpans: [
        {
          scope,
          spans: [
            {
              traceId: TRACE_ID,
              spanId: SPAN_ID,
              parentSpanId: PARENT_ID,
              traceState: 'vendor=opaque',
              flags: 257,
              name: 'pay',
              kind: 5,
              startTimeUnixNano: nano(123_456_789),
              endTimeUnixNano: nano(999_999_999),
              attributes: ATTRIBUTES,
              droppedAttributesCount: 1,
              events: [
                {
                  timeUnixNano: nano(200_000_001),
                  name: 'charged',
                  attributes: [kv('amount', double(12.5))],
                  droppedAttributesCount: 6,
                },
              ],
              droppedEventsCount: 2,
              links: [
                {
                  traceId: '1'.repeat(32),
                  spanId: '2'.repeat(16),
                  traceState: 'a=b',
                  attributes: [kv('why', text('retry'))],
                  droppedAttributesCount: 7,
                  flags: 1,
                },
              ],
              droppedLinksCount: 3,
              status: { code: 2, message: 'declined' },
            },
          ],
        },
      ],
    },
  ],
});

const point = (extra: object) => ({
  startTimeUnixNano: nano(1),
  timeUnixNano: nano(123_456_789),
  attributes: [kv('region', text('eu')), kv('tier', int('3'))],
  ...extra,
});
const EXEMPLAR = {
  timeUnixNano: nano(5),
  asInt: INT64_MAX,
  traceId: TRACE_ID,
  spanId: SPAN_ID,
  filteredAttributes: [kv('user', text('u1'))],
};

export const metricsRequest = (app: string) => ({
  resourceMetrics: [
    {
      resource: resource(app),
      scopeMetrics: [
        {
          scope,
          metrics: [
            { name: 'temperature', description: 'how warm', unit: 'Cel', gauge: { dataPoints: [point({ asDouble: -0.25 })] } },
            {
              name: 'orders',
              unit: '{order}',
              sum: {
                aggregationTemporality: 2,
                isMonotonic: true,
                dataPoints: [point({ asInt: INT64_MAX, exemplars: [EXEMPLAR] })],
              },
            },
            { name: 'gone', gauge: { dataPoints: [point({ flags: 1 })] } },
            {
              name: 'latency',
              unit: 'ms',
              histogram: {
                aggregationTemporality: 1,
                dataPoints: [
                  point({
                    count: UINT64_BIG,
                    sum: 150.5,
                    min: 0.5,
                    max: 100,
                    bucketCounts: ['1', UINT64_BIG, '0'],
                    explicitBounds: [10, 100],
                  }),
                ],
              },
            },
            {
              name: 'size',
              exponentialHistogram: {
                aggregationTemporality: 2,
                dataPoints: [
                  point({
                    count: '10',
                    sum: 20.5,
                    scale: -3,
                    zeroCount: '2',
                    zeroThreshold: 0.001,
                    positive: { offset: -7, bucketCounts: ['1', '0', '4'] },
                    negative: { offset: 3, bucketCounts: ['3'] },
                  }),
                ],
              },
            },
            {
              name: 'duration',
              summary: {
                dataPoints: [
                  point({
                    count: '7',
                    sum: 3.5,
                    quantileValues: [
                      { quantile: 0.5, value: 1.5 },
                      { quantile: 1, value: 2.25 },
                    ],
                  }),
                ],
              },
            },
          ],
        },
      ],
    },
  ],
});

/** SQL string literal. */
const quote = (value: string) => `'${value.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;

/** jsonb prints its own spacing. */
const compact = (json: string | undefined) => json?.replaceAll(/(?<=[,:]) /g, '');
/** A text that was not given may be stored as null or as empty. */
const normal = (row: unknown[]) => row.map((value) => (value === '' ? null : value));

function expectAttributes(found: Readonly<Record<string, string>>): void {
  for (const [key, value] of Object.entries(EXPECTED)) expect([key, found[key]]).toEqual([key, value]);
  expect(Number(found['huge'])).toBe(1.7976931348623157e308);
}

export async function expectExactLogs(server: TestServer, app: string): Promise<void> {
  const from = `FROM logs_events WHERE app = ${quote(app)}`;
  await server.sqlUntil('cold', `SELECT count() ${from}`, BODIES.length);
  const { rows } = await server.sql(
    'cold',
    `SELECT timestamp, observed_timestamp, message, body_type, severity_number, severity_text, level, event_name, flags, trace_id, span_id,
            dropped_attributes_count, host, mapKeys(labels), mapValues(labels), resource, scope ${from} ORDER BY timestamp`,
  );
  for (const [index, row] of rows.entries()) {
    const [keys, values] = row.slice(13, 15) as [string[], string[]];
    expect(row.slice(0, 13)).toEqual([
      iso(String(index + 1).padStart(9, '0')),
      iso(String(500_000_000 + index)),
      BODIES[index]?.message,
      BODIES[index]?.type,
      18,
      'error2',
      'ERROR',
      'payment.declined',
      1,
      TRACE_ID,
      SPAN_ID,
      5,
      'node-7',
    ]);
    expectAttributes(
      Object.assign(Object.create(null) as Record<string, string>, Object.fromEntries(keys.map((key, i) => [key, values[i]]))),
    );
    expect(keys).toHaveLength(ATTRIBUTES.length);
    expect(row[15]).toEqual({ 'service.name': app, 'host.name': 'node-7', answer: '42' });
    expect(row[16]).toMatchObject({
      name: 'interop',
      version: '1.2.3',
      dropped_attributes_count: '4',
      schema_url: 'https://example.com/scope/1',
    });
  }
}

export async function expectExactSpan(server: TestServer, app: string): Promise<void> {
  const from = `FROM traces_spans WHERE app = '${app}'`;
  await server.sqlUntil('hot', `SELECT count(*) ${from}`, 1);
  const { rows } = await server.sql(
    'hot',
    `SELECT start_time, start_time_ns, end_time, end_time_ns, duration_ns, trace_id, span_id, parent_span_id, trace_state, flags, name, kind,
            status_code, status_message, host, dropped_attributes_count, dropped_events_count, dropped_links_count,
            (SELECT jsonb_object_agg(key, value) FROM jsonb_each_text(attributes)), events, links, resource, scope ${from}`,
  );
  const [row] = rows as [unknown[]];
  expect(row.slice(0, 18)).toEqual([
    iso('123456'),
    789,
    iso('999999'),
    999,
    '876543210',
    TRACE_ID,
    SPAN_ID,
    PARENT_ID,
    'vendor=opaque',
    '257',
    'pay',
    'consumer',
    'error',
    'declined',
    'node-7',
    '1',
    '2',
    '3',
  ]);
  const found = row[18] as Record<string, string>;
  expect([found['list'], found['map']].map(compact)).toEqual([EXPECTED['list'], `{"inner":${INT64_MAX},"deeper":{"x":"y"}}`]);
  expectAttributes({ ...found, list: EXPECTED['list'], map: EXPECTED['map'] });
  expect(row[19]).toEqual([
    { time_unix_nano: nano(200_000_001), name: 'charged', attributes: { amount: 12.5 }, dropped_attributes_count: 6 },
  ]);
  expect(row[20]).toEqual([
    {
      trace_id: '1'.repeat(32),
      span_id: '2'.repeat(16),
      trace_state: 'a=b',
      attributes: { why: 'retry' },
      dropped_attributes_count: 7,
      flags: 1,
    },
  ]);
  expect(row[21]).toEqual({ 'service.name': app, 'host.name': 'node-7', answer: 42 });
  expect(row[22]).toMatchObject({ name: 'interop', version: '1.2.3', dropped_attributes_count: 4, attributes: { scoped: true } });
}

export async function expectExactMetrics(server: TestServer, app: string): Promise<void> {
  const where = `WHERE app = '${app}'`;
  const count = (table: string) => `(SELECT count(*) FROM ${table} ${where})`;
  await server.sqlUntil(
    'hot',
    `SELECT ${['metrics_events', 'metrics_histograms', 'metrics_summaries'].map(count).join(' + ')}`,
    6,
  );
  const common = `time, time_ns, start_time, start_time_ns, host, labels, metric, unit, description, kind, temporality, flags`;
  const [times, host, labels] = [
    [iso('123456'), 789, iso('000000').replace('.000000', ''), 1],
    'node-7',
    { region: 'eu', tier: 3 },
  ] as const;
  const head = (
    metric: string,
    unit: string | null,
    description: string | null,
    kind: string,
    temporality: string | null,
    flags = '0',
  ) => [...times, host, labels, metric, unit, description, kind, temporality, flags];

  const events = await server.sql(
    'hot',
    `SELECT ${common}, value, value_int, monotonic, exemplars FROM metrics_events ${where} ORDER BY metric`,
  );
  expect(events.rows.map(normal)).toEqual([
    [...head('gone', null, null, 'gauge', null, '1'), null, null, null, null],
    [
      ...head('orders', '{order}', null, 'sum', 'cumulative'),
      9_223_372_036_854_776_000,
      INT64_MAX,
      true,
      [
        expect.objectContaining({
          time_unix_nano: nano(5),
          trace_id: TRACE_ID,
          span_id: SPAN_ID,
          filtered_attributes: { user: 'u1' },
        }),
      ],
    ],
    [...head('temperature', 'Cel', 'how warm', 'gauge', null), -0.25, null, null, null],
  ]);
  const histograms = await server.sql(
    'hot',
    `SELECT ${common}, count, sum, min, max, bucket_counts, explicit_bounds, scale, zero_count, zero_threshold,
            positive_offset, positive_bucket_counts, negative_offset, negative_bucket_counts FROM metrics_histograms ${where} ORDER BY metric`,
  );
  expect(histograms.rows.map(normal)).toEqual([
    [
      ...head('latency', 'ms', null, 'histogram', 'delta'),
      UINT64_BIG,
      150.5,
      0.5,
      100,
      ['1', UINT64_BIG, '0'],
      [10, 100],
      ...Array.from({ length: 7 }, () => null),
    ],
    [
      ...head('size', null, null, 'exponential_histogram', 'cumulative'),
      '10',
      20.5,
      null,
      null,
      null,
      null,
      -3,
      '2',
      0.001,
      -7,
      ['1', '0', '4'],
      3,
      ['3'],
    ],
  ]);
  const summaries = await server.sql(
    'hot',
    `SELECT ${common}, count, sum, quantiles, quantile_values FROM metrics_summaries ${where}`,
  );
  expect(summaries.rows.map(normal)).toEqual([
    [...head('duration', null, null, 'summary', null), '7', 3.5, [0.5, 1], [1.5, 2.25]],
  ]);
}
