/** OTLP requests, decoded and written, as the views show them: the texts inside our columns are those the views take apart. */
import { decodeLogs } from '../../src/adapters/otlp/decode-logs';
import { decodeMetrics } from '../../src/adapters/otlp/decode-metrics';
import { decodeTraces } from '../../src/adapters/otlp/decode-traces';
import type { DecodedRequest } from '../../src/core/batch';
import { BUILTIN_TABLES } from '../../src/core/builtin-tables';
import { lsn, type WalId } from '../../src/core/ids';
import { ClickHouseSink } from '../../src/sinks/clickhouse/sink';
import { silentLogger } from '../../src/telemetry';
import { startClickHouse, type TestClickHouse } from '../support/clickhouse';
import { encodeRequest } from '../support/otlp-requests';
import { NOTHING_REFUSED } from '../support/refusals';

jest.setTimeout(60_000);

const AT = '1767312000123456789';
const CONTEXT = { arrivalNs: 1_767_312_000_000_000_000n };
const TRACE = Buffer.from('0af7651916cd43dd8448eb211c80319c', 'hex');
const SPAN = Buffer.from('b7ad6b7169203331', 'hex');

const text = (key: string, stringValue: string): object => ({ key, value: { stringValue } });
const ORIGIN = {
  schemaUrl: 'https://schemas/1',
  resource: { attributes: [text('service.name', 'checkout'), text('host.name', 'node-1')] },
};
const SCOPE = {
  schemaUrl: 'https://schemas/2',
  scope: {
    name: 'io.example',
    version: '1.2',
    attributes: [text('team', 'pay"ments'), { key: 'tier', value: { intValue: '9007199254740993' } }],
    droppedAttributesCount: 3,
  },
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

async function write({ batches, rejections }: DecodedRequest): Promise<void> {
  expect(rejections).toEqual([]);
  for (const { table, batch } of batches) {
    const schema = BUILTIN_TABLES.find((known) => known.table === table)!;
    const at = lsn(++written);
    const id = { walId: 'e'.repeat(32) as WalId, lsn: at, lastLsn: at, table, partition: '20260102' };
    await sink.write({ id, schema, batch, mayHaveRun: false, ...NOTHING_REFUSED });
  }
}

const rows = (view: string, columns: string): Promise<unknown[][]> =>
  clickhouse.rows(`SELECT MetricName, ScopeDroppedAttrCount, ScopeSchemaUrl, ${columns} FROM ${view}`);
const head = (name: string): unknown[] => [name, 3, 'https://schemas/2'];

describe('OTLP in the views of ClickHouse', () => {
  it('keeps a log record with its scope and resource', async () => {
    const record = {
      timeUnixNano: AT,
      severityNumber: 17,
      severityText: 'ERR',
      body: { stringValue: 'declined' },
      attributes: [text('route', '/pay'), { key: 'n', value: { intValue: '-7' } }],
      flags: 1,
      traceId: TRACE,
      spanId: SPAN,
      eventName: 'paid',
    };
    const body = encodeRequest('logs', { resourceLogs: [{ ...ORIGIN, scopeLogs: [{ ...SCOPE, logRecords: [record] }] }] });
    await write(decodeLogs(body, CONTEXT));
    expect(await clickhouse.rows('SELECT * FROM otel_logs')).toEqual([
      [
        '2026-01-02 00:00:00.123456789',
        '2026-01-02 00:00:00',
        '0af7651916cd43dd8448eb211c80319c',
        'b7ad6b7169203331',
        1,
        'ERR',
        17,
        'checkout',
        'declined',
        'https://schemas/1',
        { 'service.name': 'checkout', 'host.name': 'node-1' },
        'https://schemas/2',
        'io.example',
        '1.2',
        { team: 'pay"ments', tier: '9007199254740993' },
        { route: '/pay', n: '-7' },
        'paid',
      ],
    ]);
    expect(await clickhouse.rows('SELECT node, level FROM logs')).toEqual([['node-1', 'ERROR']]);
  });

  it('keeps a span with its events and links', async () => {
    const span = {
      traceId: TRACE,
      spanId: SPAN,
      name: 'POST /pay',
      kind: 2,
      startTimeUnixNano: AT,
      endTimeUnixNano: '1767312000123458289',
      status: { code: 2, message: 'declined' },
      events: [{ timeUnixNano: '1767312000123456790', name: 'exception', attributes: [text('type', 'E')] }],
      links: [{ traceId: Buffer.alloc(16, 255), spanId: Buffer.alloc(8, 1), traceState: 'x=y' }],
    };
    const body = encodeRequest('traces', { resourceSpans: [{ ...ORIGIN, scopeSpans: [{ ...SCOPE, spans: [span] }] }] });
    await write(decodeTraces(body, CONTEXT));
    const columns =
      'SpanKind, Duration, StatusCode, StatusMessage, Events.Timestamp, Events.Name, Events.Attributes, Links.TraceId, Links.SpanId, Links.TraceState';
    expect(await clickhouse.rows(`SELECT ${columns} FROM otel_traces`)).toEqual([
      [
        'Server',
        '1500',
        'Error',
        'declined',
        ['2026-01-02 00:00:00.123456790'],
        ['exception'],
        [{ type: 'E' }],
        ['ff'.repeat(16)],
        ['01'.repeat(8)],
        ['x=y'],
      ],
    ]);
  });

  it('keeps every kind of metric in a view of its own', async () => {
    const point = { timeUnixNano: AT, startTimeUnixNano: AT, attributes: [text('route', '/pay')] };
    const exemplars = [
      {
        timeUnixNano: '1767312000000000001',
        asInt: '42',
        traceId: TRACE,
        spanId: SPAN,
        filteredAttributes: [text('user', 'u1')],
      },
      { timeUnixNano: '1767312000000000002', asDouble: -Infinity },
    ];
    const metrics = [
      { name: 'g', gauge: { dataPoints: [{ ...point, asDouble: 0.25, exemplars }] } },
      { name: 's', sum: { aggregationTemporality: 2, isMonotonic: true, dataPoints: [{ ...point, asInt: '7' }] } },
      {
        name: 'h',
        histogram: {
          aggregationTemporality: 1,
          dataPoints: [{ ...point, count: 3, sum: 4, bucketCounts: [1, 2], explicitBounds: [1] }],
        },
      },
      {
        name: 'e',
        exponentialHistogram: {
          aggregationTemporality: 2,
          dataPoints: [{ ...point, count: 3, scale: -2, positive: { offset: 4, bucketCounts: [3] } }],
        },
      },
      { name: 'q', summary: { dataPoints: [{ ...point, count: 2, sum: 3, quantileValues: [{ quantile: 0.5, value: 1.5 }] }] } },
    ];
    const body = encodeRequest('metrics', { resourceMetrics: [{ ...ORIGIN, scopeMetrics: [{ ...SCOPE, metrics }] }] });
    await write(decodeMetrics(body, CONTEXT));
    const exemplarColumns =
      'Exemplars.FilteredAttributes, Exemplars.TimeUnix, Exemplars.Value, Exemplars.SpanId, Exemplars.TraceId';
    expect(await rows('otel_metrics_gauge', `Value, ${exemplarColumns}`)).toEqual([
      [
        ...head('g'),
        0.25,
        [{ user: 'u1' }, {}],
        ['2026-01-02 00:00:00.000000001', '2026-01-02 00:00:00.000000002'],
        [42, '-inf'],
        ['b7ad6b7169203331', ''],
        ['0af7651916cd43dd8448eb211c80319c', ''],
      ],
    ]);
    expect(await rows('otel_metrics_sum', 'Value, AggregationTemporality, IsMonotonic')).toEqual([[...head('s'), 7, 2, true]]);
    expect(await rows('otel_metrics_histogram', 'Count, Sum, BucketCounts, ExplicitBounds, AggregationTemporality')).toEqual([
      [...head('h'), '3', 4, ['1', '2'], [1], 1],
    ]);
    expect(
      await rows(
        'otel_metrics_exponential_histogram',
        'Count, Scale, PositiveOffset, PositiveBucketCounts, AggregationTemporality',
      ),
    ).toEqual([[...head('e'), '3', -2, 4, ['3'], 2]]);
    expect(await rows('otel_metrics_summary', 'Count, Sum, ValueAtQuantiles.Quantile, ValueAtQuantiles.Value')).toEqual([
      [...head('q'), '2', 3, [0.5], [1.5]],
    ]);
  });
});
