/** `thermocline wal inspect|repair` with the built command, on the logs of a real server. */
import { spawn } from 'node:child_process';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { TestServer, temporaryDirectory } from '../support/server';

const MAIN = join(__dirname, '..', '..', 'dist', 'main.js');

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function thermocline(args: readonly string[], input = '', settings: Record<string, string> = {}): Promise<Ended> {
  const environment = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('THERMOCLINE_')));
  const child = spawn(process.execPath, [MAIN, ...args], { env: { ...environment, ...settings } });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  child.stdin.end(input);
  return new Promise((resolve) => child.once('close', (code) => resolve({ code, stdout, stderr })));
}

interface Inspection {
  readonly status: string;
  readonly segments: { file: string; first_lsn: number | null; last_lsn: number | null; entries: number; seal: string | null }[];
  readonly damaged: { file: string; first_lsn: number; last_lsn: number; reason: string }[];
  readonly checkpoints: { tier: string; next_lsn: number }[];
}

const inspect = async (dataDir: string, log = 'wal'): Promise<Inspection & { code: number | null }> => {
  const { code, stdout } = await thermocline(['wal', 'inspect', '--json', '--data-dir', dataDir, '--log', log]);
  return { ...(JSON.parse(stdout) as Inspection), code };
};

const log = (id: number): string =>
  JSON.stringify({ timestamp: '2026-01-05T00:00:00Z', app: 'a', message: `row ${id} ${'x'.repeat(300)}` });

let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
beforeEach(async () => {
  directory = await temporaryDirectory();
});
afterEach(() => directory.remove());

test('damage in a sealed segment: serve refuses with 78 and says where, inspect too, repair leaves the rest to be delivered', async () => {
  const data = directory.path;
  // Without stores nothing is delivered, so that everything is in the log still.
  const stranded = {
    POSTGRES_URL: 'postgres://127.0.0.1:9/none',
    CLICKHOUSE_URL: 'http://127.0.0.1:9',
    WAL_SEGMENT_BYTES: '8192',
    SHUTDOWN_GRACE_MS: '1000',
  };
  let server = await TestServer.start({ dataDir: data, settings: stranded });
  for (let id = 1; id <= 30; id++) expect((await server.post('/write/logs', log(id))).status).toBe(200);
  const running = await inspect(data);
  expect([running.code, running.status]).toEqual([0, 'ok']);
  await server.stop();

  const whole = await inspect(data);
  expect(whole.segments.length).toBeGreaterThan(2);
  const [segment] = whole.segments;
  expect(segment).toMatchObject({ first_lsn: 1, seal: 'full' });
  const file = join(data, 'wal', segment.file);
  const bytes = await readFile(file);
  bytes[64 + 200] ^= 1;
  await writeFile(file, bytes);

  const refused = await thermocline(['serve'], '', {
    THERMOCLINE_DATA_DIR: data,
    THERMOCLINE_GRPC_PORT: '0',
    THERMOCLINE_HTTP_PORT: '0',
    THERMOCLINE_ADMIN_PORT: '0',
    THERMOCLINE_WAL_SEGMENT_BYTES: '8192',
  });
  expect(refused.code).toBe(78);
  expect(refused.stderr).toContain(`lsn 1-1 in ${segment.file}`);
  const damaged = await inspect(data);
  expect([damaged.code, damaged.damaged]).toEqual([
    78,
    [{ file: segment.file, first_lsn: 1, last_lsn: 1, reason: 'payload checksum' }],
  ]);

  const declined = await thermocline(['wal', 'repair', '--data-dir', data], 'no\n');
  expect([declined.code, declined.stdout]).toEqual([1, expect.stringContaining('lsn 1-1')]);
  expect(await readFile(file)).toEqual(bytes);
  const repaired = await thermocline(['wal', 'repair', '--data-dir', data], 'yes\n');
  expect([repaired.code, repaired.stdout]).toEqual([0, expect.stringContaining('1 entry would be lost')]);
  expect((await readdir(join(data, 'wal'))).filter((name) => name.endsWith('.damaged'))).toHaveLength(1);
  expect((await inspect(data)).code).toBe(0);

  server = await TestServer.start({ dataDir: data, settings: { WAL_SEGMENT_BYTES: '8192' } });
  const inUse = await thermocline(['wal', 'repair', '--yes', '--data-dir', data]);
  expect([inUse.code, inUse.stderr]).toEqual([1, expect.stringContaining('in use by another process')]);
  expect((await server.post('/write/logs', log(31))).status).toBe(200);
  await server.sqlUntil('cold', 'SELECT count() FROM logs_events', 30, 40_000);
  const answer = await server.sql('cold', "SELECT count(DISTINCT message), countIf(message LIKE 'row 1 %') FROM logs_events");
  expect(answer.rows[0].map(Number)).toEqual([30, 0]);
  await server.stop();
}, 120_000);

test('the logs of keys and dead letters are inspected and repaired the same way', async () => {
  const data = directory.path;
  const server = await TestServer.start({ dataDir: data, settings: { SINKS: 'none' } });
  const headers = { 'content-type': 'application/json', 'idempotency-key': 'once' };
  expect((await server.post('/write/logs', log(1), headers)).status).toBe(200);
  await server.stop();
  const { segments } = await inspect(data, 'idempotency');
  const file = join(data, 'idempotency', segments[0].file);
  const bytes = await readFile(file);
  bytes[64 + 60] ^= 1;
  await writeFile(file, bytes);
  expect((await inspect(data, 'idempotency')).code).toBe(78);
  expect((await inspect(data, 'dead-letters')).code).toBe(0);
  const { code, stdout } = await thermocline(['wal', 'repair', '--yes', '--json', '--data-dir', data, '--log', 'idempotency']);
  expect([code, JSON.parse(stdout)]).toMatchObject([0, { repaired: true, lost: [{ first_lsn: 1, last_lsn: 1 }] }]);
  const again = await TestServer.start({ dataDir: data, settings: { SINKS: 'none' } });
  await again.stop();
  const missing = await thermocline(['wal', 'inspect', '--data-dir', join(data, 'nowhere')]);
  expect([missing.code, missing.stderr]).toEqual([1, expect.stringContaining('there is no log')]);
}, 120_000);
