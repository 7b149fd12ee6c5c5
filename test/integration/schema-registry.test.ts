/**
 * Two servers on one PostgreSQL and one ClickHouse: each has its own registry and its own sinks, as two processes would. They meet in
 * `table_registry` only. Guarantees: whatever they make at once, no call fails, no column is missing, and both end with one schema.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Data } from 'apache-arrow';
import { Client } from 'pg';
import { recordBatch } from '../../src/columnar/record-batch';
import type { TableName } from '../../src/core/ids';
import { sameContent } from '../../src/core/merge-schema';
import type { SinkWrite } from '../../src/core/sink';
import type { ColumnSchema, ColumnType, TableSchema } from '../../src/core/table-schema';
import { SchemaReconciler } from '../../src/registry/reconcile';
import { FileRegistry } from '../../src/registry/registry';
import { ClickHouseSink } from '../../src/sinks/clickhouse/sink';
import { PostgresSink } from '../../src/sinks/postgres/sink';
import { silentLogger, Telemetry } from '../../src/telemetry';
import { startClickHouse, type TestClickHouse } from '../support/clickhouse';
import { type ColumnValue, columnOf } from '../support/columns';
import { timestamps } from '../support/log-batches';
import { writeOf } from '../support/metric-batches';
import { startPostgres, type TestPostgres } from '../support/postgres';

const WAL = 'c'.repeat(32);
const NOW_NS = BigInt(Date.UTC(2026, 0, 15, 12)) * 1_000_000n;
/** More by hand: SCHEMA_RACE_ROUNDS=100. */
const ROUNDS = Number(process.env['SCHEMA_RACE_ROUNDS'] ?? 20);

let postgres: TestPostgres;
let clickhouse: TestClickHouse;
let client: Client;
let directory: string;

beforeAll(async () => {
  [postgres, clickhouse] = await Promise.all([startPostgres(), startClickHouse()]);
  client = new Client({ connectionString: postgres.url });
  await client.connect();
  directory = await mkdtemp(join(tmpdir(), 'thermocline-schemas-'));
});

afterAll(async () => {
  await client.end();
  await Promise.all([postgres.stop(), clickhouse.stop(), rm(directory, { recursive: true })]);
});

interface Server {
  readonly registry: FileRegistry;
  readonly hot: PostgresSink;
  readonly cold: ClickHouseSink;
  readonly reconciler: SchemaReconciler;
  stop(): Promise<void>;
}

async function startServer(name: string): Promise<Server> {
  const logger = silentLogger();
  const registry = await FileRegistry.open(join(directory, name));
  const hot = new PostgresSink({
    url: postgres.url,
    logger,
    telemetry: new Telemetry(),
    onSchema: (schema) => registry.adopt(schema),
    now: () => Number(NOW_NS / 1_000_000n),
  });
  const cold = new ClickHouseSink({ url: clickhouse.url, logger });
  await hot.start();
  await cold.start();
  const reconciler = new SchemaReconciler({ registry, shared: hot, sinks: [hot, cold], logger, intervalMs: 100 });
  return {
    registry,
    hot,
    cold,
    reconciler,
    stop: async () => {
      await reconciler.stop();
      await Promise.all([hot.stop(), cold.stop()]);
    },
  };
}

let servers: [Server, Server];
beforeEach(async () => {
  servers = [await startServer('one'), await startServer('two')];
});
afterEach(() => Promise.all(servers.map((server) => server.stop())));

const time: ColumnSchema = { name: 'time', type: 'timestamp', nullable: false };
const col = (name: string, type: ColumnType): ColumnSchema => ({ name, type, nullable: true });

async function evolve(server: Server, table: TableName, columns: ColumnSchema[]): Promise<void> {
  const schema = await server.registry.evolve(table, [time, ...columns], { timeColumn: 'time' });
  // As delivery does before a write: both stores at once.
  await Promise.all([server.hot.ensureTable(schema), server.cold.ensureTable(schema)]);
}

async function until(condition: () => Promise<boolean> | boolean): Promise<void> {
  const deadline = Date.now() + 20_000;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error('the condition did not come true');
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** One row, for either store. */
function write(lsn: number, schema: TableSchema, columns: { name: string; data: Data }[]): SinkWrite {
  const made = writeOf(WAL, lsn, recordBatch([{ name: 'time', data: timestamps([NOW_NS]) }, ...columns]), schema);
  return { ...made, id: { ...made.id, partition: '20260115' } };
}

test('two servers make and evolve the same tables at once: no error, no missing column, one schema', async () => {
  const [one, two] = servers;
  for (let round = 0; round < ROUNDS; round++) {
    const table = `race_${round}` as TableName;
    // Both make the table with a column of their own, one in common, and one of which they have another idea.
    await Promise.all([
      evolve(one, table, [col('a', 'string'), col('both', 'bool'), col('value', 'int64')]),
      evolve(two, table, [col('b', 'float64'), col('both', 'bool'), col('value', 'float64')]),
    ]);
    await Promise.all([evolve(one, table, [col('c', 'int64')]), evolve(two, table, [col('d', 'json')])]);
  }
  for (const server of servers) server.reconciler.start();
  const tables = Array.from({ length: ROUNDS }, (_, round) => `race_${round}` as TableName);
  const schemaOf = ({ registry }: Server, table: TableName): TableSchema => registry.get(table)!;
  await until(() =>
    tables.every((table) => sameContent(schemaOf(one, table), schemaOf(two, table)) && schemaOf(one, table).columns.length === 8),
  );
  const names = ['a', 'b', 'both', 'c', 'd', 'time', 'value', 'value_int'];
  for (const table of tables) {
    const schema = schemaOf(one, table);
    expect(schema.columns.map(({ name }) => name).sort()).toEqual(names);
    expect(schema.columns.find(({ name }) => name === 'value')?.type).toBe('float64');
    for (const store of [one.hot, one.cold]) {
      await store.ensureTable(schema);
      const expected = [...store.columnsOf(schema)];
      const found = (await store.describe(table))!;
      expect(expected.map(([name]) => [name, found.get(name)])).toEqual(expected);
    }
  }
  const versions = await client.query<{ table_name: string; version: number }>(
    "SELECT table_name, version FROM table_registry WHERE table_name LIKE 'race%'",
  );
  expect(versions.rows).toHaveLength(ROUNDS);
  for (const { table_name, version } of versions.rows) expect(schemaOf(two, table_name as TableName).version).toBe(version);
}, 120_000);

test('an integer column becomes a double: earlier and later values are read from it, integers exactly beside it', async () => {
  const [one] = servers;
  const table = 'widened' as TableName;
  const big = 9_007_199_254_740_993n;
  const before = await one.registry.evolve(table, [time, col('v', 'int64'), col('n', 'int32')], { timeColumn: 'time' });
  const old = [
    { name: 'v', data: columnOf('int64', [big], 'plain') },
    { name: 'n', data: columnOf('int32', [7], 'plain') },
  ];
  for (const sink of [one.hot, one.cold]) {
    await sink.ensureTable(before);
    await sink.write(write(1, before, old));
  }
  const after = await one.registry.evolve(table, [col('v', 'float64'), col('n', 'int64')], { timeColumn: 'time' });
  expect(after.columns.map(({ name, type }) => `${name} ${type}`)).toEqual([
    'time timestamp',
    'v float64',
    'n int64',
    'v_int int64',
  ]);
  const halves = [{ name: 'v', data: columnOf('float64', [0.7], 'plain') }];
  for (const sink of [one.hot, one.cold]) {
    await sink.ensureTable(after);
    await sink.write(write(2, after, halves));
    // Rows that were accepted before the change and are delivered after it.
    await sink.write(write(3, after, old));
  }
  const hot = await client.query({ text: 'SELECT v, v_int::text, n::text FROM widened ORDER BY v_int, v', rowMode: 'array' });
  const exact = [Number(big), String(big), '7'];
  expect(hot.rows).toEqual([exact, exact, [0.7, null, null]]);
  const cold = await clickhouse.rows('SELECT v, v_int, n FROM widened ORDER BY v_int, v');
  expect(cold).toEqual([exact, exact, [0.7, null, null]]);
}, 60_000);

test('a column that became text holds the same texts, whether the store or the server converted them', async () => {
  const [one] = servers;
  const table = 'coerced' as TableName;
  const samples: [ColumnType, ColumnValue][] = [
    ['int64', -9_007_199_254_740_993n],
    ['bool', true],
    ['date', Date.UTC(2024, 1, 29) / 86_400_000],
    ['timestamp', NOW_NS + 123_456_789n],
    ['attributes', { key: 'text' }],
    ['list<int64>', [1n, 2n]],
    ['binary', Uint8Array.of(0, 255)],
  ];
  const columns = samples.map(([type], i): ColumnSchema => ({ name: `c${i}`, type, nullable: true, conflict: 'coerce' }));
  const before = await one.registry.evolve(table, [time, ...columns], { timeColumn: 'time' });
  const old = samples.map(([type, value], i) => ({ name: `c${i}`, data: columnOf(type, [value], 'plain') }));
  for (const sink of [one.hot, one.cold]) {
    await sink.ensureTable(before);
    await sink.write(write(1, before, old));
  }
  const after = await one.registry.evolve(
    table,
    columns.map(({ name }) => col(name, 'string')),
    { timeColumn: 'time' },
  );
  for (const sink of [one.hot, one.cold]) await sink.write(write(2, after, old));
  const names = columns.map(({ name }) => name).join(', ');
  const hot = await client.query<string[]>({ text: `SELECT ${names} FROM coerced`, rowMode: 'array' });
  const cold = (await clickhouse.rows(`SELECT ${names} FROM coerced`)) as string[][];
  const scalars = ['-9007199254740993', 'true', '2024-02-29', '2026-01-15T12:00:00.123456789Z'];
  for (const row of [...hot.rows, ...cold]) {
    expect(row.slice(0, 4)).toEqual(scalars);
    expect([JSON.parse(row[4]), JSON.parse(row[5])]).toEqual([{ key: 'text' }, [1, 2]]);
  }
  expect(hot.rows.map((row) => row[6])).toEqual(['AP8=', 'AP8=']);
}, 60_000);

test('a server that does not know yet of a wider column neither fails nor misreads: it looks again', async () => {
  const [one, two] = servers;
  const table = 'stale' as TableName;
  const narrow = await one.registry.evolve(table, [time, col('v', 'int64')], { timeColumn: 'time' });
  await one.hot.ensureTable(narrow);
  const wide = await two.registry.evolve(table, [time, col('v', 'float64')], { timeColumn: 'time' });
  await two.hot.ensureTable(wide);
  const attempt = write(1, narrow, [{ name: 'v', data: columnOf('int64', [42n], 'plain') }]);
  await expect(one.hot.write(attempt)).rejects.toMatchObject({ failure: 'retry' });
  await one.hot.write(attempt);
  const { rows } = await client.query({ text: 'SELECT v, v_int::text FROM stale', rowMode: 'array' });
  expect(rows).toEqual([[42, '42']]);
  expect(one.registry.get(table)?.columns.find(({ name }) => name === 'v')?.type).toBe('float64');
}, 60_000);

test('a server that does not know yet of a wider column of ClickHouse waits until it does, and loses no digit', async () => {
  const [one, two] = servers;
  const table = 'stale_cold' as TableName;
  const big = 9_007_199_254_740_993n;
  const columns = (v: ColumnType, at: ColumnType) => [time, col('v', v), { ...col('at', at), conflict: 'coerce' as const }];
  const narrow = await one.registry.evolve(table, columns('int64', 'timestamp'), { timeColumn: 'time' });
  await one.hot.ensureTable(narrow);
  await one.cold.ensureTable(narrow);
  const old = [
    { name: 'v', data: columnOf('int64', [big], 'plain') },
    { name: 'at', data: timestamps([NOW_NS + 1n]) },
  ];
  await one.cold.write(write(1, narrow, old));
  const wide = await two.registry.evolve(table, columns('float64', 'string'), { timeColumn: 'time' });
  await two.hot.ensureTable(wide);
  await two.cold.ensureTable(two.registry.get(table)!);
  await expect(one.cold.write(write(2, narrow, old))).rejects.toMatchObject({ failure: 'retry', scope: 'table' });
  expect(await clickhouse.rows('SELECT count() FROM stale_cold')).toEqual([['1']]);
  one.reconciler.start();
  await until(() => one.registry.get(table)?.columns.find(({ name }) => name === 'v')?.type === 'float64');
  await one.cold.write(write(2, one.registry.get(table)!, old));
  const row = [Number(big), String(big), '2026-01-15T12:00:00.000000001Z'];
  expect(await clickhouse.rows('SELECT v, v_int, at FROM stale_cold')).toEqual([row, row]);
}, 60_000);

test('what one server has made is taken over by the other, and made in the store that was missing it after a crash', async () => {
  const [one, two] = servers;
  const table = 'adopted' as TableName;
  const schema = await one.registry.evolve(table, [time, col('v', 'int64')], { timeColumn: 'time' });
  // The crash: the hot store has the table, the cold one has not.
  await one.hot.ensureTable(schema);
  two.reconciler.start();
  await until(() => two.registry.get(table) !== undefined);
  expect(await two.reconciler.ensureTable(schema)).toEqual({ hot: 'ready', cold: 'ready' });
  expect((await two.cold.describe(table))?.get('v')).toBe('Nullable(Int64)');
}, 60_000);

test('a table that is frozen on one server is so on all, until it is freed on any', async () => {
  const [one, two] = servers;
  const table = 'frozen' as TableName;
  const definition = { table, columns: [time], timeColumn: 'time' };
  await one.hot.ensureTable(await one.registry.register({ ...definition, policy: 'freeze' }));
  two.reconciler.start();
  await until(() => two.registry.get(table)?.policy === 'freeze');
  await expect(two.registry.register({ ...definition, columns: [time, col('v', 'int64')] })).rejects.toMatchObject({
    code: 'already_exists',
  });
  await two.hot.ensureTable(await two.registry.register({ ...definition, policy: 'evolve' }));
  one.reconciler.start();
  await until(() => one.registry.get(table)?.policy === 'evolve');
  const { rows } = await client.query("SELECT policy, version FROM table_registry WHERE table_name = 'frozen'");
  expect(rows).toEqual([{ policy: 'evolve', version: 2 }]);
}, 60_000);

test('a column whose name is too long for PostgreSQL is stored under a short one in both stores', async () => {
  const [one] = servers;
  const table = 'longnames' as TableName;
  const name = `${'long '.repeat(30)}name`;
  const schema = await one.registry.evolve(table, [time, col(name, 'int64')], { timeColumn: 'time' });
  const storeName = schema.columns[1].storeName;
  for (const sink of [one.hot, one.cold]) {
    await sink.ensureTable(schema);
    await sink.write(write(1, schema, [{ name, data: columnOf('int64', [5n], 'plain') }]));
  }
  const { rows } = await client.query({ text: `SELECT "${storeName}"::text FROM longnames`, rowMode: 'array' });
  expect(rows).toEqual([['5']]);
  expect(await clickhouse.rows(`SELECT \`${storeName}\` FROM longnames`)).toEqual([['5']]);
}, 60_000);

test('a view on a column does not stand in the way of widening it: the old column stays beside the new one', async () => {
  const [one] = servers;
  const table = 'viewed' as TableName;
  const before = await one.registry.evolve(table, [time, col('n', 'int32')], { timeColumn: 'time' });
  await one.hot.ensureTable(before);
  await one.hot.write(write(1, before, [{ name: 'n', data: columnOf('int32', [7], 'plain') }]));
  await client.query('CREATE VIEW over_viewed AS SELECT n FROM viewed');
  const after = await one.registry.evolve(table, [col('n', 'int64')], { timeColumn: 'time' });
  await one.hot.ensureTable(after);
  await one.hot.write(write(2, after, [{ name: 'n', data: columnOf('int64', [2n ** 40n], 'plain') }]));
  const { rows } = await client.query({
    text: 'SELECT n::text, n_before_int64 FROM viewed ORDER BY n NULLS FIRST',
    rowMode: 'array',
  });
  expect(rows).toEqual([
    [null, 7],
    [String(2n ** 40n), null],
  ]);
}, 60_000);
