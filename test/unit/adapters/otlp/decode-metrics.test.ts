import { type Decoded, decodeRows, delimited, requestOf } from '../../../support/otlp-decode';

const TIME = { timeUnixNano: '1700000000123456789' };
const attribute = (key: string, value: object): object => ({ key, value });
const UINT64_MAX = String(2n ** 64n - 1n);

/** One metric from its bytes. */
const metric = (...fields: Uint8Array[]): Uint8Array => delimited(1, delimited(2, delimited(2, ...fields)));

const decode = (metrics: readonly object[]): Decoded => decodeRows('metrics', requestOf('metrics', metrics));

test('gauges and sums keep every field, integers to the last digit', () => {
  const points = [
    {
      ...TIME,
      startTimeUnixNano: '5',
      asInt: '9223372036854775807',
      attributes: [attribute('a', { boolValue: true })],
      flags: 4294967294,
      exemplars: [
        {
          timeUnixNano: '6',
          asInt: '-9223372036854775808',
          traceId: Uint8Array.of(1),
          filteredAttributes: [attribute('f', { intValue: 1 })],
        },
        { asDouble: Number.NaN, spanId: Uint8Array.of(0xff) },
        {},
      ],
    },
    { ...TIME, asDouble: -0 },
  ];
  const { rows } = decode([
    {
      name: 'm',
      description: 'd',
      unit: '1',
      metadata: [attribute('k', { stringValue: 'v' })],
      sum: { dataPoints: points, aggregationTemporality: 1, isMonotonic: true },
    },
    { name: 'g', gauge: { dataPoints: [{ ...TIME, asDouble: 1.5 }] } },
  ]);
  const sum = {
    time: 1700000000123456789n,
    metric: 'm',
    description: 'd',
    unit: '1',
    kind: 'sum',
    temporality: 'delta',
    monotonic: true,
    metadata: [['k', 1, 'v']],
  };
  expect(rows.metrics_events).toEqual([
    {
      ...sum,
      start_time: 5n,
      labels: [['a', 2, 'true']],
      value: 2 ** 63,
      value_int: 9223372036854775807n,
      flags: 4294967294,
      exemplars:
        '[{"time_unix_nano":"6","value_int":-9223372036854775808,"trace_id":"01","filtered_attributes":{"f":1}},' +
        '{"time_unix_nano":"0","value":"NaN","span_id":"ff","filtered_attributes":{}},' +
        '{"time_unix_nano":"0","value":null,"filtered_attributes":{}}]',
    },
    { ...sum, labels: [], value: -0, flags: 0 },
    { time: 1700000000123456789n, metric: 'g', kind: 'gauge', labels: [], value: 1.5, flags: 0 },
  ]);
});

test('OD1: a point of any kind with time 0 is rejected, data points are counted over all metrics', () => {
  const dataPoints = [{ asInt: 1 }, { ...TIME, asInt: 1 }];
  const { request, rows } = decode([
    { gauge: { dataPoints } },
    { sum: { dataPoints } },
    { histogram: { dataPoints } },
    { exponentialHistogram: { dataPoints } },
    { summary: { dataPoints } },
  ]);
  expect(request).toMatchObject({ acceptedRows: 5, rejectedRows: 5 });
  expect(request.rejections.map(({ row, code, column }) => [row, code, column])).toEqual(
    [0, 2, 4, 6, 8].map((row) => [row, 'invalid_time', 'time']),
  );
  expect(Object.entries(rows).map(([table, list]) => [table, list.length])).toEqual([
    ['metrics_events', 2],
    ['metrics_histograms', 2],
    ['metrics_summaries', 1],
  ]);
});

test('OD3: a point without a value is rejected unless it is flagged; a flagged point has none', () => {
  const { request, rows } = decode([
    { name: 'g', gauge: { dataPoints: [{ ...TIME }, { ...TIME, flags: 1 }, { ...TIME, flags: 3, asInt: 5 }] } },
  ]);
  expect(request.rejections).toMatchObject([{ row: 0, code: 'invalid_value', column: 'value' }]);
  const row = { time: 1700000000123456789n, metric: 'g', kind: 'gauge', labels: [] };
  expect(rows.metrics_events).toEqual([
    { ...row, flags: 1 },
    { ...row, flags: 3 },
  ]);
});

test('OJ11, PB6: a histogram keeps presence and counts to 2^64-1', () => {
  const point = { ...TIME, count: UINT64_MAX, bucketCounts: [UINT64_MAX, '0'], explicitBounds: [0.5] };
  const { rows } = decode([
    { name: 'h', histogram: { dataPoints: [{ ...point, sum: 0, min: -0 }, point], aggregationTemporality: 2 } },
  ]);
  const row = {
    time: 1700000000123456789n,
    metric: 'h',
    kind: 'histogram',
    temporality: 'cumulative',
    labels: [],
    flags: 0,
    count: 2n ** 64n - 1n,
    bucket_counts: [2n ** 64n - 1n, 0n],
    explicit_bounds: [0.5],
  };
  expect(rows.metrics_histograms).toEqual([{ ...row, sum: 0, min: -0 }, row]);
});

test('OD3: bucket counts and bounds must fit together, bounds must increase', () => {
  const invalid = [
    { bucketCounts: [1], explicitBounds: [1] },
    { bucketCounts: [1, 2, 3], explicitBounds: [1] },
    { explicitBounds: [1] },
    { bucketCounts: [1, 2, 3], explicitBounds: [2, 2] },
    { bucketCounts: [1, 2, 3], explicitBounds: [2, 1] },
    { bucketCounts: [1, 2], explicitBounds: [Number.NaN] },
  ];
  const valid = [{}, { bucketCounts: [1] }, { bucketCounts: [1, 2, 3], explicitBounds: [-Infinity, Infinity] }];
  const { rows, request } = decode([
    { histogram: { dataPoints: [...invalid, ...valid].map((point) => ({ ...TIME, ...point })) } },
  ]);
  expect(request.rejections.map(({ row, code, column }) => [row, code, column])).toEqual([
    [0, 'invalid_value', 'bucket_counts'],
    [1, 'invalid_value', 'bucket_counts'],
    [2, 'invalid_value', 'bucket_counts'],
    [3, 'invalid_value', 'explicit_bounds'],
    [4, 'invalid_value', 'explicit_bounds'],
    [5, 'invalid_value', 'explicit_bounds'],
  ]);
  expect(rows.metrics_histograms.map((row) => [row.bucket_counts, row.explicit_bounds])).toEqual([
    [[], []],
    [[1n], []],
    [
      [1n, 2n, 3n],
      [-Infinity, Infinity],
    ],
  ]);
});

test('an exponential histogram keeps signed scale and offsets, counts to 2^64-1, and absent buckets absent', () => {
  const { rows } = decode([
    {
      name: 'e',
      exponentialHistogram: {
        aggregationTemporality: 7,
        dataPoints: [
          {
            ...TIME,
            count: 3,
            sum: 1.5,
            scale: -2147483648,
            zeroCount: UINT64_MAX,
            zeroThreshold: 1e-300,
            positive: { offset: -3, bucketCounts: [1, UINT64_MAX] },
            negative: {},
            max: 9,
          },
          { ...TIME, flags: 1, scale: 20 },
        ],
      },
    },
  ]);
  const row = { time: 1700000000123456789n, metric: 'e', kind: 'exponential_histogram', temporality: '7', labels: [] };
  expect(rows.metrics_histograms).toEqual([
    {
      ...row,
      flags: 0,
      count: 3n,
      sum: 1.5,
      max: 9,
      scale: -2147483648,
      zero_count: 2n ** 64n - 1n,
      zero_threshold: 1e-300,
      positive_offset: -3,
      positive_bucket_counts: [1n, 2n ** 64n - 1n],
      negative_offset: 0,
      negative_bucket_counts: [],
    },
    { ...row, flags: 1, scale: 20, zero_threshold: 0 },
  ]);
});

test('a summary keeps its quantiles', () => {
  const quantileValues = [{ quantile: 0.5, value: -1 }, { quantile: 1, value: Number.NaN }, {}];
  const { rows } = decode([
    {
      name: 's',
      summary: {
        dataPoints: [
          { ...TIME, count: 2, sum: 3, quantileValues },
          { ...TIME, flags: 1 },
        ],
      },
    },
  ]);
  const row = { time: 1700000000123456789n, metric: 's', kind: 'summary', labels: [] };
  expect(rows.metrics_summaries).toEqual([
    { ...row, flags: 0, count: 2n, sum: 3, quantiles: [0.5, 1, 0], quantile_values: [-1, Number.NaN, 0] },
    { ...row, flags: 1, quantiles: [], quantile_values: [] },
  ]);
});

test('a time above int64 rejects its point, also in an exemplar', () => {
  const late = String(2n ** 63n);
  const dataPoints = [
    { timeUnixNano: late, asInt: 1 },
    { ...TIME, startTimeUnixNano: late, asInt: 1 },
    { ...TIME, asInt: 1, exemplars: [{ timeUnixNano: late }] },
  ];
  const { request } = decode([
    { gauge: { dataPoints } },
    { histogram: { dataPoints } },
    { exponentialHistogram: { dataPoints } },
  ]);
  expect(request.rejections.map(({ code, column }) => [code, column])).toEqual(
    Array.from({ length: 3 }, () => ['time', 'start_time', 'exemplars'].map((column) => ['out_of_range', column])).flat(),
  );
});

test('PB3: another member of a metric replaces its points, the same member again adds to them', () => {
  const point = [0x19, 1, 0, 0, 0, 0, 0, 0, 0, 0x31, 2, 0, 0, 0, 0, 0, 0, 0];
  const gauge = delimited(5, delimited(1, point));
  const sum = delimited(7, delimited(1, point));
  const kinds = [
    [gauge, gauge],
    [gauge, sum],
    [sum, gauge, gauge, delimited(7, [0x18, 1]), delimited(1, Buffer.from('late name'))],
  ].map((fields) => decodeRows('metrics', metric(...fields)).rows.metrics_events?.map((row) => row.kind) ?? []);
  expect(kinds).toEqual([['gauge', 'gauge'], ['sum'], []]);
  const monotonic = decodeRows('metrics', metric(sum, delimited(7, [0x18, 1]), delimited(1, Buffer.from('late')))).rows
    .metrics_events;
  expect(monotonic.map((row) => [row.metric, row.monotonic])).toEqual([['late', true]]);
});

test('a metric without data or without points is no row', () => {
  expect(decode([{ name: 'x' }, { name: 'y', gauge: {} }]).request).toMatchObject({
    batches: [],
    acceptedRows: 0,
    rejectedRows: 0,
  });
});
