/** Demotions on real stores, cut off at every step, stuck, and with two servers. */
import type { TableName } from '../../src/core/ids';
import { startClickHouse, type TestClickHouse } from '../support/clickhouse';
import { DAY_MS, EVENTS, eventsOf, FIRST_DAY_MS } from '../support/demotion-events';
import { DemotionRig } from '../support/demotion-rig';
import { startPostgres, type TestPostgres } from '../support/postgres';

let postgres: TestPostgres;
let clickhouse: TestClickHouse;
let rig: DemotionRig;

beforeAll(async () => {
  [postgres, clickhouse] = await Promise.all([startPostgres(), startClickHouse()]);
  rig = new DemotionRig('ab'.repeat(16), postgres.url, clickhouse);
  await rig.start();
}, 120_000);
afterEach(() => rig.stopRunners());
afterAll(async () => {
  await rig.stop();
  await Promise.all([postgres.stop(), clickhouse.stop()]);
});

/** A store that fails at its n-th step, before or after the step took effect, as often as asked. */
function failing<T extends object>(target: T, shouldFail: (method: string, when: 'before' | 'after') => boolean): T {
  return new Proxy(target, {
    get: (object, property) => {
      const value: unknown = Reflect.get(object, property);
      if (typeof value !== 'function') return value;
      const method = String(property);
      const call = value.bind(object) as (...args: unknown[]) => unknown;
      if (!STEP_METHODS.has(method)) return call;
      return async (...args: unknown[]) => {
        if (shouldFail(method, 'before')) throw new Error(`cut off before ${method}`);
        const result = await call(...args);
        if (shouldFail(method, 'after')) throw new Error(`cut off after ${method}`);
        return result;
      };
    },
  });
}

const STEP_METHODS = new Set([
  'close',
  'update',
  'flip',
  'reopen',
  'bringBack',
  'flipBack',
  'insert',
  'slices',
  'erase',
  'count',
]);

test('cut off before and after every step, there and back: each row is seen once at every moment', async () => {
  await rig.create(EVENTS);
  const day = FIRST_DAY_MS + DAY_MS;
  await rig.write(EVENTS, eventsOf(day, 3_000));
  const expected = [3_000, (3_000 * 2_999) / 2];
  const before = await rig.hotRows('events');
  const failed = new Set<string>();
  const once = (method: string, when: 'before' | 'after'): boolean => {
    const point = `${when} ${method}`;
    if (failed.has(point)) return false;
    failed.add(point);
    return true;
  };
  const seen: string[] = [];
  const watching = new AbortController();
  const watch = (async () => {
    while (!watching.signal.aborted) seen.push(JSON.stringify(await rig.visible('events')));
  })();
  const cutting = { hot: failing(rig.hot, once), cold: failing(rig.cold, once) };
  const runner = rig.runner(cutting);
  await runner.demote('events', 2 * DAY_MS);
  const [demotion] = await rig.settled('events');
  expect(demotion).toMatchObject({ state: 'demoted', digest: { count: 3_000 } });
  expect(await rig.hotRows('events')).toEqual([]);
  expect(await rig.coldCount('SELECT uniqExact(_batch_lo) FROM events')).toBeGreaterThan(3);
  await runner.restore('events', day, day + DAY_MS);
  expect((await rig.settled('events'))[0]).toMatchObject({ state: 'restored', rowsBack: 3_000 });
  watching.abort();
  await watch;
  expect(await rig.hotRows('events')).toEqual(before);
  expect(await rig.coldCount('SELECT count() FROM events')).toBe(0);
  expect(new Set(seen)).toEqual(new Set([JSON.stringify(expected)]));
  // `reopen` comes with aborting only.
  expect(failed.size).toBe((STEP_METHODS.size - 1) * 2);
}, 180_000);

test('a partition that cannot go on does not hold up others, and of two servers one works at a time', async () => {
  const stuck = { ...EVENTS, table: 'stuck_events' as TableName };
  const free = { ...EVENTS, table: 'free_events' as TableName };
  const other = new DemotionRig('ef'.repeat(16), postgres.url, clickhouse);
  await other.start();
  try {
    for (const schema of [stuck, free]) {
      await rig.create(schema);
      await other.create(schema);
      await rig.write(schema, eventsOf(FIRST_DAY_MS, 900));
      await rig.write(schema, eventsOf(FIRST_DAY_MS + DAY_MS, 900, 900));
    }
    const partition = await rig.partitionOf(stuck, FIRST_DAY_MS);
    await rig.client.query(`CREATE VIEW of_partition AS SELECT * FROM ${partition}`);
    const runners = [rig.runner(), other.runner()];
    await runners[0].demote('stuck_events', 2 * DAY_MS);
    await runners[1].demote('free_events', 2 * DAY_MS);
    expect((await rig.settled('free_events')).map(({ state }) => state)).toEqual(['demoted', 'demoted']);
    const days = async (): Promise<string[]> => (await rig.hot.list({ table: 'stuck_events' })).map(({ state }) => state);
    while ((await days()).join() !== 'flipping,demoted') await new Promise((resolve) => setTimeout(resolve, 20));
    expect(await rig.visible('stuck_events')).toEqual([1_800, (1_800 * 1_799) / 2]);
    await rig.client.query('DROP VIEW of_partition');
    await rig.settled('stuck_events');
    for (const table of ['stuck_events', 'free_events']) {
      expect(await rig.visible(table)).toEqual([1_800, (1_800 * 1_799) / 2]);
      expect(await rig.coldCount(`SELECT count() FROM ${table}`)).toBe(1_800);
    }
  } finally {
    await other.stop();
  }
}, 120_000);
