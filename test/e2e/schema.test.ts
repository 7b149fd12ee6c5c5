/** Registered tables in the built command: the registration example, rows, a new column, all found by SQL; dry run, diff, policies. */
import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Int64, Table, vectorFromArray } from 'apache-arrow';
import { FlightTestClient, flightMessage, flightObject, pathDescriptor } from '../support/flight-client';
import { IngestClient } from '../support/ingest-client';
import { TestServer, temporaryDirectory } from '../support/server';

const MAIN = join(__dirname, '..', '..', 'dist', 'main.js');
const run = promisify(execFile);

let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
let server: TestServer;

beforeAll(async () => {
  directory = await temporaryDirectory();
  server = await TestServer.start({ dataDir: directory.path });
}, 60_000);

afterAll(async () => {
  await server.stop();
  await directory.remove();
}, 60_000);

type Json = Record<string, unknown>;

async function post(path: string, body: unknown, ack = 'all'): Promise<{ status: number; body: Json }> {
  const headers = { 'content-type': 'application/json', 'x-ack': ack };
  const response = await server.post(path, typeof body === 'string' ? body : JSON.stringify(body), headers);
  return { status: response.status, body: (await response.json()) as Json };
}

const get = async (path: string): Promise<Json> => (await fetch(`http://${server.http}${path}`)).json() as Promise<Json>;

/** Runs the command and gives exit code and output, whatever the code. */
const command = (...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> =>
  run(process.execPath, [MAIN, ...args, '--url', `http://${server.http}`]).then(
    ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
    (error: { code: number; stdout: string; stderr: string }) => error,
  );

const EXAMPLE = [
  { name: 'time', type: 'timestamp' },
  { name: 'value', type: 'double' },
  { name: 'labels', type: 'jsonb' },
];

test('the registration example, rows into it, then a new column: everything is found by SQL', async () => {
  const registered = await post('/schema/register', { table_name: 'readings', columns: EXAMPLE });
  expect(registered).toMatchObject({
    status: 200,
    body: {
      table: 'readings',
      version: 1,
      tier: 'hot',
      policy: 'evolve',
      time_column: 'time',
      columns: [
        { name: 'time', type: 'timestamp', nullable: false },
        { name: 'value', type: 'float64', nullable: true },
        { name: 'labels', type: 'json', nullable: true },
      ],
      stores: { hot: 'ready', cold: 'ready' },
    },
  });
  // Visible before the first row.
  expect((await server.sql('hot', 'SELECT count(*) FROM readings')).rows).toEqual([['0']]);
  expect((await server.sql('cold', 'SELECT count() FROM readings')).rows).toEqual([['0']]);
  const first = { time: '2026-01-15T10:00:00.123456789Z', value: 0.5, labels: { room: 'attic', floor: 3 } };
  expect((await post('/write/readings', first)).body).toMatchObject({ accepted: 1, rejected: 0 });
  const again = await post('/schema/register', { table_name: 'readings', columns: [...EXAMPLE, { name: 'unit', type: 'text' }] });
  expect(again.body).toMatchObject({ version: 2, stores: { hot: 'ready', cold: 'ready' } });
  expect((await post('/write/readings', { time: '2026-01-15T10:00:01Z', value: 1, unit: 'm' })).status).toBe(200);
  expect((await server.sql('hot', 'SELECT time, value, labels->>$$room$$, unit FROM readings ORDER BY time')).rows).toEqual([
    ['2026-01-15T10:00:00.123456Z', 0.5, 'attic', null],
    ['2026-01-15T10:00:01Z', 1, null, 'm'],
  ]);
  const versions = `SELECT version FROM table_registry_history WHERE table_name = 'readings' ORDER BY version`;
  expect((await server.sql('hot', versions)).rows).toEqual([[1], [2]]);
});

test('registering with another type is refused with what differs, and registering the same again changes nothing', async () => {
  await post('/schema/register', { table_name: 'fixed', columns: EXAMPLE });
  const other = await post('/schema/register', { table_name: 'fixed', columns: [{ name: 'value', type: 'text' }], tier: 'cold' });
  expect(other.status).toBe(409);
  expect(other.body).toMatchObject({
    error: {
      code: 'already_exists',
      diff: [
        { column: 'value', property: 'type', registered: 'float64', requested: 'string' },
        { property: 'tier', registered: 'hot', requested: 'cold' },
      ],
    },
  });
  expect((await post('/schema/register', { table_name: 'fixed', columns: EXAMPLE })).body).toMatchObject({ version: 1 });
});

test('a client that sends 0 and then 0.7 loses nothing, in both tiers', async () => {
  for (const [tier, table] of [
    ['hot', 'mixed_hot'],
    ['cold', 'mixed_cold'],
  ] as const) {
    const columns = [{ name: 'v', type: 'bigint' }];
    await post('/schema/register', { table_name: table, tier, columns });
    expect((await post(`/write/${table}`, '[{"v":0},{"v":9007199254740993}]')).body).toMatchObject({ accepted: 2 });
    expect((await post(`/write/${table}`, '[{"v":9007199254740993},{"v":0.7},{"v":"no number"}]')).body).toMatchObject({
      accepted: 2,
      rejected: 1,
      rejections: [{ row: 2, column: 'v', code: 'type_mismatch' }],
    });
    const sql = `SELECT v, v_int FROM ${table} ORDER BY v, v_int`;
    expect((await server.sql(tier, sql)).rows).toEqual([
      [0, '0'],
      [0.7, null],
      [9007199254740992, '9007199254740993'],
      [9007199254740992, '9007199254740993'],
    ]);
  }
});

test('a value that does not fit goes to the side column, its column becomes text or its row a dead letter, as the column says', async () => {
  const columns = [
    { name: 'v', type: 'int', conflict: 'side_column' },
    { name: 'w', type: 'int', conflict: 'coerce' },
    { name: 'x', type: 'int', conflict: 'dead_letter' },
  ];
  await post('/schema/register', { table_name: 'sided', columns });
  const rows = [
    { v: 1, w: 1 },
    { v: 'one', w: 'uno' },
    { v: 3, x: 'drei' },
  ];
  expect((await post('/write/sided', rows)).body).toMatchObject({ accepted: 2, rejected: 0, dead_letters: 1 });
  expect((await server.sql('hot', 'SELECT v, w, _conflicts::text FROM sided ORDER BY v NULLS FIRST')).rows).toEqual([
    [null, 'uno', '{"v": "one"}'],
    [1, '1', null],
  ]);
});

test('a strict table refuses rows with unknown columns one by one, a frozen one also registered changes', async () => {
  await post('/schema/register', { table_name: 'strict_one', columns: EXAMPLE, policy: 'strict' });
  const answer = await post('/write/strict_one', [{ value: 1 }, { value: 2, extra: true }]);
  expect(answer.body).toMatchObject({
    accepted: 1,
    rejected: 1,
    rejections: [{ row: 1, code: 'unknown_column', column: 'extra' }],
  });
  const more = { table_name: 'strict_one', columns: [{ name: 'extra', type: 'bool' }] };
  expect((await post('/schema/register', { ...more, policy: 'freeze' })).body).toMatchObject({ version: 2, policy: 'freeze' });
  const frozen = await post('/schema/register', { table_name: 'strict_one', columns: [{ name: 'later', type: 'bool' }] });
  expect(frozen).toMatchObject({ status: 409, body: { error: { diff: [{ column: 'later', property: 'missing' }] } } });
});

test('a dry run tells everything and does nothing', async () => {
  const rows = [{ time: '2026-01-15T10:00:00Z', n: 1, s: 'x' }, { n: 'text' }, 17];
  const { status, body } = await post('/write/planned?dry_run=1', rows);
  expect(status).toBe(200);
  expect(body).toMatchObject({
    dry_run: true,
    would_accept: 2,
    would_reject: 1,
    rejections: [{ row: 2, code: 'not_an_object' }],
    tiers: ['hot'],
    schema: { current: null, after: { version: 1, time_column: 'time' } },
    stores: [
      { tier: 'hot', columns: [{ column: 'time', store_type: 'timestamp with time zone' }, {}, {}] },
      { tier: 'cold', columns: [{ column: 'time', store_type: "DateTime64(9, 'UTC')" }, {}, {}] },
    ],
  });
  const stores = body['stores'] as { ddl: string[] }[];
  expect(stores.map(({ ddl }) => ddl[0].split('(')[0].trim())).toEqual([
    'CREATE TABLE IF NOT EXISTS "planned"',
    'CREATE TABLE IF NOT EXISTS `default`.`planned`',
  ]);
  expect((await fetch(`http://${server.http}/schema/planned`)).status).toBe(404);
  await post('/write/planned', rows.slice(0, 1));
  const widening = await post('/write/planned?dry_run=1', [{ n: 0.5, fresh: 1 }]);
  expect(widening.body).toMatchObject({
    schema: {
      current: { version: 1 },
      after: { version: 2 },
      changes: [
        { change: 'widened', column: 'n', from: 'int64', type: 'float64' },
        { change: 'added', column: 'fresh' },
        { change: 'added', column: 'n_int' },
      ],
    },
  });
  const [hot, cold] = widening.body['stores'] as { ddl: string[] }[];
  expect(hot.ddl.join('; ')).toContain('RENAME COLUMN "n" TO "n_int"');
  expect(cold.ddl.join('; ')).toContain('RENAME COLUMN `n` TO `n_int`');
  expect(await get('/schema/planned')).toMatchObject({ version: 1 });
  expect((await post('/write/planned?dry_run=perhaps', [])).status).toBe(400);
});

test('a dry run over gRPC, Flight and OTLP leaves log and registry as they are', async () => {
  const flight = new FlightTestClient(server.grpc);
  const client = new IngestClient(server.grpc);
  const lsn = async (): Promise<unknown> => {
    const [result] = await flight.list('DoAction', flightMessage('Action', { type: 'flush', body: Buffer.alloc(0) }));
    return JSON.parse(flightObject<{ body: Buffer }>('Result', result).body.toString());
  };
  const before = [await lsn(), await get('/schema')];
  const rows = { rows: [{ fields: { n: { intValue: 1 } } }] };
  expect(await client.call('Write', { table: 'unmade', rows, dryRun: true })).toMatchObject({
    dryRun: { tiers: ['TIER_HOT'], stores: [{ tier: 'TIER_HOT' }, { tier: 'TIER_COLD' }] },
  });
  const table = new Table({ n: vectorFromArray([1n], new Int64()) });
  const { results } = await flight.put(table, pathDescriptor('unmade'), { 'thermocline-dry-run': '1', 'idempotency-key': 'k' });
  const { appMetadata } = flightObject<{ appMetadata: Buffer }>('PutResult', results[0]);
  expect(JSON.parse(appMetadata.toString())).toMatchObject({ would_accept: 1, tiers: ['hot'] });
  const logs = { resourceLogs: [{ scopeLogs: [{ logRecords: [{ timeUnixNano: '1', body: { stringValue: 'a' } }] }] }] };
  expect((await post('/v1/logs?dry_run=1', logs)).body).toMatchObject({ would_accept: 1, tables: [{ table: 'logs_events' }] });
  expect([await lsn(), await get('/schema')]).toEqual(before);
  flight.close();
  client.close();
});

test('columns for which there is no room share one', async () => {
  const row = Object.fromEntries(Array.from({ length: 1_600 }, (_, i) => [`c${i}`, i]));
  expect((await post('/write/broad?dry_run=1', { time: '2026-01-15T10:00:00Z', ...row })).body).toMatchObject({
    would_accept: 1,
  });
  const small = Object.fromEntries(Array.from({ length: 1_600 }, (_, i) => [`c${i}`, i % 2 === 0]));
  expect((await post('/write/broad', { time: '2026-01-15T10:00:00Z', ...small })).body).toMatchObject({ accepted: 1 });
  const sql = `SELECT c0, c1498, _overflow->>'c1499', _overflow->>'c1599' FROM broad`;
  expect((await server.sql('hot', sql)).rows).toEqual([[true, true, 'false', 'false']]);
}, 60_000);

test('the schema command lists, registers and compares', async () => {
  const path = join(directory.path, 'table.json');
  await writeFile(path, JSON.stringify({ table_name: 'by_command', columns: EXAMPLE }));
  expect(await command('schema', 'register', path, '--dry-run')).toMatchObject({ code: 0 });
  expect((await fetch(`http://${server.http}/schema/by_command`)).status).toBe(404);
  const registered = await command('schema', 'register', path);
  expect(registered.stdout).toContain('by_command  version 1  hot  evolve  3 columns, ordered by time  hot ready  cold ready');
  expect((await command('schema', 'list', 'by_command')).stdout).toContain('  value  float64');
  expect(await command('schema', 'diff', 'by_command')).toMatchObject({ code: 0, stdout: 'registry and stores are alike\n' });
  expect(await command('schema', 'list', 'nothing_here')).toMatchObject({
    code: 1,
    stderr: 'thermocline: no such table (at table)\n',
  });
}, 60_000);

test('a registration that cannot be is refused with its place', async () => {
  const refused = async (body: unknown): Promise<unknown> => {
    const answer = await post('/schema/register', body);
    return [answer.status, (answer.body['error'] as Json)['at']];
  };
  expect(await refused('{')).toEqual([400, 'body']);
  expect(await refused({ table_name: 'pg_class', columns: [] })).toEqual([400, 'table']);
  expect(await refused({ table_name: 't', columns: [{ name: 'a', type: 'money' }] })).toEqual([400, 'columns[0].type']);
  expect(await refused({ table_name: 't', columns: [{ name: '_batch_hi', type: 'int' }] })).toEqual([400, 'columns[0].name']);
  expect(await refused({ table_name: 't', columns: [], policy: 'never' })).toEqual([400, 'policy']);
  expect(await refused({ table_name: 't', columns: [], colums: [] })).toEqual([400, 'body']);
  expect(await refused({ table_name: 'logs_events', columns: [{ name: 'more', type: 'int' }] })).toEqual([409, undefined]);
});
