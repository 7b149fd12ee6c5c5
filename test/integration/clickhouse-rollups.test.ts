/** Roll-ups on a real engine, held against aggregates of the rows that they were built from. */
import { setTimeout as sleep } from 'node:timers/promises';
import { LOGS_EVENTS, METRICS_EVENTS, TRACES_SPANS } from '../../src/core/builtin-tables';
import type { TableName } from '../../src/core/ids';
import type { Rollup } from '../../src/core/rollup';
import type { TableSchema } from '../../src/core/table-schema';
import { ClickHouseRollups } from '../../src/sinks/clickhouse/rollups';
import { ClickHouseSink } from '../../src/sinks/clickhouse/sink';
import { silentLogger, Telemetry } from '../../src/telemetry';
import { firstOpenDay, RollupKeeper } from '../../src/tiering/rollups';
import { startClickHouse, type TestClickHouse } from '../support/clickhouse';

jest.setTimeout(60_000);

const NONE: ReadonlySet<string> = new Set();
const MINUTE = { name: '1m', seconds: 60 };
const HOUR = { name: '1h', seconds: 3_600 };
const ORDERS: TableSchema = {
  table: 'orders' as TableName,
  version: 1,
  timeColumn: 'at',
  tier: 'cold',
  columns: [
    { name: 'at', type: 'timestamp', nullable: false },
    { name: 'shop', type: 'string', nullable: true, lowCardinality: true },
    { name: 'note', type: 'string', nullable: true },
    { name: 'price', type: 'float64', nullable: true },
    { name: 'items', type: 'int64', nullable: true },
  ],
};

let clickhouse: TestClickHouse;
let sink: ClickHouseSink;
let store: ClickHouseRollups;

beforeAll(async () => {
  clickhouse = await startClickHouse();
  sink = new ClickHouseSink({ url: clickhouse.url, logger: silentLogger() });
  store = new ClickHouseRollups({ url: clickhouse.url, logger: silentLogger() });
  await sink.start();
});

afterAll(async () => {
  await store?.close();
  await sink?.stop();
  await clickhouse?.stop();
});

const rollupOf = (source: TableSchema, period = MINUTE, keepDays?: number): Rollup => ({ source, period, keepDays });

async function prepare(source: TableSchema, ...periods: (typeof MINUTE)[]): Promise<void> {
  await sink.ensureTable(source);
  for (const period of periods) await store.ensureRollup(rollupOf(source, period));
}

/** Values with exact sums: quarters. */
const metrics = (day: string, rows: number, offset = 0): string =>
  'INSERT INTO metrics_events (time, app, host, labels, value, metric, kind, unit, _batch_hi, _batch_lo) SELECT ' +
  `toDateTime64('${day} 00:00:00', 9, 'UTC') + toIntervalSecond((number * 7 + ${offset}) % 86400), concat('app', toString(number % 3)), 'h', ` +
  "if(number % 2 = 0, map('a', toString(number % 5), 'b', 'x'), map('b', 'x', 'a', toString(number % 5))), " +
  `if(number % 11 = 0, NULL, number / 4), 'm', 'gauge', '1', 1, ${offset} FROM numbers(${rows})`;

const METRIC_VIEW =
  'SELECT bucket, app, labels, count, sum, min, max, last FROM metrics_events_1m ORDER BY bucket, app, toString(labels)';
const METRIC_ROWS =
  "SELECT toStartOfMinute(time, 'UTC') AS bucket, app, mapSort(metrics_events.labels) AS l, count(value), sum(value), min(value), " +
  'max(value), argMax(value, (time, value)) FROM metrics_events WHERE value IS NOT NULL GROUP BY bucket, app, l ORDER BY bucket, app, toString(l)';

const alike = async (view: string, rows: string): Promise<number> => {
  const [shown, expected] = [await clickhouse.rows(view), await clickhouse.rows(rows)];
  expect(shown).toEqual(expected);
  return shown.length;
};

test('a roll-up of metrics equals the aggregate of the rows before, while and after days are built, and with late rows', async () => {
  await prepare(METRICS_EVENTS, MINUTE);
  await clickhouse.command(metrics('2026-01-01', 3_000));
  await clickhouse.command(metrics('2026-01-02', 3_000));
  expect(await alike(METRIC_VIEW, METRIC_ROWS)).toBeGreaterThan(1_000);
  const rollup = rollupOf(METRICS_EVENTS);
  expect(await store.staleDays(rollup, NONE)).toEqual(['20260101', '20260102']);
  await store.buildDay(rollup, '20260101');
  await alike(METRIC_VIEW, METRIC_ROWS);
  expect(await store.staleDays(rollup, NONE)).toEqual(['20260102']);
  await store.buildDay(rollup, '20260102');
  await store.buildDay(rollup, '20260102');
  await alike(METRIC_VIEW, METRIC_ROWS);
  expect(await store.staleDays(rollup, NONE)).toEqual([]);
  await clickhouse.command(metrics('2026-01-01', 100, 13));
  expect(await store.staleDays(rollup, NONE)).toEqual(['20260101']);
  await store.buildDay(rollup, '20260101');
  await alike(METRIC_VIEW, METRIC_ROWS);
  const [[built]] = await clickhouse.rows(
    "SELECT count() FROM system.parts WHERE active AND table = '_rollup_metrics_events_1m'",
  );
  expect(Number(built)).toBeGreaterThan(0);
});

test('merges make no day stale, deletions do, and what the source keeps no longer stays in the sums', async () => {
  const rollup = rollupOf(METRICS_EVENTS);
  await clickhouse.command('OPTIMIZE TABLE metrics_events FINAL');
  expect(await store.staleDays(rollup, NONE)).toEqual([]);
  await clickhouse.command("DELETE FROM metrics_events WHERE app = 'app1' AND toYYYYMMDD(time) = 20260102");
  expect(await store.staleDays(rollup, NONE)).toContain('20260102');
  for (const day of await store.staleDays(rollup, NONE)) await store.buildDay(rollup, day);
  await alike(METRIC_VIEW, METRIC_ROWS);
  const before = await clickhouse.rows(`SELECT sum(count) FROM metrics_events_1m WHERE toDate(bucket) = '2026-01-01'`);
  await clickhouse.command('ALTER TABLE metrics_events DROP PARTITION 20260101');
  expect(await store.staleDays(rollup, NONE)).toEqual([]);
  expect(await clickhouse.rows(`SELECT sum(count) FROM metrics_events_1m WHERE toDate(bucket) = '2026-01-01'`)).toEqual(before);
});

test('quantiles of a roll-up are those of the rows within the error of the digest', async () => {
  await prepare(TRACES_SPANS, HOUR);
  await clickhouse.command(
    "INSERT INTO traces_spans (start_time, duration_ns, trace_id, name, kind, status_code, app) SELECT toDateTime64('2026-02-01 00:00:00', 9, 'UTC') + " +
      "number, number % 1000 * 1000, 't', 'GET', 'server', if(number % 10 = 0, 'error', 'ok'), 'shop' FROM numbers(10000)",
  );
  const view =
    'SELECT app, name, kind, sum(requests), sum(errors), sum(duration_ns_sum), min(duration_ns_min), max(duration_ns_max), ' +
    'abs(avg(duration_ns_p50) - 500000) < 15000, abs(avg(duration_ns_p99) - 990000) < 15000 FROM traces_spans_1h GROUP BY app, name, kind';
  const expected = [['shop', 'GET', 'server', '10000', '1000', '4995000000', '0', '999000', 1, 1]];
  expect(await clickhouse.rows(view)).toEqual(expected);
  await store.buildDay(rollupOf(TRACES_SPANS, HOUR), '20260201');
  expect(await clickhouse.rows(view)).toEqual(expected);
});

test('a table of any columns is summed up by its columns of few distinct strings, and grows with it', async () => {
  await prepare(ORDERS, HOUR);
  const insert = (columns: string, values: string): Promise<void> =>
    clickhouse.command(`INSERT INTO orders (at, shop, price, items${columns}) VALUES ${values}`);
  await insert(
    '',
    "('2026-03-01 10:00:00', 'a', 1.5, 9007199254740993), ('2026-03-01 10:30:00', 'a', NULL, 2), ('2026-03-01 11:00:00', 'b', 2, NULL)",
  );
  await store.buildDay(rollupOf(ORDERS, HOUR), '20260301');
  const grown: TableSchema = {
    ...ORDERS,
    version: 2,
    columns: [
      ...ORDERS.columns,
      { name: 'weight', type: 'float32', nullable: true },
      { name: 'region', type: 'string', nullable: true, lowCardinality: true },
    ],
  };
  await prepare(grown, HOUR);
  await insert(
    ', weight, region',
    "('2026-03-02 10:00:00', 'a', 4, 1, 0.5, 'eu'), ('2026-03-02 10:00:01', 'a', 4, 1, 1.5, 'us')",
  );
  await store.buildDay(rollupOf(grown, HOUR), '20260302');
  expect(
    await clickhouse.rows(
      'SELECT shop, count, price_sum, price_min, price_last, items_max, items_last, weight_sum FROM orders_1h ORDER BY bucket, shop',
    ),
  ).toEqual([
    ['a', '2', 1.5, 1.5, 1.5, '9007199254740993', '2', 0],
    ['b', '1', 2, 2, 2, null, null, 0],
    ['a', '2', 8, 4, 4, '1', '1', 2],
  ]);
});

test('a log roll-up is found under the plain name of the table and period, and leaves a table of somebody else alone', async () => {
  await clickhouse.command('CREATE TABLE logs_events_1h (mine String) ENGINE = Memory');
  await prepare(LOGS_EVENTS, MINUTE, HOUR);
  await clickhouse.command(
    "INSERT INTO logs_events (timestamp, app, level, message) SELECT toDateTime64('2026-04-01 00:00:00', 9, 'UTC') + number, 'a', if(number % 2 = 0, 'INFO', 'ERROR'), 'x' FROM numbers(240)",
  );
  expect(await clickhouse.rows('SELECT level, sum(count), count() FROM logs_events_1m GROUP BY level ORDER BY level')).toEqual([
    ['ERROR', '120', '4'],
    ['INFO', '120', '4'],
  ]);
  expect(await clickhouse.rows("SELECT engine FROM system.tables WHERE name = 'logs_events_1h'")).toEqual([['Memory']]);
});

test('the time that sums are kept can be set, changed and taken away', async () => {
  const ttl = async (): Promise<string> => {
    const [[engine]] = await clickhouse.rows("SELECT engine_full FROM system.tables WHERE name = '_rollup_orders_1h'");
    return / TTL (.*?) SETTINGS /.exec(String(engine))?.[1] ?? '';
  };
  expect(await ttl()).toBe('');
  for (const days of [30, 30, 60]) {
    await store.ensureRollup(rollupOf(ORDERS, HOUR, days));
    expect(await ttl()).toBe(`bucket + toIntervalDay(${days})`);
  }
  await store.ensureRollup(rollupOf(ORDERS, HOUR));
  expect(await ttl()).toBe('');
});

test('the keeper builds days that are over, not those on their way from the other tier, and goes on after a failure', async () => {
  const table = { ...ORDERS, table: 'parcels' as TableName };
  await prepare(table, HOUR);
  await clickhouse.command(
    "INSERT INTO parcels (at, shop) VALUES ('2026-05-01 10:00:00', 'a'), ('2026-05-02 10:00:00', 'a'), ('2026-05-03 10:00:00', 'a')",
  );
  let busy: ReadonlySet<string> = new Set(['20260501']);
  const missing = { ...ORDERS, table: 'missing' as TableName };
  const keeper = new RollupKeeper({
    store,
    rollups: () => [rollupOf(missing, HOUR), rollupOf(table, HOUR)],
    movedDays: () => Promise.resolve({ busy, returned: NONE, hidden: new Map() }),
    closeAfterMs: 3_600_000,
    intervalMs: 10,
    clock: () => Date.parse('2026-05-03T00:59:00Z'),
    telemetry: new Telemetry(),
    logger: silentLogger(),
  });
  expect(firstOpenDay(Date.parse('2026-05-03T00:59:00Z'), 3_600_000)).toBe('20260502');
  expect(firstOpenDay(Date.parse('2026-05-03T01:00:00Z'), 3_600_000)).toBe('20260503');
  const days = async (): Promise<unknown[]> =>
    (await clickhouse.rows("SELECT day FROM _rollups FINAL WHERE rollup = '_rollup_parcels_1h' ORDER BY day")).flat();
  await keeper.pass();
  expect(await days()).toEqual([]);
  busy = NONE;
  keeper.start();
  while ((await days()).length === 0) await sleep(20);
  await keeper.stop();
  expect(await days()).toEqual(['20260501']);
  expect(await clickhouse.rows("SELECT count() FROM system.tables WHERE match(name, '_[0-9a-f]{12}$')")).toEqual([['0']]);
});

test('what a TTL drops from the source stays in the sums', async () => {
  const table = { ...ORDERS, table: 'receipts' as TableName };
  const keeping = new ClickHouseSink({ url: clickhouse.url, logger: silentLogger(), keepDays: { receipts: 3 } });
  try {
    await keeping.start();
    await keeping.ensureTable(table);
  } finally {
    await keeping.stop();
  }
  const rollup = rollupOf(table, HOUR, 36_500);
  await store.ensureRollup(rollup);
  // The engine drops expired parts with its merges, as soon as it sees them.
  await clickhouse.command('SYSTEM STOP TTL MERGES receipts');
  await clickhouse.command(
    "INSERT INTO receipts (at, shop, price) VALUES ('2020-01-01 10:00:00', 'a', 1), ('2020-01-01 11:00:00', 'a', 2)",
  );
  await clickhouse.command("INSERT INTO receipts (at, shop, price) SELECT now64(9), 'b', 3");
  await store.buildDay(rollup, '20200101');
  await clickhouse.command('SYSTEM START TTL MERGES receipts');
  await clickhouse.command('OPTIMIZE TABLE receipts FINAL');
  expect(await clickhouse.rows('SELECT shop, count() FROM receipts GROUP BY shop')).toEqual([['b', '1']]);
  expect(await store.staleDays(rollup, NONE)).not.toContain('20200101');
  const sums = 'SELECT shop, sum(count), sum(price_sum) FROM receipts_1h GROUP BY shop ORDER BY shop';
  expect(await clickhouse.rows(sums)).toEqual([
    ['a', '2', 3],
    ['b', '1', 3],
  ]);
});
