/** Abnormal labels: found in plain and shared (dictionary-encoded) columns, and dealt with as the policy says. */
import { AttributesBuilder } from '../../../src/columnar/attributes';
import { NumberBuilder } from '../../../src/columnar/builders';
import { dictionaryData } from '../../../src/columnar/nested-builders';
import { recordBatch } from '../../../src/columnar/record-batch';
import type { TableBatch } from '../../../src/core/batch';
import type { TableName } from '../../../src/core/ids';
import type { LabelPolicy } from '../../../src/core/label-policy';
import { ATTRIBUTE_KIND } from '../../../src/core/table-schema';
import { rowJson } from '../../../src/deadletter/row-json';
import { guardLabels } from '../../../src/ingest/label-guard';

const LIMITS = { countMax: 3, keyBytesMax: 8, valueBytesMax: 10 };

type Row = readonly (readonly [key: string, value: string | number])[];

function labels(rows: readonly Row[]) {
  const builder = new AttributesBuilder();
  for (const row of rows) {
    for (const [key, value] of row) {
      const bytes = new Uint8Array(Buffer.from(key));
      builder.key(builder.keys.intern(bytes, 0, bytes.length));
      builder.text.writeString(String(value));
      builder.endEntry(typeof value === 'number' ? ATTRIBUTE_KIND.int : ATTRIBUTE_KIND.string);
    }
    builder.endRow();
  }
  return builder.finish();
}

function numbers(values: readonly number[]) {
  const builder = NumberBuilder.int32();
  for (const value of values) builder.append(value);
  return builder.finish();
}

const ROWS: readonly Row[] = [
  [['a', 'x']],
  [
    ['a', 1],
    ['b', 2],
    ['c', 3],
    ['d', 4],
  ],
  [['long-key-é', 'x']],
  [['', 'x']],
  [['n\0', 'x']],
  [
    ['a', 'é'.repeat(8)],
    ['b', 'ok'],
  ],
  [],
];

const tableBatch = (rows: readonly Row[]): TableBatch => ({
  table: 'things' as TableName,
  schemaVersion: 1,
  batch: recordBatch([
    { name: 'n', data: numbers(rows.map((_, i) => i)) },
    { name: 'labels', data: labels(rows) },
  ]),
});

function guard(batch: TableBatch, policy: LabelPolicy) {
  const found: Record<string, number> = {};
  const onFound = (_table: string, problem: string, rows: number): void => {
    found[problem] = rows;
  };
  const guarded = guardLabels([batch], { ...LIMITS, policy, onFound });
  const [kept] = guarded.batches;
  const rows = kept === undefined ? [] : Array.from({ length: kept.batch.numRows }, (_, i) => JSON.parse(rowJson(kept.batch, i)));
  return { ...guarded, rows, found };
}

const FOUND = { too_many: 1, key_too_long: 1, illegal_key: 2, value_too_long: 1 };

test('normal labels are given back as they are', () => {
  const batch = tableBatch([ROWS[0], ROWS[6]]);
  const { batches, found } = guard(batch, 'truncate');
  expect(batches[0]).toBe(batch);
  expect(found).toEqual({});
});

test('side_column keeps every value: the abnormal ones in one label of JSON', () => {
  const { rows, parked, found } = guard(tableBatch(ROWS), 'side_column');
  expect([parked, found]).toEqual([[], FOUND]);
  const text = rows.map(({ labels: own }) => own as Record<string, string>);
  expect(text[0]).toEqual({ a: 'x' });
  expect(text[1]).toEqual({ a: '1', b: '2', c: '3', _overflow: '{"d":4}' });
  expect(text[2]).toEqual({ _overflow: '{"long-key-é":"x"}' });
  expect(text[3]).toEqual({ _overflow: '{"":"x"}' });
  expect(JSON.parse(text[4]['_overflow'])).toEqual({ 'n\0': 'x' });
  expect(text[5]).toEqual({ b: 'ok', _overflow: `{"a":"${'é'.repeat(8)}"}` });
  expect(text[6]).toEqual({});
});

test('truncate cuts whole characters and says so', () => {
  const { rows, parked, found } = guard(tableBatch(ROWS), 'truncate');
  expect([parked, found]).toEqual([[], FOUND]);
  expect(rows.map(({ labels: own }) => own as unknown)).toEqual([
    { a: 'x' },
    { a: '1', b: '2', c: '3', _truncated: 'too_many' },
    { 'long-key': 'x', _truncated: 'key_too_long' },
    { _empty: 'x', _truncated: 'illegal_key' },
    { 'n\ufffd': 'x', _truncated: 'illegal_key' },
    { a: 'é'.repeat(5), b: 'ok', _truncated: 'value_too_long' },
    {},
  ]);
});

test('dead_letter parks the rows with column and reason, and keeps the others', () => {
  const { rows, parked, found } = guard(tableBatch(ROWS), 'dead_letter');
  expect(found).toEqual(FOUND);
  expect(rows.map(({ n }) => n as number)).toEqual([0, 6]);
  expect(parked[0].batch.getChild('n')?.toArray()).toEqual(Int32Array.of(1, 2, 3, 4, 5));
  expect(parked[0].reasons.map(({ stage, code, column }) => [stage, code, column])).toEqual([
    ['decode', 'too_large', 'labels'],
    ['decode', 'too_large', 'labels'],
    ['decode', 'invalid_name', 'labels'],
    ['decode', 'invalid_name', 'labels'],
    ['decode', 'too_large', 'labels'],
  ]);
  expect(guard(tableBatch([ROWS[1]]), 'dead_letter').batches).toEqual([]);
});

test('labels that many rows share stay shared, and all rows that have them are meant', () => {
  const shared = dictionaryData(numbers([1, 0, 1, 0]), labels([ROWS[0], ROWS[5]]));
  const batch: TableBatch = {
    table: 'things' as TableName,
    schemaVersion: 1,
    batch: recordBatch([
      { name: 'n', data: numbers([0, 1, 2, 3]) },
      { name: 'resource', data: shared },
    ]),
  };
  const moved = guard(batch, 'side_column');
  expect(moved.found).toEqual({ value_too_long: 2 });
  const [, resource] = moved.batches[0].batch.data.children;
  expect(resource.dictionary?.length).toBe(2);
  expect(moved.rows.map(({ resource: own }) => Object.keys(own as object))).toEqual([
    ['b', '_overflow'],
    ['a'],
    ['b', '_overflow'],
    ['a'],
  ]);
  const parked = guard(batch, 'dead_letter');
  expect(parked.rows.map(({ n }) => n as number)).toEqual([1, 3]);
  expect(parked.parked[0].reasons).toHaveLength(2);
});
