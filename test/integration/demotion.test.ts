/** Demotions on a real PostgreSQL and a real ClickHouse engine: every type, every step cut off, back again, late rows. */
import type { RecordBatch } from 'apache-arrow';
import * as fc from 'fast-check';
import { COLUMN_TYPES } from '../../src/columnar/arrow-type';
import { concatRows, wholeBatch } from '../../src/columnar/concat';
import { recordBatch } from '../../src/columnar/record-batch';
import type { TableName } from '../../src/core/ids';
import { startClickHouse, type TestClickHouse } from '../support/clickhouse';
import { COLUMN_VALUES, type ColumnValue, columnOf } from '../support/columns';
import { DAY_MS, DAY_NS, EVENTS, eventsOf, FIRST_DAY_MS, schemaOf } from '../support/demotion-events';
import { DemotionRig } from '../support/demotion-rig';
import { timestamps } from '../support/log-batches';
import { startPostgres, type TestPostgres } from '../support/postgres';

let postgres: TestPostgres;
let clickhouse: TestClickHouse;
let rig: DemotionRig;

beforeAll(async () => {
  [postgres, clickhouse] = await Promise.all([startPostgres(), startClickHouse()]);
  rig = new DemotionRig('ab'.repeat(16), postgres.url, clickhouse);
  await rig.start();
}, 120_000);
afterEach(() => rig.stopRunners());
afterAll(async () => {
  await rig.stop();
  await Promise.all([postgres.stop(), clickhouse.stop()]);
});

const columnName = (type: string): string => `c_${type.replace(/\W+/g, '_')}`;

test('every type goes to ClickHouse and comes back as it was, nulls and kinds of attributes included', async () => {
  const types = COLUMN_TYPES;
  const schema = schemaOf('all_types', [
    ...types.map((type) => ({ name: columnName(type), type, nullable: true })),
    { name: 'tag', type: 'string', nullable: true, lowCardinality: true },
    { name: 'constructor', type: 'string', nullable: true },
  ]);
  await rig.create(schema);
  const rows = 300;
  const valuesOf = (type: (typeof types)[number]): ColumnValue[] =>
    fc.sample(fc.option(COLUMN_VALUES[type] as fc.Arbitrary<ColumnValue>, { freq: 4, nil: null }), { numRuns: rows, seed: 7 });
  const times = Array.from(
    { length: rows },
    (_, i) => BigInt(FIRST_DAY_MS) * 1_000_000n + (BigInt(i) * DAY_NS) / BigInt(rows) + BigInt(i),
  );
  await rig.write(
    schema,
    recordBatch([
      { name: 'time', data: timestamps(times) },
      ...types.map((type) => ({ name: columnName(type), data: columnOf(type, valuesOf(type), 'plain') })),
      {
        name: 'tag',
        data: columnOf(
          'string',
          times.map((_, i) => (i % 3 === 0 ? null : `tag ${i % 5}`)),
          'shared',
        ),
      },
    ]),
  );
  // What only jsonb can say, and null elements of arrays.
  await rig.client.query(`INSERT INTO all_types (time, time_ns, c_attributes, c_json, c_list_float64_, c_list_string_) VALUES
    ('2026-01-05 01:00Z', 0, '{"a": 1, "b": 1.50, "c": true, "d": null, "e": [1, {"x": "y z"}], "f": {"g": ": ,"}, "h": "1", "i": 1e300}',
     '{"a": [1, 2, "b: c, d"]}', '{1,NULL,3}', '{a,NULL,"",NULL}'),
    ('2026-01-05 02:00Z', 0, NULL, NULL, NULL, NULL), ('2026-01-05 03:00Z', 0, '{}', 'null', '{}', '{}')`);
  const before = await rig.hotRows('all_types');
  const runner = rig.runner();
  expect(await runner.demote('all_types', 2 * DAY_MS)).toHaveLength(1);
  const [demoted] = await rig.settled('all_types');
  expect(demoted.error).toBeUndefined();
  expect(demoted).toMatchObject({ state: 'demoted', digest: { count: rows + 3 } });
  expect(await rig.hotRows('all_types')).toEqual([]);
  expect(await rig.coldCount('SELECT count() FROM all_types')).toBe(rows + 3);
  expect(
    await clickhouse.rows(
      `SELECT c_attributes['b'], c_attributes['e'], c_attributes['h'], c_json FROM all_types WHERE c_attributes['c'] = 'true'`,
    ),
  ).toEqual([['1.50', '[1,{"x":"y z"}]', '1', '{"a":[1,2,"b: c, d"]}']]);

  expect(await runner.restore('all_types', FIRST_DAY_MS, FIRST_DAY_MS + DAY_MS)).toHaveLength(1);
  expect((await rig.settled('all_types'))[0]).toMatchObject({ state: 'restored', rowsBack: rows + 3 });
  expect(await rig.hotRows('all_types')).toEqual(before);
  expect(await rig.coldCount('SELECT count() FROM all_types')).toBe(0);
  // The partition is one like any other again.
  const { rows: partitions } = await rig.client.query(
    'SELECT tableoid::regclass::text AS name, count(*)::int AS n FROM all_types GROUP BY 1',
  );
  expect(partitions).toEqual([{ name: await rig.partitionOf(schema, FIRST_DAY_MS), n: rows + 3 }]);
  await rig.client.query('DELETE FROM all_types WHERE c_attributes IS NULL');
}, 120_000);

test('late rows of a closed day are left out of the hot write, and nobody else can write there either', async () => {
  const schema = { ...EVENTS, table: 'late_events' as TableName };
  await rig.create(schema);
  await rig.write(schema, eventsOf(FIRST_DAY_MS, 500));
  const [planned] = await rig.hot.plan(await rig.hot.partitions(schema, FIRST_DAY_MS + 3 * DAY_MS));
  const closed = await rig.hot.close(planned, schema);
  expect(closed).toMatchObject({ state: 'copying', layout: { columns: schema.columns } });
  await expect(rig.client.query(`INSERT INTO late_events (time) VALUES ('2026-01-05 03:00Z')`)).rejects.toMatchObject({
    code: '55006',
  });
  await expect(rig.client.query('DELETE FROM late_events')).rejects.toMatchObject({ code: '55006' });

  const both = concatRows([eventsOf(FIRST_DAY_MS, 3, 600), eventsOf(FIRST_DAY_MS + DAY_MS, 2, 700)].map(wholeBatch));
  const diverted: number[][] = [];
  await rig.write(schema, both, async (rows) => void diverted.push([...rows]));
  expect(diverted).toEqual([[0, 1, 2]]);
  await expect(rig.write(schema, both)).rejects.toMatchObject({ failure: 'retry' });
  // An end of the day is not the day.
  const edges = [
    BigInt(FIRST_DAY_MS) * 1_000_000n - 1n,
    BigInt(FIRST_DAY_MS) * 1_000_000n,
    BigInt(FIRST_DAY_MS + DAY_MS) * 1_000_000n - 1n,
  ];
  await rig.write(
    schema,
    recordBatch([{ name: 'time', data: timestamps(edges) }]),
    async (rows) => void diverted.push([...rows]),
  );
  expect(diverted[1]).toEqual([1, 2]);

  const runner = rig.runner();
  await rig.settled('late_events');
  // A server that starts anew makes no partition for the day.
  const again = new DemotionRig('cd'.repeat(16), postgres.url, clickhouse);
  await again.start();
  try {
    await again.write(schema, eventsOf(FIRST_DAY_MS, 1), async (rows) => void diverted.push([...rows]));
  } finally {
    await again.stop();
  }
  expect(diverted[2]).toEqual([0]);
  expect(await rig.partitionOf(schema, FIRST_DAY_MS)).toBeUndefined();
  expect((await rig.client.query('SELECT count(*)::int AS n FROM late_events')).rows).toEqual([{ n: 3 }]);
  await runner.restore('late_events', FIRST_DAY_MS, FIRST_DAY_MS + DAY_MS);
  await rig.settled('late_events');
  await rig.write(schema, eventsOf(FIRST_DAY_MS, 1));
  expect((await rig.client.query('SELECT count(*)::int AS n FROM late_events')).rows).toEqual([{ n: 504 }]);
}, 120_000);

test('what cannot be moved without loss stays hot, open and as it was, with the reason', async () => {
  const schema = { ...EVENTS, table: 'odd_events' as TableName };
  await rig.create(schema);
  await rig.write(schema, eventsOf(FIRST_DAY_MS, 400));
  const partition = (await rig.partitionOf(schema, FIRST_DAY_MS))!;
  const reasons: string[] = [];
  const tryIt = async (more: Parameters<DemotionRig['runner']>[0] = {}): Promise<void> => {
    const runner = rig.runner(more);
    await runner.demote('odd_events', 2 * DAY_MS);
    const last = (await rig.settled('odd_events')).at(-1);
    expect(last?.state).toBe('aborted');
    reasons.push(last?.error ?? '');
    await rig.stopRunners();
    expect(await rig.coldCount('SELECT count() FROM odd_events')).toBe(0);
  };
  const before = await rig.hotRows('odd_events');
  // A copy that lost a row, one with a row twice, and one with a value changed.
  const batches: ((batch: RecordBatch) => RecordBatch)[] = [
    (batch) => concatRows([{ batch, runs: Int32Array.of(1, batch.numRows) }]),
    (batch) => concatRows([{ batch, runs: Int32Array.of(0, batch.numRows, 0, 1) }]),
    (batch) =>
      recordBatch(
        batch.schema.fields.map(({ name }, i) => ({
          name,
          data:
            name === 'value'
              ? columnOf(
                  'float64',
                  Array.from({ length: batch.numRows }, () => 1),
                  'plain',
                )
              : batch.data.children[i],
        })),
      ),
  ];
  for (const change of batches) {
    const insert: typeof rig.cold.insert = (demotion, of, at, batch, mayHaveRun) =>
      rig.cold.insert(demotion, of, at, change(batch), mayHaveRun);
    await tryIt({ cold: new Proxy(rig.cold, { get: (target, name) => (name === 'insert' ? insert : bound(target, name)) }) });
  }
  expect(await rig.hotRows('odd_events')).toEqual(before);
  await rig.client.query('ALTER TABLE odd_events ADD COLUMN note text; UPDATE odd_events SET note = value::text WHERE value < 3');
  await tryIt();
  await rig.client.query('ALTER TABLE odd_events DROP COLUMN note');
  await rig.client.query(`INSERT INTO odd_events (time, value) VALUES ('2026-01-05 12:00Z', 1), ('2026-01-05 13:00Z', 'NaN')`);
  await rig.client.query(`UPDATE odd_events SET labels = '[1]' WHERE value = 7`);
  await tryIt();
  expect(reasons.map((reason) => reason.replaceAll(partition, 'it'))).toEqual([
    expect.stringMatching(/differs: \d+ rows against \d+/),
    expect.stringMatching(/differs: \d+ rows against \d+/),
    'the copy of it differs: column value',
    'column note of it holds values and is not in the schema of odd_events',
    'it: attributes must be a JSON object',
  ]);
  await rig.write(schema, eventsOf(FIRST_DAY_MS, 1));
}, 180_000);

/** A method of the target that can be called apart from it. */
function bound(target: object, name: string | symbol): unknown {
  const value: unknown = Reflect.get(target, name);
  return typeof value === 'function' ? (value.bind(target) as unknown) : value;
}
