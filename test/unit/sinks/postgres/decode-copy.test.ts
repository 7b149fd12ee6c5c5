import type { RecordBatch } from 'apache-arrow';
import * as fc from 'fast-check';
import { COLUMN_TYPES } from '../../../../src/columnar/arrow-type';
import { AttributesBuilder } from '../../../../src/columnar/attributes';
import { Digest } from '../../../../src/columnar/digest';
import { recordBatch } from '../../../../src/columnar/record-batch';
import type { TableName } from '../../../../src/core/ids';
import type { TableSchema } from '../../../../src/core/table-schema';
import { decodeCopy } from '../../../../src/sinks/postgres/decode-copy';
import { CopyEncoder } from '../../../../src/sinks/postgres/encode-copy';
import { appendAttributes, compactJson } from '../../../../src/sinks/postgres/jsonb';
import { COLUMN_VALUES, type ColumnValue, columnOf } from '../../../support/columns';
import { timestamps } from '../../../support/log-batches';

// Timestamps stand elsewhere in what we write: their nanoseconds come last there.
const TYPES = COLUMN_TYPES.filter((type) => type !== 'timestamp');

const schemaOf = (columns: TableSchema['columns']): TableSchema => ({
  table: 'things' as TableName,
  version: 1,
  columns,
  timeColumn: 'time',
  tier: 'hot',
});

const SCHEMA = schemaOf([
  ...TYPES.map((type) => ({ name: type, type, nullable: true })),
  { name: 'tag', type: 'string', nullable: true, lowCardinality: true },
  { name: 'time', type: 'timestamp', nullable: false },
]);

async function* inPieces(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function decoded(bytes: Uint8Array, size: number, rowsMax = 1_000): Promise<RecordBatch[]> {
  const batches: RecordBatch[] = [];
  for await (const batch of decodeCopy(inPieces(bytes, size), SCHEMA, { rowsMax, bytesMax: 1e9 })) batches.push(batch);
  return batches;
}

const sums = (batches: readonly RecordBatch[]) => {
  const digest = new Digest(SCHEMA);
  for (const batch of batches) digest.add(batch);
  return digest.sums;
};

const ROWS = fc.array(
  fc.record(
    Object.fromEntries([
      ...TYPES.map((type): [string, fc.Arbitrary<ColumnValue>] => [
        type,
        fc.option(COLUMN_VALUES[type] as fc.Arbitrary<ColumnValue>, { freq: 5, nil: null }),
      ]),
      ['time', COLUMN_VALUES.timestamp as fc.Arbitrary<ColumnValue>],
    ]),
  ),
  { maxLength: 8 },
);

/** What PostgreSQL cannot hold is taken out before, as the encoder does it. */
const clean = (value: ColumnValue): ColumnValue => {
  if (typeof value === 'string') return value.replaceAll('\0', '').replaceAll('\\u0000', '');
  if (Array.isArray(value))
    return value.map((item: string | number | bigint) => (typeof item === 'string' ? item.replaceAll('\0', '') : item));
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return value;
  return Object.fromEntries(Object.entries(value).map(([key, text]) => [key, String(text).replaceAll('\0', '')]));
};

test('reads back what the encoder writes, in pieces of any size', async () => {
  await fc.assert(
    fc.asyncProperty(ROWS, fc.integer({ min: 1, max: 700 }), async (given, size) => {
      const rows = given.map((row) => Object.fromEntries(Object.entries(row).map(([name, value]) => [name, clean(value)])));
      const column = (type: (typeof TYPES)[number]): ColumnValue[] =>
        rows.map((row) => (type === 'json' && row[type] !== null ? JSON.stringify(JSON.parse(row[type] as string)) : row[type]));
      const batch = recordBatch([
        ...TYPES.map((type) => ({ name: type, data: columnOf(type, column(type), 'plain') })),
        { name: 'tag', data: columnOf('string', column('string'), 'shared') },
        { name: 'time', data: timestamps(rows.map(({ time }) => time as bigint)) },
      ]);
      const encoder = new CopyEncoder(SCHEMA, batch);
      const bytes = Buffer.concat([...encoder.chunks()]);
      const whole = await decoded(bytes, size);
      expect(sums(whole)).toEqual(sums([batch]));
      const cut = await decoded(bytes, size, 3);
      expect(cut.map(({ numRows }) => numRows)).toEqual(
        Array.from({ length: Math.ceil(rows.length / 3) }, (_, i) => Math.min(3, rows.length - i * 3)),
      );
      expect(sums(cut)).toEqual(sums([batch]));
    }),
    { numRuns: 15 },
  );
});

test('a stream that is cut off anywhere is refused', async () => {
  const rows = 3;
  const batch = recordBatch([
    { name: 'float64', data: columnOf('float64', [1, 2, 3], 'plain') },
    { name: 'time', data: timestamps([1n, 2n, 3n]) },
  ]);
  const schema = schemaOf([
    { name: 'float64', type: 'float64', nullable: true },
    { name: 'time', type: 'timestamp', nullable: false },
  ]);
  const bytes = Buffer.concat([...new CopyEncoder(schema, batch).chunks()]);
  const read = async (length: number): Promise<number> => {
    let count = 0;
    const pieces = inPieces(bytes.subarray(0, length), 7);
    for await (const { numRows } of decodeCopy(pieces, schema, { rowsMax: 9, bytesMax: 1e9 })) count += numRows;
    return count;
  };
  for (let length = 0; length < bytes.length; length++) {
    await expect(read(length)).rejects.toThrow('cut off');
  }
  expect(await read(bytes.length)).toBe(rows);
});
test('jsonb text loses its spaces, and none inside of strings', () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      // PostgreSQL's own way of spacing; `1` indents by a space, which is one more kind of space outside of strings.
      const spaced = Buffer.from(JSON.stringify(value, undefined, 1).replaceAll('\n', ''));
      const to = Buffer.alloc(spaced.length);
      expect(to.toString('utf8', 0, compactJson(spaced, 0, spaced.length, to, 0))).toBe(JSON.stringify(value));
    }),
  );
});

test('members of a jsonb object become attributes with their kinds', () => {
  const builder = new AttributesBuilder();
  appendAttributes(
    '{"a": "x\\"y", "b": 1, "c": 1.0, "d": true, "e": null, "f": [1, {"g": "h, i"}], "j\\n": {}, "k": 9223372036854775808}',
    builder,
  );
  appendAttributes('{}', builder);
  const data = builder.finish();
  const [key, value] = data.children[0].children;
  const texts = recordBatch([{ name: 't', data: value.children[1] }]).getChild('t')!;
  const keys = recordBatch([{ name: 'k', data: key }]).getChild('k')!;
  expect([...keys].map((name, i) => [name, value.children[0].values[i], texts.get(i)])).toEqual([
    ['a', 1, 'x"y'],
    ['b', 3, '1'],
    ['c', 4, '1.0'],
    ['d', 2, 'true'],
    ['e', 0, 'null'],
    ['f', 5, '[1,{"g":"h, i"}]'],
    ['j\n', 6, '{}'],
    ['k', 4, '9223372036854775808'],
  ]);
  expect([...data.valueOffsets]).toEqual([0, 8, 8]);
  expect(() => appendAttributes('[1]', builder)).toThrow('JSON object');
});
