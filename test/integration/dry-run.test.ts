/** Dry runs of every protocol: they tell what would happen, and nothing happens. The statements are those of the real sinks. */
import { Int64, Table, tableToIPC, Utf8, vectorFromArray } from 'apache-arrow';
import { NO_STORES } from '../../src/adapters/dry-run';
import { FlightAdapter } from '../../src/adapters/flight/adapter';
import { IngestServiceAdapter } from '../../src/adapters/grpc/adapter';
import { GrpcListener } from '../../src/adapters/grpc-listener';
import { HttpListener } from '../../src/adapters/http-listener';
import { OtlpGrpcAdapter } from '../../src/adapters/otlp/grpc-adapter';
import { OtlpHttpAdapter } from '../../src/adapters/otlp/http-adapter';
import { lsn, type TableName } from '../../src/core/ids';
import { ClickHouseSink } from '../../src/sinks/clickhouse/sink';
import { PostgresSink } from '../../src/sinks/postgres/sink';
import { silentLogger, Telemetry } from '../../src/telemetry';
import { DECODERS } from '../support/adapter-subjects';
import {
  commandDescriptor,
  FlightTestClient,
  flightMessage,
  flightObject,
  pathDescriptor,
  sqlAny,
  tableParts,
} from '../support/flight-client';
import { frame, RawGrpcClient } from '../support/grpc-raw';
import { send } from '../support/http-client';
import { IngestClient } from '../support/ingest-client';
import { otlpRoot } from '../support/otlp-proto';
import { encodeRequest } from '../support/otlp-requests';
import { MemoryRegistry, RecordingIngest } from '../support/recording-ingest';

const CARS = 'cars' as TableName;
const DRY = { 'thermocline-dry-run': '1' };
const EXPORT = '/opentelemetry.proto.collector.logs.v1.LogsService/Export';

const logger = silentLogger();
const telemetry = new Telemetry();
// Not connected: how tables look in the stores is known without them.
const sinks = [
  new PostgresSink({ url: 'postgresql://localhost:1/x', logger, telemetry }),
  new ClickHouseSink({ url: 'http://localhost:1', logger }),
];

let ingest: RecordingIngest;
let registry: MemoryRegistry;
let erased: string[];
let http: HttpListener;
let grpc: GrpcListener;
let httpAddress: string;
let grpcAddress: string;
let client: IngestClient;
let flight: FlightTestClient;

beforeEach(async () => {
  ingest = new RecordingIngest();
  registry = new MemoryRegistry();
  erased = [];
  const stores = { ...NO_STORES, stores: sinks };
  const common = { ingest, registry, batches: { status: () => undefined }, telemetry, stores, nowNs: () => 7n };
  const progress = { durableLsn: () => lsn(0), delivered: () => Promise.resolve() };
  const erase = async (table: string): Promise<void> => void erased.push(table);
  const erasers = [{ tier: 'hot' as const, erase }];
  const otlp = { ingest, decoders: DECODERS, telemetry, stores };
  http = new HttpListener({ host: '127.0.0.1', port: 0, logger, adapters: [new OtlpHttpAdapter(otlp)] });
  grpc = new GrpcListener({
    host: '127.0.0.1',
    port: 0,
    logger,
    services: [
      ...new OtlpGrpcAdapter(otlp).services,
      ...new IngestServiceAdapter(common).services,
      ...new FlightAdapter({ ...common, progress, erasers, sql: { hot: undefined, cold: undefined } }).services,
    ],
  });
  httpAddress = await http.start();
  grpcAddress = await grpc.start();
  client = new IngestClient(grpcAddress);
  flight = new FlightTestClient(grpcAddress);
});

async function close(): Promise<void> {
  client.close();
  flight.close();
  await Promise.all([http.stop(0), grpc.stop(0)]);
  expect([ingest.writes, ingest.inFlightBytes, erased]).toEqual([[], 0, []]);
}
afterEach(close);
afterAll(async () => {
  for (const sink of sinks) await sink.stop();
});

const knownCars = (): Promise<unknown> =>
  registry.register({
    table: CARS,
    columns: [
      { name: 'time', type: 'timestamp', nullable: false },
      { name: 'speed', type: 'int64', nullable: true },
    ],
    timeColumn: 'time',
  });

describe('IngestService', () => {
  const rows = { rows: [{ fields: { speed: { doubleValue: 0.5 }, name: { stringValue: 'x' } } }, { fields: { speed: {} } }] };
  const wrong = { rows: [{ fields: { speed: { stringValue: 'fast' } } }] };

  it('Write tells of a table that would be made: schema, mapping and statements of both stores, tier', async () => {
    const answer = await client.call('Write', { table: 'cars', rows, dryRun: true });
    expect(answer).toMatchObject({
      acceptedRows: '2',
      dryRun: {
        after: { name: 'cars', version: 1, timeColumn: 'time', tier: 'TIER_HOT', policy: 'TABLE_POLICY_EVOLVE' },
        changes: [
          { column: 'time', type: 'timestamp' },
          { column: 'speed', type: 'float64' },
          { column: 'name', type: 'string' },
        ],
        tiers: ['TIER_HOT'],
        stores: [
          { tier: 'TIER_HOT', columns: [{ column: 'time', storeColumn: 'time', storeType: 'timestamp with time zone' }, {}, {}] },
          { tier: 'TIER_COLD', columns: [{ column: 'time', storeColumn: 'time', storeType: "DateTime64(9, 'UTC')" }, {}, {}] },
        ],
      },
    });
    const { current, stores } = answer['dryRun'] as { current?: object; stores: { statements: string[] }[] };
    expect(current).toBeUndefined();
    expect(stores.map(({ statements }) => statements[0].split('(')[0].trim())).toEqual([
      'CREATE TABLE IF NOT EXISTS "cars"',
      'CREATE TABLE IF NOT EXISTS `default`.`cars`',
    ]);
    expect(registry.get(CARS)).toBeUndefined();
  });

  it('Write tells of columns that would be widened or added, and of rows that would be refused, by field or by metadata', async () => {
    await knownCars();
    const before = registry.get(CARS);
    const widened = {
      changes: [{ column: 'speed', typeBefore: 'int64', type: 'float64' }, { column: 'name' }, { column: 'speed_int' }],
    };
    expect(await client.call('Write', { table: 'cars', rows }, DRY)).toMatchObject({ acceptedRows: '2', dryRun: widened });
    expect(await client.call('Write', { table: 'cars', rows: wrong, dryRun: true })).toMatchObject({
      rejectedRows: '1',
      rejections: [{ code: 'REJECTION_CODE_TYPE_MISMATCH', column: 'speed' }],
      dryRun: { current: { version: 1 }, after: { version: 1 } },
    });
    expect(registry.get(CARS)).toBe(before);
  });

  it('WriteStream answers dry runs in their turn', async () => {
    const stream = client.stream();
    const answers: Record<string, unknown>[] = [];
    stream.on('data', (answer: Record<string, unknown>) => answers.push(answer));
    const ended = new Promise((resolve) => stream.on('status', resolve));
    stream.write({ requestId: 'a', write: { table: 'cars', rows, dryRun: true } });
    stream.write({ requestId: 'b', write: { table: 'no/table', rows, dryRun: true } });
    stream.end();
    await ended;
    expect(answers).toMatchObject([
      { requestId: 'a', response: { acceptedRows: '2', dryRun: { after: { version: 1 } } } },
      { requestId: 'b', error: { code: 3 } },
    ]);
    expect(registry.get(CARS)).toBeUndefined();
  });

  it('RegisterTable tells what it would make, or why it could not', async () => {
    const car = { table: 'cars', columns: [{ name: 'speed', type: 'double' }], policy: 'TABLE_POLICY_STRICT' };
    expect(await client.call('RegisterTable', { ...car, dryRun: true })).toMatchObject({
      table: { name: 'cars', policy: 'TABLE_POLICY_STRICT' },
      dryRun: { changes: [{ column: 'time' }, { column: 'speed' }], tiers: ['TIER_HOT'] },
    });
    expect(registry.get(CARS)).toBeUndefined();
    await knownCars();
    expect(
      await client.failure('RegisterTable', { ...car, columns: [{ name: 'speed', type: 'text' }], dryRun: true }),
    ).toMatchObject({
      code: 6,
    });
  });

  it('a switch that is neither on nor off is INVALID_ARGUMENT', async () => {
    await expect(client.call('Write', { table: 'cars', rows }, { 'thermocline-dry-run': 'perhaps' })).rejects.toMatchObject({
      code: 3,
    });
  });
});

describe('Flight', () => {
  const cars = (speeds: bigint[]): Table =>
    new Table({ speed: vectorFromArray(speeds, new Int64()), name: vectorFromArray(speeds.map(String), new Utf8()) });
  const reportOf = (result: Buffer): unknown =>
    JSON.parse(flightObject<{ appMetadata: Buffer }>('PutResult', result).appMetadata.toString());

  it('DoPut answers batches as ever, and at the end with the report of the whole stream', async () => {
    await registry.register({
      table: CARS,
      columns: [
        { name: 'time', type: 'timestamp', nullable: false },
        { name: 'speed', type: 'int16', nullable: true, conflict: 'dead_letter' },
      ],
      timeColumn: 'time',
    });
    const before = registry.get(CARS);
    const stream = flight.stream('DoPut', DRY);
    const [schema, first] = tableParts(cars([1n, 70_000n]));
    const [, second] = tableParts(cars([3n]));
    await stream.send({ flightDescriptor: pathDescriptor('cars'), ...schema });
    await stream.send({ ...first, appMetadata: Buffer.from('one') });
    await stream.results(1);
    await stream.send(second);
    expect(await stream.finish()).toMatchObject({ code: 0 });
    expect(stream.acks()[0]).toBe('one');
    expect(stream.received).toHaveLength(2);
    expect(reportOf(stream.received[1])).toMatchObject({
      dry_run: true,
      table: 'cars',
      would_accept: 2,
      would_park: 1,
      would_reject: 0,
      tiers: ['hot'],
      schema: { current: { version: 1 }, after: { version: 2 }, changes: [{ change: 'added', column: 'name', type: 'string' }] },
      stores: [{ tier: 'hot', ddl: [expect.stringContaining('ADD COLUMN')] }, { tier: 'cold' }],
    });
    expect(registry.get(CARS)).toBe(before);
  });

  it('DoPut of rows of which none would be accepted is no error, and DoExchange reports in FlightData', async () => {
    await registry.register({
      table: CARS,
      columns: [{ name: 'time', type: 'timestamp', nullable: false }],
      timeColumn: 'time',
      policy: 'freeze',
    });
    const { results, end } = await flight.put(cars([1n]), pathDescriptor('cars'), DRY);
    expect(end.code).toBe(0);
    expect(results.map(reportOf)).toMatchObject([{ would_accept: 0, would_reject: 1, schema: { changes: [] } }]);
    const exchange = flight.stream('DoExchange', DRY);
    for (const [i, part] of tableParts(cars([1n])).entries()) {
      await exchange.send(i === 0 ? { flightDescriptor: pathDescriptor('cars'), ...part } : part);
    }
    await exchange.finish();
    const [report] = exchange.received.map((bytes) => flightObject<{ appMetadata: Buffer }>('FlightData', bytes).appMetadata);
    expect(JSON.parse(report.toString())).toMatchObject({ would_reject: 1 });
  });

  it('bulk ingest gives the number of rows first, the report behind it, and replaces nothing', async () => {
    await knownCars();
    const command = (ifNotExist: number, ifExists: number, table = 'cars'): object =>
      commandDescriptor(sqlAny('CommandStatementIngest', { table, tableDefinitionOptions: { ifNotExist, ifExists } }));
    const { results, end } = await flight.put(cars([1n, 2n]), command(1, 3), DRY);
    expect(end.code).toBe(0);
    const { appMetadata } = flightObject<{ appMetadata: Buffer }>('PutResult', results[0]);
    expect(flightObject('sql.DoPutUpdateResult', appMetadata)).toEqual({ recordCount: 2 });
    expect(reportOf(results[1])).toMatchObject({ would_accept: 2 });
    expect((await flight.put(cars([1n]), command(1, 1), DRY)).end.code).toBe(6);
    expect((await flight.put(cars([1n]), command(2, 2, 'other'), DRY)).end.code).toBe(5);
  });

  it('create_table tells what it would make', async () => {
    const body = Buffer.from('{"table":"cars","columns":[{"name":"speed","type":"double"}],"policy":"strict"}');
    const [answer] = await flight.list('DoAction', flightMessage('Action', { type: 'create_table', body }), DRY);
    const result = flightObject<{ body: Buffer }>('Result', answer).body.toString();
    expect(JSON.parse(result)).toMatchObject({ dry_run: true, schema: { current: null, after: { policy: 'strict' } } });
    expect(registry.get(CARS)).toBeUndefined();
  });

  it('a table that Arrow makes is only thought of', async () => {
    const { results } = await flight.put(cars([1n]), pathDescriptor('fresh'), { ...DRY, 'x-tier': 'cold' });
    expect(results.map(reportOf)).toMatchObject([{ schema: { current: null, after: { tier: 'cold' } }, tiers: ['cold'] }]);
    expect(registry.get('fresh' as TableName)).toBeUndefined();
    const bytes = tableToIPC(cars([1n]), 'stream');
    expect(await client.call('Write', { table: 'fresh', arrowStream: bytes, dryRun: true })).toMatchObject({ acceptedRows: '1' });
  });
});

describe('OTLP', () => {
  const logs = {
    resourceLogs: [{ scopeLogs: [{ logRecords: [{ timeUnixNano: '1', body: { stringValue: 'a' } }] }] }],
  };
  const report = {
    dry_run: true,
    would_accept: 1,
    would_reject: 0,
    tables: [{ table: 'logs_events', tiers: ['cold'], schema: { changes: [] }, stores: [{ tier: 'hot' }, { tier: 'cold' }] }],
  };

  it.each(['application/x-protobuf', 'application/json'])('over HTTP, %s, the answer is the report in JSON', async (type) => {
    const body = type === 'application/json' ? JSON.stringify(logs) : encodeRequest('logs', logs);
    const answer = await send(httpAddress, '/v1/logs?dry_run=1', { body, headers: { 'content-type': type } });
    expect([answer.status, answer.headers['content-type']]).toEqual([200, 'application/json']);
    expect(JSON.parse(answer.body.toString())).toMatchObject(report);
  });

  it('over gRPC it is the text of partial_success', async () => {
    const raw = await RawGrpcClient.open(grpcAddress);
    const { body, trailers } = await raw.unary(EXPORT, frame(encodeRequest('logs', logs)), DRY);
    raw.close();
    expect(trailers['grpc-status']).toBe('0');
    const type = otlpRoot().lookupType('opentelemetry.proto.collector.logs.v1.ExportLogsServiceResponse');
    const { partialSuccess } = type.decode(body.subarray(5)) as unknown as { partialSuccess: { errorMessage: string } };
    expect(JSON.parse(partialSuccess.errorMessage)).toMatchObject(report);
  });
});
