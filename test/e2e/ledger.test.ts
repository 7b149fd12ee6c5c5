/** The ledger of the built command: it balances at any moment, with dead letters, with a store down, and after kill -9. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { encodeRequest } from '../support/otlp-requests';
import { TestServer, temporaryDirectory } from '../support/server';
import { ServerStores } from '../support/server-stores';

interface Ledger {
  readonly since: Record<string, string>;
  readonly tables: { table: string; tier: string; accepted: number; delivered: number; dead_letters: number; pending: number }[];
  readonly balanced: boolean;
}

const NOW_NS = String(BigInt(Date.now()) * 1_000_000n);

let stores: ServerStores;
let server: TestServer;

const start = (settings: Record<string, string> = {}): Promise<TestServer> => stores.start(settings);

beforeAll(async () => {
  stores = await ServerStores.open();
}, 60_000);
afterAll(async () => {
  await server?.stop();
  await stores.close();
}, 60_000);

async function api(path: string): Promise<{ status: number; body: unknown }> {
  const response = await fetch(`http://${server.admin}${path}`);
  return { status: response.status, body: await response.json() };
}

async function ledger(): Promise<Ledger> {
  const { status, body } = await api('/api/ledger');
  expect([status, (body as Ledger).balanced]).toEqual([200, true]);
  return body as Ledger;
}

async function send(round: number): Promise<string> {
  const logRecords = Array.from({ length: 7 }, (_, i) => ({ timeUnixNano: NOW_NS, body: { stringValue: `${round}-${i}` } }));
  const body = encodeRequest('logs', { resourceLogs: [{ scopeLogs: [{ logRecords }] }] });
  expect((await server.post('/v1/logs', body, { 'content-type': 'application/x-protobuf' })).status).toBe(200);
  const time = new Date().toISOString();
  const things = [1, 2, 3].map((n) => `{"time":"${time}","n":${n},"doc":{"big":${n === 2 ? '1e400000' : n}}}`);
  const written = await server.post('/write/things', `[${things.join()}]`);
  return ((await written.json()) as { batch: string }).batch;
}

/**
 * The cursor moves in memory before it is durable. A server that is killed between the two asks the store again, so its rows are
 * pending while the store is down.
 */
async function durablyDelivered(tier: string, totals: object): Promise<void> {
  const wanted = `"totals":${JSON.stringify(totals)}`;
  const checkpoint = async (): Promise<string> => readFile(join(stores.path, 'wal', `delivery-${tier}.state`), 'utf8');
  for (const deadline = Date.now() + 20_000; !(await checkpoint()).includes(wanted); ) {
    if (Date.now() > deadline) throw new Error(`the checkpoint does not say ${wanted}: ${await checkpoint()}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

const line = (table: string, tier: string, accepted: number, dead: number, pending = 0) => ({
  table,
  tier,
  accepted,
  delivered: accepted - dead - pending,
  dead_letters: dead,
  diverted: 0,
  pending,
  balanced: true,
});

test('rows of REST and OTLP balance while they come in, delivered, parked, after kill -9 and with a store that is down', async () => {
  server = await start();
  let batch = '';
  for (let round = 0; round < 10; round++) {
    batch = await send(round);
    await ledger();
  }
  await server.drained();
  const expected = [line('logs_events', 'cold', 70, 0), line('things', 'hot', 30, 10)];
  expect((await ledger()).tables).toEqual(expected);
  const metrics = await (await fetch(`http://${server.admin}/metrics`)).text();
  expect(metrics).toContain('thermocline_ledger_balanced 1');
  expect(metrics).toContain('thermocline_ledger_rows{table="things",tier="hot",state="accepted"} 30');
  expect(metrics).toContain('thermocline_ledger_rows{table="things",tier="hot",state="dead_letters"} 10');
  expect(metrics).toContain('thermocline_ledger_rows{table="things",tier="hot",state="pending"} 0');
  const delivered = { tier: 'hot', state: 'delivered' };
  expect(await api(`/api/batches/${batch}`)).toMatchObject({
    status: 200,
    body: { batch, tiers: [delivered, { tier: 'cold' }] },
  });
  const { since } = await ledger();

  await durablyDelivered('hot', { things: { delivered: 20, deadLetters: 10 } });
  await server.stop('SIGKILL');
  server = await start({ POSTGRES_URL: 'postgres://nobody@127.0.0.1:1/none', SHUTDOWN_GRACE_MS: '500' });
  const held = await send(10);
  const logs = line('logs_events', 'cold', 77, 0);
  const deadline = Date.now() + 20_000;
  let tables = (await ledger()).tables;
  while (tables[0].pending > 0 && Date.now() < deadline) tables = (await ledger()).tables;
  expect(tables).toEqual([logs, line('things', 'hot', 33, 10, 3)]);
  expect(await api(`/api/batches/${held}`)).toMatchObject({
    body: { tiers: [{ tier: 'hot', state: 'pending' }, { tier: 'cold' }] },
  });

  await server.stop('SIGKILL');
  server = await start();
  await server.drained();
  const last = await ledger();
  expect(last.tables).toEqual([logs, line('things', 'hot', 33, 11)]);
  expect(last.since).toEqual(since);
  expect((await server.sql('hot', 'SELECT count(*) FROM things')).rows).toEqual([['22']]);
  expect((await server.sql('cold', 'SELECT count() FROM logs_events')).rows).toEqual([['77']]);
  expect(await server.stop()).toBe(0);
}, 90_000);

test('an acknowledgement of the store says which rows are not in it', async () => {
  server = await start();
  const time = new Date().toISOString();
  const rows = [1, 2, 3].map((n) => `{"time":"${time}","n":${n},"doc":{"big":${n === 2 ? '1e400000' : n}}}`);
  for (const ack of ['hot', 'all']) {
    const answer = await server.post('/write/acked', `[${rows.join()}]`, { 'x-ack': ack, 'content-type': 'application/json' });
    expect(answer.status).toBe(200);
    const body = (await answer.json()) as { batch: string };
    expect(body).toMatchObject({ table: 'acked', accepted: 2, rejected: 0, dead_letters: 1 });
    expect(await api(`/api/batches/${body.batch}`)).toMatchObject({ body: { dead_letters: 1 } });
  }
  expect((await server.sql('hot', 'SELECT n FROM acked ORDER BY n')).rows.flat()).toEqual(['1', '1', '3', '3']);
  expect(await server.stop()).toBe(0);
}, 90_000);

test('a batch that is none or was never acknowledged is refused', async () => {
  server = await start();
  const batch = await send(20);
  expect((await api(`/api/batches/${batch.replace(/\d+$/, '999999')}`)).status).toBe(404);
  expect((await api(`/api/batches/${'0'.repeat(32)}-1`)).status).toBe(404);
  for (const id of ['1', 'x-1', `${batch.toUpperCase()}x`, '%27']) expect((await api(`/api/batches/${id}`)).status).toBe(400);
});

test('rows that wait for slow stores at a start stay in the log, although their idempotency keys no longer need it', async () => {
  await server?.stop();
  const own = await temporaryDirectory();
  try {
    const settings = { WAL_SEGMENT_BYTES: '1048576' };
    const down = { POSTGRES_URL: 'postgres://nobody@127.0.0.1:1/none', CLICKHOUSE_URL: 'http://127.0.0.1:1' };
    server = await TestServer.start({ dataDir: own.path, settings: { ...settings, ...down } });
    const text = 'x'.repeat(400_000);
    for (let i = 0; i < 8; i++) {
      const headers = { 'content-type': 'application/json', 'idempotency-key': `key-${i}` };
      expect((await server.post('/write/logs', JSON.stringify({ message: `${i}${text}` }), headers)).status).toBe(200);
    }
    await server.stop('SIGKILL');
    // Embedded stores: the first start of PostgreSQL takes seconds, in which the keys are flushed.
    server = await TestServer.start({ dataDir: own.path, settings });
    await server.sqlUntil('cold', 'SELECT uniqExact(message) FROM logs_events', 8);
    expect((await ledger()).tables).toEqual([line('logs_events', 'cold', 8, 0)]);
    expect(await server.stop()).toBe(0);
  } finally {
    await server.stop();
    await own.remove();
  }
}, 90_000);
