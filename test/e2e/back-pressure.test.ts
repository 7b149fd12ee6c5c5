/** Full logs, full disks and flooding clients, with the built command. */
import { rm, writeFile } from 'node:fs/promises';
import { Agent, request } from 'node:http';
import { join } from 'node:path';
import { startClickHouse } from '../support/clickhouse';
import { frame, RawGrpcClient } from '../support/grpc-raw';
import { encodeRequest } from '../support/otlp-requests';
import { startPostgres } from '../support/postgres';
import { decodeRpcStatus } from '../support/rpc-status';
import { TestServer, temporaryDirectory } from '../support/server';
import { TcpProxy } from '../support/tcp-proxy';
import { mountTmpfs, unmount } from '../support/tmpfs';

const LOGS = '/opentelemetry.proto.collector.logs.v1.LogsService/Export';
const ONE_LOG = encodeRequest('logs', { resourceLogs: [{ scopeLogs: [{ logRecords: [{ body: { stringValue: 'x' } }] }] }] });

let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
beforeEach(async () => {
  directory = await temporaryDirectory();
});
afterEach(() => directory.remove());

interface Readiness {
  readonly status: string;
  readonly reason?: string;
}

async function readiness(server: TestServer): Promise<Readiness> {
  return (await (await fetch(`http://${server.admin}/readyz`)).json()) as Readiness;
}

async function metric(server: TestServer, name: string): Promise<number> {
  const text = await (await fetch(`http://${server.admin}/metrics`)).text();
  const [, value] = new RegExp(`^thermocline_${name.replace(/[{}"]/g, '\\$&')} (.+)$`, 'm').exec(text) ?? [];
  return Number(value ?? Number.NaN);
}

async function until<T>(what: string, look: () => Promise<T | undefined>, timeoutMs = 40_000): Promise<T> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    if (Date.now() > deadline) throw new Error(`not in time: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

let nextRow = 1;
const rows = (count: number): string =>
  JSON.stringify(Array.from({ length: count }, () => ({ app: 'a', message: `row ${nextRow++} ${'x'.repeat(400)}` })));

test('a full log slows and then refuses clients with a hint; when the store is back they succeed and nothing is lost', async () => {
  const MIB = 1024 * 1024;
  const [clickhouse, postgres] = await Promise.all([startClickHouse(), startPostgres()]);
  const proxy = await TcpProxy.start(Number(new URL(clickhouse.url).port));
  const server = await TestServer.start({
    dataDir: directory.path,
    settings: {
      CLICKHOUSE_URL: proxy.urlFor(clickhouse.url),
      POSTGRES_URL: postgres.url,
      WAL_SEGMENT_BYTES: String(256 * 1024),
      WAL_BYTES_MAX: String(2 * MIB),
      SHUTDOWN_GRACE_MS: '2000',
    },
  });
  proxy.retarget(9);
  proxy.cutAll();
  let acknowledged = 0;
  const refused = await until('a refusal', async () => {
    const response = await server.post('/write/logs', rows(100));
    if (response.status === 503) return response;
    expect(response.status).toBe(200);
    acknowledged += 100;
    return undefined;
  });
  const hint = Number(refused.headers.get('retry-after'));
  expect(hint).toBeGreaterThanOrEqual(1);
  expect(hint).toBeLessThanOrEqual(60);
  const client = await RawGrpcClient.open(server.grpc);
  const { trailers } = await client.unary(LOGS, frame(ONE_LOG));
  client.close();
  expect(trailers['grpc-status']).toBe('14');
  const { retryAfterMs } = decodeRpcStatus(Buffer.from(String(trailers['grpc-status-details-bin']), 'base64'));
  expect(retryAfterMs).toBeGreaterThanOrEqual(1_000);
  expect(retryAfterMs).toBeLessThanOrEqual(60_000);
  expect(await readiness(server)).toMatchObject({ status: 'not ready', reason: expect.stringContaining('log is full') });
  expect((await fetch(`http://${server.admin}/healthz`)).status).toBe(200);
  expect(await metric(server, 'delayed_requests_total')).toBeGreaterThan(0);
  expect(await metric(server, 'refused_requests_total{reason="wal"}')).toBeGreaterThan(0);
  expect(await metric(server, 'back_pressure{cause="wal"}')).toBe(1);
  expect(await metric(server, 'wal_limit_bytes')).toBe(2 * MIB);

  proxy.retarget(Number(new URL(clickhouse.url).port));
  await until('an acknowledgement', async () => {
    const response = await server.post('/write/logs', rows(100));
    return response.status === 200 ? true : undefined;
  });
  acknowledged += 100;
  await server.sqlUntil('cold', 'SELECT count() FROM logs_events', acknowledged);
  expect((await readiness(server)).status).toBe('ready');
  expect(await metric(server, 'wal_retained_bytes')).toBeLessThan(MIB);
  await server.stop();
  await Promise.all([proxy.stop(), clickhouse.stop(), postgres.stop()]);
}, 120_000);

test('a disk without room for the next segment and the reserve refuses clients; with room they go on', async () => {
  const mounted = join(directory.path, 'small');
  const reason = await mountTmpfs(mounted, '24m');
  if (reason !== undefined) {
    console.warn(`skipped: ${reason}`);
    return;
  }
  const ballast = join(mounted, 'ballast');
  try {
    const MIB = 1024 * 1024;
    const server = await TestServer.start({
      dataDir: join(mounted, 'data'),
      settings: { SINKS: 'none', WAL_SEGMENT_BYTES: String(MIB), WAL_DISK_RESERVE_BYTES: String(2 * MIB) },
    });
    expect((await server.post('/write/logs', rows(10))).status).toBe(200);
    const free = await metric(server, 'wal_disk_free_bytes');
    await writeFile(ballast, Buffer.alloc(free - MIB, 1));
    const refused = await until('a refusal', async () => {
      const response = await server.post('/write/logs', rows(10));
      return response.status === 503 ? response : undefined;
    });
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
    expect(await refused.text()).toContain('disk');
    expect((await readiness(server)).reason).toContain('disk');
    expect(await metric(server, 'refused_requests_total{reason="disk"}')).toBeGreaterThan(0);
    await rm(ballast);
    await until('an acknowledgement', async () => {
      const response = await server.post('/write/logs', rows(10));
      return response.status === 200 ? true : undefined;
    });
    expect((await readiness(server)).status).toBe('ready');
    expect(await server.stop()).toBe(0);
  } finally {
    unmount(mounted);
  }
}, 60_000);

/** One request from an address of its own. */
function postFrom(localAddress: string, server: TestServer, body: string | Buffer, agent: Agent): Promise<number> {
  const [host, port] = server.http.split(':');
  const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) };
  return new Promise((resolve, reject) => {
    const sent = request({ host, port, path: '/write/logs', method: 'POST', headers, agent, localAddress }, (response) => {
      response.resume();
      response.on('end', () => resolve(response.statusCode ?? 0));
    });
    sent.on('error', reject);
    sent.end(body);
  });
}

test('a client with 200 connections that takes all the room it can get does not cost another client a single request', async () => {
  const MIB = 1024 * 1024;
  const server = await TestServer.start({
    dataDir: directory.path,
    settings: { SINKS: 'none', IN_FLIGHT_BYTES_MAX: String(4 * MIB), REQUEST_BYTES_MAX: String(MIB) },
  });
  const flooding = new Agent({ keepAlive: true, maxSockets: 200 });
  const modest = new Agent({ keepAlive: true });
  const large = rows(400);
  const flood: Record<number, number> = {};
  const ended = new AbortController();
  const flooders = Array.from({ length: 200 }, async () => {
    while (!ended.signal.aborted) {
      const status = await postFrom('127.0.0.1', server, large, flooding);
      flood[status] = (flood[status] ?? 0) + 1;
    }
  });
  const answers: number[] = [];
  await until('the flood is refused', async () => ((flood[503] ?? 0) > 20 ? true : undefined));
  for (let index = 0; index < 20; index++) {
    answers.push(await postFrom('127.0.0.2', server, rows(2), modest));
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  ended.abort();
  await Promise.all(flooders);
  expect(answers).toEqual(Array.from({ length: 20 }, () => 200));
  expect(flood[200]).toBeGreaterThan(0);
  expect(await metric(server, 'refused_requests_total{reason="share"}')).toBeGreaterThan(0);
  expect(await metric(server, 'in_flight_bytes')).toBe(0);
  flooding.destroy();
  modest.destroy();
  await server.stop();
}, 60_000);
