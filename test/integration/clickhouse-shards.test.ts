/** Inserts on two engines as shards. What reads over shards needs a real cluster and is not run here. */
import { LOGS_EVENTS } from '../../src/core/builtin-tables';
import { lsn, type WalId } from '../../src/core/ids';
import type { SinkWrite } from '../../src/core/sink';
import { ShardedClickHouseSink, shardOf } from '../../src/sinks/clickhouse/sharded-sink';
import { ClickHouseSink } from '../../src/sinks/clickhouse/sink';
import { silentLogger } from '../../src/telemetry';
import { startClickHouse, type TestClickHouse } from '../support/clickhouse';
import { logBatch } from '../support/log-batches';
import { NOTHING_REFUSED } from '../support/refusals';

jest.setTimeout(60_000);

const START_NS = 1_767_312_000_000_000_000n;
const WAL_ID = 'ab'.repeat(16) as WalId;
let servers: TestClickHouse[] = [];
let shards: ClickHouseSink[] = [];

beforeAll(async () => {
  servers = await Promise.all([startClickHouse(), startClickHouse()]);
  shards = servers.map(({ url }) => new ClickHouseSink({ url, logger: silentLogger() }));
  for (const shard of shards) {
    await shard.start();
    // Without a cluster each makes its own.
    await shard.ensureTable(LOGS_EVENTS);
  }
});
afterAll(async () => {
  await Promise.all(shards.map((shard) => shard.stop()));
  await Promise.all(servers.map((server) => server.stop()));
});

const write = (at: number, mayHaveRun = false): SinkWrite => ({
  id: { walId: WAL_ID, lsn: lsn(at), lastLsn: lsn(at), table: LOGS_EVENTS.table, partition: '20260102' },
  schema: LOGS_EVENTS,
  batch: logBatch({ rows: 10, startNs: START_NS }),
  mayHaveRun,
  ...NOTHING_REFUSED,
});

const counts = async (): Promise<number[]> =>
  Promise.all(servers.map(async (server) => Number((await server.rows('SELECT count() FROM logs_events'))[0][0])));

test('each write is on one shard, once, however often it is repeated and whatever the list of shards has become', async () => {
  const sink = new ShardedClickHouseSink([shards[0], shards[1]]);
  const ids = Array.from({ length: 8 }, (_, i) => i + 1);
  for (const at of ids) await sink.write(write(at));
  const expected = [0, 0];
  for (const at of ids) expected[shardOf(write(at).id, 2)] += 10;
  expect(await counts()).toEqual(expected);
  const turned = new ShardedClickHouseSink([shards[1], shards[0]]);
  for (const at of ids) {
    await sink.write(write(at, true));
    await turned.write(write(at, true));
  }
  expect(await counts()).toEqual(expected);
});
