/** Row 42 of the faults with the built command and real stores: checkpoints that are lost or older after kill -9. */
import { cp, mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { TestServer } from '../support/server';
import { ServerStores } from '../support/server-stores';

let stores: ServerStores;
let server: TestServer;

beforeAll(async () => {
  stores = await ServerStores.open();
}, 60_000);
afterAll(async () => {
  await server?.stop();
  await stores.close();
}, 60_000);

const start = (): Promise<TestServer> => stores.start();

let sent = 0;

/** Requests one after the other, each with a row for either store; day and number differ from row to row. */
async function send(requests: number): Promise<void> {
  for (let i = 0; i < requests; i++) {
    const n = sent++;
    const time = new Date(Date.now() - (n % 2) * 86_400_000).toISOString();
    expect((await server.post('/write/things', `[{"time":"${time}","n":${n}}]`)).status).toBe(200);
    expect((await server.post('/write/logs', JSON.stringify({ time, message: `m${n}` }))).status).toBe(200);
  }
}

const checkpoints = async (): Promise<string[]> =>
  (await readdir(join(stores.path, 'wal'))).filter((name) => /^delivery-.*\.(state|copy)$/.test(name));

async function expectExact(): Promise<void> {
  await server.drained();
  const rows = String(sent);
  expect((await server.sql('hot', 'SELECT count(*), count(DISTINCT n) FROM things')).rows).toEqual([[rows, rows]]);
  expect((await server.sql('cold', 'SELECT count(), uniqExact(message) FROM logs_events')).rows).toEqual([[rows, rows]]);
  const ledger = (await (await fetch(`http://${server.admin}/api/ledger`)).json()) as { balanced: boolean };
  expect(ledger.balanced).toBe(true);
}

test('after kill -9 and the loss of checkpoints, in one or all files, now or of an earlier time, every row is in its store once', async () => {
  const wal = join(stores.path, 'wal');
  const kept = join(stores.path, 'kept');
  await mkdir(kept);
  server = await start();
  const harms: ((name: string) => Promise<void>)[] = [
    async (name) => (name.endsWith('.state') ? rm(join(wal, name)) : undefined),
    (name) => rm(join(wal, name)),
    (name) => cp(join(kept, name), join(wal, name)),
  ];
  for (const harm of harms) {
    await send(5);
    await server.drained();
    // Between two renames a file may be a moment old: the server goes on saving.
    for (const name of await checkpoints()) await cp(join(wal, name), join(kept, name));
    await send(20);
    await server.stop('SIGKILL');
    const names = await checkpoints();
    expect(names.sort()).toEqual(['delivery-cold.copy', 'delivery-cold.state', 'delivery-hot.copy', 'delivery-hot.state']);
    for (const name of names) await harm(name);
    server = await start();
    await expectExact();
  }
  expect(await server.stop()).toBe(0);
}, 90_000);
