/** thermocline/client against the built command with embedded stores: what was written is found by SQL. */
import { tableFromArrays } from 'apache-arrow';
import { Json, ThermoclineClient, Timestamp } from '../../src/client/client';
import { IngestClient } from '../support/ingest-client';
import { TestServer, temporaryDirectory } from '../support/server';

let server: TestServer;
let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
let client: ThermoclineClient;
beforeAll(async () => {
  directory = await temporaryDirectory();
  server = await TestServer.start({ dataDir: directory.path });
  client = new ThermoclineClient({ address: server.grpc });
}, 60_000);
afterAll(async () => {
  await client.close();
  const code = await server.stop();
  await directory.remove();
  if (code !== 0) throw new Error(`the server ended with ${code}`);
}, 60_000);

test('a registered table takes rows of every type, and SQL gives back the exact values', async () => {
  const { columns } = await client.registerTable('readings', [
    { name: 'time', type: 'timestamp' },
    { name: 'value', type: 'double' },
    { name: 'labels', type: 'jsonb' },
    { name: 'count', type: 'bigint' },
    { name: 'large', type: 'uint64' },
    { name: 'note', type: 'text' },
    { name: 'raw', type: 'bytea' },
    { name: 'ok', type: 'boolean' },
    { name: 'scores', type: 'double[]' },
  ]);
  expect(columns.map(({ type }) => type).slice(0, 4)).toEqual(['timestamp', 'float64', 'json', 'int64']);
  const { batchIds } = await client.write('readings', [
    {
      time: new Timestamp(1_790_000_000_123_456_789n),
      value: 0.1,
      labels: { a: 1n, b: ['x', null] },
      count: -(2n ** 63n),
      large: 2n ** 64n - 1n,
      note: "it's 世界",
      raw: Uint8Array.of(0, 255),
      ok: true,
      scores: [1, 2.5],
    },
    { time: new Timestamp(1_790_000_001_000_000_000n), labels: new Json('{"k":"v"}') },
  ]);
  await server.drained();
  const { rows } = await server.sql(
    'hot',
    'SELECT time, time_ns, value, labels, count, large, note, raw, ok, scores FROM readings ORDER BY time',
  );
  expect(rows[0].slice(0, 7)).toEqual([
    '2026-09-21T14:13:20.123456Z',
    789,
    0.1,
    { a: 1, b: ['x', null] },
    '-9223372036854775808',
    '18446744073709551615',
    "it's 世界",
  ]);
  expect(rows[0].slice(8)).toEqual([true, [1, 2.5]]);
  expect(rows[1].slice(0, 5)).toEqual(['2026-09-21T14:13:21Z', 0, null, { k: 'v' }, null]);
  for (const status of await client.batchStatus(batchIds[0])) expect(status.delivered).toBe(true);
}, 60_000);

test('many writes and an Arrow table arrive whole, and a write of level hot is in the store when it resolves', async () => {
  const total = 20_000;
  const writes = Array.from({ length: total / 100 }, (_, i) =>
    client.write(
      'ticks',
      Array.from({ length: 100 }, (__, j) => ({ n: BigInt(i * 100 + j), symbol: `s${j % 7}` })),
    ),
  );
  await client.flush();
  await Promise.all(writes);
  const hot = new ThermoclineClient({ address: server.grpc, ackLevel: 'hot' });
  await hot.write('ticks', tableFromArrays({ n: BigInt64Array.of(BigInt(total)), symbol: ['arrow'] }));
  await hot.close();
  const { rows } = await server.sql('hot', 'SELECT count(*), count(DISTINCT n), sum(n), max(symbol) FROM ticks');
  expect(rows[0].slice(0, 3).map(String)).toEqual([String(total + 1), String(total + 1), String((total * (total + 1)) / 2)]);
}, 60_000);

test('the same request sent twice is stored once', async () => {
  // What the client does when an answer is lost: the same message with the same key once more.
  const raw = new IngestClient(server.grpc);
  const request = {
    table: 'once',
    idempotencyKey: 'k',
    rows: { rows: [{ fields: { n: { intValue: 1 } } }] },
    ackLevel: 'ACK_LEVEL_HOT',
  };
  const first = await raw.call('Write', request);
  expect(await raw.call('Write', request)).toEqual(first);
  const other = { ...request, rows: { rows: [{ fields: { n: { intValue: 2 } } }] } };
  expect(await raw.failure('Write', other)).toMatchObject({ code: 6 });
  raw.close();
  expect((await server.sql('hot', 'SELECT n FROM once')).rows).toEqual([['1']]);
}, 60_000);
