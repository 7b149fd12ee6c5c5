/**
 * Scenario: batches hold rows that PostgreSQL refuses for what they hold. Guarantee: these rows become dead letters with their column
 * and reason, all others are stored exactly once (durability rule P6), also when connections break or the process ends between the
 * two; and after the cause is gone a replay stores the letters exactly once.
 */
import type { RecordBatch } from 'apache-arrow';
import { Client } from 'pg';
import { NumberBuilder } from '../../src/columnar/builders';
import { recordBatch } from '../../src/columnar/record-batch';
import type { TableName } from '../../src/core/ids';
import { SinkError } from '../../src/core/sink';
import type { TableSchema } from '../../src/core/table-schema';
import { PostgresSink } from '../../src/sinks/postgres/sink';
import { silentLogger, Telemetry } from '../../src/telemetry';
import { DeliveryRig } from '../support/delivery-rig';
import { timestamps, utf8 } from '../support/log-batches';
import { timesFrom, writeOf } from '../support/metric-batches';
import { startPostgres, type TestPostgres } from '../support/postgres';
import { Refusals } from '../support/refusals';
import { TcpProxy } from '../support/tcp-proxy';

/** One row of 1,000 is bad. `POISON_ROWS=1000000` is the full size. */
const ROWS = Number(process.env['POISON_ROWS'] ?? 20_000);
const BAD = ROWS / 1_000;

jest.setTimeout(60_000 + ROWS);

const NOW_NS = BigInt(Date.now()) * 1_000_000n;

const schemaOf = (table: string): TableSchema => ({
  table: table as TableName,
  version: 1,
  columns: [
    { name: 'time', type: 'timestamp', nullable: false },
    { name: 'id', type: 'float64', nullable: false },
    { name: 'metric', type: 'string', nullable: true },
    { name: 'note', type: 'string', nullable: true },
    { name: 'doc', type: 'json', nullable: true },
  ],
  timeColumn: 'time',
  tier: 'hot',
});

interface Row {
  readonly metric?: string;
  readonly note?: string;
  readonly doc?: string;
}

/** Rows numbered from `from`, some with values of their own. */
function batchOf(count: number, special: ReadonlyMap<number, Row> = new Map(), from = 0): RecordBatch {
  const all = Array.from({ length: count }, (_, i) => i);
  const id = NumberBuilder.float64(count);
  for (const i of all) id.append(from + i);
  const text = (key: keyof Row, fallback: string) => utf8(all.map((i) => special.get(i)?.[key] ?? fallback));
  return recordBatch([
    { name: 'time', data: timestamps(timesFrom(NOW_NS, count)) },
    { name: 'id', data: id.finish() },
    { name: 'metric', data: text('metric', 'requests') },
    { name: 'note', data: text('note', 'ok') },
    { name: 'doc', data: text('doc', '{"a":1}') },
  ]);
}

let server: TestPostgres;
let client: Client;
let tables = 0;

const newSink = (url = server.url): PostgresSink => new PostgresSink({ url, logger: silentLogger(), telemetry: new Telemetry() });
const newTable = (): TableSchema => schemaOf(`things_${++tables}`);
const idsOf = async (table: string): Promise<number[]> =>
  (await client.query<{ id: string }>(`SELECT id FROM ${table} ORDER BY id, time`)).rows.map(({ id }) => Number(id));
const numbers = (count: number, without: readonly number[] = []): number[] => {
  const left = new Set(without);
  return Array.from({ length: count }, (_, i) => i).filter((i) => !left.has(i));
};

beforeAll(async () => {
  server = await startPostgres();
  client = new Client({ connectionString: server.url });
  await client.connect();
});

afterAll(async () => {
  await client.end();
  await server.stop();
});

describe('one write with rows that PostgreSQL refuses', () => {
  let sink: PostgresSink;
  beforeAll(async () => {
    sink = newSink();
    await sink.start();
  });
  afterAll(() => sink.stop());

  async function write(schema: TableSchema, batch: RecordBatch): Promise<Refusals> {
    const refusals = new Refusals();
    const { refused, onRefused } = refusals;
    for (let mayHaveRun = false; ; mayHaveRun = true) {
      try {
        await sink.write({ ...writeOf('a'.repeat(32), tables, batch, schema), mayHaveRun, refused, onRefused });
        return refusals;
      } catch (error) {
        // The columns were changed since the sink looked at them.
        if (!(error instanceof SinkError && error.failure === 'retry')) throw error;
      }
    }
  }

  it('stores the others and tells row, column and code of each refusal', async () => {
    const schema = newTable();
    await sink.ensureTable(schema);
    await client.query(`ALTER TABLE ${schema.table} ALTER note TYPE varchar(10)`);
    await client.query(`ALTER TABLE ${schema.table} ADD CONSTRAINT not_cursed CHECK (id <> 1313)`);
    const special = new Map<number, Row>([
      [7, { metric: Array.from({ length: 2_500 }, (_, i) => i.toString(16).padStart(4, '0')).join('') }],
      [8, { doc: '{"n":1e400000}' }],
      [2_000, { note: 'longer than ten' }],
      [4_999, { doc: '{"broken":' }],
    ]);
    const { rows } = await write(schema, batchOf(5_000, special));
    expect(rows.map(({ row, code, column, stage }) => [row, code, column, stage])).toEqual([
      [7, '54000', 'metric', 'insert'],
      [8, '22003', 'doc', 'insert'],
      [1_313, '23514', 'id', 'insert'],
      [2_000, '22001', 'note', 'insert'],
      [4_999, '22P02', 'doc', 'insert'],
    ]);
    expect(rows[2].message).toContain('not_cursed');
    expect(await idsOf(schema.table)).toEqual(numbers(5_000, [7, 8, 1_313, 2_000, 4_999]));
    const batches = await client.query('SELECT rows::int FROM _ingest_batches WHERE table_name = $1', [schema.table]);
    expect(batches.rows).toEqual([{ rows: 4_995 }]);
  });

  it('parks a row that is over the page of PostgreSQL (8 kB) for its many numbers, and stores the others of its table', async () => {
    const wide = 1_200;
    const names = Array.from({ length: wide }, (_, i) => `n${i}`);
    const columns = names.map((name) => ({ name, type: 'float64' as const, nullable: true }));
    const schema = { ...schemaOf(`things_${++tables}`), columns: [schemaOf('x').columns[0], ...columns] };
    await sink.ensureTable(schema);
    // Nulls take no room: only the row with a value in every column is too large.
    const data = names.map((name, i) => {
      const values = NumberBuilder.float64(3);
      for (let row = 0; row < 3; row++) {
        if (row === 1 || i < 500) values.append(row);
        else values.appendNull();
      }
      return { name, data: values.finish() };
    });
    const { rows } = await write(schema, recordBatch([{ name: 'time', data: timestamps(timesFrom(NOW_NS, 3)) }, ...data]));
    expect(rows.map(({ row, code, stage }) => [row, code, stage])).toEqual([[1, '54000', 'insert']]);
    expect(rows[0].message).toContain('row is too big');
    const stored = await client.query<{ n0: number }>(`SELECT n0 FROM ${schema.table} ORDER BY n0`);
    expect(stored.rows.map(({ n0 }) => n0)).toEqual([0, 2]);
  });

  it('ends when every second row is bad, and when all are', async () => {
    for (const isBad of [(i: number) => i % 2 === 1, () => true]) {
      const schema = newTable();
      const bad = numbers(2_000).filter(isBad);
      const { rows } = await write(schema, batchOf(2_000, new Map(bad.map((i) => [i, { doc: '[1e400000]' }]))));
      expect(rows.map(({ row }) => row)).toEqual(bad);
      expect(await idsOf(schema.table)).toEqual(numbers(2_000).filter((i) => !isBad(i)));
    }
  });

  it('finds a row that only a constraint checked at COMMIT refuses', async () => {
    const schema = newTable();
    await sink.ensureTable(schema);
    await client.query(`CREATE FUNCTION refuse_${tables}() RETURNS trigger LANGUAGE plpgsql AS
      $$ BEGIN IF NEW.id = 77 THEN RAISE EXCEPTION 'unlucky' USING ERRCODE = '23000'; END IF; RETURN NULL; END $$`);
    await client.query(`CREATE CONSTRAINT TRIGGER late AFTER INSERT ON ${schema.table}
      DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_${tables}()`);
    const { rows } = await write(schema, batchOf(300));
    expect(rows.map(({ row, code, message }) => [row, code, message])).toEqual([[77, '23000', 'unlucky']]);
    expect(await idsOf(schema.table)).toEqual(numbers(300, [77]));
  });

  it('parks all rows of a batch that does not fit the schema', async () => {
    const schema = newTable();
    const changed = schema.columns.map((column) => (column.name === 'note' ? { ...column, type: 'int64' as const } : column));
    const { rows } = await write({ ...schema, columns: changed }, batchOf(3));
    expect(rows.map(({ row, stage, code, column }) => [row, stage, code, column])).toEqual(
      [0, 1, 2].map((row) => [row, 'schema', 'type_mismatch', 'note']),
    );
    expect(await idsOf(schema.table)).toEqual([]);
  });
});

describe('delivery of rows that PostgreSQL refuses', () => {
  it('parks each row of 1,000 that is bad, keeps them across a restart, and a replay after the schema was put right stores them once', async () => {
    const schema = newTable();
    const rig = await DeliveryRig.start({ schemas: [schema], makeSink: () => newSink() });
    try {
      await rig.delivery.firstReady;
      await client.query(`ALTER TABLE ${schema.table} ALTER note TYPE varchar(10)`);
      const bad = numbers(BAD).map((i) => i * 1_000 + 17);
      for (let from = 0; from < ROWS; from += 2_000) {
        const special = bad
          .filter((i) => i >= from && i < from + 2_000)
          .map((i) => [i - from, { note: `much too long ${i}` }] as const);
        await rig.append(schema, batchOf(2_000, new Map(special), from));
      }
      await rig.drained(60_000 + ROWS);
      expect(await idsOf(schema.table)).toEqual(numbers(ROWS, bad));
      await rig.restart();
      const { letters } = await rig.store.list({ filter: { table: schema.table }, limit: 10_000 });
      const found = letters.map(({ json, code, column, stage }) => [JSON.parse(json).id, code, column, stage]);
      expect(found).toEqual(bad.map((i) => [i, '22001', 'note', 'hot_insert']));
      expect(letters.map(({ lsn }) => lsn)).toEqual(bad.map((i) => Math.floor(i / 2_000) + 1));

      // Still refused: they come back as new letters.
      expect(await rig.replay({ ids: [letters[0].id] })).toBe(1);
      await rig.drained();
      expect(rig.store.stats().letters).toBe(BAD);

      await client.query(`ALTER TABLE ${schema.table} ALTER note TYPE text`);
      expect(await rig.replay({ filter: { code: '22001' } })).toBe(BAD);
      await rig.restart();
      await rig.drained();
      expect(await idsOf(schema.table)).toEqual(numbers(ROWS));
      expect(rig.store.stats()).toMatchObject({ letters: 0, sizeBytes: 0 });
      expect(await rig.store.replay({ ids: letters.map(({ id }) => id) })).toMatchObject({ done: 0, keptCount: BAD });
      const metrics = await rig.telemetry.registry.metrics();
      expect(metrics).toContain(`thermocline_dead_letters_total{table="${schema.table}",tier="hot",code="22001"} ${BAD + 1}`);
    } finally {
      await rig.stop();
    }
  });

  it.each(['lose request', 'lose answer'] as const)(
    'is exact when the COMMIT behind parked rows breaks (%s), and the rows stay parked',
    async (kind) => {
      const schema = newTable();
      const proxy = await TcpProxy.start(Number(new URL(server.url).port));
      const rig = await DeliveryRig.start({ schemas: [schema], makeSink: () => newSink(proxy.urlFor(server.url)) });
      try {
        await rig.delivery.firstReady;
        await client.query(`ALTER TABLE ${schema.table} ADD CHECK (id::int % 100 <> 50)`);
        const batch = batchOf(1_000);
        proxy.arm({ kind, marker: 'COMMIT\0' });
        await rig.append(schema, batch);
        await rig.drained();
        expect(proxy.cuts).toBe(1);
        const bad = numbers(1_000).filter((i) => i % 100 === 50);
        expect(await idsOf(schema.table)).toEqual(numbers(1_000, bad));
        const { letters } = await rig.store.list({ filter: {}, limit: 100 });
        expect(letters.map(({ json }) => Number(JSON.parse(json).id))).toEqual(bad);
      } finally {
        await rig.stop();
        await proxy.stop();
      }
    },
  );

  it('is exact when the process ends after rows were parked and before the COMMIT', async () => {
    const schema = newTable();
    let stopAfterPark = true;
    let parked: () => void = () => undefined;
    const parkedOnce = new Promise<void>((resolve) => {
      parked = resolve;
    });
    const rig = await DeliveryRig.start({
      schemas: [schema],
      makeSink: () => newSink(),
      wrap: (parking) => ({
        refusedRows: (tier, id) => parking.refusedRows(tier, id),
        divertedRows: (tier, id) => parking.divertedRows(tier, id),
        divert: (rows) => parking.divert(rows),
        park: async (rows) => {
          await parking.park(rows);
          if (!stopAfterPark) return;
          parked();
          throw new Error('the process ends here');
        },
      }),
    });
    try {
      await rig.delivery.firstReady;
      await client.query(`ALTER TABLE ${schema.table} ADD CONSTRAINT odd CHECK (id <> 3)`);
      await rig.append(schema, batchOf(100));
      await parkedOnce;
      expect(await rig.store.drop({ filter: {} })).toMatchObject({ done: 0, keptCount: 1 });
      stopAfterPark = false;
      await client.query(`ALTER TABLE ${schema.table} DROP CONSTRAINT odd`);
      await rig.restart();
      await rig.drained();
      expect(await idsOf(schema.table)).toEqual(numbers(100, [3]));
      expect(rig.store.stats().letters).toBe(1);
      expect(await rig.replay({ filter: {} })).toBe(1);
      await rig.drained();
      expect(await idsOf(schema.table)).toEqual(numbers(100));
    } finally {
      await rig.stop();
    }
  });
});
