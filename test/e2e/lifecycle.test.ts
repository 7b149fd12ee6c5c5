/** The built command from start to stop: addresses, restart with the same data, stores that come late, exit codes. */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { tableFromArrays, tableToIPC } from 'apache-arrow';
import { startClickHouse } from '../support/clickhouse';
import { HttpFaultProxy } from '../support/http-fault-proxy';
import { startPostgres } from '../support/postgres';
import { TestServer, temporaryDirectory } from '../support/server';

const MAIN = join(__dirname, '..', '..', 'dist', 'main.js');
const run = promisify(execFile);

/** Runs the command to its end and gives exit code and output, whatever the code. */
async function command(
  args: string[],
  settings: Record<string, string> = {},
): Promise<{ code: number; stdout: string; stderr: string }> {
  const environment = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('THERMOCLINE_')));
  for (const [name, value] of Object.entries(settings)) environment[`THERMOCLINE_${name}`] = value;
  return run(process.execPath, [MAIN, ...args], { env: environment }).then(
    ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
    (error: { code: number; stdout: string; stderr: string }) => error,
  );
}

let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
beforeEach(async () => {
  directory = await temporaryDirectory();
});
afterEach(() => directory.remove());

test('a second start is ready within 5 seconds and has the data of the first, SIGTERM ends with 0', async () => {
  const first = await TestServer.start({ dataDir: directory.path });
  expect((await first.post('/write/logs', '{"message":"first","app":"life"}')).status).toBe(200);
  const arrow = tableToIPC(tableFromArrays({ id: Int32Array.of(1, 2), price: Float64Array.of(0.5, 1.5) }), 'stream');
  const headers = { 'content-type': 'application/vnd.apache.arrow.stream', 'x-ack': 'all' };
  const answer = await first.post('/write/orders', arrow, headers);
  expect(await answer.json()).toMatchObject({ table: 'orders', accepted: 2, rejected: 0 });
  expect((await first.sql('hot', 'SELECT id, price FROM orders ORDER BY id')).rows).toEqual(
    [
      ['1', 0.5],
      ['2', 1.5],
    ].map(([id, price]) => [Number(id), price]),
  );
  // Not waited for: what is not delivered at the stop is delivered after the next start.
  expect((await first.post('/write/logs', '{"message":"last","app":"life"}')).status).toBe(200);
  expect(await first.stop()).toBe(0);

  const second = await TestServer.start({ dataDir: directory.path });
  expect(second.startMs).toBeLessThan(5_000);
  await second.sqlUntil('cold', `SELECT count() FROM logs_events WHERE app = 'life'`, 2);
  expect((await second.sql('hot', 'SELECT count(*) FROM orders')).rows).toEqual([['2']]);
  expect(await second.stop()).toBe(0);
}, 120_000);

test('stores that do not answer do not keep rows out; they are told as down and the process still stops in order', async () => {
  const settings = {
    POSTGRES_URL: 'postgres://nobody@127.0.0.1:1/none',
    CLICKHOUSE_URL: 'http://127.0.0.1:1',
    SHUTDOWN_GRACE_MS: '1000',
  };
  const server = await TestServer.start({ dataDir: directory.path, settings });
  expect((await server.post('/write/logs', '{"message":"kept","app":"late"}')).status).toBe(200);
  expect((await server.post('/write/metrics', '{"metric":"kept","value":1,"app":"late"}')).status).toBe(200);
  const { sinks } = (await (await fetch(`http://${server.admin}/readyz`)).json()) as { sinks: Record<string, object> };
  expect(sinks).toMatchObject({ hot: { up: false, rows: 1 }, cold: { up: false, rows: 1 } });
  const metrics = await (await fetch(`http://${server.admin}/metrics`)).text();
  expect(metrics).toMatch(/thermocline_wal_lag_rows\{tier="hot"\} 1/);
  expect(metrics).toMatch(/thermocline_accepted_rows_total\{table="logs_events",protocol="rest"\} 1/);
  expect((await fetch(`http://${server.admin}/readyz`)).status).toBe(200);
  expect(await server.stop()).toBe(0);

  // The same directory with stores that work: everything arrives, once.
  const again = await TestServer.start({ dataDir: directory.path });
  await again.sqlUntil('cold', `SELECT count() FROM logs_events WHERE app = 'late'`, 1);
  await again.sqlUntil('hot', `SELECT count(*) FROM metrics_events WHERE app = 'late'`, 1);
  expect(await again.stop()).toBe(0);
}, 120_000);

test('a second server on the same directory is refused and the first goes on', async () => {
  const first = await TestServer.start({ dataDir: directory.path, settings: { SINKS: 'none' } });
  const second = await command(['serve'], {
    DATA_DIR: directory.path,
    SINKS: 'none',
    GRPC_PORT: '0',
    HTTP_PORT: '0',
    ADMIN_PORT: '0',
  });
  expect([second.code, second.stderr]).toEqual([1, expect.stringMatching(/another process/)]);
  expect((await first.post('/write/logs', '{"message":"x"}')).status).toBe(200);
  expect(await first.stop()).toBe(0);
}, 60_000);

test('a port that is taken is a clear error, and exit code 1', async () => {
  const first = await TestServer.start({ dataDir: directory.path, settings: { SINKS: 'none' } });
  const port = first.http.split(':')[1];
  const settings = { DATA_DIR: join(directory.path, 'other'), SINKS: 'none', HTTP_PORT: port, GRPC_PORT: '0', ADMIN_PORT: '0' };
  const second = await command(['serve'], settings);
  expect([second.code, second.stderr]).toEqual([1, expect.stringMatching(new RegExp(`EADDRINUSE.*${port}`))]);
  await first.stop();
}, 60_000);

test('a wrong configuration ends with 2 and names the key; config check and print help', async () => {
  const file = join(directory.path, 'config.yaml');
  await writeFile(file, 'grpc_prot: 1\n');
  expect(await command(['serve', '--config', file])).toMatchObject({ code: 2, stderr: expect.stringContaining('grpc_prot') });
  expect(await command(['config', 'check', '--config', file])).toMatchObject({ code: 2 });
  expect(await command(['config', 'check'])).toMatchObject({ code: 0 });
  const printed = await command(['config', 'print'], { POSTGRES_URL: 'postgres://u:secret@h/d' });
  expect(printed.stdout).toContain('grpc_port: 4317');
  expect(printed.stdout).not.toContain('secret');
  expect(await command(['nonsense'])).toMatchObject({ code: 2 });
  expect(await command(['--help'])).toMatchObject({ code: 0, stdout: expect.stringContaining('serve') });
}, 60_000);

test('bench starts its own server and prints its figures as the last line', async () => {
  const { code, stdout } = await command([
    'bench',
    '--scenario',
    'otlp-http-logs-100',
    '--sink',
    'null',
    '--seconds',
    '1',
    '--json',
  ]);
  expect(code).toBe(0);
  const figures = JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as Record<string, unknown>;
  expect(figures).toMatchObject({
    scenario: 'otlp-http-logs-100',
    errors: 0,
    ack_p50_ms: expect.any(Number),
    ack_p99_ms: expect.any(Number),
  });
  expect(figures['rows_per_second']).toBeGreaterThan(0);
  expect(figures['rows_per_server_cpu_second']).toBeGreaterThan(0);
}, 60_000);

test('SIGTERM under load answers or refuses every open request, and no acknowledged row is lost', async () => {
  const server = await TestServer.start({ dataDir: directory.path });
  const acked: number[] = [];
  let next = 0;
  const client = async (): Promise<void> => {
    for (;;) {
      const id = next++;
      try {
        const response = await server.post('/write/logs', JSON.stringify({ message: String(id), app: 'term' }));
        if (response.status !== 200) return;
        await response.json();
      } catch {
        return;
      }
      acked.push(id);
    }
  };
  const clients = Array.from({ length: 8 }, client);
  while (acked.length < 200) await new Promise((resolve) => setTimeout(resolve, 10));
  expect(await server.stop()).toBe(0);
  await Promise.all(clients);

  const again = await TestServer.start({ dataDir: directory.path });
  await again.drained();
  const { rows } = await again.sql(
    'cold',
    `SELECT count(), uniqExact(message), countIf(toUInt64(message) IN (${acked.join(',')})) FROM logs_events WHERE app = 'term'`,
  );
  const [count, distinct, found] = rows[0].map(Number);
  expect([count, found]).toEqual([distinct, acked.length]);
  expect(await again.stop()).toBe(0);
}, 120_000);

test('a signal to the whole process group, as a terminal sends it, still drains and ends with 0', async () => {
  const environment = { ...process.env, THERMOCLINE_TEST_POSTGRES_URL: undefined } as NodeJS.ProcessEnv;
  for (const [name, value] of Object.entries({ DATA_DIR: directory.path, GRPC_PORT: '0', HTTP_PORT: '0', ADMIN_PORT: '0' }))
    environment[`THERMOCLINE_${name}`] = value;
  const child = spawn(process.execPath, [MAIN, 'serve'], {
    env: environment,
    detached: true,
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk.toString();
  });
  while (!output.includes('"msg":"ready"')) await new Promise((resolve) => setTimeout(resolve, 50));
  const ended = once(child, 'exit');
  process.kill(-child.pid!, 'SIGINT');
  expect((await ended)[0]).toBe(0);
  expect(output).not.toMatch(/ended by itself|starting it again/);
}, 60_000);

test('SIGTERM ends in time with 0 while a store takes requests and does not answer; the rows are delivered later, once', async () => {
  const [postgres, clickhouse] = await Promise.all([startPostgres(), startClickHouse()]);
  const toClickHouse = new HttpFaultProxy(clickhouse.url);
  const url = await toClickHouse.start();
  try {
    const settings = { POSTGRES_URL: postgres.url, DELIVERY_INTERVAL_MS: '20', SHUTDOWN_GRACE_MS: '5000' };
    const server = await TestServer.start({ dataDir: directory.path, settings: { ...settings, CLICKHOUSE_URL: url } });
    let output = '';
    server.child.stdout?.on('data', (chunk: Buffer) => (output += chunk.toString()));
    // The INSERT has its effect, and nobody hears of it.
    const inserted = new Promise<void>((resolve) => {
      toClickHouse.next = (request) => {
        if (!request.searchParams.has('insert_deduplication_token')) return 'none';
        resolve();
        return 'swallow answer';
      };
    });
    expect((await server.post('/write/logs', '{"message":"once","app":"silent"}')).status).toBe(200);
    await inserted;
    expect(await server.stop()).toBe(0);
    expect(output).not.toMatch(/did not stop/);
    toClickHouse.next = () => 'none';
    const again = await TestServer.start({ dataDir: directory.path, settings: { ...settings, CLICKHOUSE_URL: url } });
    await again.drained();
    expect(await clickhouse.rows(`SELECT count() FROM logs_events WHERE app = 'silent'`)).toEqual([['1']]);
    expect(await again.stop()).toBe(0);
  } finally {
    await toClickHouse.stop();
    await Promise.all([postgres.stop(), clickhouse.stop()]);
  }
}, 120_000);

test('a second SIGTERM ends a drain at once, and what was not delivered is delivered after the next start', async () => {
  const [postgres, clickhouse] = await Promise.all([startPostgres(), startClickHouse()]);
  const settings = { POSTGRES_URL: postgres.url, CLICKHOUSE_URL: 'http://127.0.0.1:1', SHUTDOWN_GRACE_MS: '60000' };
  try {
    const server = await TestServer.start({ dataDir: directory.path, settings });
    expect((await server.post('/write/logs', '{"message":"kept","app":"twice"}')).status).toBe(200);
    const ended = once(server.child, 'exit');
    server.child.kill('SIGTERM');
    // The drain has begun when it is not ready any more.
    while ((await fetch(`http://${server.admin}/readyz`).catch(() => undefined))?.status === 200);
    server.child.kill('SIGTERM');
    expect((await ended)[1]).toBe('SIGTERM');
    const again = await TestServer.start({ dataDir: directory.path, settings: { ...settings, CLICKHOUSE_URL: clickhouse.url } });
    await again.drained();
    expect(await clickhouse.rows(`SELECT count() FROM logs_events WHERE app = 'twice'`)).toEqual([['1']]);
    expect(await again.stop()).toBe(0);
  } finally {
    await Promise.all([postgres.stop(), clickhouse.stop()]);
  }
}, 120_000);
