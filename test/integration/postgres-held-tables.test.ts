/**
 * Scenario: a table of PostgreSQL refuses every insert. Guarantee: the other tables are delivered meanwhile, and after the fix the rows
 * of the held one are stored exactly once, also across a restart (docs/delivery.md).
 */
import type { RecordBatch } from 'apache-arrow';
import { Client } from 'pg';
import { NumberBuilder } from '../../src/columnar/builders';
import { recordBatch } from '../../src/columnar/record-batch';
import type { TableName } from '../../src/core/ids';
import type { TableSchema } from '../../src/core/table-schema';
import { PostgresSink } from '../../src/sinks/postgres/sink';
import { silentLogger, Telemetry } from '../../src/telemetry';
import { DeliveryRig } from '../support/delivery-rig';
import { timestamps } from '../support/log-batches';
import { timesFrom } from '../support/metric-batches';
import { startPostgres, type TestPostgres } from '../support/postgres';

jest.setTimeout(60_000);

const NOW_NS = BigInt(Date.now()) * 1_000_000n;

const schemaOf = (table: string): TableSchema => ({
  table: table as TableName,
  version: 1,
  columns: [
    { name: 'time', type: 'timestamp', nullable: false },
    { name: 'id', type: 'float64', nullable: false },
  ],
  timeColumn: 'time',
  tier: 'hot',
});

function batchOf(from: number, count: number): RecordBatch {
  const id = NumberBuilder.float64(count);
  for (let i = 0; i < count; i++) id.append(from + i);
  return recordBatch([
    { name: 'time', data: timestamps(timesFrom(NOW_NS, count)) },
    { name: 'id', data: id.finish() },
  ]);
}

let server: TestPostgres;
let client: Client;
let rig: DeliveryRig | undefined;

beforeAll(async () => {
  server = await startPostgres();
  client = new Client({ connectionString: server.url });
  await client.connect();
});
afterEach(() => rig?.stop());
afterAll(async () => {
  await client?.end();
  await server?.stop();
});

const idsOf = async (table: string): Promise<number[]> =>
  (await client.query<{ id: number }>(`SELECT id FROM ${table} ORDER BY id`)).rows.map(({ id }) => id);
const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i);
const soon = (): AbortSignal => AbortSignal.timeout(40_000);

const raising = (table: string): string => `CREATE FUNCTION refuse_${table}() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN RAISE EXCEPTION 'closed for the day' USING ERRCODE = 'P0001'; END $$;
  CREATE TRIGGER refuse BEFORE INSERT ON ${table} FOR EACH ROW EXECUTE FUNCTION refuse_${table}()`;

test.each<[string, string, (table: string) => string, (table: string) => string]>([
  ['a trigger that raises', 'P0001', raising, (table) => `DROP FUNCTION refuse_${table} CASCADE`],
  [
    'a column of another type',
    '',
    (table) => `ALTER TABLE ${table} ALTER COLUMN id TYPE text`,
    (table) => `ALTER TABLE ${table} ALTER COLUMN id TYPE double precision USING id::double precision`,
  ],
])('%s holds its table alone, and after the fix its rows are there once', async (what, code, breakIt, fixIt) => {
  const name = what.replaceAll(' ', '_');
  const bad = schemaOf(`bad_${name}`);
  const good = schemaOf(`good_${name}`);
  const makeSink = (): PostgresSink => new PostgresSink({ url: server.url, logger: silentLogger(), telemetry: new Telemetry() });
  const started = await DeliveryRig.start({ schemas: [bad, good], makeSink });
  rig = started;
  await started.append(bad, batchOf(0, 10));
  await started.drained();
  await client.query(breakIt(bad.table));
  await started.restart();
  for (let i = 0; i < 10; i++) {
    await started.append(bad, batchOf(10 + i * 10, 10));
    await started.append(good, batchOf(i * 10, 10));
  }
  await started.delivery.delivered(started.wal.stats().durableLsn, soon(), [good.table]);
  expect(await idsOf(good.table)).toEqual(range(100));
  expect(started.delivery.status().held).toMatchObject([{ table: bad.table, code }]);
  expect(started.delivery.backlog.rowsByTable.get(bad.table)).toBe(100);
  await started.restart();
  await client.query(fixIt(bad.table));
  await started.delivery.delivered(started.wal.stats().durableLsn, soon());
  expect(await idsOf(bad.table)).toEqual(range(110));
  expect(started.delivery.totals).toMatchObject({
    [bad.table]: { delivered: 110, deadLetters: 0 },
    [good.table]: { delivered: 100, deadLetters: 0 },
  });
});

test('an UNLOGGED table is held before a row goes in, and delivered once it is logged', async () => {
  await client.query('CREATE UNLOGGED TABLE fleeting (time timestamptz NOT NULL, id double precision NOT NULL)');
  const schema = schemaOf('fleeting');
  const makeSink = (): PostgresSink => new PostgresSink({ url: server.url, logger: silentLogger(), telemetry: new Telemetry() });
  rig = await DeliveryRig.start({ schemas: [schema], makeSink });
  await rig.append(schema, batchOf(0, 5));
  while (rig.delivery.status().held.length === 0) await new Promise((resolve) => setTimeout(resolve, 20));
  expect(rig.delivery.status().held).toMatchObject([
    { table: 'fleeting', reason: expect.stringMatching(/fleeting is UNLOGGED/) },
  ]);
  expect(await idsOf('fleeting')).toEqual([]);
  await client.query('ALTER TABLE fleeting SET LOGGED');
  await rig.delivery.delivered(rig.wal.stats().durableLsn, soon());
  expect(await idsOf('fleeting')).toEqual(range(5));
});
