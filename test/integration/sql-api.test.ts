/** POST /api/sql and the other answers of the admin port, on a real PostgreSQL and the embedded ClickHouse engine. */
import { tableFromIPC } from 'apache-arrow';
import { Client } from 'pg';
import { AdminServer } from '../../src/admin/server';
import { BUILTIN_TABLES } from '../../src/core/builtin-tables';
import { ClickHouseSql } from '../../src/query/cold';
import { PostgresSql } from '../../src/query/hot';
import { ensureReaderRole } from '../../src/sinks/postgres/reader-role';
import { silentLogger, Telemetry } from '../../src/telemetry';
import { startClickHouse, type TestClickHouse } from '../support/clickhouse';
import { startPostgres, type TestPostgres } from '../support/postgres';

const LIMITS = { rowsMax: 5, timeoutMs: 1_000 };

let postgres: TestPostgres;
let clickhouse: TestClickHouse;
let admin: AdminServer;
let address: string;
let stores: { hot: PostgresSql; cold: ClickHouseSql };
let notReady: string | undefined;

beforeAll(async () => {
  [postgres, clickhouse] = await Promise.all([startPostgres(), startClickHouse()]);
  const owner = new Client({ connectionString: postgres.url });
  await owner.connect();
  await owner.query(
    `CREATE TABLE kinds (i2 int2, i8 int8, n numeric(20,0), f float8, b bool, t timestamptz, j jsonb, a float8[], s text)`,
  );
  await owner.query(
    `INSERT INTO kinds VALUES (1, 9223372036854775807, 18446744073709551615, 'NaN', true, '2026-01-02 03:04:05.000001+02', '{"k": 9223372036854775807}',
     '{1.5,NULL}', 'text "quoted"'), (NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)`,
  );
  await owner.end();
  stores = {
    hot: new PostgresSql(await ensureReaderRole(postgres.url), LIMITS),
    cold: new ClickHouseSql(clickhouse.url, LIMITS),
  };
  admin = new AdminServer({
    deadLetters: undefined,
    ledger: async () => ({ sinceMs: {}, lines: [] }),
    batches: { status: () => undefined },
    batchLetters: async () => 0,
    host: '127.0.0.1',
    port: 0,
    telemetry: new Telemetry(),
    logger: silentLogger(),
    stores,
    tables: () => BUILTIN_TABLES,
    notReady: () => notReady,
    sinks: () => ({}),
    refresh: () => undefined,
  });
  address = await admin.start();
}, 60_000);

afterAll(async () => {
  await admin.stop();
  await Promise.all([stores.hot.close(), stores.cold.close()]);
  await Promise.all([postgres.stop(), clickhouse.stop()]);
}, 60_000);

const ask = (body: unknown, headers: Record<string, string> = { 'content-type': 'application/json' }): Promise<Response> =>
  fetch(`http://${address}/api/sql`, { method: 'POST', headers, body: typeof body === 'string' ? body : JSON.stringify(body) });

async function answer(target: string, query: string): Promise<{ status: number; body: Record<string, unknown> }> {
  const response = await ask({ target, query });
  return { status: response.status, body: (await response.json()) as Record<string, unknown> };
}

test('a connection of someone who asks again and again outlives the pauses', async () => {
  const response = await fetch(`http://${address}/healthz`);
  expect(await response.json()).toBeDefined();
  expect(response.headers.get('keep-alive')).toBe('timeout=75');
});

test('PostgreSQL values keep every digit and their types are named', async () => {
  const { status, body } = await answer('hot', 'SELECT * FROM kinds ORDER BY i2;');
  expect(status).toBe(200);
  expect(body['columns']).toEqual(
    [
      ['i2', 'int2'],
      ['i8', 'int8'],
      ['n', 'numeric'],
      ['f', 'float8'],
      ['b', 'bool'],
      ['t', 'timestamptz'],
      ['j', 'jsonb'],
      ['a', 'float8[]'],
      ['s', 'text'],
    ].map(([name, type]) => ({ name, type })),
  );
  expect(body['rows']).toEqual([
    [
      1,
      '9223372036854775807',
      '18446744073709551615',
      'NaN',
      true,
      '2026-01-02T01:04:05.000001Z',
      expect.anything(),
      [1.5, null],
      'text "quoted"',
    ],
    [null, null, null, null, null, null, null, null, null],
  ]);
  expect(body['elapsed_ms']).toEqual(expect.any(Number));
});

test('jsonb is answered verbatim, so that its integers keep their digits', async () => {
  expect(await (await ask({ target: 'hot', query: 'SELECT j FROM kinds LIMIT 1' })).text()).toContain(
    '[[{"k": 9223372036854775807}]]',
  );
});

test('ClickHouse values keep every digit', async () => {
  const { status, body } = await answer(
    'cold',
    `SELECT toInt64(9223372036854775807) AS i, toUInt64(18446744073709551615) AS u, toDateTime64('2026-01-02 03:04:05.123456789', 9, 'UTC') AS t, map('a', '1') AS m, nan AS f, NULL AS z`,
  );
  expect(status).toBe(200);
  expect(body['rows']).toEqual([
    ['9223372036854775807', '18446744073709551615', '2026-01-02T03:04:05.123456789Z', { a: '1' }, 'nan', null],
  ]);
  expect((body['columns'] as { name: string }[]).map((column) => column.name)).toEqual(['i', 'u', 't', 'm', 'f', 'z']);
});

test.each([
  ['hot', 'SELECT generate_series(1, 100)'],
  ['cold', 'SELECT number FROM numbers(100)'],
])('no more rows than the limit leave the %s store, and the answer says so', async (target, query) => {
  const { body } = await answer(target, query);
  expect((body['rows'] as unknown[]).length).toBe(5);
  expect(body['truncated']).toBe(true);
});

test.each([
  ['hot', 'CREATE TABLE evil (a int)'],
  ['hot', 'WITH gone AS (DELETE FROM kinds RETURNING 1) SELECT * FROM gone'],
  ['hot', 'SELECT 1; DROP TABLE kinds'],
  ['hot', "SELECT pg_read_file('/etc/passwd')"],
  ['hot', "COPY (SELECT 1) TO PROGRAM 'true'"],
  ['hot', "SELECT set_config('role', 'postgres', false), pg_read_file('/etc/passwd')"],
  ['cold', 'CREATE TABLE evil (a Int8) ENGINE = Memory'],
  ['cold', "INSERT INTO FUNCTION file('evil.tsv', 'TSV') SELECT 1"],
  ['cold', 'SELECT 1; DROP TABLE kinds'],
])('what is not a question is refused: %s %s', async (target, query) => {
  const { status, body } = await answer(target, query);
  expect(status).toBe(400);
  expect(body['error']).toMatchObject({ code: 'invalid', message: expect.any(String) });
  expect((await answer('hot', 'SELECT count(*) FROM kinds')).body['rows']).toEqual([['2']]);
});

test.each([
  ['hot', 'SELECT pg_sleep(20)'],
  ['cold', 'SELECT count() FROM numbers(1000000000000) WHERE sipHash64(number) = 0'],
])(
  'a query that takes too long is ended: %s',
  async (target, query) => {
    const startedAt = performance.now();
    const { status, body } = await answer(target, query);
    expect([status, (body['error'] as { code: string }).code]).toEqual([504, 'timeout']);
    expect(performance.now() - startedAt).toBeLessThan(8_000);
  },
  20_000,
);

test.each([
  ['hot', 'SELECT nonsense FROM nowhere', '42P01'],
  ['cold', 'SELECT nonsense FROM nowhere', '60'],
])("a wrong query is answered with the %s store's code", async (target, query, code) => {
  const { status, body } = await answer(target, query);
  expect(status).toBe(400);
  expect(body['error']).toMatchObject({ store_code: code });
});

test.each([
  ['hot', `SELECT 1::int AS a, 'x,"y"' AS b UNION ALL SELECT 2, NULL ORDER BY a`],
  ['cold', `SELECT * FROM (SELECT 1 AS a, 'x,"y"' AS b UNION ALL SELECT 2, '') ORDER BY a`],
])('CSV has a header and quotes what needs it: %s', async (target, query) => {
  const response = await ask({ target, query, format: 'csv' });
  expect(response.headers.get('content-type')).toContain('text/csv');
  const lines = (await response.text()).trim().split(/\r?\n/);
  expect(lines.slice(1)).toEqual(['1,"x,""y"""', expect.stringMatching(/^2,(""|)$/)]);
  expect(lines[0].replaceAll('"', '')).toBe('a,b');
});

test.each([
  ['hot', `SELECT 1::int AS i, 9223372036854775807::int8 AS l, 'x' AS s, '2026-01-02 03:04:05.000001+00'::timestamptz AS t`],
  [
    'cold',
    `SELECT toInt32(1) AS i, toInt64(9223372036854775807) AS l, 'x' AS s, toDateTime64('2026-01-02 03:04:05.000001', 6, 'UTC') AS t`,
  ],
])('Arrow is a stream that another reader understands: %s', async (target, query) => {
  const response = await ask({ target, query, format: 'arrow' });
  expect(response.headers.get('content-type')).toBe('application/vnd.apache.arrow.stream');
  const table = tableFromIPC(new Uint8Array(await response.arrayBuffer()));
  expect([table.getChild('i')?.get(0), table.getChild('l')?.get(0)]).toEqual([1, 9_223_372_036_854_775_807n]);
  expect(String(table.getChild('s')?.get(0))).toBe('x');
  expect(table.getChild('t')?.data[0].values[0]).toBe(1_767_323_045_000_001n);
});

test('EXPLAIN and SHOW are answered', async () => {
  expect((await answer('hot', 'EXPLAIN SELECT * FROM kinds')).status).toBe(200);
  expect((await answer('hot', 'SHOW server_version')).status).toBe(200);
  expect((await answer('cold', 'EXPLAIN SELECT 1')).status).toBe(200);
});

test.each([
  ['not JSON', '{', 400],
  ['not an object', '[]', 400],
  ['an unknown target', { target: 'warm', query: 'SELECT 1' }, 400],
  ['no query', { target: 'hot', query: ' ' }, 400],
  ['an unknown format', { target: 'hot', query: 'SELECT 1', format: 'xml' }, 400],
  ['too long a query', { target: 'hot', query: `SELECT '${'x'.repeat(1024 * 1024)}'` }, 413],
])('%s is a clear error', async (_what, body, status) => {
  const response = await ask(body);
  expect(response.status).toBe(status);
  expect(await response.json()).toMatchObject({ error: { message: expect.any(String) } });
});

test('a page of another site cannot ask: only JSON is taken', async () => {
  expect((await ask('{"target":"hot","query":"SELECT 1"}', { 'content-type': 'text/plain' })).status).toBe(415);
});

test('health, readiness, metrics, tables and the console answer; the rest is 404 and 405', async () => {
  const get = (path: string, method = 'GET'): Promise<Response> => fetch(`http://${address}${path}`, { method });
  expect(await (await get('/healthz')).json()).toEqual({ status: 'ok' });
  expect((await get('/readyz')).status).toBe(200);
  notReady = 'shutting down';
  expect([(await get('/readyz')).status, (await get('/healthz')).status]).toEqual([503, 200]);
  notReady = undefined;
  expect(await (await get('/metrics')).text()).toContain('# TYPE thermocline_accepted_rows_total counter');
  const { tables } = (await (await get('/api/tables')).json()) as { tables: { table: string }[] };
  expect(tables.map(({ table }) => table)).toEqual(BUILTIN_TABLES.map(({ table }) => table));
  expect(await (await get('/')).text()).toContain('<title>Thermocline</title>');
  expect([(await get('/nothing')).status, (await get('/api/sql')).status, (await get('/metrics', 'DELETE')).status]).toEqual([
    404, 405, 405,
  ]);
});

test('a store that does not answer is told as such', async () => {
  const gone = new PostgresSql('postgres://nobody@127.0.0.1:1/none', LIMITS);
  await expect(gone.query('SELECT 1', 'json')).rejects.toMatchObject({ kind: 'unavailable' });
  await gone.close();
  const away = new ClickHouseSql('http://127.0.0.1:1', LIMITS);
  await expect(away.query('SELECT 1', 'json')).rejects.toMatchObject({ kind: 'unavailable' });
  await away.close();
});
