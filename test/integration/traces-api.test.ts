/** GET /api/traces/{traceId} on tables that the real sinks made and filled, in both stores. */
import type { RecordBatch } from 'apache-arrow';
import { AdminServer } from '../../src/admin/server';
import { NumberBuilder, timestampBuilder } from '../../src/columnar/builders';
import { utf8Builder } from '../../src/columnar/bytes-builder';
import { recordBatch } from '../../src/columnar/record-batch';
import { BUILTIN_TABLES, LOGS_EVENTS, TRACES_SPANS } from '../../src/core/builtin-tables';
import { lsn, type WalId } from '../../src/core/ids';
import type { Sink } from '../../src/core/sink';
import type { TableSchema, Tier } from '../../src/core/table-schema';
import type { SqlStore } from '../../src/query/answer';
import { ClickHouseSql } from '../../src/query/cold';
import { PostgresSql } from '../../src/query/hot';
import { ClickHouseSink } from '../../src/sinks/clickhouse/sink';
import { PostgresSink } from '../../src/sinks/postgres/sink';
import { silentLogger, Telemetry } from '../../src/telemetry';
import { startClickHouse, type TestClickHouse } from '../support/clickhouse';
import { attributes } from '../support/log-batches';
import { startPostgres, type TestPostgres } from '../support/postgres';

const LIMITS = { rowsMax: 4, timeoutMs: 5_000 };
const TRACE = '5b8efff798038103d269b633813fc60c';
const OTHER = 'f'.repeat(32);
/** 2026-01-02T03:04:05.123456789Z */
const START_NS = 1_767_323_045_123_456_789n;
const DAY = '20260102';

let postgres: TestPostgres;
let clickhouse: TestClickHouse;
let stores: Record<Tier, SqlStore>;
let sinks: Record<Tier, Sink>;
let entry = 0;

const admins: AdminServer[] = [];
let lastAddress = '';

async function listen(given: Readonly<Record<Tier, SqlStore | undefined>>): Promise<(id: string) => Promise<[number, Body]>> {
  const admin = new AdminServer({
    host: '127.0.0.1',
    port: 0,
    telemetry: new Telemetry(),
    logger: silentLogger(),
    stores: given,
    tables: () => BUILTIN_TABLES,
    deadLetters: undefined,
    ledger: async () => ({ sinceMs: {}, lines: [] }),
    batches: { status: () => undefined },
    batchLetters: async () => 0,
    notReady: () => undefined,
    sinks: () => ({}),
    refresh: () => undefined,
  });
  admins.push(admin);
  const address = await admin.start();
  lastAddress = address;
  return async (id) => {
    const response = await fetch(`http://${address}/api/traces/${id}`);
    return [response.status, (await response.json()) as Body];
  };
}

interface Body {
  readonly trace_id: string;
  readonly spans: Record<string, unknown>[];
  readonly logs: Record<string, unknown>[];
  readonly warnings?: string[];
}

const strings = (values: readonly string[]) => {
  const builder = utf8Builder();
  for (const value of values) builder.appendString(value);
  return builder.finish();
};

const times = (values: readonly bigint[]) => {
  const builder = timestampBuilder();
  for (const value of values) builder.appendBigInt(value);
  return builder.finish();
};

interface TestSpan {
  readonly trace: string;
  readonly span: string;
  readonly startNs: bigint;
  readonly events: string;
}

function spanBatch(spans: readonly TestSpan[]): RecordBatch {
  const dropped = NumberBuilder.uint32();
  for (const _ of spans) dropped.append(4_000_000_000);
  return recordBatch([
    { name: 'start_time', data: times(spans.map(({ startNs }) => startNs)) },
    { name: 'end_time', data: times(spans.map(({ startNs }) => startNs + 1n)) },
    { name: 'trace_id', data: strings(spans.map(({ trace }) => trace)) },
    { name: 'span_id', data: strings(spans.map(({ span }) => span)) },
    { name: 'name', data: strings(spans.map(({ span }) => `call ${span}`)) },
    { name: 'app', data: strings(spans.map(() => 'shop')) },
    { name: 'attributes', data: attributes(spans.map(() => ({ 'http.route': '/"a"' }))) },
    { name: 'dropped_events_count', data: dropped.finish() },
    { name: 'events', data: strings(spans.map(({ events }) => events)) },
  ]);
}

const logBatch = (rows: readonly (readonly [trace: string, message: string, timeNs: bigint])[]): RecordBatch =>
  recordBatch([
    { name: 'timestamp', data: times(rows.map(([, , timeNs]) => timeNs)) },
    { name: 'trace_id', data: strings(rows.map(([trace]) => trace)) },
    { name: 'message', data: strings(rows.map(([, message]) => message)) },
  ]);

async function write(tier: Tier, schema: TableSchema, batch: RecordBatch): Promise<void> {
  const at = lsn(++entry);
  const partition = tier === 'cold' ? DAY : '';
  await sinks[tier].ensureTable(schema);
  await sinks[tier].write({
    id: { walId: 'a'.repeat(32) as WalId, lsn: at, lastLsn: at, table: schema.table, partition },
    schema,
    batch,
    mayHaveRun: false,
    refused: new Set(),
    onRefused: async (refused) => {
      throw new Error(`refused: ${JSON.stringify(refused)}`);
    },
  });
}

const EVENTS = '[{"name":"e","attributes":{"big":9007199254740993}}]';
const span = (id: string, startNs: bigint, trace = TRACE): TestSpan => ({ trace, span: id, startNs, events: EVENTS });

beforeAll(async () => {
  [postgres, clickhouse] = await Promise.all([startPostgres(), startClickHouse()]);
  stores = { hot: new PostgresSql(postgres.url, LIMITS), cold: new ClickHouseSql(clickhouse.url, LIMITS) };
  sinks = {
    hot: new PostgresSink({
      url: postgres.url,
      logger: silentLogger(),
      telemetry: new Telemetry(),
      onSchema: async () => undefined,
    }),
    cold: new ClickHouseSink({ url: clickhouse.url, logger: silentLogger() }),
  };
  await Promise.all([sinks.hot.start(), sinks.cold.start()]);
}, 60_000);

afterAll(async () => {
  await Promise.all(admins.map((admin) => admin.stop()));
  await Promise.all([stores.hot.close(), stores.cold.close(), sinks.hot.stop(), sinks.cold.stop()]);
  await Promise.all([postgres.stop(), clickhouse.stop()]);
}, 60_000);

test('a trace of which no table is there yet has no spans and no logs', async () => {
  const ask = await listen(stores);
  expect(await ask(TRACE)).toEqual([200, { trace_id: TRACE, spans: [], logs: [] }]);
});

test('spans and logs of both stores come in the order of time, each once, with nanoseconds and exact numbers', async () => {
  await write('hot', TRACES_SPANS, spanBatch([span('b1', START_NS + 1n), span('a1', START_NS), span('x', START_NS, OTHER)]));
  await write('cold', TRACES_SPANS, spanBatch([span('b1', START_NS + 1n), span('c1', START_NS + 2n)]));
  await write(
    'cold',
    LOGS_EVENTS,
    logBatch([
      [TRACE, 'twice', START_NS],
      [TRACE, 'twice', START_NS],
      [OTHER, 'no', START_NS],
    ]),
  );
  await write(
    'hot',
    LOGS_EVENTS,
    logBatch([
      [TRACE, 'twice', START_NS],
      [TRACE.toUpperCase(), 'only hot', START_NS - 800n],
    ]),
  );
  const ask = await listen(stores);
  const [status, body] = await ask(TRACE.toUpperCase());
  expect(status).toBe(200);
  expect(body.trace_id).toBe(TRACE);
  expect(body.warnings).toBeUndefined();
  expect(body.spans.map((found) => [found['span_id'], found['tier'], found['start_time']])).toEqual([
    ['a1', 'hot', '2026-01-02T03:04:05.123456789Z'],
    ['b1', 'hot', '2026-01-02T03:04:05.123456790Z'],
    ['c1', 'cold', '2026-01-02T03:04:05.123456791Z'],
  ]);
  const [a, , c] = body.spans;
  const { tier: _a, span_id: _b, name: _c, start_time: _d, end_time: _e, ...rest } = c;
  expect(a).toMatchObject(rest);
  expect(a).toMatchObject({ parent_span_id: null, dropped_events_count: 4_000_000_000, attributes: { 'http.route': '/"a"' } });
  expect(body.logs.map(({ message, timestamp }) => [message, timestamp])).toEqual([
    ['only hot', '2026-01-02T03:04:05.123455989Z'],
    ['twice', '2026-01-02T03:04:05.123456789Z'],
    ['twice', '2026-01-02T03:04:05.123456789Z'],
  ]);
});

test('a number in events that no double holds is in the answer as it was sent', async () => {
  await listen(stores);
  const response = await fetch(`http://${lastAddress}/api/traces/${TRACE}`);
  expect((await response.text()).match(/9007199254740993/g)).toHaveLength(3);
});

test('a store that is missing, down or has more rows than an answer takes is told as a warning', async () => {
  const onlyHot = await listen({ hot: stores.hot, cold: undefined });
  const [status, body] = await onlyHot(TRACE);
  expect([status, body.spans.length, body.warnings]).toEqual([200, 2, ['there is no cold store']]);
  const down = new ClickHouseSql('http://127.0.0.1:1', LIMITS);
  const [, held] = await (await listen({ hot: stores.hot, cold: down }))(TRACE);
  expect([held.logs.length, held.warnings]).toEqual([2, ['cold store: clickhouse does not answer']]);
  const [code] = await (await listen({ hot: undefined, cold: down }))(TRACE);
  expect(code).toBe(503);
  await down.close();
  await write('hot', TRACES_SPANS, spanBatch([1n, 2n, 3n, 4n, 5n].map((n) => span(`m${n}`, START_NS + n, OTHER))));
  const [, many] = await onlyHot(OTHER);
  expect(many.warnings).toContain('traces_spans has more rows in the hot store than one answer takes');
});

test('what is no trace id never reaches a store', async () => {
  const refuse = (): never => {
    throw new Error('asked');
  };
  const store: SqlStore = { query: refuse, stream: refuse, close: refuse };
  const ask = await listen({ hot: store, cold: store });
  for (const id of ['1', `${TRACE}0`, TRACE.replace('5', 'g'), `${TRACE.slice(0, 29)}%27--`, `${TRACE}%0A`]) {
    expect((await ask(id))[0]).toBe(400);
  }
});
