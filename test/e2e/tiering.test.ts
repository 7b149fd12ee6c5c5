/** Routing rules and roll-ups of the built command. */
import type { TestServer } from '../support/server';
import { ServerStores } from '../support/server-stores';

const DAY_MS = 86_400_000;
const RULES = [
  { signal: 'logs', severity: 'error', tiers: ['hot', 'cold'] },
  { signal: 'logs', labels: { tenant: 'acme*' }, tiers: 'hot' },
  { tables: 'orders', labels: { region: 'eu' }, tiers: 'cold' },
  { tables: 'orders', labels: { region: 'unknown*' }, tiers: 'dead_letters' },
];

let stores: ServerStores;
let server: TestServer;

beforeAll(async () => {
  stores = await ServerStores.open();
  server = await stores.start({
    ROUTING_RULES: JSON.stringify(RULES),
    ROLLUPS_INTERVAL_MS: '200',
    ROLLUPS_TABLES: '{logs_events: [1m]}',
  });
}, 60_000);
afterAll(async () => {
  await server?.stop();
  await stores.close();
}, 60_000);

async function write(table: string, rows: object[]): Promise<void> {
  const response = await server.post(`/write/${table}`, JSON.stringify(rows));
  expect([response.status, await response.json()]).toMatchObject([200, { accepted: rows.length, rejected: 0 }]);
}

test('rows of one request go by severity, labels and table to the tiers of the first rule that they fulfil', async () => {
  await write('logs', [
    { message: 'both', level: 'ERROR' },
    { message: 'hot', labels: { tenant: 'acme-1' } },
    { message: 'cold', level: 'INFO', labels: { tenant: 'other' } },
    { message: 'both-too', level: 'FATAL', labels: { tenant: 'acme-2' } },
  ]);
  await write('orders', [
    { id: 1, region: 'eu' },
    { id: 2, region: 'us' },
  ]);
  await server.drained();
  const names = async (tier: 'hot' | 'cold', query: string) => (await server.sql(tier, query)).rows.flat();
  const messages = 'SELECT message FROM logs_events ORDER BY message';
  expect(await names('hot', messages)).toEqual(['both', 'both-too', 'hot']);
  expect(await names('cold', messages)).toEqual(['both', 'both-too', 'cold']);
  expect(await names('hot', 'SELECT id FROM orders')).toEqual(['2']);
  expect(await names('cold', 'SELECT id FROM orders')).toEqual(['1']);
  const ledger = (await (await fetch(`http://${server.admin}/api/ledger`)).json()) as { balanced: boolean };
  expect(ledger.balanced).toBe(true);
});

test('rows that a rule sends to the dead letters are kept there, counted, and replayed to a tier that is named', async () => {
  const rows = [
    { id: 3, region: 'unknown-1' },
    { id: 4, region: 'eu' },
  ];
  const answer = await (await server.post('/write/orders', JSON.stringify(rows))).json();
  expect(answer).toMatchObject({ accepted: 1, rejected: 0, dead_letters: 1 });
  const letters = async (): Promise<{ id: string; code: string }[]> => {
    const response = await fetch(`http://${server.admin}/api/dead-letters?table=orders`);
    return ((await response.json()) as { dead_letters: { id: string; code: string }[] }).dead_letters;
  };
  let found = await letters();
  while (found.length === 0) found = await letters();
  expect(found).toMatchObject([{ code: 'unroutable' }]);
  const replay = async (tier?: string): Promise<unknown> => {
    const response = await fetch(`http://${server.admin}/api/dead-letters/replay`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ ids: [found[0].id], ...(tier === undefined ? {} : { tier }) }),
    });
    return response.json();
  };
  expect(JSON.stringify(await replay())).toContain('name a tier');
  await replay('cold');
  await server.sqlUntil('cold', 'SELECT count() FROM orders WHERE id = 3', 1);
  expect(await letters()).toEqual([]);
});

test('a dry run tells the tiers of its rows', async () => {
  const response = await server.post('/write/logs?dry_run=1', JSON.stringify([{ message: 'x', level: 'ERROR' }]));
  expect(await response.json()).toMatchObject({ tiers: ['hot', 'cold'], would_accept: 1 });
});

test('a day that is over is summed up, and again when rows come late', async () => {
  const timestamp = new Date(Date.now() - 2 * DAY_MS).toISOString();
  const day = timestamp.slice(0, 10);
  const built = "SELECT sum(`count`) FROM _rollup_logs_events_1m WHERE app = 'shop'";
  for (const total of [3, 6]) {
    await write(
      'logs',
      Array.from({ length: 3 }, () => ({ timestamp, app: 'shop', level: 'INFO', message: 'm' })),
    );
    await server.sqlUntil('cold', built, total);
    const view = `SELECT level, sum(count) FROM logs_events_1m WHERE toDate(bucket) = '${day}' GROUP BY level`;
    expect((await server.sql('cold', view)).rows).toEqual([['INFO', String(total)]]);
  }
});
