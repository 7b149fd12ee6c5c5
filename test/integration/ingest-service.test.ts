/** thermocline.ingest.v1.IngestService behind the real listener; requests and answers go through protobufjs. */
import { once } from 'node:events';
import { tableFromArrays, tableToIPC } from 'apache-arrow';
import { parse } from 'protobufjs';
import { IngestServiceAdapter } from '../../src/adapters/grpc/adapter';
import { GrpcListener } from '../../src/adapters/grpc-listener';
import { IngestError } from '../../src/core/errors';
import type { BatchTierStatus } from '../../src/core/ingest';
import { LIMITS } from '../../src/core/limits';
import { silentLogger, Telemetry } from '../../src/telemetry';
import { zstdStream } from '../support/compressed-arrow';
import { frame, RawGrpcClient } from '../support/grpc-raw';
import { IngestClient } from '../support/ingest-client';
import { decodeIngest, encodeIngest } from '../support/ingest-proto';
import { plainRows } from '../support/plain-rows';
import { MemoryRegistry, RecordingIngest } from '../support/recording-ingest';

const SERVICE = 'thermocline.ingest.v1.IngestService';

let ingest: RecordingIngest;
let registry: MemoryRegistry;
let batches: Map<string, BatchTierStatus[]>;
let listener: GrpcListener;
let address: string;
let client: IngestClient;

beforeEach(async () => {
  ingest = new RecordingIngest();
  registry = new MemoryRegistry();
  batches = new Map();
  const adapter = new IngestServiceAdapter({
    ingest,
    registry,
    batches: { status: (batch) => batches.get(batch) },
    telemetry: new Telemetry(),
    nowNs: () => 7n,
  });
  listener = new GrpcListener({ host: '127.0.0.1', port: 0, services: adapter.services, logger: silentLogger() });
  address = await listener.start();
  client = new IngestClient(address);
});
async function close(): Promise<void> {
  client.close();
  await listener.stop(0);
  expect(ingest.inFlightBytes).toBe(0);
}
afterEach(close);

const WIDEN = { conflictPolicy: 'CONFLICT_POLICY_WIDEN' };
const written = (): unknown[] => ingest.writes.flatMap((write) => write.batches.flatMap(({ batch }) => plainRows(batch)));
const speeds = (...values: number[]): object => ({
  rows: values.map((value) => ({ fields: { speed: { doubleValue: value } } })),
});

describe('Write', () => {
  it('takes rows, by name and by position, and makes the table from them', async () => {
    const rows = {
      columns: ['speed', 'name'],
      rows: [
        { values: [{ doubleValue: 1.5 }, { stringValue: 'ä' }] },
        { values: [{}], fields: { name: { stringValue: 'by name' }, count: { intValue: '-9007199254740993' } } },
        { fields: { time: { timestampValue: { seconds: '1700000000', nanos: 123456789 } } } },
      ],
    };
    const answer = await client.call('Write', { table: 'cars', rows });
    expect(answer).toEqual({ batchId: 'batch-1', acceptedRows: '3' });
    expect(written()).toEqual([
      { time: 7n, speed: 1.5, name: 'ä' },
      { time: 7n, name: 'by name', count: -9_007_199_254_740_993n },
      { time: 1_700_000_000_123_456_789n },
    ]);
    expect(
      registry
        .get('cars' as never)
        ?.columns.map(({ name, type }) => `${name} ${type}`)
        .sort(),
    ).toEqual(['count int64', 'name string', 'speed float64', 'time timestamp']);
  });

  it('takes an Arrow stream with compressed bodies, if the server has room for what they unpack to', async () => {
    const arrowStream = zstdStream(tableFromArrays({ speed: new BigInt64Array(100_000) }));
    expect(arrowStream.length).toBeLessThan(10_000);
    expect(await client.call('Write', { table: 'cars', arrowStream })).toMatchObject({ acceptedRows: '100000' });
    expect(ingest.peakInFlightBytes).toBeGreaterThan(800_000);
    ingest.bytesMax = 400_000;
    await expect(client.call('Write', { table: 'cars', arrowStream })).rejects.toMatchObject({ code: 14 });
    expect(ingest.writes).toHaveLength(1);
  });

  it('takes columns and an Arrow stream', async () => {
    const columns = {
      columns: [
        { name: 'speed', int64s: { values: ['1', '0', '9223372036854775807'] }, validity: Buffer.of(0b101) },
        { name: 'color', dictionary: { values: ['red', 'blue'], indexes: [1, 0, 1] } },
      ],
    };
    expect(await client.call('Write', { table: 'cars', columns })).toMatchObject({ acceptedRows: '3' });
    const arrowStream = tableToIPC(tableFromArrays({ speed: BigInt64Array.of(5n), color: ['green'] }), 'stream');
    expect(await client.call('Write', { table: 'cars', arrowStream })).toMatchObject({ acceptedRows: '1' });
    expect(written()).toEqual([
      { time: 7n, speed: 1n, color: 'blue' },
      { time: 7n, color: 'red' },
      { time: 7n, speed: 9_223_372_036_854_775_807n, color: 'blue' },
      { time: 7n, speed: 5n, color: 'green' },
    ]);
  });

  it('passes ack level, idempotency key and a digest of the content on', async () => {
    const request = { table: 'cars', rows: speeds(1), idempotencyKey: 'k1', ackLevel: 'ACK_LEVEL_COLD' };
    await client.call('Write', request);
    await client.call('Write', request);
    await client.call('Write', { ...request, rows: speeds(2) });
    await client.call('Write', { ...request, table: 'bikes' });
    await client.call('Write', { table: 'cars', rows: speeds(1) }, { 'idempotency-key': 'k2' });
    const [first, again, other, elsewhere, byMetadata] = ingest.writes;
    expect(first).toMatchObject({ protocol: 'ingest_grpc', ack: 'cold', idempotency: { key: 'k1' } });
    expect(again.idempotency?.digest).toEqual(first.idempotency?.digest);
    expect(other.idempotency?.digest).not.toEqual(first.idempotency?.digest);
    expect(elsewhere.idempotency?.digest).not.toEqual(first.idempotency?.digest);
    expect(byMetadata).toMatchObject({ ack: 'wal', idempotency: { key: 'k2', digest: first.idempotency?.digest } });
    const tooLong = { ...request, idempotencyKey: 'x'.repeat(256) };
    expect(await client.failure('Write', tooLong)).toMatchObject({ code: 3 });
  });

  it('stores the good rows and lists the bad ones', async () => {
    await client.call('Write', { table: 'cars', rows: speeds(1) });
    const rows = { rows: [{ fields: { speed: { doubleValue: 2 } } }, { fields: { speed: { stringValue: 'fast' } } }] };
    expect(await client.call('Write', { table: 'cars', rows })).toEqual({
      batchId: 'batch-2',
      acceptedRows: '1',
      rejectedRows: '1',
      rejections: [{ row: '1', code: 'REJECTION_CODE_TYPE_MISMATCH', column: 'speed', message: 'expected float64' }],
    });
  });

  it('is INVALID_ARGUMENT with a violation for each row and column when no row is accepted', async () => {
    await client.call('Write', { table: 'cars', rows: speeds(1) });
    const rows = { rows: Array.from({ length: 1_000 }, () => ({ fields: { speed: { boolValue: true } } })) };
    const { code, message, status } = await client.failure('Write', { table: 'cars', rows });
    expect([code, message]).toEqual([3, 'no row was accepted, 1000 were refused; row 0, column speed: expected float64']);
    expect(status.violations.slice(0, 2)).toEqual([
      { field: 'rows[0].speed', description: 'expected float64 (type_mismatch)' },
      { field: 'rows[1].speed', description: 'expected float64 (type_mismatch)' },
    ]);
    const [detail] = status.others;
    expect(detail.typeUrl).toBe('type.googleapis.com/thermocline.ingest.v1.WriteResponse');
    const response = decodeIngest('WriteResponse', detail.value) as { rejectedRows: string; rejections: object[] };
    expect(response.rejectedRows).toBe('1000');
    expect(response.rejections[0]).toEqual({
      code: 'REJECTION_CODE_TYPE_MISMATCH',
      column: 'speed',
      message: 'expected float64',
    });
    expect(response.rejections.length).toBeGreaterThan(10);
    expect(ingest.writes).toHaveLength(1);
  });

  it('keeps the trailers of a refusal below 8 KiB, whatever names the request has', async () => {
    const raw = await RawGrpcClient.open(address);
    const fields = Object.fromEntries(Array.from({ length: 50 }, (_, i) => [`_batch${'é'.repeat(20)}${i}`, { intValue: 1 }]));
    const rows = { rows: Array.from({ length: 200 }, () => ({ fields })) };
    const message = encodeIngest('WriteRequest', { table: 'cars', rows });
    const { trailers } = await raw.unary(`/${SERVICE}/Write`, frame(message));
    raw.close();
    expect(trailers['grpc-status']).toBe('3');
    const sizeBytes = Object.entries(trailers).reduce((sum, [name, value]) => sum + name.length + String(value).length + 32, 0);
    expect(sizeBytes).toBeLessThan(8 * 1024);
  });

  it('tells a client to come back with RetryInfo when there is no room', async () => {
    ingest.refusal = new IngestError('unavailable', 'too many bytes in flight', { retryAfterMs: 1_500 });
    expect(await client.failure('Write', { table: 'cars', rows: speeds(1) })).toMatchObject({
      code: 14,
      status: { code: 14, retryAfterMs: 1_500 },
    });
  });

  it.each([
    ['a table name that cannot be', { table: 'pg_class', rows: { rows: [{}] } }],
    ['an ack level that does not exist', { table: 'cars', ackLevel: 99, rows: { rows: [{}] } }],
    ['a position without a name', { table: 'cars', rows: { rows: [{ values: [{ intValue: 1 }] }] } }],
    ['a position named twice', { table: 'cars', rows: { columns: ['a', 'a'], rows: [{}] } }],
    ['a column twice', { table: 'cars', columns: { columns: [{ name: 'a' }, { name: 'a' }] } }],
    [
      'columns of different length',
      {
        table: 'cars',
        columns: {
          columns: [
            { name: 'a', int32s: { values: [1] } },
            { name: 'b', bools: { values: [] } },
          ],
        },
      },
    ],
    [
      'a validity of the wrong size',
      { table: 'cars', columns: { columns: [{ name: 'a', int32s: { values: [1] }, validity: Buffer.alloc(2) }] } },
    ],
    [
      'lists that do not add up',
      { table: 'cars', columns: { columns: [{ name: 'a', lists: { lengths: [2], int64s: { values: [1] } } }] } },
    ],
    [
      'an index outside of its dictionary',
      { table: 'cars', columns: { columns: [{ name: 'a', dictionary: { values: ['x'], indexes: [1] } }] } },
    ],
    ['bytes that are no Arrow stream', { table: 'cars', arrowStream: Buffer.from('hello') }],
  ])('refuses %s for good', async (_, request) => {
    expect(await client.failure('Write', request)).toMatchObject({ code: 3, status: { retryAfterMs: undefined } });
    expect(ingest.writes).toEqual([]);
  });

  it('IP7: the Arrow file format is refused at once', async () => {
    const table = tableFromArrays({ speed: BigInt64Array.of(5n) });
    const request = { table: 'cars', arrowStream: tableToIPC(table, 'file') };
    expect(await client.failure('Write', request)).toMatchObject({ code: 3, status: { retryAfterMs: undefined } });
    expect(await client.call('Write', { ...request, arrowStream: tableToIPC(table, 'stream') })).toMatchObject({
      acceptedRows: '1',
    });
  });

  it('accepts a request without rows, and rows without values', async () => {
    expect(await client.call('Write', { table: 'cars' })).toEqual({ batchId: 'batch-0' });
    expect(await client.call('Write', { table: 'cars', rows: { rows: [{}, {}] } })).toMatchObject({ acceptedRows: '2' });
    expect(written()).toEqual([{ time: 7n }, { time: 7n }]);
  });

  it('is INVALID_ARGUMENT for a message that cannot be read, whatever the method', async () => {
    for (const method of ['Write', 'RegisterTable', 'GetTable', 'GetBatch']) {
      expect([method, (await client.failure(method, Buffer.from('0aff01', 'hex'))).code]).toEqual([method, 3]);
    }
  });
});

describe('tables and batches', () => {
  const car = {
    table: 'cars',
    columns: [
      { name: 'time', type: 'timestamp' },
      { name: 'value', type: 'double', required: true },
      { name: 'labels', type: 'jsonb' },
      { name: 'color', type: 'VARCHAR(20)', lowCardinality: true },
    ],
  };
  const registered = {
    table: {
      name: 'cars',
      version: 1,
      columns: [
        { name: 'time', type: 'timestamp', required: true, ...WIDEN },
        { name: 'value', type: 'float64', required: true, ...WIDEN },
        { name: 'labels', type: 'json', ...WIDEN },
        { name: 'color', type: 'string', lowCardinality: true, ...WIDEN },
      ],
      timeColumn: 'time',
      tier: 'TIER_HOT',
      policy: 'TABLE_POLICY_EVOLVE',
    },
  };

  it('registers a table under the usual names of types; what it must have is asked of every row', async () => {
    expect(await client.call('RegisterTable', car)).toEqual(registered);
    expect(await client.call('GetTable', { table: 'cars' })).toEqual(registered);
    const { tables } = (await client.call('ListTables', {})) as { tables: { name: string }[] };
    expect(tables.map(({ name }) => name)).toEqual(expect.arrayContaining(['logs_events', 'cars']));
    const rows = {
      rows: [
        { fields: { value: { intValue: 3 }, labels: { mapValue: { entries: { a: { intValue: 1 }, b: { listValue: {} } } } } } },
        { fields: { labels: { jsonValue: '{}' } } },
      ],
    };
    expect(await client.call('Write', { table: 'cars', rows })).toMatchObject({
      acceptedRows: '1',
      rejections: [{ row: '1', code: 'REJECTION_CODE_MISSING_COLUMN', column: 'value' }],
    });
    expect(written()).toEqual([{ time: 7n, value: 3, labels: '{"a":1,"b":[]}' }]);
  });

  it('adds columns, and changes nothing when nothing is new', async () => {
    await client.call('RegisterTable', car);
    const more = {
      table: 'cars',
      columns: [
        { name: 'value', type: 'float64' },
        { name: 'wheels', type: 'smallint' },
      ],
    };
    const { table } = (await client.call('RegisterTable', more)) as { table: { columns: object[]; version: number } };
    expect(table.columns.at(-1)).toEqual({ name: 'wheels', type: 'int16', ...WIDEN });
    expect(await client.call('RegisterTable', { ...car, tier: 'TIER_COLD', table: 'cold_cars' })).toMatchObject({
      table: { tier: 'TIER_COLD' },
    });
  });

  it('keeps policies of tables and columns, and tells a client of a frozen table what it would need', async () => {
    const columns = [
      { name: 'value', type: 'double', conflictPolicy: 'CONFLICT_POLICY_SIDE_COLUMN' },
      { name: 'color', type: 'text', conflictPolicy: 'CONFLICT_POLICY_DEAD_LETTER' },
    ];
    await client.call('RegisterTable', { table: 'cars', columns, policy: 'TABLE_POLICY_FREEZE' });
    const { table } = (await client.call('GetTable', { table: 'cars' })) as { table: { columns: Record<string, string>[] } };
    expect(table).toMatchObject({ policy: 'TABLE_POLICY_FREEZE' });
    expect(table.columns.map(({ name, conflictPolicy }) => [name, conflictPolicy])).toEqual([
      ['time', 'CONFLICT_POLICY_WIDEN'],
      ['value', 'CONFLICT_POLICY_SIDE_COLUMN'],
      ['color', 'CONFLICT_POLICY_DEAD_LETTER'],
      ['_conflicts', 'CONFLICT_POLICY_WIDEN'],
    ]);
    const { tables } = (await client.call('ListTables', {})) as { tables: { name: string; policy: string }[] };
    expect(tables.find(({ name }) => name === 'cars')?.policy).toBe('TABLE_POLICY_FREEZE');
    const wheels = { name: 'wheels', type: 'smallint' };
    expect(
      await client.failure('RegisterTable', { table: 'cars', columns: [wheels, { name: 'value', type: 'text' }] }),
    ).toMatchObject({
      code: 6,
      status: {
        preconditions: [
          { type: 'missing', subject: 'wheels', description: 'is none (the table is frozen), not int16' },
          { type: 'type', subject: 'value', description: 'is float64, not string' },
        ],
      },
    });
    const opened = await client.call('RegisterTable', { table: 'cars', columns: [wheels], policy: 'TABLE_POLICY_STRICT' });
    expect(opened).toMatchObject({ table: { policy: 'TABLE_POLICY_STRICT', version: 2 } });
    for (const bad of [{ policy: 9 }, { columns: [{ ...wheels, conflictPolicy: 9 }] }]) {
      expect(await client.failure('RegisterTable', { table: 'cars', ...bad })).toMatchObject({ code: 3 });
    }
  });

  it('gives a table without a time its column for the arrival time', async () => {
    const { table } = (await client.call('RegisterTable', { table: 'plain', columns: [{ name: 'a', type: 'text' }] })) as {
      table: { columns: object[]; timeColumn: string };
    };
    expect([table.timeColumn, table.columns[0]]).toEqual(['time', { name: 'time', type: 'timestamp', required: true, ...WIDEN }]);
  });

  it.each([
    ['another type', 6, { table: 'cars', columns: [{ name: 'value', type: 'text' }] }],
    ['another time column', 6, { table: 'cars', timeColumn: 'value' }],
    ['another home', 6, { table: 'cars', tier: 'TIER_COLD' }],
    ['an unknown type', 3, { table: 'cars', columns: [{ name: 'a', type: 'complex' }] }],
    [
      'a required column for rows that do not have it',
      3,
      { table: 'cars', columns: [{ name: 'a', type: 'text', required: true }] },
    ],
    ['a name that cannot be', 3, { table: 'cars', columns: [{ name: '_batch', type: 'text' }] }],
    ['a column for a built-in table', 6, { table: 'logs_events', columns: [{ name: 'a', type: 'text' }] }],
    ['few numbers', 3, { table: 'other', columns: [{ name: 'a', type: 'bigint', lowCardinality: true }] }],
    ['a time that is none', 3, { table: 'other', timeColumn: 'a', columns: [{ name: 'a', type: 'bigint' }] }],
    [
      'a column twice',
      3,
      {
        table: 'other',
        columns: [
          { name: 'a', type: 'bigint' },
          { name: 'a', type: 'bigint' },
        ],
      },
    ],
  ])('refuses %s', async (_, code, request) => {
    await client.call('RegisterTable', car);
    const failure = await client.failure('RegisterTable', request);
    expect(failure).toMatchObject({ code });
    expect(await client.call('GetTable', { table: 'cars' })).toEqual(registered);
  });

  it('says where a batch stands, and NOT_FOUND for what it does not know', async () => {
    batches.set('b-1', [
      { tier: 'hot', delivered: true },
      { tier: 'cold', delivered: false },
    ]);
    expect(await client.call('GetBatch', { batchId: 'b-1' })).toEqual({
      batchId: 'b-1',
      tiers: [
        { tier: 'TIER_HOT', state: 'BATCH_STATE_DELIVERED' },
        { tier: 'TIER_COLD', state: 'BATCH_STATE_PENDING' },
      ],
    });
    expect(await client.failure('GetBatch', { batchId: 'b-2' })).toMatchObject({ code: 5 });
    expect(await client.failure('GetTable', { table: 'nowhere' })).toMatchObject({ code: 5 });
  });
});

describe('WriteStream', () => {
  type Answer = { requestId?: string; response?: { acceptedRows?: string }; error?: { code: number } };

  function open() {
    const stream = client.stream();
    const answers: Answer[] = [];
    stream.on('data', (answer) => answers.push(answer as Answer));
    const ended = new Promise<{ code: number }>((resolve) => {
      stream.on('status', resolve);
      stream.on('error', () => undefined);
    });
    return { stream, answers, ended };
  }

  async function until(condition: () => boolean): Promise<void> {
    for (let left = 2_000; !condition(); left--) {
      if (left === 0) throw new Error('the condition never held');
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  /** Writes wait in this list until they are let go. */
  function holdWrites(): (() => void)[] {
    const gates: (() => void)[] = [];
    ingest.beforeAnswer = () => new Promise((go) => gates.push(go));
    return gates;
  }

  const request = (id: string | number, ...values: number[]): object => ({
    requestId: String(id),
    write: { table: 'cars', rows: speeds(...values) },
  });

  it('acknowledges 1,000 requests in their order', async () => {
    const { stream, answers, ended } = open();
    for (let i = 0; i < 1_000; i++) stream.write(request(i, i));
    stream.end();
    expect(await ended).toMatchObject({ code: 0 });
    expect(answers.map(({ requestId }) => requestId)).toEqual(Array.from({ length: 1_000 }, (_, i) => String(i)));
    expect((written() as { speed: number }[]).map(({ speed }) => speed)).toEqual(Array.from({ length: 1_000 }, (_, i) => i));
  });

  it('has several requests in flight and keeps the order of acknowledgements when later ones are done first', async () => {
    const gates = holdWrites();
    const { stream, answers, ended } = open();
    for (const id of ['a', 'b', 'c']) stream.write(request(id, 1));
    stream.end();
    await until(() => gates.length === 3);
    gates[2]();
    gates[1]();
    await client.call('GetTable', { table: 'cars' });
    expect(answers).toEqual([]);
    gates[0]();
    expect(await ended).toMatchObject({ code: 0 });
    expect(answers.map(({ requestId }) => requestId)).toEqual(['a', 'b', 'c']);
  });

  it('goes on after requests that fail, each with its reason', async () => {
    const { stream, answers, ended } = open();
    stream.write(request('good', 1));
    stream.write({ requestId: 'rows', write: { table: 'cars', rows: { rows: [{ fields: { speed: { boolValue: true } } }] } } });
    stream.write({ requestId: 'table', write: { table: '' } });
    stream.write(Buffer.from('ffff', 'hex'));
    stream.write(Buffer.concat([encodeIngest('WriteStreamRequest', { requestId: 'inner' }), Buffer.from('1202220a', 'hex')]));
    stream.write(request('after', 2));
    stream.end();
    expect(await ended).toMatchObject({ code: 0 });
    expect(answers.map(({ requestId = '', error }) => [requestId, error?.code ?? 0])).toEqual([
      ['good', 0],
      ['rows', 3],
      ['table', 3],
      ['', 3],
      ['inner', 3],
      ['after', 0],
    ]);
    expect(answers[1].error).toMatchObject({ rejectedRows: '1', rejections: [{ column: 'speed' }] });
    expect(ingest.rows()).toEqual({ cars: 2 });
  });

  it('says when to come back when there is no room', async () => {
    ingest.refusal = new IngestError('unavailable', 'too many bytes in flight', { retryAfterMs: 2_500 });
    const { stream, answers, ended } = open();
    stream.end(request('a', 1));
    await ended;
    expect(answers[0].error).toMatchObject({ code: 14, retryDelay: { seconds: '2', nanos: 500_000_000 } });
  });

  it('reads no further while its requests wait, so the client is held back and memory stays bounded', async () => {
    const gates = holdWrites();
    const { stream, answers, ended } = open();
    const text = 'x'.repeat(1_000_000);
    const total = 100;
    let sent = 0;
    const send = async (): Promise<void> => {
      while (sent < total) {
        sent++;
        const rows = { rows: [{ fields: { text: { stringValue: text } } }] };
        if (!stream.write({ requestId: String(sent), write: { table: 'texts', rows } })) await once(stream, 'drain');
      }
      stream.end();
    };
    const sending = send();
    await until(() => ingest.inFlightBytes >= LIMITS.streamBytesMax);
    const open1 = gates.length;
    expect(sent).toBeLessThan(total);
    const letGo = setInterval(() => gates.splice(0).forEach((go) => go()), 1);
    await sending;
    expect(await ended).toMatchObject({ code: 0 });
    clearInterval(letGo);
    expect(open1).toBeLessThan(LIMITS.streamRequestsMax);
    expect(answers).toHaveLength(total);
    expect(ingest.peakInFlightBytes).toBeLessThan(LIMITS.streamBytesMax + 2 * text.length);
  });

  it('has at most so many small requests in flight', async () => {
    const gates = holdWrites();
    const { stream, answers, ended } = open();
    for (let i = 0; i < 500; i++) stream.write(request(i, i));
    stream.end();
    await until(() => gates.length === LIMITS.streamRequestsMax);
    await client.call('GetTable', { table: 'cars' });
    expect(gates).toHaveLength(LIMITS.streamRequestsMax);
    ingest.beforeAnswer = () => Promise.resolve();
    gates.splice(0).forEach((go) => go());
    await ended;
    expect(answers).toHaveLength(500);
  });

  it('gives everything back when the client cancels', async () => {
    const gates = holdWrites();
    const { stream, ended } = open();
    for (let i = 0; i < 10; i++) stream.write(request(i, i));
    await until(() => gates.length === 10);
    stream.cancel();
    expect(await ended).toMatchObject({ code: 1 });
    gates.forEach((go) => go());
    await until(() => ingest.inFlightBytes === 0);
  });

  it('acknowledges what it has read and tells the client to come back when the server stops', async () => {
    const gates = holdWrites();
    const { stream, answers, ended } = open();
    for (const id of ['a', 'b']) stream.write(request(id, 1));
    await until(() => gates.length === 2);
    const stopped = listener.stop(20_000);
    gates.forEach((go) => go());
    expect(await ended).toMatchObject({ code: 14 });
    expect(answers.map(({ requestId }) => requestId)).toEqual(['a', 'b']);
    await stopped;
  });
});

describe('reflection and health', () => {
  const { root } = parse(`syntax = "proto3"; package r;
    message Request { string file_containing_symbol = 4; string list_services = 7; }
    message Service { string name = 1; } message Services { repeated Service service = 1; }
    message Files { repeated bytes file_descriptor_proto = 1; }
    message Response { Files file_descriptor_response = 4; Services list_services_response = 6; }`);

  async function reflect(request: object): Promise<Record<string, unknown>> {
    const raw = await RawGrpcClient.open(address);
    const body = frame(root.lookupType('r.Request').encode(request).finish());
    const answer = await raw.unary('/grpc.reflection.v1.ServerReflection/ServerReflectionInfo', body);
    raw.close();
    const type = root.lookupType('r.Response');
    return type.toObject(type.decode(answer.body.subarray(5)));
  }

  it('lists the service and gives its interface with everything that it imports', async () => {
    const { listServicesResponse } = await reflect({ listServices: '*' });
    expect((listServicesResponse as { service: { name: string }[] }).service.map(({ name }) => name)).toContain(SERVICE);
    const { fileDescriptorResponse } = await reflect({ fileContainingSymbol: `${SERVICE}.WriteStream` });
    const files = (fileDescriptorResponse as { fileDescriptorProto: Buffer[] }).fileDescriptorProto.map((file) =>
      file.toString('latin1'),
    );
    for (const name of ['WriteStreamRequest', 'google.protobuf', 'Timestamp', 'Duration']) {
      expect(files.some((file) => file.includes(name))).toBe(true);
    }
  });

  it('is healthy by name when it serves', async () => {
    listener.setServing(true);
    const raw = await RawGrpcClient.open(address);
    const name = Buffer.from(SERVICE);
    const { body } = await raw.unary('/grpc.health.v1.Health/Check', frame(Buffer.concat([Buffer.of(0x0a, name.length), name])));
    raw.close();
    expect(body).toEqual(frame(Buffer.of(0x08, 1)));
  });
});
