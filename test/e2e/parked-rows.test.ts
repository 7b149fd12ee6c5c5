/** Rows that do not fit their table, by the built command: parked, listed, and replayed once, over kill -9. */
import type { TestServer } from '../support/server';
import { ServerStores } from '../support/server-stores';

const TIME_MS = Date.now();
const REQUESTS = 20;
/** Rows of a request; `PARKED_ROWS=1000000` is the full size. */
const ROWS = Number(process.env['PARKED_ROWS'] ?? 10_000) / REQUESTS;
/** Rows of a request that have a text where the table has a number: 1,000 in all. */
const POISON = 50;

let stores: ServerStores;
let server: TestServer;

const start = (settings: Record<string, string> = {}): Promise<TestServer> => stores.start(settings);

beforeAll(async () => {
  stores = await ServerStores.open();
  server = await start();
}, 60_000);
afterAll(async () => {
  await server?.stop();
  await stores.close();
}, 60_000);

type Answer = Record<string, unknown>;

async function api(path: string, body?: unknown): Promise<Answer> {
  const init =
    body === undefined ? {} : { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) };
  const response = await fetch(`http://${server.admin}${path}`, init);
  expect([path, response.status]).toEqual([path, 200]);
  return (await response.json()) as Answer;
}

async function post(path: string, body: unknown, headers: Record<string, string> = {}): Promise<Answer> {
  const response = await server.post(path, JSON.stringify(body), { 'content-type': 'application/json', ...headers });
  expect(response.status).toBe(200);
  return (await response.json()) as Answer;
}

const register = (table: string, conflict: string, type = 'double'): Promise<Answer> =>
  post('/schema/register', {
    table_name: table,
    columns: [
      { name: 'time', type: 'timestamp' },
      { name: 'id', type: 'bigint' },
      { name: 'v', type, conflict },
    ],
  });

async function kept(count: number): Promise<Answer> {
  const deadline = Date.now() + 20_000;
  for (;;) {
    const page = await api('/api/dead-letters?limit=1000');
    if (page['kept'] === count || Date.now() > deadline) return page;
  }
}

test(
  '1,000 poison rows are letters with their reason, and a wider column takes all of them once, over kill -9',
  async () => {
    await register('readings', 'dead_letter');
    let batch = '';
    for (let request = 0; request < REQUESTS; request++) {
      const rows = Array.from({ length: ROWS }, (_, i) => {
        const id = request * ROWS + i;
        return { time: new Date(TIME_MS + id).toISOString(), id, v: i % (ROWS / POISON) === 3 ? `n${id}` : id / 4 };
      });
      const answer = await post('/write/readings', rows, { 'idempotency-key': `request-${request}` });
      expect(answer).toMatchObject({ accepted: ROWS - POISON, rejected: 0, rejections: [], dead_letters: POISON });
      batch = answer['batch'] as string;
      if (request !== REQUESTS / 2) continue;
      await server.stop('SIGKILL');
      server = await start();
      expect((await post('/write/readings', rows, { 'idempotency-key': `request-${request}` }))['batch']).toBe(batch);
    }
    const page = await kept(1_000);
    expect(page).toMatchObject({ kept: 1_000, next: null });
    const letters = page['dead_letters'] as Answer[];
    for (const letter of letters) {
      const { id } = letter['row'] as { id: string };
      expect(letter).toMatchObject({ table: 'readings', tier: null, stage: 'schema', code: 'type_mismatch', column: 'v' });
      expect(letter).toMatchObject({ schema_version: 1, message: 'expected a number', row: { v: `n${id}` } });
    }
    expect(new Set(letters.map((letter) => (letter['row'] as { id: string }).id)).size).toBe(1_000);
    expect(await api(`/api/batches/${batch}`)).toMatchObject({ dead_letters: POISON });
    await server.drained();
    const line = { table: 'readings', accepted: 1_000, delivered: 0, dead_letters: 1_000, pending: 0, balanced: true };
    const ledger = await api('/api/ledger');
    expect(ledger['balanced']).toBe(true);
    expect((ledger['tables'] as Answer[]).filter(({ tier }) => tier === 'none')).toMatchObject([{ ...line, tier: 'none' }]);

    const query = `SELECT count(*) FROM dead_letters WHERE table_name = 'readings' AND tier IS NULL AND stage = 'schema'
    AND code = 'type_mismatch' AND column_name = 'v' AND schema_version = 1 AND "row"->>'v' = 'n' || ("row"->>'id')`;
    await server.sqlUntil('hot', query, '1000');

    const early = await api('/api/dead-letters/replay', { filter: { table: 'readings' } });
    expect(early).toMatchObject({ replayed: 0, kept: 1_000 });
    expect((early['reasons'] as Answer[])[0]).toMatchObject({ reason: 'column v: type_mismatch: expected a number' });
    await register('readings', 'coerce');
    await post('/write/readings', [{ time: new Date(TIME_MS).toISOString(), id: -1, v: 'text' }]);
    const ids = letters.map(({ id }) => id as string);
    expect(await api('/api/dead-letters/replay', { ids: ids.slice(0, 400) })).toMatchObject({ replayed: 400, kept: 0 });
    await server.sqlUntil('hot', 'SELECT count(*) FROM dead_letters', '600');
    await server.stop('SIGKILL');
    server = await start();
    expect(await api('/api/dead-letters/replay', { ids })).toMatchObject({ replayed: 600, kept: 400 });
    await server.sqlUntil('hot', 'SELECT count(*) FROM readings', String(REQUESTS * ROWS + 1));
    expect((await server.sql('hot', "SELECT count(DISTINCT id), count(*) FROM readings WHERE v LIKE 'n%'")).rows).toEqual([
      ['1000', '1000'],
    ]);
    await server.drained();
    await server.sqlUntil('hot', 'SELECT count(*) FROM dead_letters', '0');
    expect((await api('/api/ledger'))['balanced']).toBe(true);
  },
  60_000 + REQUESTS * ROWS,
);

test('a full store of letters tells the client to come back, and stores nothing of the request', async () => {
  await server.stop();
  server = await start({ DEAD_LETTERS_BYTES_MAX: '1' });
  await register('narrow', 'dead_letter', 'int');
  const poison = [
    { id: 1, v: 1 },
    { id: 2, v: 'x' },
  ];
  expect(await post('/write/narrow', poison)).toMatchObject({ accepted: 1, dead_letters: 1 });
  await kept(1);
  const refused = await server.post(
    '/write/narrow',
    JSON.stringify([
      { id: 3, v: 3 },
      { id: 4, v: 'y' },
    ]),
  );
  expect([refused.status, Number(refused.headers.get('retry-after')) > 0]).toEqual([503, true]);
  expect(await post('/write/narrow', [{ id: 5, v: 5 }])).toMatchObject({ accepted: 1 });
  await server.drained();
  await server.sqlUntil('hot', 'SELECT count(*) FROM narrow', '2');
  expect((await server.sql('hot', 'SELECT id FROM narrow ORDER BY id')).rows).toEqual([['1'], ['5']]);
  expect(await api('/api/dead-letters/drop', { filter: {} })).toMatchObject({ dropped: 1 });
  expect(await post('/write/narrow', [{ id: 6, v: 'z' }])).toMatchObject({ accepted: 0, dead_letters: 1 });
}, 60_000);

test('rows with abnormal labels are parked over OTLP and REST, and go to their tier when they are replayed', async () => {
  await server.stop();
  server = await start({ LABELS_POLICY: 'dead_letter', LABELS_VALUE_BYTES_MAX: '100' });
  await api('/api/dead-letters/drop', { filter: {} });
  const long = 'x'.repeat(101);
  const record = (name: string, value: string): object => ({
    timeUnixNano: `${TIME_MS}000000`,
    body: { stringValue: name },
    attributes: [{ key: 'k', value: { stringValue: value } }],
  });
  const resource = { attributes: [{ key: 'service.name', value: { stringValue: 'parked' } }] };
  const logRecords = [record('good', 'v'), record('long', long)];
  const exported = await post('/v1/logs', { resourceLogs: [{ resource, scopeLogs: [{ logRecords }] }] });
  expect(JSON.stringify(exported)).toContain('1 rows became dead letters because of their labels');
  const rows = [
    { message: 'plain', app: 'parked', labels: { a: 1 } },
    { message: 'empty key', app: 'parked', labels: { '': 1 } },
    { message: 'no object', app: 'parked', labels: 'text' },
  ];
  expect(await post('/write/logs', rows)).toMatchObject({ accepted: 1, rejected: 0, dead_letters: 2 });
  const { dead_letters: letters } = await kept(3);
  expect((await api('/api/dead-letters?tier=hot'))['dead_letters']).toEqual([]);
  expect((await api('/api/dead-letters?tier=none'))['dead_letters']).toEqual(letters);
  const reasons = (letters as Answer[]).map(({ stage, code, column }) => `${String(stage)} ${String(code)} ${String(column)}`);
  expect(new Set(reasons)).toEqual(
    new Set(['decode invalid_name labels', 'decode too_large labels', 'schema type_mismatch labels']),
  );
  const outcome = await api('/api/dead-letters/replay', { filter: { table: 'logs_events' } });
  expect(outcome).toMatchObject({ replayed: 2, kept: 1 });
  const count = "SELECT count() FROM logs_events WHERE app = 'parked'";
  await server.sqlUntil('cold', count, '4');
  const query = `SELECT message, length(labels['k']) FROM logs_events WHERE app = 'parked' AND message = 'long'`;
  expect((await server.sql('cold', query)).rows).toEqual([['long', '101']]);
  const metrics = await (await fetch(`http://${server.admin}/metrics`)).text();
  expect(metrics).toContain('thermocline_abnormal_labels_total{table="logs_events",reason="illegal_key",policy="dead_letter"} 1');
}, 60_000);
