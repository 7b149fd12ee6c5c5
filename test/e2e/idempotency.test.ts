/** One request under one key, over every protocol and a restart: stored once, answered alike. */
import { TestServer, temporaryDirectory } from '../support/server';

let server: TestServer;
let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
beforeAll(async () => {
  directory = await temporaryDirectory();
  server = await TestServer.start({ dataDir: directory.path });
}, 60_000);
afterAll(async () => {
  await server.stop();
  await directory.remove();
}, 60_000);

const json = { 'content-type': 'application/json' };

test('REST: the same answer for the same request, 409 for another one, also after a restart', async () => {
  const rows = '[{"message":"once","app":"key"},{"message":"bad","timestamp":"never"}]';
  const send = (body: string) => server.post('/write/logs', body, { ...json, 'idempotency-key': 'rest-1' });
  const first = (await (await send(rows)).json()) as object;
  expect(first).toMatchObject({ accepted: 1, rejected: 1 });
  expect(await (await send(rows)).json()).toEqual(first);
  const other = await send('{"message":"other","app":"key"}');
  expect([other.status, await other.json()]).toMatchObject([409, { error: { code: 'already_exists' } }]);
  await server.stop();
  server = await TestServer.start({ dataDir: directory.path });
  expect(await (await send(rows)).json()).toEqual(first);
  await server.drained();
  expect((await server.sql('cold', `SELECT count() FROM logs_events WHERE app = 'key'`)).rows).toEqual([['1']]);
}, 60_000);

test('OTLP/HTTP: a repeated export is stored once', async () => {
  const body = JSON.stringify({
    resourceLogs: [
      {
        resource: { attributes: [{ key: 'service.name', value: { stringValue: 'otlp key' } }] },
        scopeLogs: [{ logRecords: [{ timeUnixNano: '1790000000000000000', body: { stringValue: 'x' } }] }],
      },
    ],
  });
  const headers = { ...json, 'idempotency-key': 'otlp-1' };
  for (let i = 0; i < 3; i++) expect((await server.post('/v1/logs', body, headers)).status).toBe(200);
  // Without a key equal requests are different requests.
  for (let i = 0; i < 2; i++) expect((await server.post('/v1/logs', body)).status).toBe(200);
  expect((await server.post('/v1/logs', '{"resourceLogs":[]}', headers)).status).toBe(200);
  expect((await server.post('/v1/logs', body.replace('"x"', '"y"'), headers)).status).toBe(409);
  await server.drained();
  expect((await server.sql('cold', `SELECT count() FROM logs_events WHERE app = 'otlp key'`)).rows).toEqual([['3']]);
}, 60_000);

test('a key that is too long is refused before anything is stored', async () => {
  const response = await server.post('/write/logs', '{"message":"x","app":"long"}', {
    ...json,
    'idempotency-key': 'k'.repeat(256),
  });
  expect([response.status, await response.json()]).toMatchObject([
    400,
    { error: { code: 'invalid_argument', at: 'idempotency-key' } },
  ]);
}, 60_000);
