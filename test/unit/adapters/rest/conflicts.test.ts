/** Values that do not fit their column, from JSON and Arrow alike: what the plan of a write makes of them. */
import { tableFromArrays, tableToIPC } from 'apache-arrow';
import { arrowColumns, decodeArrowStream } from '../../../../src/adapters/rest/decode-arrow';
import { decodeJsonRows } from '../../../../src/adapters/rest/decode-json';
import { inferColumns } from '../../../../src/adapters/rest/infer';
import { decodeForTable, type NamedRows, planWrite } from '../../../../src/adapters/schema-on-write';
import { parkedRowsOf } from '../../../../src/core/batch';
import type { TableName } from '../../../../src/core/ids';
import type { ColumnSchema, TableSchema } from '../../../../src/core/table-schema';
import { MemoryRegistry } from '../../../support/recording-ingest';

const table = 'readings' as TableName;
const context = { arrivalNs: 1n };
const time: ColumnSchema = { name: 'time', type: 'timestamp', nullable: false };

const jsonRows = (rows: unknown[]): NamedRows => {
  const body = Buffer.from(JSON.stringify(rows));
  return {
    infer: (known) => inferColumns(body, 'json', known),
    decode: (schema, parking) => decodeJsonRows(body, 'json', schema, { ...context, parking }),
  };
};

const arrowRows = (columns: Parameters<typeof tableFromArrays>[0]): NamedRows => {
  const body = tableToIPC(tableFromArrays(columns), 'stream');
  return {
    infer: (known) => arrowColumns(body, known),
    decode: (schema, parking) => decodeArrowStream(body, schema, { ...context, parking }),
  };
};

/** The same values of a column `v` in both forms. */
const FORMS = [
  ['JSON', (values: number[]) => jsonRows(values.map((v) => ({ v })))],
  ['Arrow', (values: number[]) => arrowRows({ v: Float64Array.from(values) })],
] as const;

async function registryWith(column: Partial<ColumnSchema>, policy?: TableSchema['policy']): Promise<MemoryRegistry> {
  const registry = new MemoryRegistry();
  const v: ColumnSchema = { name: 'v', type: 'int32', nullable: true, ...column };
  await registry.register({ table, columns: [time, v], timeColumn: 'time', ...(policy === undefined ? {} : { policy }) });
  return registry;
}

const typesOf = (schema: TableSchema): string[] => schema.columns.map(({ name, type }) => `${name} ${type}`);

describe('numbers of several kinds', () => {
  test('doubles and decimals for one column of integers: the first of them stands, the other rows are refused, unless text will do', async () => {
    const large = 2 ** 63;
    const registry = await registryWith({ type: 'int64' });
    const plan = planWrite(registry, table, jsonRows([{ v: 0.7 }, { v: 1 }]));
    expect(typesOf(plan.schema)).toEqual(['time timestamp', 'v float64', 'v_int int64']);
    const body = Buffer.from(`[{"v":${large}0},{"v":0.7},{"v":1e300}]`.replace('e+', 'e'));
    const mixed: NamedRows = {
      infer: (known) => inferColumns(body, 'json', known),
      decode: (schema, parking) => decodeJsonRows(body, 'json', schema, { ...context, parking }),
    };
    const kept = planWrite(registry, table, mixed);
    expect(typesOf(kept.schema)).toEqual(['time timestamp', 'v decimal']);
    expect([kept.decoded.acceptedRows, kept.decoded.rejectedRows]).toEqual([2, 1]);
    const coerced = planWrite(await registryWith({ type: 'int64', conflict: 'coerce' }), table, mixed);
    expect(typesOf(coerced.schema)).toEqual(['time timestamp', 'v string']);
    expect(coerced.decoded.acceptedRows).toBe(3);
  });

  test('a column of unsigned integers that meets a negative one becomes one of decimals', async () => {
    const registry = await registryWith({ type: 'uint64' });
    const plan = planWrite(registry, table, jsonRows([{ v: -1 }, { v: 2 }]));
    expect(typesOf(plan.schema)).toEqual(['time timestamp', 'v decimal']);
    expect(plan.decoded.acceptedRows).toBe(2);
  });
});

describe.each(FORMS)('%s', (_form, rows) => {
  test('numbers widen their column step by step, and a plan alone changes nothing', async () => {
    const registry = await registryWith({});
    const before = registry.get(table);
    expect(typesOf(planWrite(registry, table, rows([1, 2])).schema)).toEqual(['time timestamp', 'v int32']);
    expect(typesOf(planWrite(registry, table, rows([1, 2 ** 40])).schema)).toEqual(['time timestamp', 'v int64']);
    const plan = planWrite(registry, table, rows([1, 0.7]));
    expect(typesOf(plan.schema)).toEqual(['time timestamp', 'v float64', 'v_int int64']);
    expect([plan.decoded.acceptedRows, plan.decoded.rejectedRows]).toEqual([2, 0]);
    expect(registry.get(table)).toBe(before);
  });

  test('the rows of a widening write carry the version that has room for them', async () => {
    const registry = await registryWith({ type: 'int64' });
    const decoded = await decodeForTable(registry, table, rows([0.7]));
    expect(decoded.batches.map(({ schemaVersion }) => schemaVersion)).toEqual([2]);
    expect(decoded.batches[0].batch.getChild('v')?.toArray()).toEqual(Float64Array.of(0.7));
  });

  test('in a strict table a value that does not fit refuses its row', async () => {
    const registry = await registryWith({ conflict: 'widen' }, 'strict');
    const { schema, decoded } = planWrite(registry, table, rows([1, 0.7]));
    expect(schema.version).toBe(1);
    expect(decoded.rejections).toMatchObject([{ row: 1, column: 'v', code: 'type_mismatch' }]);
  });

  test.each(['strict', 'evolve'] as const)('a column of dead letters parks the row as it came (%s)', async (policy) => {
    const registry = await registryWith({ conflict: 'dead_letter' }, policy);
    const decoded = await decodeForTable(registry, table, rows([1, 0.7]));
    expect([decoded.acceptedRows, decoded.rejectedRows, decoded.rejections]).toEqual([1, 0, []]);
    const [parked] = decoded.parked ?? [];
    expect(parked).toMatchObject({ table, schemaVersion: 1, jsonColumns: [] });
    expect(parked.reasons).toMatchObject([{ stage: 'schema', code: 'type_mismatch', column: 'v' }]);
    expect(parked.batch.getChild('v')?.toArray()).toEqual(Float64Array.of(0.7));
    expect(registry.get(table)?.version).toBe(1);
  });

  test('a table of dead letters parks every row that is refused, but none of a table that is not there', async () => {
    const registry = await registryWith({ conflict: 'widen' }, 'strict');
    const decoded = await decodeForTable(registry, table, rows([0.7]), 'all');
    expect([decoded.acceptedRows, decoded.rejectedRows, parkedRowsOf(decoded)]).toEqual([0, 0, 1]);
    const kept = await decodeForTable(registry, table, rows([0.7]), 'none');
    expect([kept.acceptedRows, kept.rejectedRows, parkedRowsOf(kept)]).toEqual([0, 1, 0]);
  });

  test('a side column takes the value, the row stays', async () => {
    const registry = await registryWith({ conflict: 'side_column' });
    const { decoded } = planWrite(registry, table, rows([1, 0.7]));
    expect(decoded.rejectedRows).toBe(0);
    const { batch } = decoded.batches[0];
    expect([...(batch.getChild('v') ?? [])]).toEqual([1, null]);
    expect([...(batch.getChild('_conflicts') ?? [])]).toEqual([null, '{"v":0.7}']);
  });

  test('a column that is coerced becomes text for what no number type holds', async () => {
    const registry = await registryWith({ conflict: 'coerce', type: 'bool' });
    const { schema, decoded } = planWrite(registry, table, rows([1, 2]));
    expect(typesOf(schema)).toEqual(['time timestamp', 'v string']);
    expect([...(decoded.batches[0].batch.getChild('v') ?? [])]).toEqual(['1', '2']);
  });
});

test('a text among the numbers refuses its row and does not keep the others from widening the column', async () => {
  const registry = await registryWith({});
  const { schema, decoded } = planWrite(registry, table, jsonRows([{ v: 1 }, { v: 0.7 }, { v: 'x' }]));
  expect(typesOf(schema)).toEqual(['time timestamp', 'v float64', 'v_int int64']);
  expect(decoded).toMatchObject({ acceptedRows: 2, rejections: [{ row: 2, code: 'type_mismatch' }] });
});

test('a value that no widening helps leaves the table as it is', async () => {
  const registry = await registryWith({});
  const { schema, decoded } = planWrite(registry, table, jsonRows([{ v: 'x' }, { v: true }, { v: [] }]));
  expect([schema.version, decoded.rejectedRows]).toEqual([1, 3]);
});

test('integers are kept beside the doubles that their column holds', async () => {
  const registry = await registryWith({ type: 'int64' });
  const big = '9007199254740993';
  const body = Buffer.from(`[{"v":${big}},{"v":0.5}]`);
  const decoded = await decodeForTable(registry, table, {
    infer: (known) => inferColumns(body, 'json', known),
    decode: (schema) => decodeJsonRows(body, 'json', schema, context),
  });
  expect([...(decoded.batches[0].batch.getChild('v_int') ?? [])]).toEqual([BigInt(big), null]);
  const arrow = planWrite(registry, table, arrowRows({ v: BigInt64Array.of(BigInt(big)) }));
  expect([...(arrow.decoded.batches[0].batch.getChild('v_int') ?? [])]).toEqual([BigInt(big)]);
});

test.each([
  ['JSON', jsonRows([{ ...Object.fromEntries(Array.from({ length: 1_501 }, (_, i) => [`c${i}`, 'x'])), 'a"b': [1, { b: 2 }] }])],
  ['Arrow', arrowRows({ ...Object.fromEntries(Array.from({ length: 1_501 }, (_, i) => [`c${i}`, ['x']])), 'a"b': ['y'] })],
])('columns beyond the limit share one, as %s', (form, rows) => {
  const { schema, decoded } = planWrite(new MemoryRegistry(), table, rows);
  expect(schema.columns).toHaveLength(1_501);
  const [text] = [...(decoded.batches[0].batch.getChild('_overflow') ?? [])] as string[];
  const rest = form === 'JSON' ? [1, { b: 2 }] : 'y';
  expect(JSON.parse(text)).toEqual({ c1499: 'x', c1500: 'x', 'a"b': rest });
});
