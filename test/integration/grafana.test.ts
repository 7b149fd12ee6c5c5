/**
 * The SQL recipes for Grafana in docs/sql.md, read from there and run against the stores as Grafana sends them: its variables filled in, and
 * its macros expanded as its data sources for PostgreSQL and ClickHouse document them.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Client } from 'pg';
import { recordBatch } from '../../src/columnar/record-batch';
import { BUILTIN_TABLES, LOGS_EVENTS, METRICS_EVENTS, TRACES_SPANS } from '../../src/core/builtin-tables';
import { lsn, type WalId } from '../../src/core/ids';
import type { Sink } from '../../src/core/sink';
import type { TableSchema } from '../../src/core/table-schema';
import { ClickHouseRollups } from '../../src/sinks/clickhouse/rollups';
import { ClickHouseSink } from '../../src/sinks/clickhouse/sink';
import { PostgresSink } from '../../src/sinks/postgres/sink';
import { silentLogger, Telemetry } from '../../src/telemetry';
import { startClickHouse, type TestClickHouse } from '../support/clickhouse';
import { type ColumnValue, columnOf } from '../support/columns';
import { startPostgres, type TestPostgres } from '../support/postgres';
import { NOTHING_REFUSED } from '../support/refusals';

jest.setTimeout(60_000);

const AT_MS = Date.UTC(2026, 0, 15, 10);
const [FROM_MS, TO_MS] = [AT_MS - 3_600_000, AT_MS + 3_600_000];
const VARIABLES: Readonly<Record<string, string>> = { node: 'node-1', source: 'metrics', trace: 'abc' };
const ROWS = 120;

let postgres: TestPostgres;
let clickhouse: TestClickHouse;
let client: Client;
let hot: PostgresSink;
let cold: ClickHouseSink;
let rollups: ClickHouseRollups;

beforeAll(async () => {
  [postgres, clickhouse] = await Promise.all([startPostgres(), startClickHouse()]);
  const logger = silentLogger();
  hot = new PostgresSink({ url: postgres.url, logger, telemetry: new Telemetry() });
  cold = new ClickHouseSink({ url: clickhouse.url, logger });
  rollups = new ClickHouseRollups({ url: clickhouse.url, logger });
  client = new Client({ connectionString: postgres.url });
  await client.connect();
  for (const sink of [hot, cold]) {
    await sink.start();
    for (const schema of BUILTIN_TABLES) await sink.ensureTable(schema);
  }
  for (const source of [METRICS_EVENTS, TRACES_SPANS, LOGS_EVENTS]) {
    await rollups.ensureRollup({ source, period: { name: '1m', seconds: 60 }, keepDays: undefined });
  }
  // A row each minute from FROM on, one of three an error.
  const rows = Array.from({ length: ROWS }, (_, i) => i);
  const common = { app: rows.map((i) => `app${i % 2}`), host: rows.map((i) => `node-${i % 3}`) };
  const metrics = { ...common, value: rows, metric: rows.map(() => 'http.server.duration') };
  await write(METRICS_EVENTS, metrics, [hot]);
  const status = rows.map((i) => (i % 3 === 0 ? 'error' : 'ok'));
  const spans = {
    ...common,
    trace_id: rows.map((i) => (i < 5 ? 'abc' : 'def')),
    name: rows.map(() => 'GET'),
    status_code: status,
  };
  await write(TRACES_SPANS, { ...spans, duration_ns: rows.map((i) => BigInt(i) * 1_000_000n) }, [hot, cold]);
  await write(LOGS_EVENTS, { ...common, level: rows.map((i) => (i % 3 === 0 ? 'ERROR' : 'INFO')) }, [cold]);
}, 60_000);
afterAll(async () => {
  await Promise.all([client.end(), hot.stop(), cold.stop(), rollups.close()]);
  await Promise.all([postgres.stop(), clickhouse.stop()]);
});

let written = 0;
async function write(schema: TableSchema, values: Record<string, readonly ColumnValue[]>, sinks: readonly Sink[]): Promise<void> {
  const times = Array.from({ length: ROWS }, (_, i) => BigInt(FROM_MS + i * 60_000) * 1_000_000n);
  const given: Record<string, readonly ColumnValue[]> = { ...values, [schema.timeColumn]: times };
  const columns = schema.columns.filter(({ name }) => given[name] !== undefined);
  const at = lsn(++written);
  const batch = recordBatch(
    columns.map(({ name, type, lowCardinality }) => ({
      name,
      data: columnOf(type, [...given[name]], lowCardinality === true ? 'shared' : 'plain'),
    })),
  );
  for (const sink of sinks) {
    await sink.write({
      id: { walId: '2b'.repeat(16) as WalId, lsn: at, lastLsn: at, table: schema.table, partition: '20260115' },
      schema,
      batch,
      mayHaveRun: false,
      ...NOTHING_REFUSED,
    });
  }
}

const iso = (ms: number): string => `'${new Date(ms).toISOString()}'`;
const filled = (sql: string): string =>
  sql
    .replaceAll('$__from', String(FROM_MS))
    .replaceAll('$__to', String(TO_MS))
    .replace(/\$(node|source|trace)\b/g, (_, name: string) => VARIABLES[name]);

/** As the PostgreSQL data source does. */
const forPostgres = (sql: string): string =>
  filled(
    sql
      .replace(/\$__timeFilter\((\w+)\)/g, (_, column: string) => `${column} BETWEEN ${iso(FROM_MS)} AND ${iso(TO_MS)}`)
      .replace(/\$__timeGroup\((\w+), *'1m'\)/g, (_, column: string) => `floor(extract(epoch from ${column})/60)*60`),
  );

/** As the ClickHouse data source does. */
const forClickHouse = (sql: string): string =>
  filled(
    sql.replace(
      /\$__timeFilter\((\w+)\)/g,
      (_, column: string) => `${column} >= toDateTime(${FROM_MS / 1000}) AND ${column} <= toDateTime(${TO_MS / 1000})`,
    ),
  );

interface Recipe {
  readonly store: string;
  readonly title: string;
  readonly sql: string;
}

function recipes(): Recipe[] {
  const page = readFileSync(join(__dirname, '../../docs/sql.md'), 'utf8');
  const [, block] = /## Grafana[\s\S]*?```sql\n([\s\S]*?)```/.exec(page) ?? [];
  return block
    .trim()
    .split(/\n\n/)
    .map((text) => {
      const [, store, title, sql] = /^-- (\w+): (.*)\n([\s\S]*);$/.exec(text)!;
      return { store, title, sql };
    });
}

const run = async ({ store, sql }: Recipe): Promise<unknown[][]> =>
  store === 'PostgreSQL'
    ? (await client.query<unknown[]>({ text: forPostgres(sql), rowMode: 'array' })).rows
    : clickhouse.rows(forClickHouse(sql));

const ANSWERS: Readonly<Record<string, (rows: unknown[][]) => void>> = {
  'events of a node by minute': (rows) => {
    expect(rows).toHaveLength(ROWS / 3);
    expect(rows[0]).toEqual([new Date(FROM_MS + 60_000), '1']);
  },
  'a metric by application, with the index on metric and time': (rows) => {
    expect(rows).toHaveLength(ROWS);
    expect(rows[1].slice(1)).toEqual(['app1', 1]);
  },
  'spans of a trace': (rows) => {
    expect(rows).toHaveLength(5);
    expect(rows[3].slice(1, 4)).toEqual(['app1', 'GET', expect.anything()]);
    expect(Number(rows[3][3])).toBe(3);
  },
  'the nodes with the most lines': (rows) => {
    expect(new Set(rows)).toEqual(new Set([0, 1, 2].map((n) => [`node-${n}`, String(ROWS / 3)])));
  },
  'error rate of applications, from the roll-up': (rows) => {
    expect(rows).toHaveLength(ROWS);
    expect(rows.slice(0, 2).map((row) => row.slice(1))).toEqual([
      ['app0', 1],
      ['app1', 0],
    ]);
  },
  'latency of requests, from the roll-up': (rows) => {
    expect(rows).toHaveLength(ROWS);
    expect(rows[7].slice(1)).toEqual(['app1', 7]);
  },
};

test('there is an answer to compare for each recipe', () => {
  expect(recipes().map(({ title }) => title)).toEqual(Object.keys(ANSWERS));
});

test.each(recipes())('$store: $title', async (recipe) => {
  const answer = await run(recipe);
  expect(answer).not.toEqual([]);
  ANSWERS[recipe.title](answer);
});

test('the first query that the server was thought for works as it was written', async () => {
  const sql = `SELECT time_bucket('1 minute', event_time) AS ts, COUNT(*)
FROM observability_events
WHERE node = $__variable_node
  AND raw->>'source' = $__variable_source_type
  AND $__timeFilter(event_time)
GROUP BY ts
ORDER BY ts;`;
  expect(
    (await client.query(forPostgres(sql.replace('$__variable_node', "'node-1'").replace('$__variable_source_type', "'metrics'"))))
      .rows,
  ).toHaveLength(ROWS / 3);
});

test('bare milliseconds of Grafana are taken for seconds by ClickHouse, as the page says', async () => {
  const top = (from: string, to: string): Promise<unknown[][]> =>
    clickhouse.rows(
      filled(
        `SELECT node, count() AS total FROM logs WHERE timestamp >= ${from} AND timestamp <= ${to} GROUP BY node ORDER BY total DESC LIMIT 5`,
      ),
    );
  expect(await top('$__from', '$__to')).toEqual([]);
  expect(await top('fromUnixTimestamp64Milli($__from)', 'fromUnixTimestamp64Milli($__to)')).toHaveLength(3);
});

test('conditions on the stream of events reach the partitions of its tables', async () => {
  const sql =
    "EXPLAIN (COSTS OFF) SELECT * FROM observability_events WHERE source = 'metrics' AND event_time >= '2026-01-15Z' AND event_time < '2026-01-16Z'";
  const { rows } = await client.query<string[]>({ text: sql, rowMode: 'array' });
  const scanned = rows.flatMap(([line]) => / on (\S+)/.exec(line)?.[1] ?? []);
  const { rows: days } = await client.query<{ name: string }>(
    'SELECT DISTINCT tableoid::regclass::text AS name FROM metrics_events',
  );
  expect(days).toHaveLength(1);
  const [{ name }] = days;
  expect(scanned.filter((each) => !each.includes('time_'))).toEqual([name.replace('_timescaledb_internal.', '')]);
});
