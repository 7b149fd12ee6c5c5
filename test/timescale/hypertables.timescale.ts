/** What only a server with TimescaleDB and pg_partman shows: Debian's PostgreSQL 17 with TimescaleDB 2.19, Apache edition. */

import { Client } from 'pg';
import pino from 'pino';
import { METRICS_EVENTS } from '../../src/core/builtin-tables';
import { PostgresSink, type PostgresSinkOptions } from '../../src/sinks/postgres/sink';
import { Telemetry } from '../../src/telemetry';
import { startClickHouse } from '../support/clickhouse';
import { DemotionRig } from '../support/demotion-rig';
import { metricBatch, timesFrom, writeOf } from '../support/metric-batches';
import { startPostgres, type TestPostgres } from '../support/postgres';

const DAY_NS = 86_400_000_000_000n;
const NOW_MS = Date.UTC(2026, 0, 15, 12);
const NOW_NS = BigInt(NOW_MS) * 1_000_000n;
const WAL = '5f'.repeat(16);

let server: TestPostgres;
let client: Client;
let sinks: PostgresSink[] = [];
let logged: string[] = [];
let nowMs = NOW_MS;

beforeEach(async () => {
  nowMs = NOW_MS;
  logged = [];
  server = await startPostgres();
  client = new Client({ connectionString: server.url });
  await client.connect();
  await client.query("SET timezone = 'UTC'");
});
afterEach(async () => {
  await Promise.all(sinks.map((sink) => sink.stop()));
  sinks = [];
  await client.end();
  await server.stop();
});

async function start(options: Partial<PostgresSinkOptions> = {}): Promise<PostgresSink> {
  const logger = pino(
    { level: 'warn' },
    { write: (line: string) => void logged.push((JSON.parse(line) as { msg: string }).msg) },
  );
  const sink = new PostgresSink({ url: server.url, logger, telemetry: new Telemetry(), now: () => nowMs, ...options });
  sinks.push(sink);
  await sink.start();
  return sink;
}

async function rows(sql: string): Promise<unknown[][]> {
  return (await client.query<unknown[]>({ text: sql, rowMode: 'array' })).rows;
}

const CHUNKS = `SELECT to_char(range_start, 'YYYY-MM-DD HH24:MI'), to_char(range_end, 'YYYY-MM-DD HH24:MI')
  FROM timescaledb_information.chunks WHERE hypertable_name = 'metrics_events' ORDER BY 1`;

test('a new table is a hypertable with a chunk for each UTC day, and one row goes into each that it belongs to', async () => {
  const sink = await start();
  await sink.write(writeOf(WAL, 1, metricBatch([NOW_NS, NOW_NS + DAY_NS, NOW_NS + DAY_NS + 1n])));
  expect(await rows(CHUNKS)).toEqual([
    ['2026-01-15 00:00', '2026-01-16 00:00'],
    ['2026-01-16 00:00', '2026-01-17 00:00'],
  ]);
  expect(await rows('SELECT count(*)::int FROM metrics_events')).toEqual([[3]]);
  expect(
    await rows("SELECT time_bucket('1 day', time)::date::text, count(*)::int FROM metrics_events GROUP BY 1 ORDER BY 1"),
  ).toEqual([
    ['2026-01-15', 1],
    ['2026-01-16', 2],
  ]);
});

test('the chunk interval can be chosen and changed, for chunks that are made from then on', async () => {
  const first = await start({ timescale: { chunkHours: 6 } });
  await first.write(writeOf(WAL, 1, metricBatch([NOW_NS])));
  expect(await rows(CHUNKS)).toEqual([['2026-01-15 12:00', '2026-01-15 18:00']]);
  const second = await start({ timescale: { chunkHours: 24 } });
  await second.write(writeOf(WAL, 2, metricBatch([NOW_NS + 3n * DAY_NS])));
  expect((await rows(CHUNKS)).at(-1)).toEqual(['2026-01-18 00:00', '2026-01-19 00:00']);
});

test('where the license has no compression the wish is told once and rows are stored all the same', async () => {
  const sink = await start({ timescale: { chunkHours: 24, compressAfterDays: 7 } });
  await sink.write(writeOf(WAL, 1, metricBatch(timesFrom(NOW_NS, 10))));
  expect(logged).toEqual(['this TimescaleDB has no compression: chunks stay as they are']);
  expect(await rows('SELECT count(*)::int FROM metrics_events')).toEqual([[10]]);
});

test('pg_partman makes the partitions where it is asked for, ahead of time and again when days go by', async () => {
  await client.query('CREATE SCHEMA partman; CREATE EXTENSION pg_partman SCHEMA partman');
  // pg_partman goes by the server's clock.
  nowMs = Date.now();
  const today = BigInt(nowMs) * 1_000_000n;
  const sink = await start({ partitioning: 'partman' });
  await sink.write(writeOf(WAL, 1, metricBatch([today, today - 400n * DAY_NS])));
  const partitions = "SELECT count(*)::int FROM pg_inherits WHERE inhparent = 'metrics_events'::regclass";
  const [[made]] = (await rows(partitions)) as number[][];
  expect(made).toBeGreaterThan(7);
  expect(await rows('SELECT parent_table, control FROM partman.part_config')).toEqual([['public.metrics_events', 'time']]);
  expect(await rows('SELECT count(*)::int FROM metrics_events')).toEqual([[2]]);
  expect(await rows('SELECT count(*)::int FROM metrics_events_default')).toEqual([[1]]);
  const name = `metrics_events_p${new Date(nowMs + 5 * 86_400_000).toISOString().slice(0, 10).replaceAll('-', '')}`;
  await client.query(`DROP TABLE ${name}; UPDATE partman.part_config SET infinite_time_partitions = true, premake = 12`);
  nowMs += 2 * 86_400_000;
  await sink.write(writeOf(WAL, 2, metricBatch([today])));
  expect(((await rows(partitions)) as number[][])[0][0]).toBeGreaterThan(made);
  expect(logged).toEqual([]);
});

test('a partition of pg_partman moves to ClickHouse and comes back, with rows that the default partition got meanwhile', async () => {
  await client.query('CREATE SCHEMA partman; CREATE EXTENSION pg_partman SCHEMA partman');
  const clickhouse = await startClickHouse();
  const rig = new DemotionRig('cd'.repeat(16), server.url, clickhouse, { partitioning: 'partman' });
  try {
    await rig.start();
    await rig.create(METRICS_EVENTS);
    const todayMs = Math.floor(Date.now() / 86_400_000) * 86_400_000;
    const dayMs = todayMs - 2 * 86_400_000;
    await rig.write(METRICS_EVENTS, metricBatch(timesFrom(BigInt(dayMs) * 1_000_000n, 500)));
    const name = `metrics_events_p${new Date(dayMs).toISOString().slice(0, 10).replaceAll('-', '')}`;
    expect(await rig.partitionOf(METRICS_EVENTS, dayMs)).toBe(name);
    const before = await rig.hotRows('metrics_events');
    const runner = rig.runner();
    await runner.demote('metrics_events', 86_400_000);
    expect((await rig.settled('metrics_events')).every(({ state }) => state === 'demoted')).toBe(true);
    expect(await rig.hotRows('metrics_events')).toEqual([]);
    expect(await rig.coldCount('SELECT count() FROM metrics_events')).toBe(500);
    await client.query("SELECT partman.run_maintenance('public.metrics_events', p_analyze := false)");
    await client.query('INSERT INTO metrics_events SELECT (r).* FROM (SELECT $1::metrics_events AS r) one', [before[0]]);
    await runner.restore('metrics_events', dayMs, dayMs + 86_400_000);
    expect((await rig.settled('metrics_events')).filter(({ state }) => state === 'restored')).toHaveLength(1);
    expect(await rig.hotRows('metrics_events')).toEqual([before[0], ...before].sort());
    expect(await rig.partitionOf(METRICS_EVENTS, dayMs)).toBe(name);
  } finally {
    await rig.stop();
    await clickhouse.stop();
  }
}, 60_000);

test('without the extension in the database, partitions are made without pg_partman, and that is told', async () => {
  const sink = await start({ partitioning: 'partman' });
  await sink.write(writeOf(WAL, 1, metricBatch([NOW_NS])));
  expect(logged).toEqual(['pg_partman is not installed in this database: partitions are made without it']);
  expect(await rows("SELECT count(*)::int FROM pg_inherits WHERE inhparent = 'metrics_events'::regclass")).toEqual([[10]]);
});

test('every built-in table is a hypertable', async () => {
  const sink = await start();
  await sink.ensureTable(METRICS_EVENTS);
  expect(await rows('SELECT hypertable_name FROM timescaledb_information.hypertables')).toEqual([['metrics_events']]);
});
