/**
 * The policies of tables and columns hold for rows of every protocol alike: each case is run over REST (JSON and Arrow), Flight and
 * IngestService (Arrow, columns, rows), against the real listeners.
 */
import { Bool, Float64, Int64, Table, tableToIPC, Utf8, vectorFromArray } from 'apache-arrow';
import { FlightAdapter } from '../../src/adapters/flight/adapter';
import { IngestServiceAdapter } from '../../src/adapters/grpc/adapter';
import { GrpcListener } from '../../src/adapters/grpc-listener';
import { HttpListener } from '../../src/adapters/http-listener';
import { RestAdapter } from '../../src/adapters/rest/adapter';
import { lsn, type TableName } from '../../src/core/ids';
import type { Ingest } from '../../src/core/ingest';
import type { SchemaRegistry } from '../../src/core/schema-registry';
import type { ColumnSchema, ConflictPolicy, TablePolicy } from '../../src/core/table-schema';
import { silentLogger, Telemetry } from '../../src/telemetry';
import { FlightTestClient, pathDescriptor } from '../support/flight-client';
import { send } from '../support/http-client';
import { IngestClient } from '../support/ingest-client';
import { plainRows } from '../support/plain-rows';
import { MemoryRegistry, RecordingIngest } from '../support/recording-ingest';

const READINGS = 'readings' as TableName;

let ingest: RecordingIngest;
let registry: MemoryRegistry;
let http: HttpListener;
let grpc: GrpcListener;
let httpAddress: string;
let client: IngestClient;
let flight: FlightTestClient;

/** The listeners stand for all tests; log and registry are those of the test that runs. */
const ingestNow: Ingest = { admit: (...given) => ingest.admit(...given), write: (request) => ingest.write(request) };
const registryNow: SchemaRegistry = {
  get: (table) => registry.get(table),
  list: () => registry.list(),
  evolve: (...given) => registry.evolve(...given),
  preview: (...given) => registry.preview(...given),
  register: (definition) => registry.register(definition),
  previewRegistration: (definition) => registry.previewRegistration(definition),
  adopt: (shared) => registry.adopt(shared),
};

beforeAll(async () => {
  const batches = { status: () => undefined };
  const common = { ingest: ingestNow, registry: registryNow, batches, telemetry: new Telemetry(), nowNs: () => 7n };
  const progress = { durableLsn: () => lsn(0), delivered: () => Promise.resolve() };
  const logger = silentLogger();
  http = new HttpListener({ host: '127.0.0.1', port: 0, logger, adapters: [new RestAdapter(common)] });
  grpc = new GrpcListener({
    host: '127.0.0.1',
    port: 0,
    logger,
    services: [
      ...new IngestServiceAdapter(common).services,
      ...new FlightAdapter({ ...common, progress, erasers: [], sql: { hot: undefined, cold: undefined } }).services,
    ],
  });
  httpAddress = await http.start();
  const address = await grpc.start();
  client = new IngestClient(address);
  flight = new FlightTestClient(address);
});
beforeEach(() => {
  ingest = new RecordingIngest();
  registry = new MemoryRegistry();
});
afterEach(() => {
  if (ingest.inFlightBytes !== 0) throw new Error('room for a request was not given back');
});
afterAll(async () => {
  client.close();
  flight.close();
  await Promise.all([http.stop(0), grpc.stop(0)]);
});

type Values = Readonly<Record<string, readonly (number | bigint | string | boolean)[]>>;
/** Accepted and rejected rows. */
type Counts = readonly [accepted: number, rejected: number];
type Send = (values: Values) => Promise<Counts>;

/** Numbers are doubles, bigints int64. */
function arrowTable(values: Values): Table {
  const types = { number: new Float64(), bigint: new Int64(), string: new Utf8(), boolean: new Bool() };
  const vectors = Object.entries(values).map(([name, column]) => {
    const type = types[typeof column[0] as keyof typeof types];
    return [name, vectorFromArray(column as never, type as never)] as const;
  });
  return new Table(Object.fromEntries(vectors));
}

const jsonText = (rows: object[]): string =>
  JSON.stringify(rows, (_key, value: unknown) => (typeof value === 'bigint' ? Number(value) : value));

function rowsOf(values: Values): Record<string, unknown>[] {
  const [first] = Object.values(values);
  return first.map((_, row) => Object.fromEntries(Object.entries(values).map(([name, column]) => [name, column[row]])));
}

async function rest(contentType: string, body: string | Uint8Array): Promise<Counts> {
  const answer = await send(httpAddress, '/write/readings', { body, headers: { 'content-type': contentType } });
  const { accepted, rejected } = JSON.parse(answer.body.toString()) as { accepted: number; rejected: number };
  return [accepted, rejected];
}

async function ingestService(data: object): Promise<Counts> {
  const counts = (answer: Record<string, unknown>): Counts => [
    Number(answer['acceptedRows'] ?? 0),
    Number(answer['rejectedRows'] ?? 0),
  ];
  try {
    return counts(await client.call('Write', { table: 'readings', ...data }));
  } catch {
    const { message } = await client.failure('Write', { table: 'readings', ...data });
    return [0, Number(/no row was accepted, (\d+) were/.exec(message)?.[1])];
  }
}

function wireValue(value: unknown): object {
  if (typeof value === 'bigint') return { intValue: String(value) };
  if (typeof value === 'number') return { doubleValue: value };
  return typeof value === 'boolean' ? { boolValue: value } : { stringValue: value };
}

function wireColumn(name: string, column: Values[string]): object {
  const [first] = column;
  if (typeof first === 'bigint') return { name, int64s: { values: column.map(String) } };
  if (typeof first === 'number') return { name, doubles: { values: column } };
  return typeof first === 'boolean' ? { name, bools: { values: column } } : { name, strings: { values: column } };
}

const PROTOCOLS: readonly [string, Send][] = [
  ['REST with JSON', (values) => rest('application/json', jsonText(rowsOf(values)))],
  ['REST with Arrow', (values) => rest('application/vnd.apache.arrow.stream', tableToIPC(arrowTable(values), 'stream'))],
  [
    'Flight DoPut',
    async (values) => {
      const before = Object.values(ingest.rows()).reduce((sum, rows) => sum + rows, 0);
      const { end } = await flight.put(arrowTable(values), pathDescriptor('readings'));
      const accepted = Object.values(ingest.rows()).reduce((sum, rows) => sum + rows, 0) - before;
      return [accepted, Number(end.trailers.get('thermocline-rejected-rows')[0] ?? 0)];
    },
  ],
  ['IngestService with Arrow', (values) => ingestService({ arrowStream: tableToIPC(arrowTable(values), 'stream') })],
  [
    'IngestService with columns',
    (values) => ingestService({ columns: { columns: Object.entries(values).map(([name, column]) => wireColumn(name, column)) } }),
  ],
  [
    'IngestService with rows',
    (values) => {
      const rows = rowsOf(values).map((row) => ({
        fields: Object.fromEntries(Object.entries(row).map(([name, value]) => [name, wireValue(value)])),
      }));
      return ingestService({ rows: { rows } });
    },
  ],
];

const TIME: ColumnSchema = { name: 'time', type: 'timestamp', nullable: false };
const column = (type: ColumnSchema['type'], conflict?: ConflictPolicy): ColumnSchema => ({
  name: 'v',
  type,
  nullable: true,
  ...(conflict === undefined ? {} : { conflict }),
});
const register = (columns: readonly ColumnSchema[], policy?: TablePolicy): Promise<unknown> =>
  registry.register({
    table: READINGS,
    columns: [TIME, ...columns],
    timeColumn: 'time',
    ...(policy === undefined ? {} : { policy }),
  });
const typesInForce = (): string[] => registry.get(READINGS)?.columns.map(({ name, type }) => `${name} ${type}`) ?? [];
const written = (): unknown[] => ingest.writes.flatMap((write) => write.batches.flatMap(({ batch }) => plainRows(batch)));

describe.each(PROTOCOLS)('%s', (_name, sendRows) => {
  it('evolve: makes the table, then adds the columns that rows bring', async () => {
    expect(await sendRows({ v: [1.5] })).toEqual([1, 0]);
    expect(await sendRows({ v: [2.5], place: ['roof'] })).toEqual([1, 0]);
    expect(typesInForce()).toEqual(['time timestamp', 'v float64', 'place string']);
    expect(written()).toEqual([
      { time: 7n, v: 1.5 },
      { time: 7n, v: 2.5, place: 'roof' },
    ]);
    expect(ingest.writes.map(({ batches: [{ schemaVersion }] }) => schemaVersion)).toEqual([1, 2]);
  });

  it.each<TablePolicy>(['strict', 'freeze'])(
    '%s: refuses rows with a column that is not there, and takes the others',
    async (policy) => {
      await register([column('float64')], policy);
      expect(await sendRows({ v: [1.5], place: ['roof'] })).toEqual([0, 1]);
      expect(await sendRows({ v: [2.5] })).toEqual([1, 0]);
      expect(typesInForce()).toEqual(['time timestamp', 'v float64']);
      expect(written()).toEqual([{ time: 7n, v: 2.5 }]);
    },
  );

  it('strict: a value that does not fit its column refuses its row alone, and widens nothing', async () => {
    await register([column('int64')], 'strict');
    expect(await sendRows({ v: [3, 0.7] })).toEqual([1, 1]);
    expect(typesInForce()).toEqual(['time timestamp', 'v int64']);
    expect(written()).toEqual([{ time: 7n, v: 3n }]);
  });

  it('widen: 0 and then 0.7 makes a double, and integers stay exact', async () => {
    expect(await sendRows({ v: [0n, 9_007_199_254_740_992n] })).toEqual([2, 0]);
    expect(await sendRows({ v: [0.7] })).toEqual([1, 0]);
    expect(typesInForce()).toEqual(['time timestamp', 'v float64', 'v_int int64']);
    expect(written()).toEqual([
      { time: 7n, v: 0n },
      { time: 7n, v: 9_007_199_254_740_992n },
      { time: 7n, v: 0.7 },
    ]);
    expect(await sendRows({ v: [5n] })).toEqual([1, 0]);
    expect(written().at(-1)).toEqual({ time: 7n, v: 5, v_int: 5n });
  });

  it('widen: a text in a column of numbers refuses its row', async () => {
    await register([column('float64', 'widen')]);
    expect(await sendRows({ v: ['fast'] })).toEqual([0, 1]);
    expect(typesInForce()).toEqual(['time timestamp', 'v float64']);
  });

  it('coerce: a text in a column of numbers makes the column text', async () => {
    await register([column('float64', 'coerce')]);
    expect(await sendRows({ v: ['fast'] })).toEqual([1, 0]);
    expect(await sendRows({ v: [true] })).toEqual([1, 0]);
    expect(typesInForce()).toEqual(['time timestamp', 'v string']);
    expect(written()).toEqual([
      { time: 7n, v: 'fast' },
      { time: 7n, v: 'true' },
    ]);
  });

  it('side_column: a value that does not fit is kept beside the column, and its row is stored', async () => {
    await register([column('int64', 'side_column')]);
    expect(await sendRows({ v: [3, 0.7], place: ['roof', 'cellar'] })).toEqual([2, 0]);
    expect(await sendRows({ v: ['fast'] })).toEqual([1, 0]);
    expect(await sendRows({ v: [true] })).toEqual([1, 0]);
    expect(typesInForce().sort()).toEqual(['_conflicts json', 'place string', 'time timestamp', 'v int64']);
    expect(written()).toEqual([
      { time: 7n, v: 3n, place: 'roof' },
      { time: 7n, place: 'cellar', _conflicts: '{"v":0.7}' },
      { time: 7n, _conflicts: '{"v":"fast"}' },
      { time: 7n, _conflicts: '{"v":true}' },
    ]);
  });

  it('dead_letter: a row with a value that does not fit is parked, also where a wider number would do', async () => {
    await register([column('int64', 'dead_letter')]);
    expect(await sendRows({ v: [3, 0.7] })).toEqual([1, 0]);
    expect(ingest.writes.flatMap(({ parked = [] }) => parked.flatMap(({ reasons }) => reasons))).toMatchObject([
      { stage: 'schema', column: 'v' },
    ]);
    expect(typesInForce()).toEqual(['time timestamp', 'v int64']);
    expect(written()).toEqual([{ time: 7n, v: 3n }]);
  });
});

describe('IngestService with rows', () => {
  const rows = (...values: object[]): object => ({ rows: { rows: values.map((v) => ({ fields: { v } })) } });

  it('side_column: kinds may be mixed within a column, lists, maps and documents too', async () => {
    await register([column('int64', 'side_column')]);
    const mixed = rows(
      { intValue: 1 },
      { stringValue: 'a "b"' },
      { doubleValue: Number.NaN },
      { listValue: { values: [{ intValue: 1 }, {}] } },
      { mapValue: { entries: { a: { boolValue: true } } } },
      { jsonValue: '{"x":[1]}' },
      { bytesValue: Buffer.from('hi') },
      { uintValue: '18446744073709551615' },
    );
    expect(await ingestService(mixed)).toEqual([8, 0]);
    expect(written().map((row) => (row as { v?: bigint; _conflicts?: string })._conflicts ?? (row as { v: bigint }).v)).toEqual([
      1n,
      '{"v":"a \\"b\\""}',
      '{"v":"NaN"}',
      '{"v":[1,null]}',
      '{"v":{"a":true}}',
      '{"v":{"x":[1]}}',
      '{"v":"aGk="}',
      '{"v":18446744073709551615}',
    ]);
    expect(await ingestService(rows({ jsonValue: '{"x"' }))).toEqual([0, 1]);
    expect(await ingestService(rows({ jsonValue: '[2]' }))).toEqual([1, 0]);
    expect(written().at(-1)).toEqual({ time: 7n, _conflicts: '{"v":[2]}' });
  });

  it('coerce: lists and maps become JSON text', async () => {
    await register([column('float64', 'coerce')]);
    const mixed = rows({ doubleValue: 1.5 }, { listValue: { values: [{ intValue: 1 }] } }, { stringValue: 'x' });
    expect(await ingestService(mixed)).toEqual([3, 0]);
    expect(written()).toEqual([
      { time: 7n, v: '1.5' },
      { time: 7n, v: '[1]' },
      { time: 7n, v: 'x' },
    ]);
  });
});
