/** One request under one key, over every protocol and a restart: stored once, answered alike. */
import { Int64, Table, vectorFromArray } from 'apache-arrow';
import { FlightTestClient, pathDescriptor } from '../support/flight-client';
import { frame, RawGrpcClient } from '../support/grpc-raw';
import { IngestClient } from '../support/ingest-client';
import { encodeRequest } from '../support/otlp-requests';
import { TestServer, temporaryDirectory } from '../support/server';

let server: TestServer;
let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
beforeAll(async () => {
  directory = await temporaryDirectory();
  server = await TestServer.start({ dataDir: directory.path });
}, 60_000);
afterAll(async () => {
  await server.stop();
  await directory.remove();
}, 60_000);

const json = { 'content-type': 'application/json' };

test('REST: the same answer for the same request, 409 for another one, also after a restart', async () => {
  const rows = '[{"message":"once","app":"key"},{"message":"bad","timestamp":"never"}]';
  const send = (body: string) => server.post('/write/logs', body, { ...json, 'idempotency-key': 'rest-1' });
  const first = (await (await send(rows)).json()) as object;
  expect(first).toMatchObject({ accepted: 1, rejected: 1 });
  expect(await (await send(rows)).json()).toEqual(first);
  const other = await send('{"message":"other","app":"key"}');
  expect([other.status, await other.json()]).toMatchObject([409, { error: { code: 'already_exists' } }]);
  await server.stop();
  server = await TestServer.start({ dataDir: directory.path });
  expect(await (await send(rows)).json()).toEqual(first);
  await server.drained();
  expect((await server.sql('cold', `SELECT count() FROM logs_events WHERE app = 'key'`)).rows).toEqual([['1']]);
}, 60_000);

test('OTLP/HTTP: a repeated export is stored once', async () => {
  const body = JSON.stringify({
    resourceLogs: [
      {
        resource: { attributes: [{ key: 'service.name', value: { stringValue: 'otlp key' } }] },
        scopeLogs: [{ logRecords: [{ timeUnixNano: '1790000000000000000', body: { stringValue: 'x' } }] }],
      },
    ],
  });
  const headers = { ...json, 'idempotency-key': 'otlp-1' };
  for (let i = 0; i < 3; i++) expect((await server.post('/v1/logs', body, headers)).status).toBe(200);
  // Without a key equal requests are different requests.
  for (let i = 0; i < 2; i++) expect((await server.post('/v1/logs', body)).status).toBe(200);
  expect((await server.post('/v1/logs', '{"resourceLogs":[]}', headers)).status).toBe(200);
  expect((await server.post('/v1/logs', body.replace('"x"', '"y"'), headers)).status).toBe(409);
  await server.drained();
  expect((await server.sql('cold', `SELECT count() FROM logs_events WHERE app = 'otlp key'`)).rows).toEqual([['3']]);
}, 60_000);

/** Sends number `n` under the key of the protocol; resolves with whatever names what was stored. Rejects with the code of the status. */
const SENDERS: Readonly<Record<string, (n: number) => Promise<unknown>>> = {
  'OTLP/gRPC': async (n) => {
    const logRecords = [{ timeUnixNano: '1790000000000000000', body: { stringValue: String(n) } }];
    const resource = { attributes: [{ key: 'service.name', value: { stringValue: 'grpc key' } }] };
    const body = frame(encodeRequest('logs', { resourceLogs: [{ resource, scopeLogs: [{ logRecords }] }] }));
    const raw = await RawGrpcClient.open(server.grpc);
    const path = '/opentelemetry.proto.collector.logs.v1.LogsService/Export';
    const answer = await raw.unary(path, body, { 'idempotency-key': 'each' });
    raw.close();
    if (answer.trailers['grpc-status'] !== '0')
      throw Object.assign(new Error(), { code: Number(answer.trailers['grpc-status']) });
    return answer.body;
  },
  IngestService: async (n) => {
    const client = new IngestClient(server.grpc);
    const rows = { rows: [{ fields: { n: { intValue: n } } }, { fields: { time: { stringValue: 'never' } } }] };
    const request = { table: 'each_ingest', rows, idempotencyKey: 'each ingest' };
    return client.call('Write', request).finally(() => client.close());
  },
  'IngestService stream': async (n) => {
    const client = new IngestClient(server.grpc);
    const call = client.stream();
    const rows = { rows: [{ fields: { n: { intValue: n } } }] };
    call.write({ requestId: 'r', write: { table: 'each_stream', rows, idempotencyKey: 'each stream' } });
    call.end();
    const answers: Record<string, unknown>[] = [];
    for await (const answer of call) answers.push(answer as Record<string, unknown>);
    client.close();
    const { error } = answers[0] as { error?: { code: number } };
    if (error !== undefined) throw Object.assign(new Error(), error);
    return answers;
  },
  'Flight header': (n) => put('each_flight', n, { 'idempotency-key': 'each flight' }),
  'Flight descriptor': (n) => put('each_path', n, {}, ['idempotency-key=each path']),
};

async function put(table: string, n: number, headers: Record<string, string>, path: readonly string[] = []): Promise<unknown> {
  const client = new FlightTestClient(server.grpc);
  const rows = new Table({ n: vectorFromArray([BigInt(n)], new Int64()) });
  const { end } = await client.put(rows, pathDescriptor(table, ...path), headers).finally(() => client.close());
  if (end.code !== 0) throw Object.assign(new Error(end.details), { code: end.code });
  return end.trailers.get('thermocline-last-batch');
}

test('every protocol over gRPC: the first answer again, ALREADY_EXISTS for other content, also after a restart', async () => {
  const first = new Map<string, unknown>();
  for (const [name, send] of Object.entries(SENDERS)) first.set(name, await send(1));
  for (let restarts = 0; restarts < 2; restarts++) {
    for (const [name, send] of Object.entries(SENDERS)) {
      expect([name, await send(1)]).toEqual([name, first.get(name)]);
      await expect(send(2)).rejects.toMatchObject({ code: 6 });
    }
    if (restarts === 1) break;
    await server.stop();
    server = await TestServer.start({ dataDir: directory.path });
  }
  await server.drained();
  for (const table of ['each_ingest', 'each_stream', 'each_flight', 'each_path']) {
    expect((await server.sql('hot', `SELECT count(*) FROM ${table} WHERE n = 1`)).rows).toEqual([['1']]);
    expect((await server.sql('hot', `SELECT count(*) FROM ${table} WHERE n = 2`)).rows).toEqual([['0']]);
  }
  expect((await server.sql('cold', `SELECT count() FROM logs_events WHERE app = 'grpc key'`)).rows).toEqual([['1']]);
}, 60_000);

test('a key that is too long is refused before anything is stored', async () => {
  const response = await server.post('/write/logs', '{"message":"x","app":"long"}', {
    ...json,
    'idempotency-key': 'k'.repeat(256),
  });
  expect([response.status, await response.json()]).toMatchObject([
    400,
    { error: { code: 'invalid_argument', at: 'idempotency-key' } },
  ]);
}, 60_000);
