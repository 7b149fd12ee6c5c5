/**
 * Scenario: connections break at the worst moments. Guarantee: a write that is repeated until it succeeds is stored exactly once,
 * whatever happened to the attempts before (durability rules P1 to P3).
 */
import { Client } from 'pg';
import { METRICS_EVENTS } from '../../src/core/builtin-tables';
import { SinkError, type SinkWrite } from '../../src/core/sink';
import { PostgresSink } from '../../src/sinks/postgres/sink';
import { silentLogger, Telemetry } from '../../src/telemetry';
import { metricBatch, timesFrom, writeOf } from '../support/metric-batches';
import { startOwnPostgres, startPostgres, type TestPostgres } from '../support/postgres';
import { type TcpFault, TcpProxy } from '../support/tcp-proxy';

const WAL = 'f'.repeat(32);
const NOW_NS = BigInt(Date.now()) * 1_000_000n;
const COMMIT = 'COMMIT\0';

const newSink = (url: string): PostgresSink => new PostgresSink({ url, logger: silentLogger(), telemetry: new Telemetry() });

/** What the delivery loop does; gives the number of attempts. */
async function untilDelivered(sink: PostgresSink, write: SinkWrite): Promise<number> {
  for (let attempt = 1; ; attempt++) {
    try {
      await sink.write({ ...write, mayHaveRun: attempt > 1 });
      return attempt;
    } catch (error) {
      if (!(error instanceof SinkError) || error.failure !== 'retry') throw error;
    }
  }
}

async function withClient<T>(url: string, work: (client: Client) => Promise<T>): Promise<T> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

describe('connections that are cut', () => {
  let server: TestPostgres;
  let proxy: TcpProxy;
  let sink: PostgresSink;

  beforeAll(async () => {
    server = await startPostgres();
    proxy = await TcpProxy.start(Number(new URL(server.url).port));
    sink = newSink(proxy.urlFor(server.url));
    await sink.start();
    await sink.ensureTable(METRICS_EVENTS);
  });

  afterAll(async () => {
    await sink.stop();
    await proxy.stop();
    await server.stop();
  });

  /** `cutsMin`: a fault of a known place must take effect each time, or the test would show nothing. */
  const cases: [string, (i: number) => TcpFault, { cutsMin: number }][] = [
    ['before COMMIT reaches the server', () => ({ kind: 'lose request', marker: COMMIT }), { cutsMin: 8 }],
    ['after COMMIT, before its answer', () => ({ kind: 'lose answer', marker: COMMIT }), { cutsMin: 8 }],
    [
      'somewhere on the way to the server',
      (i) => ({ kind: 'cut after', direction: 'to server', bytes: 40 + i * 6_133 }),
      { cutsMin: 4 },
    ],
    ['somewhere on the way back', (i) => ({ kind: 'cut after', direction: 'to client', bytes: 1 + i * 17 }), { cutsMin: 4 }],
  ];

  test.each(cases)('a write cut %s is stored exactly once', async (name, faultOf, { cutsMin }) => {
    const rows = 300;
    const cutsAtStart = proxy.cuts;
    const batch = metricBatch(timesFrom(NOW_NS, rows));
    const walId = Buffer.from(name).toString('hex').slice(-32);
    for (let i = 0; i < 8; i++) {
      const cutsBefore = proxy.cuts;
      proxy.arm(faultOf(i));
      const attempts = await untilDelivered(sink, writeOf(walId, i + 1, batch));
      proxy.disarm();
      expect({ i, again: attempts > 1 }).toEqual({ i, again: proxy.cuts > cutsBefore });
      const { stored, batches } = await withClient(server.url, async (client) => {
        const answer = await client.query<{ stored: number; batches: number }>(
          `SELECT (SELECT count(*)::int FROM metrics_events) AS stored, (SELECT count(*)::int FROM _ingest_batches) AS batches`,
        );
        return answer.rows[0];
      });
      expect(stored).toBe(batches * rows);
    }
    const mine = await withClient(server.url, (client) =>
      client.query('SELECT count(*)::int AS count FROM _ingest_batches WHERE wal_id = $1', [walId]),
    );
    expect(mine.rows).toEqual([{ count: 8 }]);
    expect(proxy.cuts - cutsAtStart).toBeGreaterThanOrEqual(cutsMin);
  });

  test('a write whose backend is killed during COPY is stored exactly once', async () => {
    const write = writeOf(WAL, 1, metricBatch(timesFrom(NOW_NS, 150_000)));
    const delivered = untilDelivered(sink, write);
    await withClient(server.url, async (client) => {
      for (let killed = 0; killed === 0; ) {
        const answer = await client.query(
          `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'COPY%' AND datname = current_database()`,
        );
        killed = answer.rowCount ?? 0;
      }
    });
    expect(await delivered).toBeGreaterThan(1);
    const stored = await withClient(server.url, (client) =>
      client.query(
        `SELECT count(*)::int AS count, (SELECT rows::int FROM _ingest_batches WHERE wal_id = $1) AS rows FROM metrics_events
        WHERE labels->>'route' = '/orders/149999'`,
        [WAL],
      ),
    );
    expect(stored.rows).toEqual([{ count: 1, rows: 150_000 }]);
  });

  test('a write waits for another attempt of the same identity and then finds it done', async () => {
    const write = writeOf(WAL, 2, metricBatch(timesFrom(NOW_NS, 10)));
    await withClient(server.url, async (orphan) => {
      await orphan.query('BEGIN');
      await orphan.query(`INSERT INTO _ingest_batches VALUES ($1, 2, 2, 'metrics_events', 10)`, [WAL]);
      const written = sink.write(write);
      await withClient(server.url, async (client) => {
        for (let waiting = 0; waiting === 0; ) {
          const answer = await client.query(
            `SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()`,
          );
          waiting = answer.rowCount ?? 0;
        }
      });
      await orphan.query('ROLLBACK');
      await written;
    });
    const { rows } = await withClient(server.url, (client) =>
      client.query('SELECT rows::int FROM _ingest_batches WHERE wal_id = $1 AND lsn = 2', [WAL]),
    );
    expect(rows).toEqual([{ rows: 10 }]);
  });
});

test('while the server is down writes fail for a retry; when it is back they are delivered once', async () => {
  const first = await startOwnPostgres();
  const proxy = await TcpProxy.start(Number(new URL(first.url).port));
  const sink = newSink(proxy.urlFor(first.url));
  try {
    await sink.start();
    await sink.write(writeOf(WAL, 1, metricBatch(timesFrom(NOW_NS, 100))));
    await first.server.stop();
    const down = sink.write(writeOf(WAL, 2, metricBatch(timesFrom(NOW_NS, 100))));
    await expect(down).rejects.toMatchObject({ name: 'SinkError', failure: 'retry' });
    await expect(sink.ping()).rejects.toMatchObject({ failure: 'retry' });
    await expect(sink.start()).rejects.toMatchObject({ failure: 'retry' });

    const again = await first.startAgain();
    proxy.retarget(Number(new URL(again.url).port));
    await untilDelivered(sink, writeOf(WAL, 1, metricBatch(timesFrom(NOW_NS, 100))));
    await untilDelivered(sink, writeOf(WAL, 2, metricBatch(timesFrom(NOW_NS, 100))));
    await sink.ping();
    const { rows } = await withClient(again.url, (client) => client.query('SELECT count(*)::int AS count FROM metrics_events'));
    expect(rows).toEqual([{ count: 200 }]);
  } finally {
    await sink.stop();
    await proxy.stop();
    await first.stop();
  }
});

test('a server that may lose what it has committed is refused with the reason', async () => {
  const server = await startPostgres();
  // fsync is fixed at start of a server: a function of this name in front of the system's stands in for the setting.
  await withClient(server.url, async (client) => {
    await client.query(`CREATE SCHEMA front;
      CREATE FUNCTION front.current_setting(name text) RETURNS text LANGUAGE sql AS
        $$ SELECT CASE name WHEN 'fsync' THEN 'off' ELSE pg_catalog.current_setting(name) END $$`);
    await client.query(
      `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = front, pg_catalog, public', current_database()); END $$`,
    );
  });
  const sink = newSink(server.url);
  await expect(sink.start()).rejects.toThrow('fsync=off');
  await sink.stop();
  await server.stop();
});
