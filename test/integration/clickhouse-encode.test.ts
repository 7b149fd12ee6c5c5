/** What the engine reads from our ArrowStream, column type by column type, against the values that went in. */
import * as fc from 'fast-check';
import { recordBatch } from '../../src/columnar/record-batch';
import { BUILTIN_TABLES } from '../../src/core/builtin-tables';
import { lsn, type TableName, type WalId } from '../../src/core/ids';
import { LIMITS } from '../../src/core/limits';
import type { ColumnSchema, ColumnType, TableSchema } from '../../src/core/table-schema';
import { ClickHouseSink } from '../../src/sinks/clickhouse/sink';
import { silentLogger } from '../../src/telemetry';
import { startClickHouse, type TestClickHouse } from '../support/clickhouse';
import { COLUMN_VALUES, type ColumnForm, type ColumnValue, columnOf } from '../support/columns';
import { NOTHING_REFUSED } from '../support/refusals';

jest.setTimeout(120_000);

const DAY = '20260102';
const DAY_NS = 1_767_312_000_000_000_000n;
const WAL_ID = '0123456789abcdeffedcba9876543210' as WalId;

let clickhouse: TestClickHouse;
let sink: ClickHouseSink;
let written = 0;

beforeAll(async () => {
  clickhouse = await startClickHouse();
  sink = new ClickHouseSink({ url: clickhouse.url, logger: silentLogger() });
  await sink.start();
});

afterAll(async () => {
  await sink?.stop();
  await clickhouse?.stop();
});

const hex = (text: string): string => Buffer.from(text).toString('hex');

/** An expression that shows a value exactly, and the same value as that expression shows it. */
const SHOWN: Readonly<Record<ColumnType, { sql: (name: string) => string; of: (value: never) => unknown }>> = {
  timestamp: { sql: (c) => `toString(toUnixTimestamp64Nano(${c}))`, of: String },
  string: { sql: (c) => `lower(hex(${c}))`, of: (value: string) => Buffer.from(value).toString('hex') },
  json: { sql: (c) => `lower(hex(${c}))`, of: (value: string) => Buffer.from(value).toString('hex') },
  attributes: {
    sql: (c) =>
      `arraySort(arrayMap(kv -> concat(lower(hex(kv.1)), '=', lower(hex(kv.2))), CAST(${c}, 'Array(Tuple(String, String))')))`,
    of: (value: Record<string, string>) => {
      return Object.entries(value)
        .map(([key, text]) => `${hex(key)}=${hex(text)}`)
        .sort();
    },
  },
  bool: { sql: (c) => c, of: Boolean },
  int16: { sql: (c) => c, of: Number },
  int32: { sql: (c) => c, of: Number },
  int64: { sql: (c) => `toString(${c})`, of: String },
  uint8: { sql: (c) => c, of: Number },
  uint32: { sql: (c) => c, of: Number },
  uint64: { sql: (c) => `toString(${c})`, of: String },
  decimal: { sql: (c) => `toString(${c})`, of: String },
  float32: { sql: (c) => `toString(${bits(`toFloat64(${c})`)})`, of: (value: number) => bitsOf(Math.fround(value)) },
  float64: { sql: (c) => `toString(${bits(c)})`, of: (value: number) => bitsOf(value) },
  binary: { sql: (c) => `lower(hex(${c}))`, of: (value: Uint8Array) => Buffer.from(value).toString('hex') },
  date: { sql: (c) => `toInt32(${c})`, of: Number },
  'list<uint64>': { sql: (c) => `arrayMap(x -> toString(x), ${c})`, of: (value: bigint[]) => value.map(String) },
  'list<int64>': { sql: (c) => `arrayMap(x -> toString(x), ${c})`, of: (value: bigint[]) => value.map(String) },
  'list<float64>': { sql: (c) => `arrayMap(x -> toString(${bits('x')}), ${c})`, of: (value: number[]) => value.map(bitsOf) },
  'list<string>': {
    sql: (c) => `arrayMap(x -> lower(hex(x)), ${c})`,
    of: (value: string[]) => value.map((text) => Buffer.from(text).toString('hex')),
  },
};

/** One pattern of bits for all NaN. */
const bits = (expression: string): string => `if(isNaN(${expression}), 0x7ff8000000000000, reinterpretAsUInt64(${expression}))`;
const bitsOf = (value: number): string => String(new BigUint64Array(Float64Array.of(value).buffer)[0]);

/** What stands for no value. */
const ABSENT: Partial<Record<ColumnType, unknown>> = {
  string: '',
  json: '',
  binary: '',
  attributes: [],
  'list<uint64>': [],
  'list<int64>': [],
  'list<float64>': [],
  'list<string>': [],
};

const shown = (type: ColumnType, value: ColumnValue): unknown =>
  value === null ? (ABSENT[type] ?? null) : SHOWN[type].of(value as never);

interface Content {
  readonly columns: readonly { schema: ColumnSchema; form: ColumnForm; values: readonly ColumnValue[] }[];
  readonly rows: number;
}

const content = (schema: TableSchema): fc.Arbitrary<Content> =>
  fc.integer({ min: 1, max: 40 }).chain((rows) =>
    fc
      .tuple(
        ...schema.columns
          .filter(({ name }) => name !== schema.timeColumn)
          .map((column) =>
            fc.record({
              schema: fc.constant(column),
              present: fc.boolean(),
              form: fc.constantFrom<ColumnForm>('plain', 'shared'),
              values: fc.array(fc.option<ColumnValue>(COLUMN_VALUES[column.type]), { minLength: rows, maxLength: rows }),
            }),
          ),
      )
      .map((columns) => ({ columns: columns.filter(({ present }) => present), rows })),
  );

/** Writes the rows, the row number as nanoseconds of the day; gives every column as it is read back and as it went in. */
async function roundTrip(schema: TableSchema, { columns, rows }: Content): Promise<Record<'found' | 'expected', unknown[][]>> {
  const at = lsn(++written);
  const times = Array.from({ length: rows }, (_, row) => DAY_NS + BigInt(row));
  const batch = recordBatch([
    ...columns.map(({ schema: { name, type }, form, values }) => ({ name, data: columnOf(type, values, form) })),
    { name: schema.timeColumn, data: columnOf('timestamp', times, 'plain') },
  ]);
  const id = { walId: WAL_ID, lsn: at, lastLsn: at, table: schema.table, partition: DAY };
  await sink.write({ id, schema, batch, mayHaveRun: false, ...NOTHING_REFUSED });
  const sql = schema.columns.map(({ name, type }, i) => `${SHOWN[type].sql(`\`${name}\``)} AS c${i}`).join(', ');
  const found = await clickhouse.rows(
    `SELECT ${sql}, hex(_batch_hi), toString(_batch_lo) FROM ${schema.table} WHERE _batch_lo = ${at} ORDER BY \`${schema.timeColumn}\``,
  );
  const expected = times.map((time, row) => [
    ...schema.columns.map(({ name, type }) => {
      if (name === schema.timeColumn) return String(time);
      return shown(type, columns.find((column) => column.schema.name === name)?.values[row] ?? null);
    }),
    '0123456789ABCDEF',
    String(at),
  ]);
  return { found, expected };
}

const everyType: TableSchema = {
  table: 'every_type' as TableName,
  version: 1,
  timeColumn: 'at',
  tier: 'cold',
  columns: [
    { name: 'at', type: 'timestamp', nullable: false },
    ...(Object.keys(COLUMN_VALUES) as ColumnType[]).map((type) => ({ name: `c_${type}`, type, nullable: true })),
    { name: 'few', type: 'string', nullable: true, lowCardinality: true },
  ],
};

describe('rows in ClickHouse', () => {
  it.each([everyType, ...BUILTIN_TABLES].map((schema) => [schema.table, schema] as const))(
    'hold the values that were written to %s, whatever form their columns had',
    async (_name, schema) => {
      await sink.ensureTable(schema);
      const property = fc.asyncProperty(content(schema), async (rows) => {
        const { found, expected } = await roundTrip(schema, rows);
        expect(found).toEqual(expected);
      });
      await expect(fc.assert(property, { numRuns: schema === everyType ? 20 : 4 })).resolves.toBeUndefined();
    },
  );

  it('fit into a table of as many columns, with names as long, as any table may have', async () => {
    const names = Array.from({ length: LIMITS.columnsMax - 1 }, (_, i) => `${i}`.padStart(63, 'c'));
    const wide: TableSchema = {
      ...everyType,
      table: 'wide' as TableName,
      columns: [everyType.columns[0], ...names.map((name) => ({ name, type: 'timestamp' as const, nullable: true }))],
    };
    const at = lsn(++written);
    const id = { walId: WAL_ID, lsn: at, lastLsn: at, table: wide.table, partition: DAY };
    const data = columnOf('timestamp', [DAY_NS], 'plain');
    await sink.ensureTable(wide);
    await sink.write({
      id,
      schema: wide,
      batch: recordBatch(['at', ...names].map((name) => ({ name, data }))),
      mayHaveRun: false,
      ...NOTHING_REFUSED,
    });
    const shownTimes = `toString(toUnixTimestamp64Nano(${names[0]})), toString(toUnixTimestamp64Nano(${names.at(-1)}))`;
    expect(await clickhouse.rows(`SELECT ${shownTimes} FROM wide`)).toEqual([[String(DAY_NS), String(DAY_NS)]]);
  });

  it.each([
    ['19000101', -2_208_988_800_000_000_000n],
    ['19691231', -1n],
    ['19700101', 0n],
    ['22620411', 9_223_372_036_854_775_807n],
  ])('are found again by their day at the ends of time: %s', async (partition, time) => {
    const at = lsn(++written);
    const id = { walId: WAL_ID, lsn: at, lastLsn: at, table: everyType.table, partition };
    const batch = recordBatch([{ name: 'at', data: columnOf('timestamp', [time], 'plain') }]);
    await sink.write({ id, schema: everyType, batch, mayHaveRun: true, ...NOTHING_REFUSED });
    await sink.write({ id, schema: everyType, batch, mayHaveRun: true, ...NOTHING_REFUSED });
    expect(await clickhouse.rows(`SELECT toString(toUnixTimestamp64Nano(at)) FROM every_type WHERE _batch_lo = ${at}`)).toEqual([
      [String(time)],
    ]);
  });
});
