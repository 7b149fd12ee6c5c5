import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import type * as FsPromises from 'node:fs/promises';
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';
import { EmbeddedPostgres } from '../../src/embedded/postgres';
import { ensureReaderRole } from '../../src/sinks/postgres/reader-role';
import { silentLogger } from '../../src/telemetry';

/** How long the closing of a file takes, as on a device that is busy. */
let mockCloseMs = 0;
jest.mock('node:fs/promises', () => {
  const real = jest.requireActual<typeof FsPromises>('node:fs/promises');
  const open: typeof real.open = async (...args) => {
    const file = await real.open(...args);
    const close = file.close.bind(file);
    file.close = async () => {
      await new Promise((resolve) => setTimeout(resolve, mockCloseMs));
      await close();
    };
    return file;
  };
  return { ...real, open };
});

const children: ChildProcess[] = [];
const servers: EmbeddedPostgres[] = [];
let dataDir: string;

beforeEach(async () => {
  // Mode 0700 and ours: as root, the user that runs the server cannot get in here by its rights.
  dataDir = await mkdtemp(join(tmpdir(), 'thermocline-embedded-'));
});

afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.stop()));
  for (const child of children.splice(0)) child.kill('SIGKILL');
  await rm(dataDir, { recursive: true, force: true });
});

async function start(): Promise<EmbeddedPostgres> {
  const server = await EmbeddedPostgres.start({ dataDir, logger: silentLogger() });
  servers.push(server);
  return server;
}

async function query<T>(url: string, sql: string): Promise<T[]> {
  const client = new Client({ connectionString: url });
  client.on('error', () => undefined);
  await client.connect();
  try {
    return (await client.query<[T]>({ text: sql, rowMode: 'array' })).rows.map(([value]) => value);
  } finally {
    await client.end().catch(() => undefined);
  }
}

/** An embedded server in a process of its own. */
async function startInChild(): Promise<{ child: ChildProcess; url: string }> {
  const file = require.resolve('../support/embedded-postgres-child');
  const child = spawn(process.execPath, ['-r', join(__dirname, '../support/run-typescript.cjs'), file, dataDir], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  children.push(child);
  const [url] = (await once(child.stdout, 'data')) as [Buffer];
  return { child, url: url.toString().trim() };
}

const postmasterPid = async (): Promise<number> =>
  Number.parseInt((await readFile(join(dataDir, 'pgdata/postmaster.pid'), 'utf8')).split('\n')[0], 10);

async function until(condition: () => Promise<boolean>): Promise<void> {
  while (!(await condition())) await sleep(20);
}

const isGone = async (pid: number): Promise<boolean> => {
  const status = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined);
  return status === undefined || / Z /.test(status);
};

/** Processes that have this text among their arguments. */
async function processesWith(text: string): Promise<number[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const found = await Promise.all(
    pids.map(async (pid) =>
      (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).includes(text) ? [Number(pid)] : [],
    ),
  );
  return found.flat();
}

test('a second start keeps the data and takes less than two seconds', async () => {
  const first = await start();
  await query(first.url, 'CREATE TABLE kept AS SELECT 42 AS n');
  await first.stop();
  const startedAt = performance.now();
  const second = await start();
  expect(performance.now() - startedAt).toBeLessThan(2_000);
  expect(await query(second.url, 'SELECT n FROM kept')).toEqual([42]);
});

test('the login owns its database without being a superuser, in UTF-8, UTC, with every commit on disk', async () => {
  const { url } = await start();
  const settings = [
    'fsync',
    'full_page_writes',
    'synchronous_commit',
    'timezone',
    'server_encoding',
    'listen_addresses',
    'is_superuser',
  ];
  const values = await query(url, `SELECT current_setting(s) FROM unnest('{${settings.join(',')}}'::text[]) AS s`);
  expect(values).toEqual(['on', 'on', 'on', 'UTC', 'UTF8', '127.0.0.1', 'off']);
  expect(await query(url, `SELECT 'É' ILIKE 'é'`)).toEqual([true]);
  const wrong = new URL(url);
  wrong.password = 'guess';
  await expect(query(wrong.href, 'SELECT 1')).rejects.toThrow('password authentication failed');
  expect((await stat(join(dataDir, 'credentials.json'))).mode & 0o777).toBe(0o600);
});

test('the reading login made for the SQL API sees every table, also later ones, and can change nothing', async () => {
  const { url } = await start();
  await ensureReaderRole(url);
  const reader = await ensureReaderRole(url);
  await query(url, 'CREATE TABLE later AS SELECT 42 AS n');
  expect(await query(reader, 'SELECT n FROM later')).toEqual([42]);
  await expect(query(reader, 'DELETE FROM later')).rejects.toThrow(/read-only|permission denied/);
  await expect(query(reader, 'SET transaction_read_only = off; DELETE FROM later')).rejects.toThrow('permission denied');
  await expect(query(reader, `COPY (SELECT 1) TO PROGRAM 'true'`)).rejects.toThrow(/permission denied/);
});

test('a directory in use is refused, and its server goes on', async () => {
  const server = await start();
  await expect(EmbeddedPostgres.start({ dataDir, logger: silentLogger() })).rejects.toThrow('another process uses');
  expect(await query(server.url, 'SELECT 1')).toEqual([1]);
});

test('the server ends when its parent is killed, and the next start has everything that was committed', async () => {
  const { child, url } = await startInChild();
  await query(url, 'CREATE TABLE kept AS SELECT 42 AS n');
  const pid = await postmasterPid();
  child.kill('SIGKILL');
  await until(() => isGone(pid));
  const server = await start();
  expect(await query(server.url, 'SELECT n FROM kept')).toEqual([42]);
});

test('a server left over because its watcher was killed too is stopped by the next start', async () => {
  const { child, url } = await startInChild();
  await query(url, 'CREATE TABLE kept AS SELECT 42 AS n');
  const pid = await postmasterPid();
  const watchers = (await processesWith(`cat >/dev/null`)).filter((one) => one !== process.pid);
  const ours = await processesWith(`${dataDir}/pgdata`);
  for (const watcher of watchers.filter((one) => ours.includes(one))) process.kill(watcher, 'SIGKILL');
  child.kill('SIGKILL');
  await once(child, 'exit');
  expect(await isGone(pid)).toBe(false);
  const server = await start();
  expect(await isGone(pid)).toBe(true);
  expect(await query(server.url, 'SELECT n FROM kept')).toEqual([42]);
});

test('a server that is killed is started again on the same address, with everything that was committed', async () => {
  const server = await start();
  await query(server.url, 'CREATE TABLE kept AS SELECT 42 AS n');
  const pid = await postmasterPid();
  process.kill(pid, 'SIGKILL');
  await until(async () => {
    const answer = await query<number>(server.url, 'SELECT n FROM kept').catch(() => []);
    return answer[0] === 42;
  });
  expect(await postmasterPid()).not.toBe(pid);
});

test('a server that ends at once when it is started again is tried until it stays, also when files are slow', async () => {
  const server = await start();
  const client = new Client({ connectionString: server.url });
  client.on('error', () => undefined);
  await client.connect();
  // A backend that does not notice the end of its server keeps the shared memory, and the next server refuses to start.
  const backend = (await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')).rows[0].pid;
  process.kill(backend, 'SIGSTOP');
  mockCloseMs = 1_000;
  try {
    process.kill(await postmasterPid(), 'SIGKILL');
    const log = join(dataDir, 'postgres.log');
    await until(async () => (await readFile(log, 'utf8')).includes('shared memory block'));
  } finally {
    mockCloseMs = 0;
    process.kill(backend, 'SIGKILL');
  }
  await until(async () => (await query(server.url, 'SELECT 1').catch(() => [])).length === 1);
  expect(await isGone(backend)).toBe(true);
});

test('a lock file whose pid belongs to another program by now does not prevent the start', async () => {
  const first = await start();
  await first.stop();
  await writeFile(join(dataDir, 'pgdata/postmaster.pid'), `${process.ppid}\n${dataDir}/pgdata\n1\n1\n\n127.0.0.1\n0 0\nready\n`);
  const second = await start();
  expect(await query(second.url, 'SELECT 1')).toEqual([1]);
});

test('a start that was cut off while it made the cluster is made good by the next one', async () => {
  const half = join(dataDir, 'pgdata.new');
  const { mkdir } = await import('node:fs/promises');
  await mkdir(half);
  await writeFile(join(half, 'PG_VERSION'), '18\n');
  const server = await start();
  expect(await query(server.url, 'SELECT 1')).toEqual([1]);
});

test('a server that cannot start is reported with what it says', async () => {
  const server = await start();
  await server.stop();
  await writeFile(join(dataDir, 'pgdata/PG_VERSION'), '12\n');
  await expect(EmbeddedPostgres.start({ dataDir, logger: silentLogger() })).rejects.toThrow(
    /database files are incompatible with server/,
  );
});
