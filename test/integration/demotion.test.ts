/** Demotions on a real PostgreSQL and a real ClickHouse engine: every type, every step cut off, back again, late rows. */
import * as fc from 'fast-check';
import { COLUMN_TYPES } from '../../src/columnar/arrow-type';
import { recordBatch } from '../../src/columnar/record-batch';
import type { TableName } from '../../src/core/ids';
import type { ColumnSchema, TableSchema } from '../../src/core/table-schema';
import { startClickHouse, type TestClickHouse } from '../support/clickhouse';
import { COLUMN_VALUES, type ColumnValue, columnOf } from '../support/columns';
import { DemotionRig } from '../support/demotion-rig';
import { timestamps } from '../support/log-batches';
import { startPostgres, type TestPostgres } from '../support/postgres';

const DAY_MS = 86_400_000;
const DAY_NS = 86_400_000_000_000n;
const FIRST_DAY_MS = Date.UTC(2026, 0, 5);

let postgres: TestPostgres;
let clickhouse: TestClickHouse;
let rig: DemotionRig;

beforeAll(async () => {
  [postgres, clickhouse] = await Promise.all([startPostgres(), startClickHouse()]);
  rig = new DemotionRig(postgres.url, clickhouse);
  await rig.start();
}, 60_000);
afterEach(() => rig.stopRunners());
afterAll(async () => {
  await rig.stop();
  await Promise.all([postgres.stop(), clickhouse.stop()]);
});

const columnName = (type: string): string => `c_${type.replace(/\W+/g, '_')}`;

function schemaOf(table: string, columns: ColumnSchema[]): TableSchema {
  return {
    table: table as TableName,
    version: 1,
    columns: [{ name: 'time', type: 'timestamp', nullable: false }, ...columns],
    timeColumn: 'time',
    tier: 'hot',
  };
}

/** Every row of a table in PostgreSQL as text, in any order. */
async function hotRows(table: string): Promise<string[]> {
  const { rows } = await rig.client.query<{ row: string }>(`SELECT t::text AS row FROM ${table} t ORDER BY 1`);
  return rows.map(({ row }) => row);
}

const count = async (sql: string): Promise<number> => Number((await clickhouse.rows(sql))[0]?.[0]);

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
  const before = await hotRows('all_types');
  const runner = rig.runner();
  expect(await runner.demote('all_types', 2 * DAY_MS)).toHaveLength(1);
  const [demoted] = await rig.settled('all_types');
  expect(demoted.error).toBeUndefined();
  expect(demoted).toMatchObject({ state: 'demoted', digest: { count: rows + 3 } });
  expect(await hotRows('all_types')).toEqual([]);
  expect(await count('SELECT count() FROM all_types')).toBe(rows + 3);
  expect(
    await clickhouse.rows(
      `SELECT c_attributes['b'], c_attributes['e'], c_attributes['h'], c_json FROM all_types WHERE c_attributes['c'] = 'true'`,
    ),
  ).toEqual([['1.50', '[1,{"x":"y z"}]', '1', '{"a":[1,2,"b: c, d"]}']]);

  expect(await runner.restore('all_types', FIRST_DAY_MS, FIRST_DAY_MS + DAY_MS)).toHaveLength(1);
  expect((await rig.settled('all_types'))[0]).toMatchObject({ state: 'restored', rowsBack: rows + 3 });
  expect(await hotRows('all_types')).toEqual(before);
  expect(await count('SELECT count() FROM all_types')).toBe(0);
  // The partition is one like any other again.
  const { rows: partitions } = await rig.client.query(
    'SELECT tableoid::regclass::text AS name, count(*)::int AS n FROM all_types GROUP BY 1',
  );
  expect(partitions).toEqual([{ name: '_p20260105_all_types', n: rows + 3 }]);
  await rig.client.query('DELETE FROM all_types WHERE c_attributes IS NULL');
}, 60_000);
