/** The child process of the embedded ClickHouse: who owns the directory, and what happens when somebody dies. */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type ChildExit, EmbeddedClickHouse } from '../../src/embedded/clickhouse/launcher';
import { silentLogger } from '../../src/telemetry';
import { CLICKHOUSE_CHILD } from '../support/clickhouse';

let dataDir: string;

beforeEach(async () => {
  dataDir = await realpath(await mkdtemp(join(tmpdir(), 'thermocline-clickhouse-')));
});

afterEach(async () => {
  await rm(dataDir, { recursive: true, force: true });
});

const start = (more: { password?: string; dataDir?: string } = {}): Promise<EmbeddedClickHouse> =>
  EmbeddedClickHouse.start({ dataDir, logger: silentLogger(), child: CLICKHOUSE_CHILD, ...more });

async function ask(url: string, query: string, headers: Record<string, string> = {}): Promise<string> {
  const response = await fetch(url, { method: 'POST', body: query, headers });
  return response.text();
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

it('a second owner of the directory is told so, and the first goes on', async () => {
  const first = await start();
  try {
    await expect(start()).rejects.toThrow(`the ClickHouse data directory ${dataDir} is in use by another process (code 76)`);
    expect(await ask(first.url, 'SELECT 1')).toBe('1\n');
  } finally {
    await first.stop();
  }
  const next = await start();
  await next.stop();
});

it('a directory name with pattern characters is refused with the reason', async () => {
  await expect(start({ dataDir: join(dataDir, 'a{b}') })).rejects.toThrow('must not contain any of *?{}[]');
});

it('without the optional package the error says what to do', async () => {
  const hook = join(__dirname, '../support/without-chdb.cjs');
  const child = { ...CLICKHOUSE_CHILD, execArgv: [...CLICKHOUSE_CHILD.execArgv, '-r', hook] };
  await expect(EmbeddedClickHouse.start({ dataDir, logger: silentLogger(), child })).rejects.toThrow(
    /npm install chdb.*THERMOCLINE_CLICKHOUSE_URL/,
  );
});

it('the child comes back on the same port with the data after kill -9, and says that it went', async () => {
  const server = await start();
  try {
    await ask(server.url, 'CREATE TABLE t (n UInt64) ENGINE = MergeTree ORDER BY n');
    await ask(server.url, 'INSERT INTO t SELECT number FROM numbers(1000)');
    const exits: ChildExit[] = [];
    server.onExit((exit) => exits.push(exit));
    const { url } = server;
    for (let round = 1; round <= 2; round++) {
      process.kill(server.pid as number, 'SIGKILL');
      while (exits.length < round || server.pid === undefined) await sleep(10);
      expect(server.url).toBe(url);
      expect(await ask(url, 'SELECT count() FROM t')).toBe('1000\n');
    }
    expect(exits).toMatchObject([
      { signal: 'SIGKILL', restartInMs: 100 },
      { signal: 'SIGKILL', restartInMs: 200 },
    ]);
  } finally {
    await server.stop();
  }
});

it('stop lets a running query end and leaves no process', async () => {
  const server = await start();
  const pid = server.pid as number;
  const slow = ask(server.url, 'SELECT sleep(1), 5');
  while ((await ask(server.url, "SELECT count() FROM system.processes WHERE query LIKE 'SELECT sleep%'")) === '0\n');
  await server.stop();
  expect(await slow).toBe('0\t5\n');
  expect(isAlive(pid)).toBe(false);
});

it('the child ends when its parent is killed', async () => {
  const parent = fork(join(__dirname, '../support/clickhouse-parent.ts'), [dataDir], { execArgv: CLICKHOUSE_CHILD.execArgv });
  const [pid] = (await once(parent, 'message')) as [number];
  expect(isAlive(pid)).toBe(true);
  parent.kill('SIGKILL');
  while (isAlive(pid)) await sleep(10);
  const next = await start();
  await next.stop();
});

it('asks for the password when one is set', async () => {
  const server = await start({ password: 'öpen' });
  try {
    expect(await ask(server.url, 'SELECT 1')).toMatch(/^Code: 516\. .*\(AUTHENTICATION_FAILED\)/);
    const basic = `Basic ${Buffer.from('default:öpen').toString('base64')}`;
    expect(await ask(server.url, 'SELECT 1', { Authorization: basic })).toBe('1\n');
    expect(await ask(`${server.url}/?user=default&password=%C3%B6pen`, 'SELECT 1')).toBe('1\n');
    expect((await fetch(server.url, { method: 'POST', body: 'SELECT 1', headers: { 'X-ClickHouse-Key': 'x' } })).status).toBe(
      403,
    );
  } finally {
    await server.stop();
  }
});
