/** Handshake, GetFlightInfo, GetSchema, ListFlights, DoGet and DoAction by the rules FL10-FL13, FS1 and FS5. */

import type { ServiceError } from '@grpc/grpc-js';
import { Table as ArrowTable, Int64, type Table, tableFromIPC, tableToIPC, vectorFromArray } from 'apache-arrow';
import { IngestError } from '../../src/core/errors';
import type { BatchId, TableName } from '../../src/core/ids';
import type { ArrowSql } from '../../src/core/query';
import {
  commandDescriptor,
  FlightTestClient,
  flightMessage,
  flightObject,
  ipcParts,
  pathDescriptor,
  readFlightData,
  sqlAny,
} from '../support/flight-client';
import { type FlightServer, startFlight } from '../support/flight-server';

interface Info {
  readonly schema: Buffer;
  readonly flightDescriptor: { path: string[] };
  readonly endpoint: { ticket: { ticket: Buffer }; location: unknown[] }[];
  readonly totalRecords: number;
  readonly totalBytes: number;
}

const CARS = 'cars' as TableName;
const STATUS = { ok: 0, invalid: 3, deadline: 4, notFound: 5, unimplemented: 12, unauthenticated: 16 };
const BATCH = `${'ab'.repeat(16)}-7` as BatchId;

let server: FlightServer;
const asked: string[] = [];
/** Answers every statement with the numbers below `rows`, in two IPC streams cut into small pieces. */
const store = (rows: number): ArrowSql => ({
  async *stream(sql) {
    asked.push(sql);
    if (sql.includes('refused')) throw new IngestError('invalid_argument', 'relation does not exist');
    for (const half of [0, 1]) {
      const values = Array.from({ length: rows / 2 }, (_, i) => BigInt(i + (half * rows) / 2));
      const bytes = tableToIPC(new ArrowTable({ n: vectorFromArray(values, new Int64()) }), 'stream');
      for (let at = 0; at < bytes.length; at += 60_000) yield bytes.subarray(at, at + 60_000);
    }
  },
});

const start = async (options: Parameters<typeof startFlight>[0] = {}): Promise<void> => {
  server = await startFlight(options);
  const columns = [
    { name: 'ts', type: 'timestamp', nullable: false },
    { name: 'n', type: 'int64', nullable: true },
  ] as const;
  await server.registry.evolve(CARS, columns, { timeColumn: 'ts', tier: 'cold' });
};
afterEach(async () => {
  asked.length = 0;
  await server.stop();
});

const info = async (descriptor: object, headers = {}): Promise<Info> =>
  flightObject<Info>(
    'FlightInfo',
    await server.client.unary('GetFlightInfo', flightMessage('FlightDescriptor', descriptor), headers),
  );
const get = (ticket: Buffer, headers = {}): Promise<Buffer[]> =>
  server.client.list('DoGet', flightMessage('Ticket', { ticket }), headers);
const action = async (type: string, body: Buffer | string = '', headers = {}): Promise<Buffer[]> => {
  const results = await server.client.list('DoAction', flightMessage('Action', { type, body: Buffer.from(body) }), headers);
  return results.map((result) => flightObject<{ body: Buffer }>('Result', result).body);
};
const codeOf = (call: Promise<unknown>): Promise<number> =>
  call.then(
    () => STATUS.ok,
    (error: unknown) => (error as ServiceError).code,
  );
const numbersIn = (messages: Buffer[]): bigint[] =>
  [...readFlightData(messages)].flatMap((batch) => [...(batch.getChild('n') ?? [])] as bigint[]);
const rowsIn = (messages: Buffer[]): unknown[] =>
  [...readFlightData(messages)].flatMap((batch) => Array.from({ length: batch.numRows }, (_, i) => batch.get(i)?.toJSON()));
/** An encapsulated schema message. */
const columnsIn = (schema: Buffer): string[] => {
  const table: Table = tableFromIPC(Buffer.concat([schema, Buffer.from('ffffffff00000000', 'hex')]));
  return table.schema.fields.map(({ name, type }) => `${name} ${String(type)}`);
};

describe('handshake', () => {
  const login = (user: string, password: string): string => {
    if (user !== 'anna' || password !== 'pass:word') throw new IngestError('unauthenticated', 'wrong user or password');
    return 'token-1';
  };
  const credentials = Buffer.from('anna:pass:word').toString('base64');

  it('FL10: BasicAuth in the payload is answered with a token', async () => {
    await start({ login });
    const stream = server.client.stream('Handshake');
    const payload = flightMessage('BasicAuth', { username: 'anna', password: 'pass:word' });
    await stream.sendRaw(flightMessage('HandshakeRequest', { payload }));
    expect((await stream.finish()).code).toBe(STATUS.ok);
    const answers = stream.received.map((bytes) =>
      flightObject<{ payload: Buffer }>('HandshakeResponse', bytes).payload.toString(),
    );
    expect(answers).toEqual(['token-1']);
  });

  it.each([
    ['padded', credentials.padEnd(Math.ceil(credentials.length / 4) * 4, '=')],
    ['unpadded', credentials.replace(/=+$/, '')],
  ])('FL10: a basic header with %s base64 and no message is answered with a bearer header', async (_how, value) => {
    await start({ login });
    const stream = server.client.stream('Handshake', { authorization: `Basic ${value}` });
    expect((await stream.finish()).code).toBe(STATUS.ok);
    expect(stream.headers?.get('authorization')).toEqual(['Bearer token-1']);
  });

  it.each([
    ['a wrong password', { authorization: `Basic ${Buffer.from('anna:x').toString('base64')}` }],
    ['another scheme', { authorization: 'Digest x' }],
    ['credentials without a colon', { authorization: 'Basic YQ' }],
  ])('FL10, FL11: %s is UNAUTHENTICATED', async (_what, headers) => {
    await start({ login });
    expect((await server.client.stream('Handshake', headers).ended).code).toBe(STATUS.unauthenticated);
  });

  it('FL10: without authentication anybody may come in, also with nothing', async () => {
    await start();
    expect((await server.client.stream('Handshake').finish()).code).toBe(STATUS.ok);
    const stream = server.client.stream('Handshake', { authorization: `Basic ${credentials}` });
    expect((await stream.finish()).code).toBe(STATUS.ok);
    expect(stream.headers?.get('authorization')).toEqual(['Bearer anonymous']);
  });
});

describe('tables', () => {
  beforeEach(() => start({ sql: { hot: undefined, cold: store(6) } }));

  it('FL12: GetSchema and GetFlightInfo give an encapsulated schema, no location, and -1 for what is unknown', async () => {
    const found = await info(pathDescriptor('cars'));
    expect(columnsIn(found.schema)).toEqual(['n Int64']);
    expect(asked).toEqual(['SELECT `ts`, `n` FROM `cars` LIMIT 0']);
    expect(found).toMatchObject({ flightDescriptor: { path: ['cars'] }, totalRecords: -1, totalBytes: -1 });
    expect(found.endpoint).toEqual([expect.objectContaining({ location: [] })]);
    const schema = await server.client.unary('GetSchema', flightMessage('FlightDescriptor', pathDescriptor('cars')));
    expect(flightObject<{ schema: Buffer }>('SchemaResult', schema).schema).toEqual(found.schema);
  });

  it('FL12: while the store cannot tell, the schema is that in which rows are accepted', async () => {
    await server.registry.evolve('refused' as TableName, [{ name: 'ts', type: 'timestamp', nullable: false }], {
      timeColumn: 'ts',
      tier: 'cold',
    });
    expect(columnsIn((await info(pathDescriptor('refused'))).schema)).toEqual(['ts Timestamp<NANOSECOND, UTC>']);
  });

  it('FL11: a table that is not there is NOT_FOUND, a descriptor that means none INVALID_ARGUMENT', async () => {
    expect(await codeOf(info(pathDescriptor('bikes')))).toBe(STATUS.notFound);
    expect(await codeOf(get(Buffer.from('bikes')))).toBe(STATUS.notFound);
    expect(await codeOf(info(pathDescriptor('a', 'b')))).toBe(STATUS.invalid);
    expect(await codeOf(info({ type: 'UNKNOWN' }))).toBe(STATUS.invalid);
  });

  it('FL13: ListFlights with empty criteria gives every table, with a prefix those', async () => {
    const list = async (criteria: Buffer): Promise<string[]> =>
      (await server.client.list('ListFlights', criteria)).map(
        (bytes) => flightObject<Info>('FlightInfo', bytes).flightDescriptor.path[0],
      );
    expect(await list(Buffer.alloc(0))).toEqual(server.registry.list().map(({ table }) => table));
    expect(await list(flightMessage('Criteria', { expression: Buffer.from('ca') }))).toEqual(['cars']);
  });

  it('DoGet reads a table from its home store, the schema once and first', async () => {
    const { endpoint } = await info(pathDescriptor('cars'));
    for (const ticket of [endpoint[0].ticket.ticket, Buffer.from('cars'), Buffer.from('{"table":"cars"}')]) {
      expect(numbersIn(await get(ticket))).toEqual([0n, 1n, 2n, 3n, 4n, 5n]);
    }
    expect(asked.slice(1)).toEqual(Array(3).fill('SELECT `ts`, `n` FROM `cars`'));
  });

  it('DoGet answers a read-only statement, and tells what the store refuses', async () => {
    expect(numbersIn(await get(Buffer.from('{"sql":"SELECT 1","tier":"cold"}')))).toHaveLength(6);
    expect(await codeOf(get(Buffer.from('{"sql":"refused","tier":"cold"}')))).toBe(STATUS.invalid);
    expect(await codeOf(get(Buffer.from('{"sql":"SELECT 1"}')))).toBe(STATUS.unimplemented);
    expect(await codeOf(get(Buffer.from('{"sql":"SELECT 1","tier":"warm"}')))).toBe(STATUS.invalid);
    for (const ticket of ['', '{', '{}', '{"sql":1}']) expect(await codeOf(get(Buffer.from(ticket)))).toBe(STATUS.invalid);
  });

  it('FL11: PollFlightInfo and unknown commands are UNIMPLEMENTED at once', async () => {
    expect(await codeOf(server.client.unary('PollFlightInfo', Buffer.alloc(0)))).toBe(STATUS.unimplemented);
    expect(await codeOf(info(commandDescriptor(sqlAny('CommandGetTableTypes'))))).toBe(STATUS.ok);
    const unknown = Buffer.from(String(sqlAny('CommandGetTableTypes')).replace('CommandGetTableTypes', 'CommandGetPrimaryKey'));
    expect(await codeOf(info(commandDescriptor(unknown)))).toBe(STATUS.unimplemented);
  });

  it.each(['GetFlightInfo', 'GetSchema', 'PollFlightInfo'])(
    'IP5: %s of broken bytes is an error, not a crash',
    async (method) => {
      expect(await codeOf(server.client.unary(method, Buffer.from('0aff', 'hex')))).not.toBe(STATUS.ok);
      expect(await codeOf(info(pathDescriptor('cars')))).toBe(STATUS.ok);
    },
  );
});

it('DoGet cuts what a store gives in one piece into messages that clients with small limits take', async () => {
  await start({ sql: { hot: undefined, cold: store(2_000_000) } });
  const messages = await get(Buffer.from('cars'));
  expect(Math.max(...messages.map(({ length }) => length))).toBeLessThan(4 * 1024 * 1024);
  const numbers = numbersIn(messages);
  expect(numbers).toHaveLength(2_000_000);
  expect(numbers.every((value, i) => value === BigInt(i))).toBe(true);
});

describe('actions', () => {
  it('FL13: ListActions names every action; an unknown one is UNIMPLEMENTED', async () => {
    await start();
    const types = (await server.client.list('ListActions', Buffer.alloc(0))).map(
      (bytes) => flightObject<{ type: string }>('ActionType', bytes).type,
    );
    expect(types).toEqual(['create_table', 'flush', 'batch_status', 'CreatePreparedStatement', 'ClosePreparedStatement']);
    expect(await codeOf(action('drop_table'))).toBe(STATUS.unimplemented);
  });

  it('create_table makes a table with the usual names of types', async () => {
    await start();
    const body = {
      table: 'bikes',
      columns: [
        { name: 'time', type: 'timestamp' },
        { name: 'speed', type: 'double' },
      ],
      tier: 'cold',
    };
    const [answer] = await action('create_table', JSON.stringify(body));
    expect(JSON.parse(String(answer))).toMatchObject({ table: 'bikes', version: 1, tier: 'cold', policy: 'evolve' });
    expect(server.registry.get('bikes' as TableName)?.columns).toEqual([
      { name: 'time', type: 'timestamp', nullable: false },
      { name: 'speed', type: 'float64', nullable: true },
    ]);
    for (const bad of [
      '',
      '[]',
      '{"table":"x"}',
      '{"table":"a/b","columns":[]}',
      '{"table":"x","columns":[{"name":"a","type":"what"}]}',
    ]) {
      expect(await codeOf(action('create_table', bad))).toBe(STATUS.invalid);
    }
  });

  it('flush waits for both stores', async () => {
    const waited: string[] = [];
    await start({ progress: { durableLsn: () => 5 as never, delivered: async (tier, at) => void waited.push(`${tier} ${at}`) } });
    expect(JSON.parse(String((await action('flush'))[0]))).toEqual({ lsn: 5 });
    expect(waited).toEqual(['hot 5', 'cold 5']);
  });

  it('flush is DEADLINE_EXCEEDED when the stores do not get there in time', async () => {
    const never = (_tier: unknown, _at: unknown, signal: AbortSignal): Promise<void> =>
      new Promise((_resolve, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason as Error));
      });
    await start({ progress: { durableLsn: () => 5 as never, delivered: never } });
    expect(await codeOf(action('flush', '{"timeout_ms":50}'))).toBe(STATUS.deadline);
    expect(await codeOf(action('flush', '{"timeout_ms":-1}'))).toBe(STATUS.invalid);
  });

  it('batch_status tells where a batch is', async () => {
    const status = [
      { tier: 'hot', delivered: true },
      { tier: 'cold', delivered: false },
    ] as const;
    await start({ batches: { status: (batch) => (batch === BATCH ? status : undefined) } });
    expect(JSON.parse(String((await action('batch_status', BATCH))[0]))).toEqual({
      batch: BATCH,
      hot: 'delivered',
      cold: 'pending',
    });
    expect(await codeOf(action('batch_status', `${'ab'.repeat(16)}-8`))).toBe(STATUS.notFound);
    expect(await codeOf(action('batch_status', 'what'))).toBe(STATUS.invalid);
  });
});

describe('Flight SQL', () => {
  beforeEach(() => start({ sql: { hot: store(2), cold: store(4) } }));
  const rowsOf = async (command: string, value: object = {}): Promise<unknown[]> => {
    const { endpoint } = await info(commandDescriptor(sqlAny(command, value)));
    return rowsIn(await get(endpoint[0].ticket.ticket));
  };

  it('FS1, FS5: GetSqlInfo says what there is, and leaves out what it does not know', async () => {
    const { endpoint, schema } = await info(commandDescriptor(sqlAny('CommandGetSqlInfo', { info: [10, 11, 8, 0, 99_999] })));
    const messages = await get(endpoint[0].ticket.ticket);
    const [batch] = readFlightData(messages);
    const found = Array.from({ length: batch.numRows }, (_, i): unknown[] => [
      Number(batch.getChildAt(0)?.get(i)),
      batch.getChildAt(1)?.get(i),
    ]);
    expect(found).toEqual([
      [10, true],
      [11, false],
      [8, 0n],
      [0, 'Thermocline'],
    ]);
    expect(ipcParts(Buffer.concat([schema, Buffer.alloc(8)]))[0].dataHeader).toEqual(
      flightObject<{ dataHeader: Buffer }>('FlightData', messages[0]).dataHeader,
    );
    expect(await rowsOf('CommandGetSqlInfo')).toHaveLength(18);
  });

  it('tables are listed by catalog, pattern and type, with their schemas if wished', async () => {
    expect(await rowsOf('CommandGetCatalogs')).toEqual([{ catalog_name: 'cold' }, { catalog_name: 'hot' }]);
    expect(await rowsOf('CommandGetDbSchemas', { catalog: 'hot' })).toEqual([{ catalog_name: 'hot', db_schema_name: '' }]);
    expect(await rowsOf('CommandGetTableTypes')).toEqual([{ table_type: 'TABLE' }]);
    const cars = { catalog_name: 'cold', db_schema_name: '', table_name: 'cars', table_type: 'TABLE' };
    expect(await rowsOf('CommandGetTables', { tableNameFilterPattern: 'c_r%' })).toEqual([cars]);
    expect(await rowsOf('CommandGetTables', { catalog: 'hot', tableNameFilterPattern: 'cars' })).toEqual([]);
    expect(await rowsOf('CommandGetTables', { tableTypes: ['VIEW'] })).toEqual([]);
    const [withSchema] = (await rowsOf('CommandGetTables', { tableNameFilterPattern: 'cars', includeSchema: true })) as {
      table_schema: Uint8Array;
    }[];
    expect(columnsIn(Buffer.from(withSchema.table_schema))).toEqual(['ts Timestamp<NANOSECOND, UTC>', 'n Int64']);
  });

  it('a statement is run when its rows are read, in the store that x-tier names', async () => {
    for (const [tier, rows] of [
      ['hot', 2],
      ['cold', 4],
    ] as const) {
      const { endpoint, schema } = await info(commandDescriptor(sqlAny('CommandStatementQuery', { query: 'SELECT n' })), {
        'x-tier': tier,
      });
      expect(schema).toHaveLength(0);
      expect(numbersIn(await get(endpoint[0].ticket.ticket))).toHaveLength(rows);
    }
    expect(asked).toEqual(['SELECT n', 'SELECT n']);
  });

  it('a prepared statement without parameters runs as often as it likes', async () => {
    const [created] = await action(
      'CreatePreparedStatement',
      sqlAny('ActionCreatePreparedStatementRequest', { query: 'SELECT n' }),
    );
    const handle = created.subarray(created.indexOf('{'));
    for (let i = 0; i < 2; i++) {
      const command = sqlAny('CommandPreparedStatementQuery', { preparedStatementHandle: handle });
      const { endpoint } = await info(commandDescriptor(command));
      expect(numbersIn(await get(endpoint[0].ticket.ticket))).toEqual([0n, 1n]);
    }
    expect(
      await action('ClosePreparedStatement', sqlAny('ActionClosePreparedStatementRequest', { preparedStatementHandle: handle })),
    ).toEqual([]);
  });

  it('transactions are refused', async () => {
    const command = sqlAny('CommandStatementQuery', { query: 'SELECT n', transactionId: Buffer.from('1') });
    expect(await codeOf(info(commandDescriptor(command)))).toBe(STATUS.unimplemented);
  });
});

it('a client that goes away ends the statement it was reading', async () => {
  let end: () => void = () => undefined;
  const ended = new Promise<void>((resolve) => {
    end = resolve;
  });
  const endless: ArrowSql = {
    async *stream() {
      const bytes = tableToIPC(
        new ArrowTable({
          n: vectorFromArray(
            Array.from({ length: 10_000 }, (_, i) => BigInt(i)),
            new Int64(),
          ),
        }),
        'stream',
      );
      try {
        for (;;) yield bytes;
      } finally {
        end();
      }
    },
  };
  await start({ sql: { hot: undefined, cold: endless } });
  const client = new FlightTestClient(server.address);
  const call = client.read(flightMessage('Ticket', { ticket: Buffer.from('cars') }));
  await new Promise((resolve) => {
    call.once('data', resolve);
  });
  call.on('error', () => undefined);
  call.cancel();
  await expect(ended).resolves.toBeUndefined();
  client.close();
});
