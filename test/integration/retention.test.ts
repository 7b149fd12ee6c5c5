/** Old rows of PostgreSQL end with their partitions (native, or chunks of TimescaleDB), beside demotions. */
import type { TableName } from '../../src/core/ids';
import type { OldRows } from '../../src/core/retention';
import type { TableSchema } from '../../src/core/table-schema';
import { PostgresRetention } from '../../src/sinks/postgres/retention';
import { silentLogger } from '../../src/telemetry';
import { RetentionKeeper } from '../../src/tiering/retention';
import { startClickHouse, type TestClickHouse } from '../support/clickhouse';
import { DAY_MS, EVENTS, eventsOf, FIRST_DAY_MS } from '../support/demotion-events';
import { DemotionRig } from '../support/demotion-rig';
import { startPostgres, type TestPostgres } from '../support/postgres';

jest.setTimeout(60_000);

let postgres: TestPostgres;
let clickhouse: TestClickHouse;
let rig: DemotionRig;
let store: PostgresRetention;

beforeAll(async () => {
  [postgres, clickhouse] = await Promise.all([startPostgres(), startClickHouse()]);
  rig = new DemotionRig('ab'.repeat(16), postgres.url, clickhouse);
  store = new PostgresRetention({ url: postgres.url, logger: silentLogger(), lockTimeoutMs: 100, strayRowsMax: 40 });
  await rig.start();
}, 60_000);
afterEach(() => rig.stopRunners());
afterAll(async () => {
  await store.stop();
  await rig.stop();
  await Promise.all([postgres.stop(), clickhouse.stop()]);
});

const day = (n: number): number => FIRST_DAY_MS + n * DAY_MS;

/** A table with 100 rows on each of four days. */
async function fourDays(table: string): Promise<TableSchema> {
  const schema = { ...EVENTS, table: table as TableName };
  await rig.create(schema);
  for (let n = 0; n < 4; n++) await rig.write(schema, eventsOf(day(n), 100, n * 100));
  return schema;
}

/** A keeper that keeps two days as of noon of the fourth day: the first day is over. */
function keeper(schema: TableSchema, isDemoted = false): RetentionKeeper {
  return new RetentionKeeper({
    store,
    tables: () => [schema],
    keepDays: () => 2,
    isDemoted: () => isDemoted,
    clock: () => day(3) + DAY_MS / 2,
    telemetry: rig.telemetry,
    logger: silentLogger(),
  });
}

const rowsByDay = async (table: string): Promise<unknown[]> =>
  (
    await rig.client.query(
      `SELECT (time AT TIME ZONE 'UTC')::date::text AS day, count(*)::int AS n FROM ${table} GROUP BY 1 ORDER BY 1`,
    )
  ).rows;
const kept = (...days: number[]): unknown[] => days.map((n) => ({ day: new Date(day(n)).toISOString().slice(0, 10), n: 100 }));

test('partitions that are wholly older are dropped and counted; late rows of such a day go with the next pass', async () => {
  const schema = await fourDays('aging');
  await keeper(schema).pass();
  expect(await rowsByDay('aging')).toEqual(kept(1, 2, 3));
  expect(await rig.partitionOf(schema, day(0))).toBeUndefined();
  expect(await rig.telemetry.registry.metrics()).toMatch(/retention_partitions_dropped_total\{table="aging"\} 1\n/);
  await rig.write(schema, eventsOf(day(0), 100));
  expect(await rowsByDay('aging')).toEqual(kept(0, 1, 2, 3));
  await keeper(schema).pass();
  expect(await rowsByDay('aging')).toEqual(kept(1, 2, 3));
  expect(await rig.telemetry.registry.metrics()).toMatch(/retention_rows_dropped_total\{table="aging"\} 200\n/);
});

test('a partition that somebody reads is left until he is done, and nobody waits behind it', async () => {
  const schema = await fourDays('read_aging');
  const old: OldRows = { schema, beforeMs: day(1), isDemoted: false };
  const [first, ...more] = (await store.outdated(old))!;
  expect([first, more]).toEqual([expect.objectContaining({ fromMs: day(0), toMs: day(1), rows: 100 }), []]);
  await rig.client.query('BEGIN; SELECT count(*) FROM read_aging');
  expect(await store.drop(old, first)).toBe('busy');
  await rig.client.query('COMMIT');
  expect(await store.drop(old, first)).toBe('dropped');
  expect(await store.drop(old, first)).toBe('kept');
  expect(await rowsByDay('read_aging')).toEqual(kept(1, 2, 3));
});

test('rows on their way to ClickHouse, and those that were taken back, are not dropped', async () => {
  const schema = await fourDays('moving');
  const old: OldRows = { schema, beforeMs: day(1), isDemoted: false };
  const [first] = (await store.outdated(old))!;
  const [planned] = await rig.hot.plan(await rig.hot.partitions(schema, day(1)));
  expect(await store.outdated(old)).toEqual([]);
  expect(await store.drop(old, first)).toBe('kept');
  expect((await rig.hot.close(planned, schema))?.state).toBe('copying');
  await keeper(schema).pass();
  expect(await rowsByDay('moving')).toEqual(kept(0, 1, 2, 3));
  const runner = rig.runner();
  expect((await rig.settled('moving')).map(({ state }) => state)).toEqual(['demoted']);
  expect(await rowsByDay('moving')).toEqual(kept(1, 2, 3));
  await runner.restore('moving', day(0), day(1));
  expect((await rig.settled('moving')).map(({ state }) => state)).toEqual(['restored']);
  await keeper(schema).pass();
  expect(await rowsByDay('moving')).toEqual(kept(0, 1, 2, 3));
});

test('where a policy moves rows, only what it had to give up is dropped', async () => {
  const schema = await fourDays('given_up');
  await keeper(schema, true).pass();
  expect(await rowsByDay('given_up')).toEqual(kept(0, 1, 2, 3));
  const [planned] = await rig.hot.plan(await rig.hot.partitions(schema, day(1)));
  const aborting = await rig.hot.reopen(planned, 'for a test');
  await rig.hot.update(aborting!, { state: 'aborted' });
  await keeper(schema, true).pass();
  expect(await rowsByDay('given_up')).toEqual(kept(1, 2, 3));
});

test('old rows outside of day partitions are deleted in batches, and a table of somebody else is left alone', async () => {
  const schema = await fourDays('strays');
  const isNative = (await rig.client.query("SELECT FROM pg_class WHERE relname = 'strays' AND relkind = 'p'")).rowCount === 1;
  await rig.client.query(
    "INSERT INTO strays (time, value) SELECT timestamptz '1999-01-01Z' + n * interval '1 hour', n FROM generate_series(1, 100) n",
  );
  const old: OldRows = { schema, beforeMs: day(1), isDemoted: false };
  expect(await store.deleteStrays({ ...old, isDemoted: true })).toBe(0);
  expect(await store.deleteStrays(old)).toBe(isNative ? 40 : 0);
  await keeper(schema).pass();
  expect(await rowsByDay('strays')).toEqual(kept(1, 2, 3));
  await rig.client.query(
    'CREATE TABLE theirs (time timestamptz NOT NULL, time_ns smallint, app text, value float8, labels jsonb)',
  );
  await rig.client.query("INSERT INTO theirs (time) VALUES ('1999-01-01Z')");
  const theirs = { ...EVENTS, table: 'theirs' as TableName };
  await keeper(theirs).pass();
  expect(await store.outdated({ ...old, schema: theirs })).toBeUndefined();
  expect((await rig.client.query('SELECT FROM theirs')).rowCount).toBe(1);
});
