/** A poison row from the client to the dead letters and, by the command line, back into a store; the server is killed in between. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { TestServer } from '../support/server';
import { ServerStores } from '../support/server-stores';

const MAIN = join(__dirname, '..', '..', 'dist', 'main.js');
const TIME = new Date().toISOString();

let stores: ServerStores;
let server: TestServer;

const start = (): Promise<TestServer> => stores.start();

beforeAll(async () => {
  stores = await ServerStores.open();
  server = await start();
}, 60_000);
afterAll(async () => {
  await server?.stop();
  await stores.close();
}, 60_000);

/** What `thermocline dead-letters` prints; throws with its stderr when it fails. */
async function command(...args: string[]): Promise<string> {
  const all = [MAIN, 'dead-letters', ...args, '--admin', `http://${server.admin}`];
  return (await promisify(execFile)(process.execPath, all)).stdout;
}

async function api(path: string, body?: unknown): Promise<{ status: number; body: Record<string, unknown> }> {
  const init =
    body === undefined ? {} : { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) };
  const response = await fetch(`http://${server.admin}${path}`, init);
  return { status: response.status, body: (await response.json()) as Record<string, unknown> };
}

test('a number that jsonb cannot hold is parked with its column, survives kill -9, and goes to the other tier once', async () => {
  const rows = [1, 2, 3].map((n) => `{"time":"${TIME}","n":${n},"doc":{"big":${n === 2 ? '1e400000' : n}}}`);
  const written = await server.post('/write/things', `[${rows.join()}]`);
  expect(await written.json()).toMatchObject({ accepted: 3, rejected: 0 });
  await server.drained();
  await server.sqlUntil('hot', 'SELECT count(*) FROM things', 2);
  const { body } = await api('/api/dead-letters?table=things&tier=hot&code=22003');
  expect(body).toMatchObject({
    kept: 1,
    next: null,
    dead_letters: [
      { table: 'things', tier: 'hot', stage: 'hot_insert', code: '22003', column: 'doc', row: { doc: '{"big":1e400000}' } },
    ],
  });
  const [{ id }] = body['dead_letters'] as [{ id: string }];

  await server.stop('SIGKILL');
  server = await start();
  expect(await command('list', '--table', 'things')).toMatch(new RegExp(`^${id}  .*  hot  things  22003  doc  `));
  expect(JSON.parse(await command('show', id))).toMatchObject({ id, row_arrow: expect.stringMatching(/^[A-Za-z0-9+/=]{100,}$/) });
  expect(await command('replay', id, '--to', 'cold')).toBe('1 replayed, 0 kept\n');
  await server.sqlUntil('cold', "SELECT count() FROM system.tables WHERE name = 'things'", 1);
  await server.sqlUntil('cold', 'SELECT max(doc) FROM things', '{"big":1e400000}');
  await expect(command('replay', id)).rejects.toThrow(/1 dead letters stay as they were/);
  expect((await server.sql('cold', 'SELECT count() FROM things')).rows).toEqual([['1']]);
  expect(await command('list')).toBe('');
}, 60_000);

test('the routes refuse what they do not understand', async () => {
  const refusals: [string, unknown, RegExp][] = [
    ['/api/dead-letters?limit=0', undefined, /limit/],
    ['/api/dead-letters?after=x', undefined, /after/],
    ['/api/dead-letters?tier=warm', undefined, /tier/],
    ['/api/dead-letters?colour=red', undefined, /colour/],
    ['/api/dead-letters/replay', {}, /either ids or a filter/],
    ['/api/dead-letters/replay', { ids: ['1-0'], filter: {} }, /either ids or a filter/],
    ['/api/dead-letters/replay', { ids: ['1-0'], tier: 'warm' }, /tier/],
    ['/api/dead-letters/drop', { filter: { id: '1-0' } }, /unknown filter id/],
    ['/api/dead-letters/drop', { ids: [1] }, /ids/],
  ];
  for (const [path, sent, message] of refusals) {
    const { status, body } = await api(path, sent);
    expect([path, status]).toEqual([path, 400]);
    expect((body['error'] as { message: string }).message).toMatch(message);
  }
  expect((await api('/api/dead-letters/999-0')).status).toBe(404);
  expect((await fetch(`http://${server.admin}/api/dead-letters/drop`)).status).toBe(405);
  expect((await fetch(`http://${server.admin}/api/dead-letters/drop`, { method: 'POST', body: '{}' })).status).toBe(415);
  await expect(command('drop')).rejects.toThrow(/give ids, or a filter, or --all/);
});
