/** Parked rows, as they came over each protocol, under the columns that their table has when they are replayed. */
import { decodeJsonRows } from '../../../../src/adapters/rest/decode-json';
import { refit } from '../../../../src/adapters/rest/refit';
import { decodeIpc } from '../../../../src/columnar/ipc';
import { decodeParked, encodeParked } from '../../../../src/columnar/parked-ipc';
import { columnData } from '../../../../src/columnar/record-batch';
import type { DecodedRequest } from '../../../../src/core/batch';
import { LOGS_EVENTS } from '../../../../src/core/builtin-tables';
import type { TableName } from '../../../../src/core/ids';
import { ATTRIBUTE_KIND, type ColumnSchema, type ColumnType, type TableSchema } from '../../../../src/core/table-schema';
import { rowJson } from '../../../../src/deadletter/row-json';
import { decodeWrite } from '../../../support/ingest-decode';
import { MemoryRegistry } from '../../../support/recording-ingest';

const AT_MS = 1_767_312_000_000;
const table = 'readings' as TableName;
const time: ColumnSchema = { name: 'time', type: 'timestamp', nullable: false };

const schemaOf = (type: ColumnType, conflict?: ColumnSchema['conflict']): TableSchema => ({
  table,
  version: 1,
  columns: [time, { name: 'v', type, nullable: true, ...(conflict === undefined ? {} : { conflict }) }],
  timeColumn: 'time',
  tier: 'hot',
  policy: 'strict',
});

/** What became of parked rows under a schema: through the bytes of the WAL, as the server does it. */
function replay(decoded: DecodedRequest, schema: TableSchema) {
  const rows: unknown[] = [];
  const refused: string[] = [];
  for (const parked of decoded.parked ?? []) {
    const { ipc, jsonColumns, wholeRows = false } = decodeParked(encodeParked(parked));
    const outcome = refit({ batch: decodeIpc(ipc), jsonColumns, wholeRows, atMs: AT_MS }, schema);
    for (const batch of outcome.batches) {
      for (let row = 0; row < batch.numRows; row++) rows.push(JSON.parse(rowJson(batch, row)));
    }
    refused.push(...outcome.refused.values());
  }
  return { rows, refused };
}

function parkJson(text: string, schema: TableSchema, kind: 'json' | 'ndjson' = 'json'): DecodedRequest {
  const decoded = decodeJsonRows(Buffer.from(text), kind, schema, { arrivalNs: 1n, parking: 'all' });
  expect(decoded.rejectedRows).toBe(0);
  return decoded;
}

const ARRIVAL = '2026-01-02T00:00:00.000000000Z';
const MOST_DIGITS = '12345678901234567890';

test.each<[from: ColumnType, values: string, to: ColumnType, expected: unknown[], refused: number]>([
  ['bool', '["12.5","-3","NaN","abc","1e400"]', 'float64', [12.5, -3, 'NaN'], 2],
  ['float64', '["7","7.0","9223372036854775807","9223372036854775808"]', 'int64', ['7', '7', '9223372036854775807'], 1],
  [
    'int32',
    `[true,"x",1.5,{"a":[1]},"${MOST_DIGITS}",${MOST_DIGITS}]`,
    'string',
    ['true', 'x', '1.5', '{"a":[1]}', MOST_DIGITS, MOST_DIGITS],
    0,
  ],
  ['int32', '[true,"true","yes"]', 'bool', [true, true], 1],
  ['int32', '["2026-01-02T03:04:05.000000001Z","tomorrow"]', 'timestamp', ['2026-01-02T03:04:05.000000001Z'], 1],
  ['int32', '["2024-02-29","2023-02-29"]', 'date', ['2024-02-29'], 1],
  ['int32', '["aGk=","?"]', 'binary', ['aGk='], 1],
  ['int32', '[[1,2],"[3]",[1,"x"]]', 'list<int64>', [['1', '2'], ['3']], 1],
  ['int32', '[{"a":1},"{\\"b\\":2}",[1]]', 'attributes', [{ a: '1' }, { b: '2' }], 1],
  ['int32', '["plain","{\\"a\\":1}",true]', 'json', ['"plain"', '"{\\"a\\":1}"', 'true'], 0],
])('values refused by %s, %s, as %s', (from, values, to, expected, refused) => {
  const list = JSON.parse(values.replaceAll(`,${MOST_DIGITS}]`, `,"#"]`)) as unknown[];
  const body = `[${list.map((value) => `{"v":${value === '#' ? MOST_DIGITS : JSON.stringify(value)}}`).join()}]`;
  const decoded = parkJson(body, schemaOf(from));
  expect(decoded.acceptedRows).toBe(0);
  const outcome = replay(decoded, schemaOf(to));
  expect(outcome.rows).toEqual(expected.map((v) => ({ time: ARRIVAL, v })));
  expect(outcome.refused).toHaveLength(refused);
  for (const reason of outcome.refused) expect(reason).toMatch(/^column v: (type_mismatch|out_of_range|invalid_\w+): /);
});

test('a row keeps its own time, and one of a built-in table its labels and aliases', () => {
  const body =
    '[{"time":"2026-05-05T00:00:00Z","app":"shop","msg":"hi","severity_number":"high","labels":{"n":1},"extra":{"a":1}}]';
  const strict: TableSchema = { ...LOGS_EVENTS, columns: LOGS_EVENTS.columns };
  const decoded = parkJson(body, strict);
  expect(decoded.parked?.[0].reasons).toMatchObject([{ stage: 'schema', column: 'severity_number' }]);
  const wider = strict.columns.map((column) =>
    column.name === 'severity_number' ? { ...column, type: 'string' as const } : column,
  );
  const { rows } = replay(decoded, { ...strict, columns: wider });
  expect(rows).toMatchObject([
    { timestamp: '2026-05-05T00:00:00.000000000Z', app: 'shop', message: 'hi', severity_number: 'high' },
  ]);
  expect(rows).toMatchObject([{ labels: { n: '1', extra: '{"a":1}' } }]);
  const [{ ipc, jsonColumns }] = (decoded.parked ?? []).map((parked) => decodeParked(encodeParked(parked)));
  const parked = { batch: decodeIpc(ipc), jsonColumns, wholeRows: false, atMs: AT_MS };
  const [batch] = refit(parked, { ...strict, columns: wider }).batches;
  const [, value] = columnData(batch, 'labels')!.children[0].children;
  expect([...(value.children[0].values as Uint8Array)]).toEqual([ATTRIBUTE_KIND.int, ATTRIBUTE_KIND.kvlist]);
});

test('lines that are no JSON and rows of very many members are kept as text, and the latter can be replayed', () => {
  const many = Object.fromEntries(Array.from({ length: 1_600 }, (_, i) => [`m${i}`, null]).concat([['v', 'x']] as never));
  const wide = { ...many, ...Object.fromEntries(Array.from({ length: 1_600 }, (_, i) => [`m${i}`, 1])) };
  const lines = ['{"v":', 'nonsense', '[1]', JSON.stringify(many), JSON.stringify(wide)];
  const decoded = parkJson(lines.join('\n'), schemaOf('int32'), 'ndjson');
  expect(decoded.parked?.map(({ wholeRows, reasons }) => [wholeRows, reasons.length])).toEqual([[true, 5]]);
  const { rows, refused } = replay(decoded, schemaOf('string'));
  expect(rows).toEqual([{ time: ARRIVAL, v: 'x' }]);
  expect(refused).toHaveLength(4);
});

test('rows of IngestService keep values of several types in one column, NaN included', async () => {
  const registry = new MemoryRegistry();
  await registry.register({ ...schemaOf('bool', 'dead_letter'), policy: 'strict' });
  const values = [
    { boolValue: true },
    { intValue: '-9007199254740993' },
    { doubleValue: Number.NaN },
    { stringValue: 'text' },
    { bytesValue: Buffer.from('hi') },
    { listValue: { values: [{ intValue: '1' }] } },
    { jsonValue: '{"a": 1}' },
  ];
  const rows = { columns: ['v'], rows: values.map((value) => ({ values: [value] })) };
  const decoded = await decodeWrite({ table, rows }, registry);
  expect([decoded.acceptedRows, decoded.rejectedRows, decoded.parked?.[0].reasons.length]).toEqual([1, 0, 6]);
  const outcome = replay(decoded, schemaOf('string'));
  expect(outcome.refused).toEqual([]);
  expect(outcome.rows.map((row) => (row as { v: string }).v)).toEqual([
    '-9007199254740993',
    'NaN',
    'text',
    'aGk=',
    '[1]',
    '{"a": 1}',
  ]);
});
