/** Demotion with the built command: asked for on the command line, killed on its way, late rows, and back. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { TestServer } from '../support/server';
import { ServerStores } from '../support/server-stores';

const DAY_MS = 86_400_000;
const MAIN = join(__dirname, '../../dist/main.js');
const dayMs = Math.floor(Date.now() / DAY_MS) * DAY_MS - 5 * DAY_MS;
const day = new Date(dayMs).toISOString().slice(0, 10);

let stores: ServerStores;
let server: TestServer;

const start = async (): Promise<void> => {
  server = await stores.start({ DEMOTION_INTERVAL_MS: '300' });
};

beforeAll(async () => {
  stores = await ServerStores.open();
  await start();
}, 60_000);
afterAll(async () => {
  await server?.stop();
  await stores.close();
}, 60_000);

async function demote(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const run = promisify(execFile)(process.execPath, [MAIN, 'demote', ...args, '--admin', `http://${server.admin}`]);
  return run.then(
    ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
    (error: { code: number; stdout: string; stderr: string }) => error,
  );
}

async function send(first: number, count: number): Promise<void> {
  const rows = Array.from({ length: count }, (_, i) => ({
    time: new Date(dayMs + (first + i) * 1_000).toISOString(),
    app: 'shop',
    value: first + i,
    labels: { n: first + i, text: 'x' },
  }));
  expect((await server.post('/write/metrics', JSON.stringify(rows))).status).toBe(200);
}

const both = async (): Promise<number[]> => {
  const [hot, cold] = await Promise.all(
    (['hot', 'cold'] as const).map((tier) => server.sql(tier, 'SELECT count(*), count(DISTINCT value) FROM metrics_events')),
  );
  return [hot, cold].flatMap(({ rows }) => (rows[0] as string[]).map(Number));
};

test('a day moves to ClickHouse and back by command, over kill -9, and late rows arrive once', async () => {
  await send(0, 2_000);
  await server.drained();
  const aged = ['--table', 'metrics_events', '--older-than', '2d'];
  const plan = await demote('plan', ...aged);
  expect([plan.code, plan.stdout]).toEqual([0, expect.stringMatching(new RegExp(`^[\\w.]+  ${day}T.*rows`))]);
  expect(await demote('run', ...aged, '--no-wait')).toMatchObject({ code: 0 });
  await server.stop('SIGKILL');
  await start();
  await send(1_000, 10);
  const status = async (): Promise<{ state: string; rows_total: number; error: string | null }> =>
    JSON.parse((await demote('status', '--json')).stdout.trim().split('\n').at(-1)!) as Awaited<ReturnType<typeof status>>;
  const deadline = Date.now() + 30_000;
  while ((await status()).state !== 'demoted' && Date.now() < deadline);
  expect(await status()).toMatchObject({ state: 'demoted', error: null });
  await send(1_005, 10);
  await server.drained();
  await server.sqlUntil('cold', 'SELECT count() FROM metrics_events', 2_020);
  expect(await both()).toEqual([0, 0, 2_020, 2_000]);
  const ledger = (await (await fetch(`http://${server.admin}/api/ledger`)).json()) as {
    balanced: boolean;
    tables: { diverted: number }[];
  };
  expect([ledger.balanced, ledger.tables[0].diverted]).toEqual([true, 2_020 - (await status()).rows_total]);

  const moved = (await status()).rows_total;
  const restored = await demote('restore', '--table', 'metrics_events', '--from', day, '--to', day);
  expect([restored.code, restored.stdout]).toEqual([0, expect.stringContaining('restored')]);
  expect(await both()).toEqual([moved, 2_000, 2_020 - moved, expect.any(Number)]);
  const labels = await server.sql(
    'hot',
    `SELECT count(*) FROM metrics_events WHERE labels = jsonb_build_object('n', value::int, 'text', 'x')`,
  );
  expect(labels.rows).toEqual([[String(moved)]]);
}, 90_000);

test('wrong requests are told what is wrong, and change nothing', async () => {
  expect(await demote('plan', '--table', 'nothing', '--older-than', '2d')).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('there is no table nothing'),
  });
  expect(await demote('run', '--table', 'metrics_events', '--older-than', 'soon')).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('older_than must be a time'),
  });
  expect(await demote('restore', '--table', 'metrics_events')).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('give --from and --to, or --all'),
  });
  expect(await demote('restore', '--table', 'metrics_events', '--from', '2026-13-01', '--to', day)).toMatchObject({ code: 1 });
  const response = await fetch(`http://${server.admin}/api/demotions/run`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: '{',
  });
  expect(response.status).toBe(400);
});
