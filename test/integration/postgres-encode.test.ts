import type { Data, RecordBatch } from 'apache-arrow';
import * as fc from 'fast-check';
import { Client } from 'pg';
import { AttributesBuilder, mapData } from '../../src/columnar/attributes';
import { utf8Builder } from '../../src/columnar/bytes-builder';
import { decodeIpc, encodeIpc } from '../../src/columnar/ipc';
import { recordBatch } from '../../src/columnar/record-batch';
import type { TableName } from '../../src/core/ids';
import { ATTRIBUTE_KIND, type ColumnType, type TableSchema } from '../../src/core/table-schema';
import { createTable } from '../../src/sinks/postgres/ddl';
import { COLUMN_VALUES, type ColumnForm, type ColumnValue, columnOf } from '../support/columns';
import { copyRows } from '../support/copy-rows';
import { dictionary, timestamps } from '../support/log-batches';
import { startPostgres, type TestPostgres } from '../support/postgres';

let server: TestPostgres;
let client: Client;

beforeAll(async () => {
  server = await startPostgres();
  client = new Client({ connectionString: server.url });
  await client.connect();
  await client.query(
    "SET timezone = 'UTC'; SET extra_float_digits = 1; SET bytea_output = 'hex'; SET client_min_messages = warning",
  );
});

afterAll(async () => {
  await client.end();
  await server.stop();
});

const columnName = (type: ColumnType): string => `c_${type.replace(/[<>]/g, '_')}`;

const schemaOf = (types: readonly ColumnType[]): TableSchema => ({
  table: 'encoded' as TableName,
  version: 1,
  timeColumn: 'time',
  tier: 'hot',
  columns: [
    { name: 'time', type: 'timestamp', nullable: false },
    ...types.map((type) => ({ name: columnName(type), type, nullable: true })),
  ],
});

async function createFor(schema: TableSchema): Promise<void> {
  await client.query(`DROP TABLE IF EXISTS encoded; ${createTable(schema, false)}`);
}

const withoutNul = (text: string): string => text.replaceAll('\0', '');

const quote = (text: string): string => `'${withoutNul(text).replaceAll("'", "''")}'`;
const real = (number: number): string => (Object.is(number, -0) ? "'-0'" : `'${number}'`);

const plain = (value: ColumnValue): string => `'${value as bigint}'`;
const jsonb = (text: string): string => `${quote(text.replace(/(\\\\)|\\u0000/g, '$1'))}::jsonb`;
const pgArray = (items: readonly string[], type: string): string => `ARRAY[${items.join(',')}]::${type}[]`;
const timestamp = (ns: bigint): string => {
  const micros = (ns - (((ns % 1000n) + 1000n) % 1000n)) / 1000n;
  const [seconds, rest] = [micros / 1_000_000n, micros % 1_000_000n];
  return `(timestamptz 'epoch' + ${seconds} * interval '1 second' + ${rest} * interval '1 microsecond')`;
};

/** The values as literals, read by PostgreSQL itself: the encoder has no part in them. */
const LITERALS: Readonly<Record<ColumnType, (value: ColumnValue) => string>> = {
  timestamp: (value) => timestamp(value as bigint),
  string: (value) => `${quote(value as string)}::text`,
  json: (value) => jsonb(value as string),
  attributes: (value) => jsonb(JSON.stringify(value)),
  bool: plain,
  int16: plain,
  int32: plain,
  int64: plain,
  uint8: plain,
  uint32: plain,
  uint64: plain,
  decimal: plain,
  float32: (value) => `${real(value as number)}::real`,
  float64: (value) => `${real(value as number)}::float8`,
  binary: (value) => `'\\x${Buffer.from(value as Uint8Array).toString('hex')}'::bytea`,
  date: (value) => `(date '1970-01-01' + ${value as number})`,
  'list<uint64>': (value) => pgArray((value as bigint[]).map(String), 'numeric(20,0)'),
  'list<int64>': (value) => pgArray((value as bigint[]).map(plain), 'bigint'),
  'list<float64>': (value) => pgArray((value as number[]).map(real), 'float8'),
  'list<string>': (value) => pgArray((value as string[]).map(quote), 'text'),
};

const literal = (type: ColumnType, value: ColumnValue): string => (value === null ? 'NULL' : LITERALS[type](value));

test.each(Object.keys(LITERALS) as ColumnType[])(
  'every %s arrives as PostgreSQL itself writes it, plain, dictionary-encoded, and null',
  async (type) => {
    const schema = schemaOf([type]);
    await createFor(schema);
    const form = fc.constantFrom<ColumnForm>('plain', 'shared');
    const values = fc.array(fc.option(COLUMN_VALUES[type], { freq: 4 }), { minLength: 1, maxLength: 40 });
    await fc.assert(
      fc.asyncProperty(values, form, fc.boolean(), async (column, columnForm, throughIpc) => {
        const time = timestamps(column.map((_, row) => BigInt(row) * 1000n));
        const made = recordBatch([
          { name: 'time', data: time },
          { name: columnName(type), data: columnOf(type, column, columnForm) },
        ]);
        await client.query('TRUNCATE encoded');
        await copyRows(client, schema, throughIpc ? decodeIpc(encodeIpc(made)) : made);
        const isAttributes = type === 'attributes' && columnForm === 'plain';
        const expected = column.map((value, row) => `(${row}, (${literal(type, isAttributes ? (value ?? {}) : value)})::text)`);
        const name = columnName(type);
        const { rows } = await client.query<{ row: number; is: string; expected: string }>(
          `WITH e (row, value) AS (VALUES ${expected.join(',')}), a AS (
           SELECT row_number() OVER (ORDER BY time) - 1 AS row, ${name}::text AS value FROM encoded)
         SELECT e.row, a.value AS is, e.value AS expected FROM e LEFT JOIN a USING (row)
         WHERE a.row IS NULL OR a.value IS DISTINCT FROM e.value`,
        );
        expect(rows).toEqual([]);
      }),
      { numRuns: 25 },
    );
  },
);

test('nanoseconds below the microsecond are kept, counted upwards also before 1970', async () => {
  const schema = schemaOf([]);
  await createFor(schema);
  const times = [0n, 1n, 999n, 1000n, -1n, -999n, -1000n, -1001n, 1_767_225_600_123_456_789n, 2n ** 63n - 1n, -(2n ** 63n)];
  await copyRows(client, schema, recordBatch([{ name: 'time', data: timestamps(times) }]));
  const { rows } = await client.query<{ us: string; time_ns: number }>(
    `SELECT (extract(epoch FROM time) * 1000000)::numeric(30,0)::text AS us, time_ns FROM encoded`,
  );
  expect(rows.map((row) => BigInt(row.us) * 1000n + BigInt(row.time_ns))).toEqual(times);
  expect(rows.every((row) => row.time_ns >= 0 && row.time_ns <= 999)).toBe(true);
});

const batchOf = (data: Data, rows: number): RecordBatch =>
  recordBatch([
    { name: 'time', data: timestamps(Array.from({ length: rows }, () => 0n)) },
    { name: 'c_attributes', data },
  ]);

test('attributes keep the type of every value', async () => {
  const { string, bool, int, double, array, kvlist, bytes, empty } = ATTRIBUTE_KIND;
  const entries: [string, number, string][] = [
    ['s', string, 'line\n"quoted" \\ \u0001 é 𝒳'],
    ['number as text', string, '12'],
    ['t', bool, 'true'],
    ['i', int, '-9223372036854775808'],
    ['u', int, '18446744073709551615'],
    ['d', double, '1.0'],
    ['tiny', double, '5e-324'],
    ['nan', double, 'NaN'],
    ['inf', double, 'Infinity'],
    ['-inf', double, '-Infinity'],
    ['-1', double, '-1.5'],
    ['a', array, '[1,"two",[3],{"b":"\\u0000\\\\u0000"}]'],
    ['k', kvlist, '{"x":1}'],
    ['b', bytes, 'AP+q'],
    ['e', empty, ''],
    ['nul\0key', string, 'a\0b'],
  ];
  const builder = new AttributesBuilder(100);
  for (const [key, kind, text] of entries) {
    builder.key(builder.keys.internString(key));
    builder.text.writeString(text);
    builder.endEntry(kind);
  }
  builder.endRow();
  const once = builder.finish();
  const schema = schemaOf(['attributes']);
  await createFor(schema);
  expect(await copyRows(client, schema, batchOf(once, 1))).toBe(3);
  await copyRows(client, schema, batchOf(dictionary([0, 0, null, 0], once), 4));
  // Keys as plain text, the form of batches that come from outside.
  const keys = utf8Builder();
  for (const [key] of entries) keys.appendString(key);
  const value = once.children[0].children[1];
  await copyRows(client, schema, batchOf(mapData(1, once.valueOffsets, keys.finish(), value), 1));
  const { rows } = await client.query<{ c_attributes: string | null }>('SELECT c_attributes::text FROM encoded');
  const expected = `{
    "s": "line\\n\\"quoted\\" \\\\ \\u0001 é 𝒳", "number as text": "12", "t": true, "i": -9223372036854775808,
    "u": 18446744073709551615, "d": 1.0, "tiny": 5e-324, "nan": "NaN", "inf": "Infinity", "-inf": "-Infinity", "-1": -1.5,
    "a": [1, "two", [3], {"b": "\\\\u0000"}], "k": {"x": 1}, "b": "AP+q", "e": null, "nulkey": "ab"}`;
  const { rows: wanted } = await client.query<{ text: string }>('SELECT $1::jsonb::text AS text', [expected]);
  expect(rows.map((row) => row.c_attributes)).toEqual([0, 1, 2, 3, 4, 5].map((row) => (row === 3 ? null : wanted[0]?.text)));
});

test('columns that the batch lacks are null, and rows larger than a chunk arrive whole', async () => {
  const schema = schemaOf(['string', 'json', 'float64']);
  await createFor(schema);
  const texts = [3_000_000, 17, 600_000, 0].map((size) => '\u0001"é'.repeat(size / 3));
  const json = texts.map((text) => JSON.stringify({ text }));
  const batch = recordBatch([
    { name: 'c_json', data: columnOf('json', json, 'plain') },
    { name: 'c_string', data: columnOf('string', texts, 'plain') },
    { name: 'time', data: timestamps([1n, 2n, 3n, 4n]) },
  ]);
  expect(await copyRows(client, schema, batch)).toBe(0);
  const { rows } = await client.query<{ c_string: string; text: string; c_float64: null }>(
    `SELECT c_string, c_json->>'text' AS text, c_float64 FROM encoded ORDER BY time, time_ns`,
  );
  expect(rows.map((row) => row.c_string === row.text && row.c_float64 === null)).toEqual([true, true, true, true]);
  expect(rows.map((row) => row.text)).toEqual(texts);
});

test.each([
  ['\\u0000', '', 1],
  ['\\\\u0000', '\\u0000', 0],
  ['\\\\\\u0000x', '\\x', 1],
  ['\\ud83d\\ude00', '😀', 0],
  ['\\ud83d', '\ufffd', 1],
  ['\\ude00\\ud83d\\n', '\ufffd\ufffd\n', 1],
  ['\\ud83d\\u0041', '\ufffdA', 1],
])('a JSON string "%s" is stored as what PostgreSQL can hold of it', async (escaped, expected, changed) => {
  const schema = schemaOf(['json']);
  await createFor(schema);
  const batch = recordBatch([
    { name: 'time', data: timestamps([0n]) },
    { name: 'c_json', data: columnOf('json', [`{"v":"${escaped}"}`], 'plain') },
  ]);
  expect(await copyRows(client, schema, batch)).toBe(changed);
  const { rows } = await client.query<{ v: string }>(`SELECT c_json->>'v' AS v FROM encoded`);
  expect(rows).toEqual([{ v: expected }]);
});

test('a column of another type than the schema says is refused instead of being written as if it were', async () => {
  const batch = recordBatch([
    { name: 'time', data: timestamps([0n]) },
    { name: 'c_int64', data: columnOf('int32', [1], 'plain') },
  ]);
  await expect(copyRows(client, schemaOf(['int64']), batch)).rejects.toThrow('column c_int64 is Int32, expected Int64');
});
