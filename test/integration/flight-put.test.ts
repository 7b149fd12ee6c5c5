/** DoPut and DoExchange by the rules FL1-FL9 and FS2-FS4, on a client that is not of this repository's encoders. */
import { setTimeout as delay } from 'node:timers/promises';
import { Bool, Dictionary, Int32, Int64, makeVector, Schema, Table, Utf8, vectorFromArray } from 'apache-arrow';
import { IngestError } from '../../src/core/errors';
import type { TableName } from '../../src/core/ids';
import type { ColumnSchema, ConflictPolicy } from '../../src/core/table-schema';
import { commandDescriptor, flightMessage, flightObject, pathDescriptor, sqlAny, tableParts } from '../support/flight-client';
import { type FlightServer, startFlight } from '../support/flight-server';
import { Gate } from '../support/gate';
import { plainRows } from '../support/plain-rows';
import { RecordingIngest } from '../support/recording-ingest';
import { decodeRpcStatus } from '../support/rpc-status';

const NOW_NS = 1_790_000_000_123_000_000n;
const CARS = 'cars' as TableName;
const STATUS = { ok: 0, cancelled: 1, invalid: 3, notFound: 5, exists: 6, exhausted: 8, unimplemented: 12, unavailable: 14 };

let server: FlightServer;
const start = async (options: Parameters<typeof startFlight>[0] = {}): Promise<FlightServer> => {
  server = await startFlight({ nowNs: () => NOW_NS, ...options });
  return server;
};
afterEach(async () => {
  await server.stop();
});

const numbers = (count: number, from = 0): Table =>
  new Table({
    n: vectorFromArray(
      Array.from({ length: count }, (_, i) => BigInt(from + i)),
      new Int64(),
    ),
  });
/** The schema message and one message for each of `batches` batches of `rows` rows. */
function parts(batches: number, rows = 2): { schema: object; data: { dataHeader: Buffer; dataBody: Buffer }[] } {
  const [schema, ...data] = Array.from({ length: batches }, (_, i) => tableParts(numbers(rows, i * rows)))
    .map(([first, batch], i) => (i === 0 ? [first, batch] : [batch]))
    .flat();
  return { schema, data };
}
const storedNumbers = (): unknown[] =>
  server.ingest.writes.flatMap(({ batches }) => batches.flatMap(({ batch }) => plainRows(batch).map(({ n }) => n)));
const ingestCommand = (value: object): object => commandDescriptor(sqlAny('CommandStatementIngest', { table: 'cars', ...value }));
const MODES = { create: [1, 1], append: [2, 2], replace: [1, 3], create_append: [1, 2] } as const;
const mode = (name: keyof typeof MODES): object => ({
  tableDefinitionOptions: { ifNotExist: MODES[name][0], ifExists: MODES[name][1] },
});
const recordCount = (result: Buffer): number => {
  const { appMetadata } = flightObject<{ appMetadata: Buffer }>('PutResult', result);
  return flightObject<{ recordCount: number }>('sql.DoPutUpdateResult', appMetadata).recordCount;
};

async function registerCars(conflict: ConflictPolicy): Promise<void> {
  const columns: ColumnSchema[] = [
    { name: 'ts', type: 'timestamp', nullable: false },
    { name: 'n', type: 'int16', nullable: true, conflict },
  ];
  await server.registry.register({ table: CARS, columns, timeColumn: 'ts', policy: 'strict' });
}

describe('descriptors', () => {
  beforeEach(() => start());

  it('FL1: the descriptor may come with the schema or alone before it', async () => {
    const { schema, data } = parts(1);
    for (const first of [
      [{ flightDescriptor: pathDescriptor('cars'), ...schema }],
      [{ flightDescriptor: pathDescriptor('cars') }, schema],
    ]) {
      const stream = server.client.stream('DoPut');
      for (const message of [...first, data[0]]) await stream.send(message);
      expect(await stream.finish()).toMatchObject({ code: STATUS.ok });
    }
    expect(storedNumbers()).toEqual([0n, 1n, 0n, 1n]);
  });

  it.each([
    ['no descriptor', {}],
    ['a descriptor of an unknown type', { flightDescriptor: { type: 'UNKNOWN', path: ['cars'] } }],
    ['a path without an element', { flightDescriptor: pathDescriptor() }],
    ['a path of two elements', { flightDescriptor: pathDescriptor('a', 'b') }],
    ['a path that is no table name', { flightDescriptor: pathDescriptor('a/b.c') }],
    ['a reserved table name', { flightDescriptor: pathDescriptor('pg_class') }],
    ['a command that is no Flight SQL', { flightDescriptor: commandDescriptor(Buffer.from('SELECT 1')) }],
  ])('FL1, FL2: %s is INVALID_ARGUMENT', async (_what, first) => {
    const stream = server.client.stream('DoPut');
    await stream.send({ ...first, ...parts(1).schema });
    expect(await stream.ended).toMatchObject({ code: STATUS.invalid });
  });

  it('FL11: another Flight SQL command is UNIMPLEMENTED at once', async () => {
    const stream = server.client.stream('DoPut');
    await stream.send({ flightDescriptor: commandDescriptor(sqlAny('CommandStatementQuery', { query: 'x' })) });
    expect(await stream.ended).toMatchObject({ code: STATUS.unimplemented });
  });
});

describe('messages', () => {
  beforeEach(() => start());

  it('FL3: the fields of FlightData may come in any order, unknown ones between them', async () => {
    const { schema, data } = parts(1);
    const field = (name: string, value: object): Buffer => flightMessage('FlightData', { [name]: Object.values(value)[0] });
    const unknown = Buffer.from('f87f05', 'hex');
    const stream = server.client.stream('DoPut');
    await stream.send({ flightDescriptor: pathDescriptor('cars'), ...schema });
    const body = field('dataBody', { v: data[0].dataBody });
    const header = field('dataHeader', { v: data[0].dataHeader });
    const metadata = field('appMetadata', { v: Buffer.from('one') });
    await stream.sendRaw(Buffer.concat([metadata, body, unknown, header]));
    await stream.results(1);
    expect(stream.acks()).toEqual(['one']);
    expect(await stream.finish()).toMatchObject({ code: STATUS.ok });
    expect(storedNumbers()).toEqual([0n, 1n]);
  });

  it('FL4: metadata without a batch is neither an error nor answered', async () => {
    const { schema, data } = parts(1);
    const stream = server.client.stream('DoPut');
    await stream.send({ flightDescriptor: pathDescriptor('cars'), ...schema });
    await stream.send({ appMetadata: Buffer.from('nothing') });
    await stream.send({ ...data[0], appMetadata: Buffer.from('batch') });
    expect(await stream.finish()).toMatchObject({ code: STATUS.ok });
    expect(stream.acks()).toEqual(['batch']);
  });

  it('FL7: no batch, a batch without rows and a schema without columns are success', async () => {
    const table = { flightDescriptor: pathDescriptor('cars') };
    const empty = server.client.stream('DoPut');
    await empty.send({ ...table, ...parts(1).schema });
    expect(await empty.finish()).toMatchObject({ code: STATUS.ok });
    expect(server.registry.get(CARS)?.columns.map(({ name }) => name)).toEqual(['time', 'n']);

    const noRows = server.client.stream('DoPut');
    const [schema, batch] = tableParts(new Table({ n: makeVector(new BigInt64Array(0)) }));
    await noRows.send({ ...table, ...schema });
    if (batch !== undefined) await noRows.send({ ...batch, appMetadata: Buffer.from('0') });
    expect(await noRows.finish()).toMatchObject({ code: STATUS.ok });

    const noColumns = server.client.stream('DoPut');
    for (const part of tableParts(new Table(new Schema([])))) await noColumns.send({ ...table, ...part });
    expect(await noColumns.finish()).toMatchObject({ code: STATUS.ok });
    expect(server.ingest.writes).toHaveLength(0);
  });

  it.each([
    ['a message that is no protobuf', Buffer.from('0aff', 'hex')],
    ['a header that is no flatbuffer', flightMessage('FlightData', { dataHeader: Buffer.alloc(16, 7) })],
    ['a batch before the schema', flightMessage('FlightData', { ...parts(1).data[0] })],
  ])('IP5: %s is INVALID_ARGUMENT', async (_what, message) => {
    const stream = server.client.stream('DoPut');
    await stream.send({ flightDescriptor: pathDescriptor('cars') });
    await stream.sendRaw(message);
    expect(await stream.ended).toMatchObject({ code: STATUS.invalid });
    expect(server.ingest.inFlightBytes).toBe(0);
  });

  it('IP1: dictionaries may be replaced between batches', async () => {
    const type = new Dictionary(new Utf8(), new Int32(), 7);
    const table = (texts: string[]): Table => new Table({ s: vectorFromArray(texts, type) });
    const stream = server.client.stream('DoPut');
    const [schema, ...first] = tableParts(table(['a', 'b', 'a']));
    const [, ...second] = tableParts(table(['c', 'c', 'd']));
    await stream.send({ flightDescriptor: pathDescriptor('cars'), ...schema });
    for (const part of [...first, ...second]) await stream.send(part);
    expect(await stream.finish()).toMatchObject({ code: STATUS.ok });
    const rows = server.ingest.writes.flatMap(({ batches }) =>
      batches.flatMap(({ batch }) => plainRows(batch).map(({ s }) => s)),
    );
    expect(rows).toEqual(['a', 'b', 'a', 'c', 'c', 'd']);
  });
});

describe('acknowledgements', () => {
  it('FL5: a client that waits for each acknowledgement gets it before its next batch, and after its batch is stored', async () => {
    await start();
    const { schema, data } = parts(5);
    const stream = server.client.stream('DoPut');
    await stream.send({ flightDescriptor: pathDescriptor('cars'), ...schema });
    for (const [i, part] of data.entries()) {
      await stream.send({ ...part, appMetadata: Buffer.from(String(i)) });
      await stream.results(i + 1);
      expect(server.ingest.writes).toHaveLength(i + 1);
    }
    expect(await stream.finish()).toMatchObject({ code: STATUS.ok });
    expect(stream.acks()).toEqual(['0', '1', '2', '3', '4']);
  });

  it('FL5: nothing is acknowledged before it is durable, and several batches wait for the log at once', async () => {
    await start();
    const gate = new Gate();
    server.ingest.beforeAnswer = () => gate.pass();
    const { schema, data } = parts(3);
    const stream = server.client.stream('DoPut');
    await stream.send({ flightDescriptor: pathDescriptor('cars'), ...schema });
    for (const [i, part] of data.entries()) await stream.send({ ...part, appMetadata: Buffer.from(String(i)) });
    await until(() => server.ingest.inFlightBytes > 3 * data[0].dataBody.length);
    expect(stream.received).toHaveLength(0);
    gate.open();
    expect(await stream.finish()).toMatchObject({ code: STATUS.ok });
    expect(stream.acks()).toEqual(['0', '1', '2']);
    expect(server.ingest.inFlightBytes).toBe(0);
  });

  it('FL5: batches without app_metadata are stored and not answered', async () => {
    await start();
    const { results, end } = await server.client.put(numbers(3), pathDescriptor('cars'));
    expect(end.code).toBe(STATUS.ok);
    expect(results).toHaveLength(0);
    expect(storedNumbers()).toEqual([0n, 1n, 2n]);
  });

  it('FL6: an error after some acknowledgements ends the call with it, and nothing behind it is acknowledged', async () => {
    await start();
    let writes = 0;
    server.ingest.beforeAnswer = () =>
      ++writes === 3 ? Promise.reject(new IngestError('unavailable', 'no space', { retryAfterMs: 1500 })) : Promise.resolve();
    const { schema, data } = parts(5);
    const stream = server.client.stream('DoPut');
    void stream.send({ flightDescriptor: pathDescriptor('cars'), ...schema });
    for (const [i, part] of data.entries()) {
      void stream.send({ ...part, appMetadata: Buffer.from(String(i)) }).catch(() => undefined);
    }
    const end = await stream.ended;
    expect(end).toMatchObject({ code: STATUS.unavailable, details: 'no space' });
    expect(stream.acks()).toEqual(['0', '1']);
    const [status] = end.trailers.get('grpc-status-details-bin');
    expect(decodeRpcStatus(status as Buffer)).toMatchObject({ retryAfterMs: 1500 });
    expect(server.ingest.inFlightBytes).toBe(0);
  });

  it('FL6: a batch that is broken leaves the acknowledgements before it', async () => {
    await start();
    const { schema, data } = parts(2);
    const stream = server.client.stream('DoPut');
    await stream.send({ flightDescriptor: pathDescriptor('cars'), ...schema });
    await stream.send({ ...data[0], appMetadata: Buffer.from('0') });
    await stream.send({
      dataHeader: data[1].dataHeader,
      dataBody: data[1].dataBody.subarray(0, 8),
      appMetadata: Buffer.from('1'),
    });
    expect(await stream.ended).toMatchObject({ code: STATUS.invalid });
    expect(stream.acks()).toEqual(['0']);
  });

  it('rows that cannot be stored are left out and told in the trailers', async () => {
    await start();
    await registerCars('widen');
    const some = new Table({ n: vectorFromArray([1n, 40_000n, 3n], new Int64()) });
    const { end } = await server.client.put(some, pathDescriptor('cars'));
    expect(end.code).toBe(STATUS.ok);
    expect(end.trailers.get('thermocline-rejected-rows')).toEqual(['1']);
    const [listed] = end.trailers.get('thermocline-rejections-bin');
    expect(JSON.parse(String(listed))).toEqual([expect.objectContaining({ row: 1, column: 'n', code: 'out_of_range' })]);
    expect(storedNumbers()).toEqual([1, 3]);

    const all = new Table({ n: vectorFromArray([40_000n], new Int64()) });
    const refused = await server.client.put(all, pathDescriptor('cars'));
    expect(refused.end).toMatchObject({ code: STATUS.invalid, details: expect.stringContaining('none of 1 rows') as string });
  });

  it('rows of a column of dead letters are parked and counted in the trailers', async () => {
    await start();
    await registerCars('dead_letter');
    const some = new Table({ n: vectorFromArray([1n, 40_000n, 3n], new Int64()) });
    const { end } = await server.client.put(some, pathDescriptor('cars'));
    expect(end.code).toBe(STATUS.ok);
    expect(end.trailers.get('thermocline-dead-letter-rows')).toEqual(['1']);
    expect(end.trailers.get('thermocline-rejected-rows')).toEqual([]);
    expect(storedNumbers()).toEqual([1, 3]);
    const all = new Table({ n: vectorFromArray([40_000n], new Int64()) });
    const parked = await server.client.put(all, pathDescriptor('cars'));
    expect([parked.end.code, parked.end.trailers.get('thermocline-dead-letter-rows')]).toEqual([STATUS.ok, ['1']]);
  });

  it('DoExchange acknowledges with app_metadata in FlightData', async () => {
    await start();
    const { schema, data } = parts(2);
    const stream = server.client.stream('DoExchange');
    await stream.send({ flightDescriptor: pathDescriptor('cars'), ...schema });
    for (const [i, part] of data.entries()) {
      await stream.send({ ...part, appMetadata: Buffer.from(String(i)) });
      await stream.results(i + 1);
    }
    expect(await stream.finish()).toMatchObject({ code: STATUS.ok });
    const acks = stream.received.map((message) =>
      flightObject<{ appMetadata: Buffer }>('FlightData', message).appMetadata.toString(),
    );
    expect(acks).toEqual(['0', '1']);
  });

  it('a key of the call and the app_metadata of a batch name it, wherever it stands in the stream', async () => {
    await start();
    const { schema, data } = parts(2);
    const send = async (from: number): Promise<void> => {
      const stream = server.client.stream('DoPut', { 'idempotency-key': 'load-7' });
      await stream.send({ flightDescriptor: pathDescriptor('cars'), ...schema });
      for (let i = from; i < 2; i++) await stream.send({ ...data[i], appMetadata: Buffer.from(String(i)) });
      expect(await stream.finish()).toMatchObject({ code: STATUS.ok });
    };
    await send(0);
    await send(1);
    const keys = server.ingest.writes.map(({ idempotency }) => idempotency);
    expect(keys[2]).toEqual(keys[1]);
    expect(keys[0]?.key).not.toBe(keys[1]?.key);
    expect(keys[0]?.digest).not.toEqual(keys[1]?.digest);
  });
});

describe('keys', () => {
  const appMetadata = Buffer.from('{"idempotency_key":"load-8/0","note":1}');

  it('a key in app_metadata names its batch alone, in any stream', async () => {
    await start();
    const { schema, data } = parts(2);
    for (const batches of [[data[1], data[0]], [data[0]]]) {
      const stream = server.client.stream('DoPut');
      await stream.send({ flightDescriptor: pathDescriptor('cars'), ...schema });
      for (const batch of batches) await stream.send(batch === data[0] ? { ...batch, appMetadata } : batch);
      expect(await stream.finish()).toMatchObject({ code: STATUS.ok });
      expect(stream.acks()).toEqual([appMetadata.toString()]);
    }
    const [without, first, again] = server.ingest.writes.map(({ idempotency }) => idempotency);
    expect(without).toBeUndefined();
    expect(first?.key).toMatch(/^flight-batch:/);
    expect(again).toEqual(first);
  });

  it('a key in the descriptor is as one in the header', async () => {
    await start();
    const { schema, data } = parts(1);
    const send = async (descriptor: object, headers: Record<string, string> = {}): Promise<unknown> => {
      const stream = server.client.stream('DoPut', headers);
      await stream.send({ flightDescriptor: descriptor, ...schema });
      await stream.send(data[0]);
      return stream.finish();
    };
    expect(await send(pathDescriptor('cars', 'idempotency-key=load-9'))).toMatchObject({ code: STATUS.ok });
    expect(await send(pathDescriptor('cars'), { 'idempotency-key': 'load-9' })).toMatchObject({ code: STATUS.ok });
    const [one, other] = server.ingest.writes.map(({ idempotency }) => idempotency);
    expect(one).toEqual(other);
    for (const items of [
      ['cars', 'load-9'],
      ['cars', 'idempotency-key='],
      ['cars', 'idempotency-key=a', 'b'],
    ]) {
      expect(await send(pathDescriptor(...items))).toMatchObject({ code: STATUS.invalid });
    }
  });
});

describe('flow control', () => {
  it('FL8: a message over the limit is RESOURCE_EXHAUSTED without a hint to retry', async () => {
    await start({ messageBytesMax: 10_000 });
    const { schema } = parts(1);
    const stream = server.client.stream('DoPut');
    await stream.send({ flightDescriptor: pathDescriptor('cars'), ...schema });
    void stream.send(tableParts(numbers(5_000))[1]).catch(() => undefined);
    const end = await stream.ended;
    expect(end.code).toBe(STATUS.exhausted);
    expect(end.trailers.get('grpc-status-details-bin')).toEqual([]);
  });

  it('FL8: batches of more than 4 MiB are accepted', async () => {
    await start();
    const { end } = await server.client.put(numbers(700_000), pathDescriptor('cars'));
    expect(end.code).toBe(STATUS.ok);
    expect(server.ingest.rows()).toEqual({ cars: 700_000 });
  });

  it('FL9: a client is held back while the log is slow, and memory of the stream stays bounded', async () => {
    await start({ windowBytes: 1024 * 1024 });
    const gate = new Gate();
    server.ingest.beforeAnswer = () => gate.pass();
    const { schema, data } = parts(1, 32_768);
    const stream = server.client.stream('DoPut');
    await stream.send({ flightDescriptor: pathDescriptor('cars'), ...schema });
    const batches = 200;
    let sent = 0;
    for (let i = 0; i < batches; i++)
      void stream.send(data[0]).then(
        () => sent++,
        () => undefined,
      );
    await gate.arrived;
    await steady(() => sent);
    // 256 KiB each: the window, one read ahead, one arriving, and what HTTP/2 holds on both sides.
    expect(sent).toBeLessThan(20);
    expect(server.ingest.peakInFlightBytes).toBeLessThanOrEqual(1024 * 1024 + data[0].dataBody.length * 2);
    gate.open();
    expect(await stream.finish()).toMatchObject({ code: STATUS.ok });
    expect(server.ingest.rows()).toEqual({ cars: batches * 32_768 });
  });

  it('FL9: a stream waits while the server has no room, and goes on when it has', async () => {
    await start({ ingest: new RecordingIngest(50_000) });
    const other = server.ingest.admit(45_000);
    const stream = server.client.stream('DoPut');
    const { schema, data } = parts(1, 1_000);
    await stream.send({ flightDescriptor: pathDescriptor('cars'), ...schema });
    await stream.send({ ...data[0], appMetadata: Buffer.from('0') });
    await delay(100);
    expect(stream.received).toHaveLength(0);
    other.release();
    await stream.results(1);
    expect(await stream.finish()).toMatchObject({ code: STATUS.ok });
  });

  it('FL9: a stream for which there is no room in time is UNAVAILABLE with a hint when to retry', async () => {
    await start({ ingest: new RecordingIngest(100), admissionWaitMs: 100 });
    const { end } = await server.client.put(numbers(1_000), pathDescriptor('cars'));
    expect(end.code).toBe(STATUS.unavailable);
    const [status] = end.trailers.get('grpc-status-details-bin');
    expect(decodeRpcStatus(status as Buffer).retryAfterMs).toBe(1500);
  });

  it('a cancelled stream gives its room back', async () => {
    await start();
    const gate = new Gate();
    server.ingest.beforeAnswer = () => gate.pass();
    const stream = server.client.stream('DoPut');
    const { schema, data } = parts(1);
    await stream.send({ flightDescriptor: pathDescriptor('cars'), ...schema });
    await stream.send(data[0]);
    await gate.arrived;
    stream.call.cancel();
    expect(await stream.ended).toMatchObject({ code: STATUS.cancelled });
    gate.open();
    await until(() => server.ingest.inFlightBytes === 0);
  });

  it('a stop answers what is on its way and ends open streams with UNAVAILABLE', async () => {
    await start();
    const gate = new Gate();
    server.ingest.beforeAnswer = () => gate.pass();
    const stream = server.client.stream('DoPut');
    const { schema, data } = parts(1);
    await stream.send({ flightDescriptor: pathDescriptor('cars'), ...schema });
    await stream.send({ ...data[0], appMetadata: Buffer.from('0') });
    await gate.arrived;
    const stopped = server.stop(10_000);
    gate.open();
    expect(await stream.ended).toMatchObject({ code: STATUS.unavailable });
    expect(stream.acks()).toEqual(['0']);
    await stopped;
    await start();
  });

  it('FL5: 40 streams at once with 50 batches each get every acknowledgement', async () => {
    await start();
    const { schema, data } = parts(1);
    const streams = Array.from({ length: 40 }, async () => {
      const stream = server.client.stream('DoPut');
      void stream.send({ flightDescriptor: pathDescriptor('cars'), ...schema });
      for (let i = 0; i < 50; i++) void stream.send({ ...data[0], appMetadata: Buffer.from(String(i)) });
      expect(await stream.finish()).toMatchObject({ code: STATUS.ok });
      return stream.acks();
    });
    const expected = Array.from({ length: 50 }, (_, i) => String(i));
    for (const acks of await Promise.all(streams)) expect(acks).toEqual(expected);
    expect(server.ingest.rows()).toEqual({ cars: 4_000 });
  });
});

describe('bulk ingest', () => {
  const send = (value: object, table = numbers(3)) => server.client.put(table, ingestCommand(value));

  it('FS2, FS3: create makes the table and answers once, with the number of rows', async () => {
    await start();
    const { results, end } = await send(mode('create'));
    expect(end.code).toBe(STATUS.ok);
    expect(results.map(recordCount)).toEqual([3]);
    expect(server.registry.get(CARS)?.columns.map(({ name }) => name)).toEqual(['time', 'n']);
  });

  it('FS3: batches with app_metadata are not answered one by one', async () => {
    await start();
    const { schema, data } = parts(4);
    const stream = server.client.stream('DoPut');
    await stream.send({ flightDescriptor: ingestCommand(mode('create_append')), ...schema });
    for (const part of data) await stream.send({ ...part, appMetadata: Buffer.from('x') });
    expect(await stream.finish()).toMatchObject({ code: STATUS.ok });
    expect(stream.received.map(recordCount)).toEqual([8]);
  });

  it('FS2: create on a table that exists is ALREADY_EXISTS, append to one that does not is NOT_FOUND', async () => {
    await start();
    expect((await send(mode('append'))).end.code).toBe(STATUS.notFound);
    expect((await send(mode('create'))).end.code).toBe(STATUS.ok);
    expect((await send(mode('create'))).end.code).toBe(STATUS.exists);
    expect((await send(mode('append'))).end.code).toBe(STATUS.ok);
    expect((await send(mode('create_append'))).end.code).toBe(STATUS.ok);
    expect(server.ingest.rows()).toEqual({ cars: 9 });
  });

  it('FS2: of two streams that create the same table at once one is refused', async () => {
    await start();
    const ends = await Promise.all([send(mode('create')), send(mode('create'))]);
    expect(ends.map(({ end }) => end.code).sort((a, b) => a - b)).toEqual([STATUS.ok, STATUS.exists]);
    expect(server.ingest.rows()).toEqual({ cars: 3 });
  });

  it('FS2: replace empties the table of both stores after what was accepted is delivered, and before the new rows', async () => {
    const steps: string[] = [];
    await start({
      erasers: (['hot', 'cold'] as const).map((tier) => ({
        tier,
        erase: async (table) => void steps.push(`erase ${tier} ${table}`),
      })),
    });
    server.ingest.beforeAnswer = async () => void steps.push('write');
    await send(mode('create'));
    const { results, end } = await send(mode('replace'), numbers(1));
    expect(end.code).toBe(STATUS.ok);
    expect(results.map(recordCount)).toEqual([1]);
    expect(steps).toEqual(['write', 'erase hot cars', 'erase cold cars', 'write']);
  });

  it('FS2: replace with a column of another type, or of a built-in table, is refused and nothing is lost', async () => {
    let erased = 0;
    await start({ erasers: [{ tier: 'hot', erase: async () => void erased++ }] });
    await send(mode('create'));
    const texts = new Table({ n: vectorFromArray(['a', 'b'], new Utf8()) });
    expect((await send(mode('replace'), texts)).end.code).toBe(STATUS.invalid);
    expect((await send({ ...mode('replace'), table: 'logs_events' })).end.code).toBe(STATUS.invalid);
    expect(erased).toBe(0);
  });

  it.each([
    ['a mode that is not said', { tableDefinitionOptions: { ifNotExist: 1 } }, STATUS.invalid],
    ['no options', { tableDefinitionOptions: null }, STATUS.invalid],
    ['no table', { ...mode('create'), table: '' }, STATUS.invalid],
    ['a schema', { ...mode('create'), schema: 'public' }, STATUS.unimplemented],
    ['a temporary table', { ...mode('create'), temporary: true }, STATUS.unimplemented],
    ['a transaction', { ...mode('create'), transactionId: Buffer.from('1') }, STATUS.unimplemented],
    ['an option', { ...mode('create'), options: { speed: 'high' } }, STATUS.unimplemented],
    ['a catalog that is no tier', { ...mode('create'), catalog: 'main' }, STATUS.invalid],
  ])('FS2: %s is refused', async (_what, value, code) => {
    await start();
    expect((await send(value)).end.code).toBe(code);
    expect(server.ingest.writes).toHaveLength(0);
  });

  it('FS2: the catalog is the tier of a new table, and must be that of one that exists', async () => {
    await start();
    expect((await send({ ...mode('create'), catalog: 'cold' })).end.code).toBe(STATUS.ok);
    expect(server.registry.get(CARS)?.tier).toBe('cold');
    expect((await send({ ...mode('append'), catalog: 'cold' })).end.code).toBe(STATUS.ok);
    expect((await send({ ...mode('append'), catalog: 'hot' })).end.code).toBe(STATUS.invalid);
  });

  it('FS4: after a partial failure the number of rows that were stored comes before the error', async () => {
    await start();
    const { schema, data } = parts(2);
    const stream = server.client.stream('DoPut');
    await stream.send({ flightDescriptor: ingestCommand(mode('create')), ...schema });
    await stream.send(data[0]);
    await until(() => server.ingest.writes.length === 1);
    await stream.send({ dataHeader: data[1].dataHeader, dataBody: Buffer.alloc(0) });
    expect(await stream.ended).toMatchObject({ code: STATUS.invalid });
    expect(stream.received.map(recordCount)).toEqual([2]);
  });
});

describe('schemas', () => {
  it('a later stream adds columns, and an older stream goes on without them', async () => {
    await start();
    const { schema, data } = parts(2);
    const older = server.client.stream('DoPut');
    await older.send({ flightDescriptor: pathDescriptor('cars'), ...schema });
    await older.send({ ...data[0], appMetadata: Buffer.from('0') });
    await older.results(1);
    const wider = new Table({ n: vectorFromArray([9n], new Int64()), ok: vectorFromArray([true], new Bool()) });
    expect((await server.client.put(wider, pathDescriptor('cars'))).end.code).toBe(STATUS.ok);
    await older.send({ ...data[1], appMetadata: Buffer.from('1') });
    expect(await older.finish()).toMatchObject({ code: STATUS.ok });
    expect(server.registry.get(CARS)?.columns.map(({ name }) => name)).toEqual(['time', 'n', 'ok']);
    expect(storedNumbers()).toEqual([0n, 1n, 9n, 2n, 3n]);
  });

  it('x-tier makes a table in that tier', async () => {
    await start();
    expect((await server.client.put(numbers(1), pathDescriptor('cars'), { 'x-tier': 'cold' })).end.code).toBe(STATUS.ok);
    expect(server.registry.get(CARS)?.tier).toBe('cold');
    expect((await server.client.put(numbers(1), pathDescriptor('cars'), { 'x-tier': 'warm' })).end.code).toBe(STATUS.invalid);
  });
});

async function until(holds: () => boolean): Promise<void> {
  const deadline = Date.now() + 10_000;
  while (!holds()) {
    if (Date.now() > deadline) throw new Error(`not in time: ${String(holds)}`);
    await delay(5);
  }
}

/** Waits until the value has not changed for a while. */
async function steady(value: () => number): Promise<void> {
  for (let before = -1; before !== value(); ) {
    before = value();
    await delay(150);
  }
}
