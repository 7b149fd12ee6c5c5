/** kill -9 of the server under load: every acknowledged row is in its store, once. The stores live on, the server is restarted. */
import { Client } from 'pg';
import type { TestServer } from '../support/server';
import { ServerStores } from '../support/server-stores';

const KILLS = 50;
const ROWS_PER_REQUEST = 20;
const CLIENTS = 4;

let stores: ServerStores;
beforeAll(async () => {
  stores = await ServerStores.open();
}, 60_000);
afterAll(async () => {
  await stores.close();
}, 60_000);

const start = (): Promise<TestServer> => stores.start();

/** Sends requests until the server dies; adds the ids of acknowledged rows, and of all that were sent. */
async function load(
  server: TestServer,
  table: 'logs' | 'metrics',
  next: () => number,
  acked: Set<number>,
  sent: Set<number>,
): Promise<void> {
  for (;;) {
    const ids = Array.from({ length: ROWS_PER_REQUEST }, next);
    const rows = ids.map((id) =>
      table === 'logs' ? { message: String(id), app: 'kill' } : { metric: 'kill', value: id, app: 'kill' },
    );
    for (const id of ids) sent.add(id);
    try {
      const response = await server.post(`/write/${table}`, JSON.stringify(rows));
      if (response.status !== 200) return;
      await response.json();
    } catch {
      return;
    }
    for (const id of ids) acked.add(id);
  }
}

test(`after ${KILLS} kills every acknowledged row is there once`, async () => {
  const acked = { logs: new Set<number>(), metrics: new Set<number>() };
  const sent = { logs: new Set<number>(), metrics: new Set<number>() };
  let id = 0;
  for (let kill = 0; kill < KILLS; kill++) {
    const server = await start();
    const clients = Array.from({ length: CLIENTS }, (_, i) => {
      const table = i % 2 === 0 ? 'logs' : 'metrics';
      return load(server, table, () => id++, acked[table], sent[table]);
    });
    // From right after the first answers to well into deliveries.
    await new Promise((resolve) => setTimeout(resolve, 20 + ((kill * 37) % 250)));
    await server.stop('SIGKILL');
    await Promise.all(clients);
  }
  const server = await start();
  await server.drained(60_000);
  const ledger = (await (await fetch(`http://${server.admin}/api/ledger`)).json()) as {
    balanced: boolean;
    tables: { table: string; accepted: number; delivered: number }[];
  };
  expect(await server.stop()).toBe(0);

  const hot = new Client({ connectionString: stores.postgres.url });
  await hot.connect();
  const metrics = (await hot.query<{ value: number }>(`SELECT value FROM metrics_events WHERE app = 'kill'`)).rows.map(
    (row) => row.value,
  );
  await hot.end();
  const answer = await fetch(
    `${stores.clickhouse.url}/?query=${encodeURIComponent(`SELECT message FROM logs_events WHERE app = 'kill' FORMAT TSV`)}`,
  );
  const logs = (await answer.text()).split('\n').filter(Boolean).map(Number);

  for (const [stored, table] of [
    [metrics, 'metrics'],
    [logs, 'logs'],
  ] as const) {
    const once = new Set(stored);
    expect(stored.length - once.size).toBe(0);
    expect([...acked[table]].filter((n) => !once.has(n))).toEqual([]);
    expect(stored.filter((n) => !sent[table].has(n))).toEqual([]);
    expect(acked[table].size).toBeGreaterThan(KILLS * ROWS_PER_REQUEST);
    const line = ledger.tables.find((each) => each.table === `${table}_events`);
    expect([ledger.balanced, line?.accepted, line?.delivered]).toEqual([true, stored.length, stored.length]);
  }
}, 240_000);
