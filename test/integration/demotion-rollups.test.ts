/** Roll-ups beside demotions, on real stores: they have the rows that count in ClickHouse, no others. */
import type { TableName } from '../../src/core/ids';
import type { Rollup } from '../../src/core/rollup';
import { ClickHouseRollups } from '../../src/sinks/clickhouse/rollups';
import { silentLogger } from '../../src/telemetry';
import { movedDaysOf } from '../../src/tiering/demotion/moved-days';
import { RollupKeeper } from '../../src/tiering/rollups';
import { startClickHouse, type TestClickHouse } from '../support/clickhouse';
import { DAY_MS, EVENTS, eventsOf, FIRST_DAY_MS } from '../support/demotion-events';
import { DemotionRig } from '../support/demotion-rig';
import { startPostgres, type TestPostgres } from '../support/postgres';

jest.setTimeout(120_000);

const SCHEMA = { ...EVENTS, table: 'summed' as TableName };
const ROLLUP: Rollup = { source: SCHEMA, period: { name: '1h', seconds: 3_600 }, keepDays: undefined };
const DAY = new Date(FIRST_DAY_MS).toISOString().slice(0, 10).replaceAll('-', '');

let postgres: TestPostgres;
let clickhouse: TestClickHouse;
let rig: DemotionRig;
let store: ClickHouseRollups;
let keeper: RollupKeeper;

beforeAll(async () => {
  [postgres, clickhouse] = await Promise.all([startPostgres(), startClickHouse()]);
  rig = new DemotionRig('ab'.repeat(16), postgres.url, clickhouse);
  store = new ClickHouseRollups({ url: clickhouse.url, logger: silentLogger() });
  await rig.start();
  await rig.create(SCHEMA);
  keeper = new RollupKeeper({
    store,
    rollups: () => [ROLLUP],
    movedDays: async (table) => movedDaysOf(await rig.hot.list({ table })),
    closeAfterMs: 3_600_000,
    intervalMs: 60_000,
    clock: Date.now,
    telemetry: rig.telemetry,
    logger: silentLogger(),
  });
}, 60_000);
afterEach(() => rig.stopRunners());
afterAll(async () => {
  await store.close();
  await rig.stop();
  await Promise.all([postgres.stop(), clickhouse.stop()]);
});

const shown = (): Promise<unknown[][]> =>
  clickhouse.rows('SELECT toString(bucket), app, count, value_sum, value_min, value_max FROM summed_1h ORDER BY bucket, app');
const builtDays = async (): Promise<unknown[]> =>
  (
    await clickhouse.rows("SELECT DISTINCT partition FROM system.parts WHERE active AND rows > 0 AND table = '_rollup_summed_1h'")
  ).flat();

async function hotSums(): Promise<unknown[][]> {
  const { rows } = await rig.client.query<unknown[]>({
    text: `SELECT to_char(date_trunc('hour', time), 'YYYY-MM-DD HH24:MI:SS'), app, count(*)::text, sum(value), min(value), max(value)
      FROM summed GROUP BY 1, 2 ORDER BY 1, 2`,
    rowMode: 'array',
  });
  return rows;
}

test('sums of a demoted day are those of its rows; a copy that does not count is in none, and nothing is left of a day that went back', async () => {
  await rig.write(SCHEMA, eventsOf(FIRST_DAY_MS, 2_000));
  const expected = await hotSums();
  expect(expected.length).toBe(72);

  // A copy under way: the day is left alone, also when the copy begins while the rows are read.
  const [planned] = await rig.hot.plan(await rig.hot.partitions(SCHEMA, FIRST_DAY_MS + DAY_MS));
  const closed = (await rig.hot.close(planned, SCHEMA))!;
  for await (const batch of rig.hot.read(closed, 0, SCHEMA)) {
    await rig.cold.insert(closed, SCHEMA, { chunk: 0, part: 0 }, batch, false);
  }
  await keeper.pass();
  expect(await builtDays()).toEqual([]);
  await store.buildDay(ROLLUP, DAY, { hidden: [], isBusy: () => Promise.resolve(true) });
  expect(await builtDays()).toEqual([]);
  await store.buildDay(ROLLUP, DAY, { hidden: [String(BigInt(`0x${closed.id}`))], isBusy: () => Promise.resolve(false) });
  expect(await builtDays()).toEqual([]);

  const runner = rig.runner();
  expect((await rig.settled('summed')).map(({ state }) => state)).toEqual(['demoted']);
  expect(await shown()).toEqual(expected);
  await keeper.pass();
  expect(await builtDays()).toEqual([DAY]);
  expect(await shown()).toEqual(expected);

  await runner.restore('summed', FIRST_DAY_MS, FIRST_DAY_MS + DAY_MS);
  await rig.settled('summed');
  // Nothing of the day is left: neither rows nor parts.
  await clickhouse.command('OPTIMIZE TABLE summed FINAL');
  await keeper.pass();
  expect(await shown()).toEqual([]);
  expect(await builtDays()).toEqual([]);
  expect(await store.staleDays(ROLLUP, new Set([DAY]))).toEqual([]);

  await runner.demote('summed', 2 * DAY_MS);
  expect((await rig.settled('summed')).map(({ state }) => state)).toEqual(['restored', 'demoted']);
  await keeper.pass();
  expect(await builtDays()).toEqual([DAY]);
  expect(await shown()).toEqual(expected);
});
