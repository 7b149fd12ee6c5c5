/** Decimals and nested types in the built command: written as JSON and as Arrow, grown from integers, found exactly in both stores. */
import {
  Decimal,
  Field,
  FixedSizeList,
  Float32,
  Int64,
  makeData,
  Struct,
  Table,
  tableToIPC,
  Utf8,
  Vector,
  vectorFromArray,
} from 'apache-arrow';
import { TestServer, temporaryDirectory } from '../support/server';

let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
let server: TestServer;

beforeAll(async () => {
  directory = await temporaryDirectory();
  server = await TestServer.start({ dataDir: directory.path });
}, 60_000);

afterAll(async () => {
  await server.stop();
  await directory.remove();
}, 60_000);

async function post(path: string, body: string | Uint8Array, type = 'application/json'): Promise<Record<string, unknown>> {
  const response = await server.post(path, body, { 'content-type': type, 'x-ack': 'all' });
  return (await response.json()) as Record<string, unknown>;
}

const valuesIn = async (tier: 'hot' | 'cold', table: string, column = 'v'): Promise<unknown[]> =>
  (await server.sql(tier, `SELECT ${column} FROM ${table} ORDER BY n`)).rows.map(([value]) => value);

const register = (table: string, tier: string, type: string): Promise<Record<string, unknown>> => {
  const columns = [
    { name: 'n', type: 'int' },
    { name: 'v', type },
  ];
  return post('/schema/register', JSON.stringify({ table_name: table, tier, columns }));
};

describe.each(['hot', 'cold'] as const)('in the %s store', (tier) => {
  it('decimals have every digit that was written, those of which there are too many are refused', async () => {
    const table = `prices_${tier}`;
    expect(await register(table, tier, 'numeric(18, 4)')).toMatchObject({ version: 1 });
    const nines = '9'.repeat(38);
    const written = [
      '0.1',
      '-12345678901234567890.5000',
      `${nines}.${nines}`,
      `-${nines}.${nines}`,
      '1e-38',
      '-0.0',
      '"7.25"',
      '1e38',
    ];
    const rows = written.map((v, n) => `{"n":${n},"v":${v}}`);
    const answer = await post(`/write/${table}`, `[${rows.join(',')}]`);
    expect(answer).toMatchObject({ accepted: 7, rejections: [{ row: 7, column: 'v', code: 'out_of_range' }] });
    const exact = [
      '0.1',
      '-12345678901234567890.5',
      `${nines}.${nines}`,
      `-${nines}.${nines}`,
      `0.${'0'.repeat(37)}1`,
      '0',
      '7.25',
    ];
    expect(await valuesIn(tier, table)).toEqual(exact);
  });

  it('a column of 64-bit integers that meets larger ones becomes one of decimals, and keeps what it has', async () => {
    const table = `counts_${tier}`;
    await register(table, tier, 'bigint');
    await post(`/write/${table}`, '[{"n":0,"v":-9223372036854775808},{"n":1,"v":9007199254740993}]');
    expect(await post(`/write/${table}`, '[{"n":2,"v":18446744073709551615},{"n":3,"v":-5}]')).toMatchObject({
      accepted: 2,
      rejected: 0,
    });
    expect(await valuesIn(tier, table)).toEqual(['-9223372036854775808', '9007199254740993', '18446744073709551615', '-5']);
    expect(
      (await server.sql('hot', `SELECT schema->'columns' FROM table_registry WHERE table_name = '${table}'`)).rows[0][0],
    ).toEqual(expect.arrayContaining([expect.objectContaining({ name: 'v', type: 'decimal' })]));
  });

  it('Arrow decimals, structs and lists of one size make the table and are found in it', async () => {
    const table = `arrow_${tier}`;
    await post('/schema/register', JSON.stringify({ table_name: table, tier, columns: [{ name: 'n', type: 'bigint' }] }));
    const words = Uint32Array.of(0xffffff85, 0xffffffff, 0xffffffff, 0xffffffff, 5, 0, 0, 0x4b3b4c);
    const place = new Struct([new Field('id', new Int64(), true), new Field('name', new Utf8(), true)]);
    const data = new Table({
      n: vectorFromArray([0n, 1n], new Int64()),
      v: new Vector([makeData({ type: new Decimal(2, 38), length: 2, nullCount: 0, data: words })]),
      place: vectorFromArray([{ id: 2n ** 63n - 1n, name: 'a "b"' }, null], place),
      pair: vectorFromArray([[0.5, 1], null], new FixedSizeList(2, new Field('item', new Float32(), true))),
    } as never);
    const body = tableToIPC(data, 'stream');
    expect(await post(`/write/${table}`, body, 'application/vnd.apache.arrow.stream')).toMatchObject({
      accepted: 2,
      rejected: 0,
    });
    const large = String((0x4b3b4cn << 96n) + 5n);
    expect(await valuesIn(tier, table)).toEqual(['-1.23', `${large.slice(0, -2)}.${large.slice(-2)}`]);
    const json = '{"id":9223372036854775807,"name":"a \\"b\\""}';
    const asText = tier === 'hot' ? `replace(place::text, ': ', ':')` : 'place';
    const [first, second] = await valuesIn(tier, table, asText);
    expect([String(first).replaceAll(', ', ','), second]).toEqual([json, tier === 'hot' ? null : '']);
    expect(await valuesIn(tier, table, 'pair')).toEqual([[0.5, 1], tier === 'hot' ? null : []]);
  });
});
