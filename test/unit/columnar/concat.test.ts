import { type RecordBatch, vectorFromArray } from 'apache-arrow';
import * as fc from 'fast-check';
import { AttributesBuilder } from '../../../src/columnar/attributes';
import {
  BoolBuilder,
  type ColumnBuilder,
  int64Builder,
  NumberBuilder,
  timestampBuilder,
  uint64Builder,
} from '../../../src/columnar/builders';
import { utf8Builder } from '../../../src/columnar/bytes-builder';
import { concatRows, wholeBatch } from '../../../src/columnar/concat';
import { decodeIpc, encodeIpc } from '../../../src/columnar/ipc';
import { DictionaryBuilder, ListBuilder } from '../../../src/columnar/nested-builders';
import { runsByDay } from '../../../src/columnar/partition';
import { recordBatch } from '../../../src/columnar/record-batch';

interface Row {
  text: string | null;
  tag: string | null;
  int: bigint | null;
  flag: boolean | null;
  numbers: bigint[] | null;
  attributes: [string, string][];
}

const utf8 = fc.string({ unit: 'grapheme', maxLength: 50 });
const row: fc.Arbitrary<Row> = fc.record({
  text: fc.option(utf8),
  tag: fc.option(fc.constantFrom('a', 'bb', '', 'a long tag of more than forty bytes, to take the other copy path')),
  int: fc.option(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })),
  flag: fc.option(fc.boolean()),
  numbers: fc.option(fc.array(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), { maxLength: 3 })),
  attributes: fc.uniqueArray(fc.tuple(fc.constantFrom('k', 'key two', 'ключ', 'd'), utf8), { selector: ([key]) => key }),
});

function build(rows: readonly Row[], encoded: boolean, omit: readonly string[] = []): RecordBatch {
  const text = utf8Builder();
  const tags = utf8Builder();
  const distinct: string[] = [];
  const tag = new DictionaryBuilder(tags);
  const plainTag = utf8Builder();
  const int = int64Builder();
  const flag = new BoolBuilder();
  const numbers = new ListBuilder(uint64Builder());
  const attributes = new AttributesBuilder(100);
  for (const r of rows) {
    if (r.text === null) text.appendNull();
    else text.appendString(r.text);
    if (r.tag === null) {
      tag.appendNull();
      plainTag.appendNull();
    } else {
      plainTag.appendString(r.tag);
      if (!distinct.includes(r.tag)) {
        distinct.push(r.tag);
        tags.appendString(r.tag);
      }
      tag.append(distinct.indexOf(r.tag));
    }
    if (r.int === null) int.appendNull();
    else int.appendBigInt(r.int);
    if (r.flag === null) flag.appendNull();
    else flag.append(r.flag);
    for (const n of r.numbers ?? []) numbers.items.appendBigInt(n);
    if (r.numbers === null) numbers.appendNull();
    else numbers.endRow();
    for (const [key, value] of r.attributes) {
      attributes.key(attributes.keys.internString(key));
      attributes.text.writeString(value);
      attributes.endEntry(1);
    }
    attributes.endRow();
  }
  const columns: Record<string, ColumnBuilder> = { text, tag: encoded ? tag : plainTag, int, flag, numbers, attributes };
  return recordBatch(
    Object.entries(columns)
      .filter(([name]) => !omit.includes(name))
      .map(([name, builder]) => ({ name, data: builder.finish() })),
  );
}

/** Reads with apache-arrow's own accessors. */
function read(batch: RecordBatch): Row[] {
  return Array.from({ length: batch.numRows }, (_, i) => {
    const get = (name: string): unknown => batch.getChild(name)?.get(i) ?? null;
    const list = get('numbers') as Iterable<bigint> | null;
    const map = get('attributes') as Iterable<[string, { text: string }]> | null;
    return {
      text: get('text') as string | null,
      tag: get('tag') as string | null,
      int: get('int') as bigint | null,
      flag: get('flag') as boolean | null,
      numbers: list === null ? null : [...list],
      attributes: map === null ? [] : [...map].map(([key, value]): [string, string] => [key, value.text]),
    };
  });
}

test('what the builders hold is what apache-arrow reads, also after the way through an IPC stream', () => {
  fc.assert(
    fc.property(fc.array(row, { maxLength: 30 }), fc.boolean(), (rows, encoded) => {
      const batch = build(rows, encoded);
      expect(read(batch)).toEqual(rows);
      expect(read(decodeIpc(encodeIpc(batch)))).toEqual(rows);
    }),
    { numRuns: 100 },
  );
});

test('joining any runs of any batches gives the rows of the runs in order, with nulls for a missing column', () => {
  const cut = fc.record({
    rows: fc.array(row, { minLength: 1, maxLength: 20 }),
    encoded: fc.boolean(),
    cuts: fc.array(fc.nat(20)),
    omit: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(cut, { minLength: 1, maxLength: 5 }), (cuts) => {
      const expected: Row[] = [];
      const pieces = cuts.map(({ rows, encoded, cuts: at, omit }) => {
        const bounds = [...new Set(at.map((c) => Math.min(c, rows.length)))].sort((a, b) => a - b);
        if (bounds.length % 2 === 1) bounds.pop();
        for (let i = 0; i < bounds.length; i += 2) {
          const taken = rows.slice(bounds[i], bounds[i + 1]);
          expected.push(...taken.map((r) => (omit ? { ...r, tag: null, int: null, numbers: null, attributes: [] } : r)));
        }
        const batch = build(rows, encoded, omit ? ['tag', 'int', 'numbers', 'attributes'] : []);
        return { batch: decodeIpc(encodeIpc(batch)), runs: Int32Array.from(bounds) };
      });
      expect(read(concatRows(pieces))).toEqual(expected);
    }),
    { numRuns: 200 },
  );
});

test('a key that comes twice in a row keeps its last value in the place of the first', () => {
  const attributes = new AttributesBuilder(100);
  for (const [key, value] of [
    ['a', '1'],
    ['b', '2'],
    ['a', '3'],
  ] as const) {
    attributes.key(attributes.keys.internString(key));
    attributes.text.writeString(value);
    attributes.endEntry(1);
  }
  attributes.endRow();
  attributes.key(attributes.keys.internString('a'));
  attributes.text.writeString('4');
  attributes.endEntry(1);
  attributes.endRow();
  const batch = recordBatch([{ name: 'attributes', data: attributes.finish() }]);
  expect(read(batch).map((r) => r.attributes)).toEqual([
    [
      ['a', '3'],
      ['b', '2'],
    ],
    [['a', '4']],
  ]);
});

test('a row belongs to its UTC day to the last nanosecond, before and after 1970', () => {
  const times = timestampBuilder();
  for (const ns of [0n, -1n, 86_399_999_999_999n, 86_400_000_000_000n, 1_767_225_599_999_999_999n, 1_767_225_600_000_000_000n])
    times.appendBigInt(ns);
  const runs = runsByDay(recordBatch([{ name: 't', data: times.finish() }]), 't');
  expect(Object.fromEntries([...runs].map(([day, pairs]) => [day, [...pairs]]))).toEqual({
    19700101: [0, 1, 2, 3],
    19691231: [1, 2],
    19700102: [3, 4],
    20251231: [4, 5],
    20260101: [5, 6],
  });
});

test('integers are written as their decimal digits', () => {
  fc.assert(
    fc.property(fc.maxSafeInteger(), (value) => {
      const text = utf8Builder();
      text.writeInteger(value);
      text.endValue();
      expect(Buffer.from(text.valueAt(0)).toString()).toBe(String(value));
    }),
  );
});

test('a number column keeps every bit of its doubles', () => {
  fc.assert(
    fc.property(fc.array(fc.double()), (values) => {
      const column = NumberBuilder.float64();
      for (const value of values) column.append(value);
      const batch = recordBatch([{ name: 'n', data: column.finish() }]);
      expect([...(batch.getChild('n') ?? vectorFromArray([]))].map((v) => (Object.is(v, -0) ? '-0' : String(v)))).toEqual(
        values.map((v) => (Object.is(v, -0) ? '-0' : String(v))),
      );
      expect(concatRows([wholeBatch(batch)])).toBe(batch);
    }),
  );
});
