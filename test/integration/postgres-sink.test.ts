import type { RecordBatch } from 'apache-arrow';
import { Client } from 'pg';
import { recordBatch } from '../../src/columnar/record-batch';
import { BUILTIN_TABLES, LOGS_EVENTS, METRICS_EVENTS, TRACES_SPANS } from '../../src/core/builtin-tables';
import type { Lsn, TableName, WalId } from '../../src/core/ids';
import { SinkError } from '../../src/core/sink';
import type { ColumnSchema, TableSchema } from '../../src/core/table-schema';
import { PostgresSink, type PostgresSinkOptions } from '../../src/sinks/postgres/sink';
import { silentLogger, Telemetry } from '../../src/telemetry';
import { columnOf } from '../support/columns';
import { logBatch, timestamps, utf8 } from '../support/log-batches';
import { metricBatch, timesFrom, writeOf } from '../support/metric-batches';
import { startPostgres, type TestPostgres } from '../support/postgres';
import { Refusals } from '../support/refusals';

const WAL = 'a'.repeat(32);
const DAY_NS = 86_400_000_000_000n;
const NOW_MS = Date.UTC(2026, 0, 15, 12);
const NOW_NS = BigInt(NOW_MS) * 1_000_000n;

let server: TestPostgres;
let client: Client;
let sink: PostgresSink;
let telemetry: Telemetry;
let nowMs: number;

const newSink = (options: Partial<PostgresSinkOptions> = {}): PostgresSink =>
  new PostgresSink({ url: server.url, logger: silentLogger(), telemetry, now: () => nowMs, ...options });

beforeEach(async () => {
  nowMs = NOW_MS;
  telemetry = new Telemetry();
  server = await startPostgres();
  client = new Client({ connectionString: server.url });
  await client.connect();
  await client.query("SET timezone = 'UTC'");
  sink = newSink();
  await sink.start();
});

afterEach(async () => {
  await sink.stop();
  await client.end();
  await server.stop();
});

async function value<T>(sql: string): Promise<T> {
  const { rows } = await client.query<[T]>({ text: sql, rowMode: 'array' });
  return rows[0][0];
}

const count = async (table: string): Promise<number> => Number(await value(`SELECT count(*) FROM ${table}`));
const partitions = (): Promise<string[]> =>
  value(`SELECT array_agg(inhrelid::regclass::text ORDER BY 1) FROM pg_inherits WHERE inhparent = 'metrics_events'::regclass`);

const schemaWith = (version: number, columns: ColumnSchema[]): TableSchema => ({
  table: 'orders' as TableName,
  version,
  timeColumn: 'at',
  tier: 'hot',
  columns: [{ name: 'at', type: 'timestamp', nullable: false }, ...columns],
});

const documents = (json: string[]): RecordBatch =>
  recordBatch([
    { name: 'at', data: timestamps(json.map(() => NOW_NS)) },
    { name: 'doc', data: utf8(json) },
  ]);

const partitionNames = (from: number, to: number): string[] =>
  Array.from({ length: to - from + 1 }, (_, i) => `_p202601${String(from + i).padStart(2, '0')}_metrics_events`);

/** The query of a Grafana panel, with its variables filled in. */
const grafanaQuery = (source: string): string => `SELECT time_bucket('1 minute', event_time) AS ts, COUNT(*)
FROM observability_events
WHERE node = 'node-1'
  AND raw->>'source' = '${source}'
  AND event_time BETWEEN '2026-01-15T11:00:00Z' AND '2026-01-15T13:00:00Z'
GROUP BY ts
ORDER BY ts;`;

test('the same write delivered twice is stored once, and leaves one batch row', async () => {
  const write = writeOf(WAL, 7, metricBatch(timesFrom(NOW_NS, 1000)));
  await sink.write(write);
  await sink.write({ ...write, mayHaveRun: true });
  expect(await count('metrics_events')).toBe(1000);
  const { rows } = await client.query('SELECT wal_id, lsn, last_lsn, table_name, rows FROM _ingest_batches');
  expect(rows).toEqual([{ wal_id: WAL, lsn: '7', last_lsn: '7', table_name: 'metrics_events', rows: '1000' }]);
});

test('writes of several tables run at the same time', async () => {
  await Promise.all([
    ...[1, 2, 3, 4, 5, 6].map((lsn) => sink.write(writeOf(WAL, lsn, metricBatch(timesFrom(NOW_NS, 500))))),
    ...[1, 2, 3].map((lsn) => sink.write(writeOf(WAL, lsn, logBatch({ rows: 100, startNs: NOW_NS }), LOGS_EVENTS))),
  ]);
  expect(await count('metrics_events')).toBe(3000);
  expect(await count('logs_events')).toBe(300);
});

test('an identity that stands for other entries is an alarm, not a delivery', async () => {
  const write = writeOf(WAL, 7, metricBatch([NOW_NS]));
  await sink.write(write);
  const other = { ...write, id: { ...write.id, lastLsn: 8 as Lsn } };
  await expect(sink.write(other)).rejects.toMatchObject({ failure: 'broken', name: 'SinkError' });
  expect(await count('metrics_events')).toBe(1);
});

test('of a write whose refused rows cannot be parked nothing stays, and it succeeds when they can', async () => {
  const schema = schemaWith(1, [{ name: 'doc', type: 'json', nullable: true }]);
  const bad = writeOf(WAL, 1, documents(['{}', '{"a":', '{}']), schema);
  const onRefused = async (): Promise<void> => {
    throw new SinkError('retry', 'no room');
  };
  await expect(sink.write({ ...bad, onRefused })).rejects.toThrow(new SinkError('retry', 'no room'));
  expect(await count('orders')).toBe(0);
  expect(await count('_ingest_batches')).toBe(0);
  const refusals = new Refusals();
  await sink.write({ ...bad, mayHaveRun: true, refused: refusals.refused, onRefused: refusals.onRefused });
  expect(refusals.rows).toMatchObject([{ row: 1, code: '22P02', column: 'doc' }]);
  expect(await count('orders')).toBe(2);
});

test('a row without a time is refused, the others are stored', async () => {
  const batch = recordBatch([{ name: 'time', data: timestamps([NOW_NS, null]) }]);
  const { refused, onRefused, rows } = new Refusals();
  await sink.write({ ...writeOf(WAL, 1, batch), refused, onRefused });
  expect(rows).toMatchObject([{ row: 1, code: expect.stringMatching(/^23/), column: 'time' }]);
  expect(await count('metrics_events')).toBe(1);
});

test('NUL is taken out of texts and counted', async () => {
  const batch = recordBatch([
    { name: 'time', data: timestamps([NOW_NS, NOW_NS]) },
    { name: 'level', data: utf8(['a\0b', 'c']) },
  ]);
  await sink.write(writeOf(WAL, 1, batch));
  expect(await value(`SELECT string_agg(level, ',' ORDER BY level) FROM metrics_events`)).toBe('ab,c');
  const metric = await telemetry.sanitizedValues.get();
  expect(metric.values).toMatchObject([{ value: 1, labels: { tier: 'hot', reason: 'nul' } }]);
});

test('a table grows by the columns of a newer schema and keeps its rows', async () => {
  const first = schemaWith(1, [{ name: 'We"ird', type: 'string', nullable: true }]);
  const second = schemaWith(2, [...first.columns.slice(1), { name: 'total', type: 'uint64', nullable: false }]);
  const at = { name: 'at', data: timestamps([NOW_NS]) };
  await sink.write(writeOf(WAL, 1, recordBatch([at, { name: 'We"ird', data: utf8(['x']) }]), first));
  await sink.write(
    writeOf(WAL, 2, recordBatch([at, { name: 'total', data: columnOf('uint64', [2n ** 64n - 1n], 'plain') }]), second),
  );
  // Rows of the older version that were still under way.
  await sink.write(writeOf(WAL, 3, recordBatch([at]), first));
  const { rows } = await client.query('SELECT "We""ird" AS weird, total FROM orders ORDER BY total, weird');
  expect(rows).toEqual([
    { weird: null, total: '18446744073709551615' },
    { weird: 'x', total: null },
    { weird: null, total: null },
  ]);
  const versions = await value(
    `SELECT array_agg(version ORDER BY version) FROM table_registry_history WHERE table_name = 'orders'`,
  );
  expect(versions).toEqual([1, 2]);
  const registered = await client.query('SELECT schema, version, tier, policy FROM table_registry');
  expect(registered.rows).toEqual([
    {
      version: 2,
      tier: 'hot',
      policy: null,
      schema: {
        time_column: 'at',
        columns: [
          { name: 'at', type: 'timestamp', nullable: false },
          { name: 'We"ird', type: 'string', nullable: true },
          { name: 'total', type: 'uint64', nullable: false },
        ],
      },
    },
  ]);
});

test('the columns that people know of metrics_events come first', async () => {
  await sink.ensureTable(METRICS_EVENTS);
  const columns = await value<string[]>(
    `SELECT array_agg(column_name || ' ' || data_type ORDER BY ordinal_position)
      FROM information_schema.columns WHERE table_name = 'metrics_events'`,
  );
  expect(columns.slice(0, 7)).toEqual([
    'time timestamp with time zone',
    'app text',
    'host text',
    'labels jsonb',
    'value double precision',
    'trace_id text',
    'level text',
  ]);
});

test('a column that is there with another type is named, and the write waits', async () => {
  await client.query('CREATE TABLE metrics_events (time timestamptz NOT NULL, app text, value integer)');
  const failed = sink.write(writeOf(WAL, 1, metricBatch([NOW_NS])));
  await expect(failed).rejects.toMatchObject({ failure: 'retry' });
  await expect(failed).rejects.toThrow('value is integer, expected double precision');
});

test('a plain table made by somebody else is filled as it is and gets the missing columns', async () => {
  await client.query(`CREATE TABLE metrics_events (time TIMESTAMPTZ NOT NULL, app TEXT, host TEXT, labels JSONB,
    value DOUBLE PRECISION, trace_id TEXT, level TEXT)`);
  await sink.write(writeOf(WAL, 1, metricBatch(timesFrom(NOW_NS, 10))));
  expect(await value(`SELECT count(*)::int FROM metrics_events WHERE metric = 'requests' AND time_ns = 0`)).toBe(10);
});

describe('native partitions', () => {
  /** Also on a server with TimescaleDB. */
  const NATIVE = { partitioning: 'native' } as const;

  beforeEach(async () => {
    await sink.stop();
    sink = newSink(NATIVE);
    await sink.start();
  });

  test('two servers that start at once create the same tables without getting in each other way', async () => {
    const others = [newSink(NATIVE), newSink(NATIVE)];
    await Promise.all(others.map((other) => other.start()));
    await Promise.all([sink, ...others].flatMap((one) => BUILTIN_TABLES.map((schema) => one.ensureTable(schema))));
    expect(await count('table_registry')).toBe(BUILTIN_TABLES.length);
    expect((await partitions()).length).toBe(10);
    await Promise.all(others.map((other) => other.stop()));
  });

  test('partitions exist from yesterday to a week ahead, and follow the clock', async () => {
    await sink.ensureTable(METRICS_EVENTS);
    expect(await partitions()).toEqual(['_default_metrics_events', ...partitionNames(14, 22)]);
    nowMs += 2 * 86_400_000;
    await sink.write(writeOf(WAL, 1, metricBatch([NOW_NS])));
    expect(await partitions()).toEqual(['_default_metrics_events', ...partitionNames(14, 24)]);
  });

  test('late rows get a partition of their day, exact at its borders', async () => {
    const midnight = NOW_NS - (NOW_NS % DAY_NS) - 100n * DAY_NS;
    await sink.write(writeOf(WAL, 1, metricBatch([midnight - 1n, midnight, midnight + DAY_NS - 1n, midnight + DAY_NS])));
    const { rows } = await client.query(
      `SELECT tableoid::regclass::text AS partition, count(*)::int FROM metrics_events GROUP BY 1 ORDER BY 1`,
    );
    expect(rows).toEqual([
      { partition: '_p20251006_metrics_events', count: 1 },
      { partition: '_p20251007_metrics_events', count: 2 },
      { partition: '_p20251008_metrics_events', count: 1 },
    ]);
  });

  test('of a write over very many days the newest 64 get partitions, the other rows are kept in the default partition', async () => {
    const days = Array.from({ length: 100 }, (_, i) => NOW_NS - BigInt(i + 10) * DAY_NS);
    await sink.write(writeOf(WAL, 1, metricBatch(days)));
    expect(await count('metrics_events')).toBe(100);
    expect(await count('_default_metrics_events')).toBe(36);
    // The next write of these days moves the rows into partitions of their own.
    await sink.write(writeOf(WAL, 2, metricBatch(days)));
    expect(await count('metrics_events')).toBe(200);
    expect(await count('_default_metrics_events')).toBe(0);
  });
});

test('a table that was dropped while the server ran is made again', async () => {
  await sink.write(writeOf(WAL, 1, metricBatch([NOW_NS])));
  await client.query('DROP TABLE metrics_events CASCADE');
  await expect(sink.write(writeOf(WAL, 2, metricBatch([NOW_NS])))).rejects.toMatchObject({
    failure: 'retry',
    storeCode: '42P01',
  });
  await sink.write(writeOf(WAL, 2, metricBatch([NOW_NS])));
  expect(await count('metrics_events')).toBe(1);
});

test('rows that a trigger drops are noticed, and the write is rolled back', async () => {
  await sink.ensureTable(METRICS_EVENTS);
  await client.query(`CREATE FUNCTION drop_row() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
    CREATE TRIGGER drop_row BEFORE INSERT ON metrics_events FOR EACH ROW WHEN (NEW.value = 3) EXECUTE FUNCTION drop_row()`);
  await expect(sink.write(writeOf(WAL, 1, metricBatch(timesFrom(NOW_NS, 5))))).rejects.toMatchObject({ failure: 'broken' });
  expect(await count('metrics_events')).toBe(0);
  expect(await count('_ingest_batches')).toBe(0);
});

test('the Grafana query over observability_events gives counts by minute, node and source', async () => {
  for (const schema of [METRICS_EVENTS, TRACES_SPANS]) await sink.ensureTable(schema);
  await sink.write(writeOf(WAL, 1, metricBatch(timesFrom(NOW_NS, 5))));
  await sink.write(writeOf(WAL, 2, metricBatch(timesFrom(NOW_NS + 60_000_000_000n, 3))));
  await sink.write(writeOf(WAL, 1, logBatch({ rows: 8, startNs: NOW_NS }), LOGS_EVENTS));
  expect((await client.query(grafanaQuery('metrics'))).rows).toEqual([
    { ts: new Date('2026-01-15T12:00:00Z'), count: '5' },
    { ts: new Date('2026-01-15T12:01:00Z'), count: '3' },
  ]);
  expect((await client.query(grafanaQuery('logs'))).rows).toEqual([{ ts: new Date('2026-01-15T12:00:00Z'), count: '4' }]);
  expect(await value(`SELECT raw->'labels'->>'route' FROM observability_events WHERE raw->>'value' = '2' LIMIT 1`)).toBe(
    '/orders/2',
  );
});

test('the events view shows columns that a table got later', async () => {
  await sink.ensureTable(METRICS_EVENTS);
  const columns: ColumnSchema[] = [...METRICS_EVENTS.columns, { name: 'source', type: 'string', nullable: true }];
  await sink.ensureTable({
    ...METRICS_EVENTS,
    version: 2,
    columns: [...columns, { name: 'region', type: 'string', nullable: true }],
  });
  await client.query(`INSERT INTO metrics_events (time, source, region) VALUES (now(), 'theirs', 'eu')`);
  const { rows } = await client.query(`SELECT raw->>'region' AS region, raw->>'source' AS source FROM observability_events`);
  expect(rows).toEqual([{ region: 'eu', source: 'metrics' }]);
});

test('a table of somebody else named observability_events is left alone', async () => {
  await client.query('CREATE TABLE observability_events (mine int)');
  await sink.ensureTable(METRICS_EVENTS);
  expect(await value(`SELECT relkind FROM pg_class WHERE relname = 'observability_events'`)).toBe('r');
});

test('start may be called again, and ping answers', async () => {
  await sink.start();
  await sink.ping();
  await sink.write(writeOf(WAL, 1, metricBatch([NOW_NS])));
  expect(await count('metrics_events')).toBe(1);
});

describe('rows of delivered batches', () => {
  const batches = (walId: string): Promise<string> =>
    value(`SELECT coalesce(string_agg(lsn::text, ',' ORDER BY lsn), '') FROM _ingest_batches WHERE wal_id = '${walId}'`);
  const write = (walId: string, at: number) => ({ ...writeOf(walId, at, metricBatch(timesFrom(NOW_NS, 5))), mayHaveRun: true });

  test('go when the cursor is past them and they are old, and a repeated write is still known as delivered', async () => {
    const other = 'b'.repeat(32);
    const pruning = newSink({ batchRetentionMs: 3_600_000 });
    await pruning.start();
    for (const at of [1, 2, 3]) await pruning.write(write(WAL, at));
    await pruning.write(write(other, 1));
    await client.query(`UPDATE _ingest_batches SET created_at = now() - interval '2 hours' WHERE lsn <> 2`);
    await pruning.forget(WAL as WalId, 3 as Lsn);
    expect([await batches(WAL), await batches(other)]).toEqual(['2,3', '1']);
    for (const at of [1, 2, 3]) await pruning.write(write(WAL, at));
    expect(await count('metrics_events')).toBe(20);
    expect(await batches(WAL)).toBe('2,3');
    // A cursor that goes back, as after a restored checkpoint, does not take the mark back.
    await pruning.forget(WAL as WalId, 1 as Lsn);
    await pruning.write(write(WAL, 1));
    await pruning.write(write(WAL, 4));
    expect(await count('metrics_events')).toBe(25);
    await pruning.stop();
  });

  test('a write that is only in part before the mark is refused, never taken for delivered', async () => {
    await sink.forget(WAL as WalId, 3 as Lsn);
    const wide = write(WAL, 2);
    const refused = sink.write({ ...wide, id: { ...wide.id, lastLsn: 5 as Lsn } });
    await expect(refused).rejects.toMatchObject({
      failure: 'broken',
      message: expect.stringContaining('before the watermark 3'),
    });
    expect(await count('metrics_events')).toBe(0);
  });
});
