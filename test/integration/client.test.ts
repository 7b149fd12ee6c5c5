/** thermocline/client against the real listener. */
import { once } from 'node:events';
import { createServer } from 'node:net';
import { tableFromArrays, tableToIPC } from 'apache-arrow';
import { IngestServiceAdapter } from '../../src/adapters/grpc/adapter';
import { GrpcListener } from '../../src/adapters/grpc-listener';
import { type ClientOptions, Decimal, Json, type Row, ThermoclineClient, Timestamp } from '../../src/client/client';
import { IngestError } from '../../src/core/errors';
import type { WriteReceipt, WriteRequest } from '../../src/core/ingest';
import { silentLogger, Telemetry } from '../../src/telemetry';
import { plainRows } from '../support/plain-rows';
import { MemoryRegistry, RecordingIngest } from '../support/recording-ingest';

/** Also keeps the keys of requests that fail. */
class KeyedIngest extends RecordingIngest {
  readonly keys: (string | undefined)[] = [];

  override write(request: WriteRequest): Promise<WriteReceipt> {
    this.keys.push(request.idempotency?.key);
    return super.write(request);
  }
}

let ingest: KeyedIngest;
let listener: GrpcListener;
let address: string;
const clients: ThermoclineClient[] = [];

async function listen(port = 0): Promise<void> {
  const batches = { status: () => [{ tier: 'hot' as const, delivered: true }] };
  const adapter = new IngestServiceAdapter({
    ingest,
    registry: new MemoryRegistry(),
    batches,
    telemetry: new Telemetry(),
    nowNs: () => 7n,
  });
  listener = new GrpcListener({ host: '127.0.0.1', port, services: adapter.services, logger: silentLogger() });
  address = await listener.start();
}

function connect(options: Partial<ClientOptions> = {}): ThermoclineClient {
  const client = new ThermoclineClient({ address, ...options });
  clients.push(client);
  return client;
}

beforeEach(async () => {
  ingest = new KeyedIngest();
  await listen();
});
async function close(): Promise<void> {
  ingest.beforeAnswer = () => Promise.resolve();
  await Promise.all(clients.splice(0).map((client) => client.close()));
  await listener.stop(0);
  expect(ingest.inFlightBytes).toBe(0);
}
afterEach(close);

const requests = (): number[] => ingest.writes.map(({ batches }) => batches[0].batch.numRows);
const written = (): Record<string, unknown>[] =>
  ingest.writes.flatMap(({ batches }) => batches.flatMap(({ batch }) => plainRows(batch)));
const numbers = (from: number, to: number): Row[] => Array.from({ length: to - from }, (_, i) => ({ n: BigInt(from + i) }));

/** Writes of the server wait in this list until they are let go. */
function holdWrites(): (() => void)[] {
  const gates: (() => void)[] = [];
  ingest.beforeAnswer = () => new Promise((go) => gates.push(go));
  return gates;
}

async function until(condition: () => boolean): Promise<void> {
  for (let left = 2_000; !condition(); left--) {
    if (left === 0) throw new Error('the condition never held');
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

describe('write', () => {
  it('sends values of every type exactly', async () => {
    const row: Row = {
      flag: false,
      double: 0.1,
      int: -(2n ** 63n),
      large: 2n ** 64n - 1n,
      text: 'ü\0𝒳',
      bytes: Uint8Array.of(0, 255),
      date: new Date(-1),
      nanos: new Timestamp(1_700_000_000_123_456_789n),
      json: new Json('{"a":1.0}'),
      price: new Decimal('12345678901234567890.10'),
      list: [1n, null, 'x', [true]],
      map: { a: 1, b: { c: null } },
      nothing: null,
      absent: undefined,
    };
    expect(await connect().write('t', row)).toEqual({
      batchIds: ['batch-1'],
      rows: 1,
      rejections: [],
      moreRejected: false,
      deadLetterRows: 0,
    });
    expect(written()).toEqual([
      {
        time: 7n,
        flag: false,
        double: 0.1,
        int: -(2n ** 63n),
        large: 2n ** 64n - 1n,
        text: 'ü\0𝒳',
        bytes: '00ff',
        date: -1_000_000n,
        nanos: 1_700_000_000_123_456_789n,
        json: '{"a":1.0}',
        price: '12345678901234567890.1',
        list: '[1,null,"x",[true]]',
        map: '{"a":1.0,"b":{"c":null}}',
      },
    ]);
  });

  it('gathers the rows of many writes into one request, and splits large ones', async () => {
    const client = connect({ batching: { rowsMax: 100, intervalMs: 60_000 }, requestsMax: 1 });
    const writes = [client.write('t', numbers(0, 30)), client.write('t', numbers(30, 70)), client.write('t', numbers(70, 250))];
    const flushed = client.flush();
    const results = await Promise.all(writes);
    await flushed;
    expect(requests()).toEqual([100, 100, 50]);
    expect(results.map(({ batchIds }) => batchIds)).toEqual([['batch-1'], ['batch-1'], ['batch-1', 'batch-2', 'batch-3']]);
    expect(written().map(({ n }) => n)).toEqual(numbers(0, 250).map(({ n }) => n));
  });

  it('sends a batch when its time has come, and one for each table', async () => {
    const client = connect({ batching: { intervalMs: 20 } });
    await Promise.all([client.write('a', numbers(0, 1)), client.write('b', numbers(0, 2)), client.write('a', numbers(1, 2))]);
    expect(ingest.rows()).toEqual({ a: 2, b: 2 });
    expect(requests()).toEqual([2, 2]);
  });

  it('sends a batch when it has its bytes', async () => {
    const client = connect({ batching: { intervalMs: 60_000, bytesMax: 10_000 } });
    await client.write('a', { text: 'x'.repeat(10_000) });
    expect(requests()).toEqual([1]);
  });

  it('takes Arrow tables and streams as they are', async () => {
    const client = connect({ ackLevel: 'hot' });
    const table = tableFromArrays({ speed: Float64Array.of(1, 2) });
    expect(await client.write('cars', table)).toMatchObject({ rows: 2, batchIds: ['batch-1'] });
    await client.write('cars', table.batches[0]);
    await client.write('cars', tableToIPC(table, 'stream'));
    expect(written().map(({ speed }) => speed)).toEqual([1, 2, 1, 2, 1, 2]);
    expect(ingest.writes.every(({ ack }) => ack === 'hot')).toBe(true);
    await expect(client.write('cars', Uint8Array.of(1, 2, 3))).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  });

  it('takes columns: typed arrays, and arrays of values of one kind with gaps', async () => {
    const client = connect();
    const columns = {
      i8: Int8Array.of(-1, 2),
      u64: BigUint64Array.of(2n ** 64n - 1n, 0n),
      f32: Float32Array.of(0.5, 1.5),
      f64: [0.1, null],
      text: ['a', undefined],
      whole: [null, 9_007_199_254_740_993n],
      flag: [true, false],
      raw: [Buffer.from('hi'), null],
      at: [new Timestamp(1n), new Date(2)],
      none: [null, undefined],
    };
    expect(await client.writeColumns('cars', columns)).toMatchObject({ rows: 2, batchIds: ['batch-1'] });
    expect(written()).toEqual([
      { time: expect.any(BigInt), i8: -1, u64: 2n ** 64n - 1n, f32: 0.5, f64: 0.1, text: 'a', flag: true, raw: '6869', at: 1n },
      { time: expect.any(BigInt), i8: 2, u64: 0n, f32: 1.5, whole: 9_007_199_254_740_993n, flag: false, at: 2_000_000n },
    ]);
    await expect(client.writeColumns('cars', { a: [1], b: [1, 2] })).rejects.toThrow(RangeError);
    await expect(client.writeColumns('cars', { a: [1, 'x'] })).rejects.toThrow('position 1');
    await expect(client.writeColumns('cars', { a: [2n ** 63n] })).rejects.toThrow(RangeError);
    await expect(client.writeColumns('cars', { a: [new Date(Number.NaN)] })).rejects.toThrow(RangeError);
    await expect(client.writeColumns('cars', { a: [null] })).rejects.toThrow('no column has a value');
    expect(ingest.writes).toHaveLength(1);
  });

  it('sends columns again after the time the server asks for, under the same key', async () => {
    const client = connect();
    ingest.refusal = new IngestError('unavailable', 'full', { retryAfterMs: 50 });
    const write = client.writeColumns('cars', { n: Float64Array.of(1) });
    setTimeout(() => {
      ingest.refusal = undefined;
    }, 20);
    expect(await write).toMatchObject({ rows: 1 });
    expect(ingest.writes).toMatchObject([{ idempotency: { key: expect.stringMatching(/.{36}/) as string } }]);
  });

  it('tells each write of its own refused rows, with their positions', async () => {
    const client = connect();
    await client.write('cars', { speed: 1 });
    const good = client.write('cars', [{ speed: 2 }, { speed: 3 }]);
    const partial = client.write('cars', [{ speed: 4 }, { speed: 'fast' }, { speed: true }]);
    const bad = client.write('cars', { speed: false });
    expect(await good).toMatchObject({ rejections: [] });
    expect((await partial).rejections).toEqual([
      { row: 1, code: 'REJECTION_CODE_TYPE_MISMATCH', column: 'speed', message: 'expected float64' },
      { row: 2, code: 'REJECTION_CODE_TYPE_MISMATCH', column: 'speed', message: 'expected float64' },
    ]);
    await expect(bad).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', rejections: [{ row: 0, column: 'speed' }] });
    expect(ingest.rows()).toEqual({ cars: 4 });
  });

  it('fails when every row of its batch is refused, or the table cannot be', async () => {
    const client = connect();
    await client.write('cars', { speed: 1 });
    await expect(client.write('cars', [{ speed: 'a' }, { speed: 'b' }])).rejects.toMatchObject({
      name: 'ThermoclineError',
      code: 'INVALID_ARGUMENT',
      retryable: false,
      rejections: [{ row: 0 }, { row: 1 }],
    });
    await expect(client.write('pg_class', { speed: 1 })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', retryable: false });
    expect(ingest.keys).toHaveLength(1);
  });

  it('takes no row of a write with a value that cannot be stored', async () => {
    const client = connect();
    await expect(client.write('t', [{ n: 1 }, { n: 2n ** 64n }])).rejects.toThrow(RangeError);
    await expect(client.write('t', { n: new Date('never') })).rejects.toThrow(RangeError);
    await expect(client.write('t', { n: Symbol('s') as never })).rejects.toThrow(TypeError);
    await client.flush();
    expect(ingest.writes).toEqual([]);
  });
});

describe('repetition', () => {
  const full = (retryAfterMs: number): IngestError => new IngestError('unavailable', 'full', { retryAfterMs });

  it('comes back after the time the server asks for, under the same key', async () => {
    let failures = 2;
    ingest.beforeAnswer = () => (failures-- > 0 ? Promise.reject(full(150)) : Promise.resolve());
    const client = connect({ retry: { backoffMs: 1 } });
    const startedAtMs = performance.now();
    await client.write('t', numbers(0, 3));
    expect(performance.now() - startedAtMs).toBeGreaterThanOrEqual(300);
    expect(requests()).toEqual([3]);
    expect(ingest.keys).toHaveLength(3);
    expect(new Set(ingest.keys).size).toBe(1);
    await client.write('t', numbers(0, 1));
    expect(new Set(ingest.keys).size).toBe(2);
  });

  it('gives up after so many attempts, and does not repeat what cannot succeed', async () => {
    ingest.beforeAnswer = () => Promise.reject(full(1));
    const client = connect({ retry: { attemptsMax: 3, backoffMs: 1 } });
    await expect(client.write('t', numbers(0, 1))).rejects.toMatchObject({ code: 'UNAVAILABLE', retryable: true });
    expect(ingest.keys).toHaveLength(3);
    ingest.beforeAnswer = () => Promise.reject(new TypeError('a bug'));
    await expect(client.write('t', numbers(0, 1))).rejects.toMatchObject({ code: 'INTERNAL', retryable: false });
    expect(ingest.keys).toHaveLength(4);
  });

  it('waits for a server that is not there yet', async () => {
    const holder = createServer().listen(0, '127.0.0.1');
    await once(holder, 'listening');
    const { port } = holder.address() as { port: number };
    await new Promise((resolve) => holder.close(resolve));
    const client = connect({ address: `127.0.0.1:${port}`, retry: { backoffMs: 50, backoffMsMax: 100, attemptsMax: 1_000 } });
    const write = client.write('t', numbers(0, 1));
    await listener.stop(0);
    await listen(port);
    expect(await write).toMatchObject({ batchIds: ['batch-1'] });
  });
});

describe('bounds', () => {
  it('holds writes back while its buffer is full, and says when there is room', async () => {
    const gates = holdWrites();
    const client = connect({ bufferBytesMax: 20_000, batching: { bytesMax: 10_000, intervalMs: 60_000 } });
    const text = { text: 'x'.repeat(10_000) };
    const writes = Array.from({ length: 6 }, () => client.write('t', text));
    let room = false;
    const hasRoom = client.room().then(() => {
      room = true;
    });
    await until(() => gates.length === 2);
    await client.listTables();
    expect([gates.length, room]).toEqual([2, false]);
    ingest.beforeAnswer = () => Promise.resolve();
    gates.forEach((go) => go());
    await hasRoom;
    await Promise.all(writes);
    expect(requests()).toEqual([1, 1, 1, 1, 1, 1]);
  });

  it('refuses writes beyond those that may wait', async () => {
    const gates = holdWrites();
    const client = connect({ bufferBytesMax: 1, waitingMax: 2, batching: { rowsMax: 1 } });
    const writes = [1, 2, 3].map((n) => client.write('t', { n }));
    await expect(client.write('t', { n: 4 })).rejects.toMatchObject({ code: 'RESOURCE_EXHAUSTED', retryable: true });
    await until(() => gates.length === 1);
    ingest.beforeAnswer = () => Promise.resolve();
    gates[0]();
    await Promise.all(writes);
    expect(written().map(({ n }) => n)).toEqual([1, 2, 3]);
  });

  it.each([{ requestsMax: 0 }, { batching: { rowsMax: -1 } }, { retry: { attemptsMax: Number.NaN } }])(
    'refuses the setting %j',
    (options) => {
      expect(() => connect(options)).toThrow(RangeError);
    },
  );
});

describe('close', () => {
  it('sends what is gathered and waits for it, also for writes that wait for room', async () => {
    const client = connect({ bufferBytesMax: 1, batching: { intervalMs: 50 } });
    const writes = [0, 1, 2].map((n) => client.write('t', numbers(n, n + 1)));
    await client.close();
    expect(ingest.rows()).toEqual({ t: 3 });
    expect((await Promise.all(writes)).every(({ rejections }) => rejections.length === 0)).toBe(true);
    await expect(client.write('t', numbers(0, 1))).rejects.toMatchObject({ code: 'CANCELLED' });
    await client.close();
  });

  it('gives up after its time', async () => {
    const gates = holdWrites();
    const client = connect();
    const write = client.write('t', numbers(0, 1));
    const failure = write.catch((error: unknown) => error);
    await client.close({ timeoutMs: 300 });
    expect(await failure).toMatchObject({ code: 'CANCELLED' });
    gates.forEach((go) => go());
    await until(() => ingest.inFlightBytes === 0);
  });
});

it('tells what a write or a registration would do, and does nothing', async () => {
  const client = connect();
  const report = await client.dryRun('plans', [{ speed: 1.5 }, { speed: 2 }]);
  expect(report).toMatchObject({ acceptedRows: 2, rejectedRows: 0, deadLetterRows: 0, current: null, tiers: ['TIER_HOT'] });
  expect(report.after).toMatchObject({ name: 'plans', version: 1, timeColumn: 'time' });
  expect(report.changes.map(({ column, type }) => [column, type])).toContainEqual(['speed', 'float64']);
  await client.registerTable('known', [{ name: 'speed', type: 'double' }]);
  const refused = await client.dryRun('known', [{ speed: 1.5 }, { speed: 'fast' }]);
  expect(refused).toMatchObject({ acceptedRows: 1, rejectedRows: 1, rejections: [{ row: 1, column: 'speed' }] });
  const arrow = await client.dryRun('plans', tableFromArrays({ n: Float64Array.of(1) }));
  expect(arrow).toMatchObject({ acceptedRows: 1, rejectedRows: 0 });
  const planned = await client.registerTable('plans', [{ name: 'speed', type: 'double' }], { dryRun: true, tier: 'cold' });
  expect(planned).toMatchObject({ name: 'plans', tier: 'TIER_COLD' });
  await expect(client.getTable('plans')).rejects.toMatchObject({ code: 'NOT_FOUND' });
  expect(ingest.writes).toEqual([]);
  await expect(client.dryRun('plans', { id: 2n ** 70n })).rejects.toThrow(RangeError);
});

it('tells of rows that became dead letters', async () => {
  const client = connect();
  await client.registerTable('parked', [{ name: 'speed', type: 'double', conflictPolicy: 'dead_letter' }]);
  const result = await client.write('parked', [{ speed: 1 }, { speed: 'fast' }]);
  expect(result).toMatchObject({ rows: 2, rejections: [], deadLetterRows: 1 });
});

it('registers tables, shows them, and says where a batch stands', async () => {
  const client = connect();
  const table = await client.registerTable('cars', [{ name: 'speed', type: 'double', required: true }], { tier: 'cold' });
  expect(table).toMatchObject({ name: 'cars', timeColumn: 'time', tier: 'TIER_COLD' });
  expect(await client.getTable('cars')).toEqual(table);
  const strict = await client.registerTable('cars', [{ name: 'speed', type: 'double', conflictPolicy: 'side_column' }], {
    policy: 'strict',
  });
  expect(strict).toMatchObject({ policy: 'TABLE_POLICY_STRICT' });
  expect(strict.columns.find(({ name }) => name === 'speed')).toMatchObject({ conflictPolicy: 'CONFLICT_POLICY_SIDE_COLUMN' });
  expect((await client.listTables()).map(({ name }) => name)).toContain('cars');
  const { batchIds } = await client.write('cars', { speed: 1 });
  expect(await client.batchStatus(batchIds[0])).toEqual([{ tier: 'TIER_HOT', delivered: true }]);
  await expect(client.getTable('nowhere')).rejects.toMatchObject({ code: 'NOT_FOUND' });
});
