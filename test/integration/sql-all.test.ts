/** One question over both tiers, on real stores: rows of PostgreSQL come out as those of ClickHouse do. */

import { recordBatch } from '../../src/columnar/record-batch';
import { LOGS_EVENTS, METRICS_EVENTS, TRACES_SPANS } from '../../src/core/builtin-tables';
import type { TableName } from '../../src/core/ids';
import type { ColumnType, TableSchema, Tier } from '../../src/core/table-schema';
import { BothTiersSql } from '../../src/query/all';
import { ClickHouseSql } from '../../src/query/cold';
import { PostgresSql } from '../../src/query/hot';
import { ScratchTables } from '../../src/query/scratch';
import { startClickHouse, type TestClickHouse } from '../support/clickhouse';
import { type ColumnValue, columnOf } from '../support/columns';
import { DemotionRig } from '../support/demotion-rig';
import { writeOf } from '../support/metric-batches';
import { startPostgres, type TestPostgres } from '../support/postgres';
import { NOTHING_REFUSED } from '../support/refusals';

jest.setTimeout(60_000);

const DAY_NS = 86_400_000_000_000n;
const START_NS = 1_767_312_000_123_456_789n;
const LIMITS = { rowsMax: 1_000, timeoutMs: 20_000 };

/** A column of every type, with values that are hard to carry. */
const VALUES: Readonly<Record<Exclude<ColumnType, 'timestamp'>, readonly ColumnValue[]>> = {
  string: ['tab\tnew\nline\\N "quotes" \'\u00e9', '', null],
  json: ['{"a": [1, "x\\ty"]}', '[]', null],
  attributes: [{ a: 'x\ty', 'k "q"': "it's" }, {}, {}],
  bool: [true, false, null],
  int16: [-32_768, 32_767, null],
  int32: [-2_147_483_648, 2_147_483_647, null],
  int64: [-(2n ** 63n), 2n ** 63n - 1n, null],
  uint8: [0, 255, null],
  uint32: [0, 4_294_967_295, null],
  uint64: [0n, 2n ** 64n - 1n, null],
  float32: [1.5, -0.25, null],
  float64: [1e308, Number.NEGATIVE_INFINITY, null],
  decimal: ['-123456789012345678901234567890.125', '0.1', null],
  binary: [new Uint8Array([0, 9, 10, 92, 255]), new Uint8Array([1]), null],
  date: [0, 20_000, null],
  'list<uint64>': [[2n ** 64n - 1n, 0n], [], []],
  'list<int64>': [[-(2n ** 63n)], [], []],
  'list<float64>': [[0.1, -2], [], []],
  'list<string>': [['a,b', '"q"\t'], [], []],
};

const KINDS: TableSchema = {
  table: 'kinds' as TableName,
  version: 1,
  timeColumn: 'at',
  tier: 'hot',
  columns: [
    { name: 'at', type: 'timestamp', nullable: false },
    { name: 'seen', type: 'timestamp', nullable: true },
    ...Object.keys(VALUES).map((type) => ({ name: `c_${type.replace(/\W/g, '_')}`, type: type as ColumnType, nullable: true })),
  ],
};

let postgres: TestPostgres;
let clickhouse: TestClickHouse;
let rig: DemotionRig;
let hot: PostgresSql;
let cold: ClickHouseSql;
let scratch: ScratchTables;
let onceIn: (table: TableName) => Tier | 'both' | undefined = () => 'both';
let coldLsn = 1_000;

beforeAll(async () => {
  [postgres, clickhouse] = await Promise.all([startPostgres(), startClickHouse()]);
  rig = new DemotionRig('c1'.repeat(16), postgres.url, clickhouse);
  await rig.start();
  for (const schema of [KINDS, METRICS_EVENTS, LOGS_EVENTS, TRACES_SPANS]) await rig.create(schema);
  hot = new PostgresSql(postgres.url, LIMITS);
  cold = new ClickHouseSql(clickhouse.url, LIMITS);
  scratch = new ScratchTables(clickhouse.url, LIMITS.timeoutMs);
});
afterAll(async () => {
  await Promise.all([hot?.close(), cold?.close(), scratch?.close()]);
  await rig?.stop();
  await Promise.all([postgres?.stop(), clickhouse?.stop()]);
});

const questions = (hotRowsMax = 10_000): BothTiersSql =>
  new BothTiersSql({
    hot,
    cold,
    scratch,
    tables: () => [...rig.tables.values()],
    coldColumns: (schema) => rig.coldSink.columnsOf(schema),
    onceIn: (table) => onceIn(table),
    hotRowsMax,
  });

async function ask(query: string, time: { from?: string; to?: string } = {}): Promise<unknown[][]> {
  const { body } = await questions().query(query, 'json', time);
  return (JSON.parse(body.toString()) as { rows: unknown[][] }).rows;
}

const batchOf = (schema: TableSchema, columns: Readonly<Record<string, readonly ColumnValue[]>>) =>
  recordBatch(
    schema.columns
      .filter(({ name }) => columns[name] !== undefined)
      .map(({ name, type }) => ({ name, data: columnOf(type, columns[name], 'plain') })),
  );

async function writeCold(schema: TableSchema, columns: Readonly<Record<string, readonly ColumnValue[]>>): Promise<void> {
  const time = columns[schema.timeColumn][0] as bigint;
  const day = new Date(Number(time / 1_000_000n)).toISOString().slice(0, 10).replaceAll('-', '');
  const write = writeOf('d2'.repeat(16), ++coldLsn, batchOf(schema, columns), schema);
  await rig.coldSink.write({ ...write, ...NOTHING_REFUSED, id: { ...write.id, partition: day } });
}

const writeHot = (schema: TableSchema, columns: Readonly<Record<string, readonly ColumnValue[]>>): Promise<void> =>
  rig.write(schema, batchOf(schema, columns));

const kinds = (startNs: bigint): Record<string, readonly ColumnValue[]> => ({
  at: [0n, 1n, 2n].map((i) => startNs + i),
  seen: [START_NS, -1n, null],
  ...Object.fromEntries(Object.entries(VALUES).map(([type, values]) => [`c_${type.replace(/\W/g, '_')}`, values])),
});

test('every column of a hot row comes out as that of a cold row with the same values', async () => {
  await writeHot(KINDS, kinds(START_NS));
  await writeCold(KINDS, kinds(START_NS + DAY_NS));
  const rows = await ask('SELECT * FROM kinds ORDER BY at');
  expect(rows).toHaveLength(6);
  expect(rows.map(([at]) => at)).toEqual([
    '2026-01-02T00:00:00.123456789Z',
    '2026-01-02T00:00:00.123456790Z',
    '2026-01-02T00:00:00.123456791Z',
    '2026-01-03T00:00:00.123456789Z',
    '2026-01-03T00:00:00.123456790Z',
    '2026-01-03T00:00:00.123456791Z',
  ]);
  expect(rows.slice(0, 3).map(([, ...values]) => values)).toEqual(rows.slice(3).map(([, ...values]) => values));
  const untouched = (await clickhouse.rows('SELECT * EXCEPT(_batch_hi, _batch_lo) FROM kinds ORDER BY at')).map(
    ([, , ...values]) => values,
  );
  expect(JSON.stringify(rows.slice(3).map(([, , ...values]) => values))).toContain(String(untouched[0][0]).slice(0, 3));
});

describe('metrics of two days', () => {
  const noon = START_NS - (START_NS % DAY_NS) + DAY_NS / 2n;
  const metrics = (startNs: bigint, count: number, app: string): Record<string, readonly ColumnValue[]> => ({
    time: Array.from({ length: count }, (_, i) => startNs + BigInt(i) * 1_000_000_000n),
    app: Array.from({ length: count }, () => app),
    value: Array.from({ length: count }, (_, i) => i),
  });

  beforeAll(async () => {
    await writeHot(METRICS_EVENTS, metrics(noon, 100, 'shop'));
    await writeHot(METRICS_EVENTS, metrics(noon, 10, 'pay'));
    await writeCold(METRICS_EVENTS, metrics(noon - DAY_NS, 50, 'shop'));
  });

  test('aggregates, subqueries, joins and own WITH clauses see both', async () => {
    expect(await ask('SELECT app, count(), sum(value) FROM metrics_events GROUP BY app ORDER BY app')).toEqual([
      ['pay', '10', 45],
      ['shop', '150', 4_950 + 1_225],
    ]);
    expect(await ask('SELECT count() FROM (SELECT DISTINCT toDate(time) FROM metrics_events)')).toEqual([['2']]);
    expect(await ask("WITH 'pay' AS wanted SELECT count() FROM metrics_events WHERE app = wanted;")).toEqual([['10']]);
    const joined =
      "SELECT count() FROM metrics_events AS a JOIN metrics_events AS b ON a.app = b.app AND a.time = b.time WHERE a.app = 'shop'";
    expect(await ask(joined)).toEqual([['150']]);
  });

  test('conditions on time and text are asked of PostgreSQL too, and leave out nothing at their edges', async () => {
    const count = 'SELECT count() FROM metrics_events WHERE';
    expect(await ask(`${count} time >= '2026-01-02 12:00:10' AND time < '2026-01-02 12:00:20'`)).toEqual([['10']]);
    expect(await ask(`${count} time BETWEEN '2026-01-02 12:00:10' AND '2026-01-02 12:00:20' AND app = 'shop'`)).toEqual([['11']]);
    expect(await ask(`${count} time = '2026-01-02 12:00:50'`)).toEqual([['1']]);
    expect(await ask(`${count} time >= toDate('2026-01-02') - 1`)).toEqual([['160']]);
    expect(await ask(`${count} app = 'it''s'`)).toEqual([['0']]);
    const few = { hotRowsMax: 20 };
    const ranged = await questions(few.hotRowsMax).query(`${count} time >= '2026-01-02 12:01:30'`, 'json', {});
    expect(JSON.parse(ranged.body.toString())).toMatchObject({ rows: [['10']] });
  });

  test('from and to bound what the question is about, exact to the nanosecond', async () => {
    const count = 'SELECT count() FROM metrics_events';
    expect(await ask(count, { from: '2026-01-02T12:00:10Z', to: '2026-01-02T12:00:20Z' })).toEqual([['10']]);
    expect(await ask(count, { from: '2026-01-01T00:00:00Z', to: '2026-01-02T00:00:00Z' })).toEqual([['50']]);
    await writeHot(LOGS_EVENTS, { timestamp: [START_NS, START_NS + 1n, START_NS + 2n], message: ['a', 'b', 'c'] });
    const texts = await ask('SELECT message FROM logs_events', {
      from: '2026-01-02T00:00:00.123456790Z',
      to: '2026-01-02T00:00:00.123456791Z',
    });
    expect(texts).toEqual([['b']]);
  });

  test('too many rows of PostgreSQL are refused with advice, and nothing is left behind', async () => {
    await expect(questions(20).query('SELECT count() FROM metrics_events', 'json', {})).rejects.toMatchObject({
      kind: 'invalid',
      message: expect.stringContaining('more than 20 rows of postgresql; ask for less time') as string,
    });
    await expect(ask('SELECT nothing FROM metrics_events')).rejects.toMatchObject({ kind: 'invalid', storeCode: '47' });
    expect(await clickhouse.rows("SELECT count() FROM system.tables WHERE startsWith(name, '_question_')")).toEqual([['0']]);
  });

  test('rows that both tiers have are told once, or the question is refused', async () => {
    const count = 'SELECT count() FROM metrics_events';
    onceIn = () => 'cold';
    expect(await ask(count)).toEqual([['50']]);
    onceIn = () => 'hot';
    expect(await ask(count)).toEqual([['110']]);
    onceIn = () => undefined;
    await expect(ask(count)).rejects.toMatchObject({
      kind: 'invalid',
      message: expect.stringContaining('ask hot or cold') as string,
    });
    onceIn = () => 'both';
  });

  test('while a day moves to the cold tier each question sees every row once', async () => {
    const count = async (): Promise<unknown> => (await ask('SELECT count(), sum(value) FROM metrics_events'))[0];
    const before = await count();
    const runner = rig.runner();
    await runner.demote('metrics_events', Date.now() - Number((noon + DAY_NS) / 1_000_000n));
    let asked = 0;
    do {
      expect(await count()).toEqual(before);
      asked++;
    } while ((await rig.hot.list({ table: 'metrics_events', unfinished: true })).length > 0);
    expect(await rig.hot.list({ table: 'metrics_events' })).toMatchObject([{ state: 'demoted' }]);
    expect(await count()).toEqual(before);
    expect(asked).toBeGreaterThan(0);
  });
});

test('a query that names no table, or one with its database, is refused', async () => {
  await expect(ask('SELECT 1')).rejects.toMatchObject({
    kind: 'invalid',
    message: 'the query names no table that is registered',
  });
  await expect(ask('SELECT count() FROM default.metrics_events')).rejects.toMatchObject({ kind: 'invalid' });
  await expect(ask('SELECT count() FROM kinds', { from: 'yesterday' })).rejects.toMatchObject({ kind: 'invalid' });
  await expect(ask('INSERT INTO kinds (at) VALUES (1)')).rejects.toMatchObject({ kind: 'invalid' });
});
