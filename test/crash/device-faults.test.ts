/**
 * The built server on a device that fails: errors and delays of fdatasync by `strace -e inject` (counted per thread, hence one
 * thread for file work), and a process that has no file descriptors left.
 */
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { startClickHouse, type TestClickHouse } from '../support/clickhouse';
import { RawConnection } from '../support/http-client';
import { startPostgres, type TestPostgres } from '../support/postgres';
import { TestServer, temporaryDirectory } from '../support/server';

const ONE_THREAD = { UV_THREADPOOL_SIZE: '1' };

/** Why strace cannot be used here; undefined when it can. */
const noStrace = ((): string | undefined => {
  const { status, error, stderr } = spawnSync('strace', ['-f', '-qq', '-o', '/dev/null', 'true'], { encoding: 'utf8' });
  return status === 0 ? undefined : `strace: ${error?.message ?? stderr.trim()}`;
})();

// -D: strace is beside the server, which is our own child.
const inject = (what: string): [string, ...string[]] => [
  'strace',
  '-D',
  '-f',
  '-qq',
  '-o',
  '/dev/null',
  '-e',
  'trace=fdatasync',
  '-e',
  `inject=fdatasync:${what}`,
];

let postgres: TestPostgres;
let clickhouse: TestClickHouse;
let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
beforeAll(async () => {
  [postgres, clickhouse] = await Promise.all([startPostgres(), startClickHouse()]);
}, 60_000);
afterAll(async () => {
  await Promise.all([postgres.stop(), clickhouse.stop()]);
}, 60_000);
beforeEach(async () => {
  directory = await temporaryDirectory();
});
afterEach(() => directory.remove());

const settings = (): Record<string, string> => ({
  POSTGRES_URL: postgres.url,
  CLICKHOUSE_URL: clickhouse.url,
  DELIVERY_INTERVAL_MS: '20',
});

test.each(['EIO', 'ENOSPC', 'EDQUOT'])(
  'fdatasync that fails with %s ends the process; what was acknowledged is delivered, once',
  async (code) => {
    if (noStrace !== undefined) {
      console.warn(`skipped: ${noStrace}`);
      return;
    }
    const server = await TestServer.start({
      dataDir: directory.path,
      settings: settings(),
      environment: ONE_THREAD,
      under: inject(`error=${code}:when=60`),
    });
    const ended = once(server.child, 'exit');
    const acked: number[] = [];
    for (let id = 0; ; id++) {
      const response = await server
        .post('/write/logs', JSON.stringify({ message: String(id), app: code }))
        .catch(() => undefined);
      // Refused or cut off: never acknowledged after a failed sync.
      if (response?.status !== 200) break;
      acked.push(id);
    }
    expect((await ended)[0]).toBe(1);
    const again = await TestServer.start({ dataDir: directory.path, settings: settings() });
    await again.drained();
    const rows = await clickhouse.rows(`SELECT toUInt32(message) AS id FROM logs_events WHERE app = '${code}' ORDER BY id`);
    const stored = rows.map(([id]) => id as number);
    expect(acked.length).toBeGreaterThan(0);
    // The row whose answer did not come may be there too.
    expect([acked, [...acked, acked.length]]).toContainEqual(stored);
    expect(await again.stop()).toBe(0);
  },
  120_000,
);

test('while fdatasync is slow the server answers health checks, and acknowledges only behind it', async () => {
  if (noStrace !== undefined) {
    console.warn(`skipped: ${noStrace}`);
    return;
  }
  const server = await TestServer.start({
    dataDir: directory.path,
    settings: { SINKS: 'none' },
    environment: ONE_THREAD,
    under: inject('delay_enter=2000000:when=12+'),
  });
  const order: string[] = [];
  // Some syncs of the start may still have been fast.
  while (order[0] !== 'health') {
    order.length = 0;
    const written = server.post('/write/logs', '{"message":"slow"}').then(({ status }) => order.push(`ack ${status}`));
    await fetch(`http://${server.admin}/healthz`).then(({ status }) =>
      order.push(status === 200 ? 'health' : `health ${status}`),
    );
    await written;
  }
  expect(order).toEqual(['health', 'ack 200']);
  await server.stop('SIGKILL');
}, 120_000);

test('a server without file descriptors sheds connections and goes on when there are some again', async () => {
  const server = await TestServer.start({
    dataDir: directory.path,
    settings: { SINKS: 'none' },
    under: ['sh', '-c', 'ulimit -n 96; exec "$0" "$@"'],
  });
  const connections = await Promise.all(
    Array.from({ length: 150 }, () => RawConnection.open(server.http).catch(() => undefined)),
  );
  const open = connections.flatMap((connection) => (connection === undefined ? [] : [connection]));
  expect(open.length).toBeGreaterThan(0);
  for (const connection of open) connection.socket.destroy();
  for (;;) {
    const status = await server.post('/write/logs', '{"message":"after"}').then(
      (response) => response.status,
      () => 0,
    );
    if (status === 200) break;
    expect(server.child.exitCode).toBe(null);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  expect(await server.stop()).toBe(0);
}, 60_000);
