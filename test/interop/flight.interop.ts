/**
 * Arrow Flight clients of others against the built command: pyarrow (C++), arrow-go, and ADBC, whose Flight SQL driver is arrow-go too.
 * Every value is found again by SQL in the store.
 */
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { startClickHouse, type TestClickHouse } from '../support/clickhouse';
import { TestServer, temporaryDirectory } from '../support/server';
import { TcpProxy } from '../support/tcp-proxy';
import { COLUMNS, differences } from './support/numbered';
import { ARROW_GO, hasGo, hasPython, PYTHON, PYTHON_FLIGHT } from './support/toolchains';

const describeWithGo = hasGo() ? describe : describe.skip;
const describeWithPython = hasPython() ? describe : describe.skip;
const ROWS = 1_000_000;
const STREAMS = { processes: 4, each: 50, batches: 100 };
const STREAM_MIB = 2_048;
const RSS_KIB_MAX = 600 * 1024;
const NOWHERE = 9;

let server: TestServer;
let data: Awaited<ReturnType<typeof temporaryDirectory>>;
beforeEach(async () => {
  data = await temporaryDirectory();
});
afterEach(async () => {
  await server.stop();
  await data.remove();
}, 60_000);

async function flight<T>(...args: (string | number)[]): Promise<T> {
  const [task = '', table = '', ...rest] = args;
  const { stdout } = await promisify(execFile)(
    PYTHON,
    ['-W', 'ignore', PYTHON_FLIGHT, String(task), server.grpc, String(table), ...rest.map(String)],
    { timeout: 400_000 },
  );
  return JSON.parse(stdout) as T;
}

async function expectExact(tier: 'hot' | 'cold', table: string): Promise<void> {
  const [[ids, ...wrong]] = (await server.sql(tier, differences(tier, table))).rows;
  expect(String(ids)).toBe(String(ROWS));
  expect(COLUMNS.filter((_, i) => String(wrong[i]) !== '0')).toEqual([]);
}

/** Most memory that the server has had, KiB. */
async function peakRss(): Promise<number> {
  const status = await readFile(`/proc/${server.child.pid}/status`, 'utf8');
  return Number(/VmHWM:\s+(\d+)/.exec(status)?.[1]);
}

describeWithGo('clients of Arrow Flight in Go', () => {
  it.each([
    ['hot', 'zstd'],
    ['cold', 'lz4'],
    ['cold', 'none'],
  ] as const)(
    'arrow-go writes a million rows of every type with acknowledgements, and SQL finds each value in the %s store (%s)',
    async (tier, compression) => {
      server = await TestServer.start({ dataDir: data.path, settings: { QUERY_TIMEOUT_MS: '120000' } });
      const arguments_ = [server.grpc, 'typed', String(ROWS), tier, compression];
      const { stdout } = await promisify(execFile)(ARROW_GO, arguments_, { timeout: 400_000 });
      expect(JSON.parse(stdout)).toEqual({ rows: ROWS, batches: ROWS / 20_000, columns: COLUMNS.length + 1 });
      await server.drained(240_000);
      await expectExact(tier, 'typed');
    },
    500_000,
  );
});

describeWithPython('clients of Arrow Flight', () => {
  it.each([
    ['hot', 'lz4'],
    ['cold', 'zstd'],
  ] as const)(
    'pyarrow writes a million rows of every type, and SQL finds each value in the %s store',
    async (tier, compression) => {
      server = await TestServer.start({ dataDir: data.path, settings: { QUERY_TIMEOUT_MS: '120000' } });
      expect(await flight('types', 'typed', ROWS, tier, compression)).toEqual({
        rows: ROWS,
        batches: ROWS / 20_000,
        columns: COLUMNS.length + 1,
      });
      await server.drained(240_000);
      await expectExact(tier, 'typed');
    },
    500_000,
  );

  it.each(['hot', 'cold'] as const)(
    'adbc_ingest in its four modes leaves a million exact rows in the %s store',
    async (tier) => {
      server = await TestServer.start({ dataDir: data.path, settings: { QUERY_TIMEOUT_MS: '120000' } });
      expect(await flight('ingest', 'loaded', ROWS, tier)).toEqual({
        'append to nothing': 'ProgrammingError',
        create: 10,
        'create again': 'ProgrammingError',
        append: 10,
        create_append: 10,
        replace: ROWS,
        select: [[1, 'x']],
        vendor: 'Thermocline',
        columns: ['ts', 'id', ...COLUMNS.slice(1)],
      });
      await server.drained(240_000);
      await expectExact(tier, 'loaded');
    },
    500_000,
  );

  it('FL5: 200 streams at once with 100 batches each get 20,000 acknowledgements', async () => {
    server = await TestServer.start({ dataDir: data.path });
    const { processes, each, batches } = STREAMS;
    const answers = await Promise.all(
      Array.from({ length: processes }, () => flight<{ acks: number; failures: string[] }>('acks', 'many', each, batches)),
    );
    for (const answer of answers) expect(answer).toEqual({ acks: each * batches, failures: [] });
    const rows = processes * each * batches * 10;
    await server.drained(60_000);
    await server.sqlUntil('hot', 'SELECT count(*) FROM many', rows);
  }, 180_000);

  describe('with the sinks down', () => {
    let clickhouse: TestClickHouse;
    let proxy: TcpProxy;
    beforeEach(async () => {
      [clickhouse, proxy] = await Promise.all([startClickHouse(), TcpProxy.start(NOWHERE)]);
    }, 60_000);
    afterEach(async () => {
      await proxy.stop();
      await clickhouse.stop();
    }, 60_000);

    it('FL9: a stream of 2 GiB is taken in bounded memory, and everything arrives when the store is back', async () => {
      const settings = {
        POSTGRES_URL: `postgresql://nobody@127.0.0.1:${NOWHERE}/none`,
        CLICKHOUSE_URL: proxy.urlFor(clickhouse.url),
      };
      server = await TestServer.start({ dataDir: data.path, settings });
      const answer = await flight<{ acks: number; rows: number }>('stream', 'heavy', STREAM_MIB);
      expect(answer).toMatchObject({ acks: STREAM_MIB, rows: STREAM_MIB * 1024 });
      expect(await peakRss()).toBeLessThan(RSS_KIB_MAX);
      proxy.retarget(Number(new URL(clickhouse.url).port));
      await server.drained(300_000);
      const [[ids, bytes]] = (await server.sql('cold', 'SELECT uniqExact(n), sum(length(data)) FROM heavy')).rows;
      expect([String(ids), String(bytes)]).toEqual([String(answer.rows), String(answer.rows * 1016)]);
      expect(await peakRss()).toBeLessThan(RSS_KIB_MAX);
    }, 600_000);
  });
});
