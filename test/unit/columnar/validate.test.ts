import * as flechette from '@uwdata/flechette';
import {
  Bool,
  DateDay,
  DateMillisecond,
  Dictionary,
  Field,
  Float16,
  Float32,
  Float64,
  Int8,
  Int16,
  Int32,
  Int64,
  LargeUtf8,
  List,
  Map_,
  MessageReader,
  makeData,
  Null,
  RecordBatch,
  RecordBatchReader,
  RecordBatchStreamWriter,
  Schema,
  SparseUnion,
  Struct,
  Table,
  TimestampMicrosecond,
  TimestampSecond,
  tableToIPC,
  Uint16,
  Uint64,
  Utf8,
  vectorFromArray,
} from 'apache-arrow';
import { readForeignFields, readForeignStream } from '../../../src/columnar/validate';
import { IngestError } from '../../../src/core/errors';
import { plainRows } from '../../support/plain-rows';

const texts = ['a', null, 'é', '', '😀', 'a'];
/** One column of each supported form, six rows, nulls in most. */
const COLUMNS = {
  i8: vectorFromArray([1, -128, null, 127, 0, 5], new Int8()),
  i16: vectorFromArray([1, -32768, null, 32767, 0, 5], new Int16()),
  i32: vectorFromArray([1, null, -2147483648, 2147483647, 0, 5], new Int32()),
  i64: vectorFromArray([1n, null, -(2n ** 63n), 2n ** 63n - 1n, 0n, 5n], new Int64()),
  u16: vectorFromArray([1, 65535, null, 0, 1, 2], new Uint16()),
  u64: vectorFromArray([1n, 2n ** 64n - 1n, null, 0n, 1n, 2n], new Uint64()),
  f32: vectorFromArray([1.5, null, -0, Infinity, 0, 1], new Float32()),
  f64: vectorFromArray([1.5, null, -0, Number.NaN, 1e300, 1], new Float64()),
  bool: vectorFromArray([true, false, null, true, false, true], new Bool()),
  text: vectorFromArray(texts, new Utf8()),
  tag: vectorFromArray(texts, new Dictionary(new Utf8(), new Int32())),
  tag8: vectorFromArray(texts, new Dictionary(new Utf8(), new Int8())),
  seconds: vectorFromArray([0, null, 1000, 2000, 3000, 4000], new TimestampSecond('UTC')),
  micros: vectorFromArray([0, null, 1000, 2000, 3000, 4000], new TimestampMicrosecond()),
  day: vectorFromArray(
    [0, null, 86_400_000, 0, 0, 0].map((ms) => (ms === null ? null : new Date(ms))),
    new DateDay(),
  ),
  ms: vectorFromArray(
    [0, null, 86_400_000, 0, 0, 0].map((ms) => (ms === null ? null : new Date(ms))),
    new DateMillisecond(),
  ),
  list: vectorFromArray([[1n, 2n], null, [], [3n], [4n], [5n]], new List(new Field('item', new Int64(), true))),
  names: vectorFromArray([['x', 'é'], null, [], [''], ['y'], ['z']], new List(new Field('item', new Utf8(), true))),
  map: vectorFromArray(
    [{ k: 'v', é: 'w' }, null, {}, { a: '' }, { b: 'c' }, { d: 'e' }],
    new Map_(
      new Field(
        'entries',
        new Struct([new Field('key', new Utf8(), false), new Field('value', new Utf8(), true)]),
        false,
      ) as never,
    ),
  ),
  nothing: vectorFromArray([null, null, null, null, null, null], new Null()),
};
const STREAM = tableToIPC(new Table(COLUMNS as never), 'stream');
const SMALL = tableToIPC(new Table({ t: COLUMNS.text, d: COLUMNS.tag, l: COLUMNS.list, m: COLUMNS.map } as never), 'stream');

function outcome(bytes: Uint8Array): string {
  try {
    readForeignStream(bytes);
    return 'read';
  } catch (error) {
    if (error instanceof IngestError) return error.code;
    throw error;
  }
}

const rowsOf = (bytes: Uint8Array): Record<string, unknown>[] =>
  readForeignStream(bytes).batches.flatMap((batch) => plainRows(batch));

const batchOf = (values: string[]): RecordBatch =>
  new Table({ tag: vectorFromArray(values, new Dictionary(new Utf8(), new Int32(), 7)) }).batches[0];

describe('foreign Arrow streams', () => {
  test('every supported type is read as it was written', () => {
    const rows = rowsOf(STREAM);
    expect(rows).toHaveLength(6);
    expect(rows[0]).toEqual({
      i8: 1,
      i16: 1,
      i32: 1,
      i64: 1n,
      u16: 1,
      u64: 1n,
      f32: 1.5,
      f64: 1.5,
      bool: true,
      text: 'a',
      tag: 'a',
      tag8: 'a',
      seconds: 0n,
      micros: 0n,
      day: 0,
      ms: 0n,
      list: [1n, 2n],
      names: ['x', 'é'],
      map: [
        ['k', 'v'],
        ['é', 'w'],
      ],
    });
    expect(rows[1]).toEqual({ i8: -128, i16: -32768, u16: 65535, u64: 2n ** 64n - 1n, bool: false });
    expect(rows.map((row) => row.i64)).toEqual([1n, undefined, -(2n ** 63n), 2n ** 63n - 1n, 0n, 5n]);
    expect(rows.map((row) => row.tag8 ?? null)).toEqual(texts);
    expect(rows.map((row) => row.f64)).toEqual([1.5, undefined, -0, Number.NaN, 1e300, 1]);
    expect(readForeignFields(STREAM).map(({ name }) => name)).toEqual(Object.keys(COLUMNS));
  });

  test('bytes that do not start at an aligned position are read the same', () => {
    for (const shift of [1, 3, 4, 7]) {
      const moved = new Uint8Array(STREAM.length + shift);
      moved.set(STREAM, shift);
      expect(rowsOf(moved.subarray(shift))).toEqual(rowsOf(STREAM));
    }
  });

  test('streams of another implementation are read the same', () => {
    const columns = { text: ['a', null, 'é'], n: [1n, 2n, null], tag: ['x', 'y', 'x'], list: [[1, 2], [], null] };
    const types = {
      text: flechette.utf8(),
      n: flechette.int64(),
      tag: flechette.dictionary(flechette.utf8()),
      list: flechette.list(flechette.float64()),
    };
    const table = flechette.tableFromArrays(columns, { types, useBigInt: true });
    const bytes = flechette.tableToIPC(table, { format: 'stream' });
    if (bytes === null) throw new Error('no bytes');
    expect(rowsOf(bytes)).toEqual([
      { text: 'a', n: 1n, tag: 'x', list: [1, 2] },
      { n: 2n, tag: 'y', list: [] },
      { text: 'é', tag: 'x' },
    ]);
  });

  test('64-bit offsets become 32-bit ones', () => {
    const utf8 = Buffer.from('aéb');
    const data = makeData({ type: new LargeUtf8(), length: 3, valueOffsets: BigInt64Array.of(0n, 1n, 3n, 4n), data: utf8 });
    const fields = [new Field('t', new LargeUtf8(), true)];
    const batch = new RecordBatch(new Schema(fields), makeData({ type: new Struct(fields), length: 3, children: [data] }));
    const bytes = writeStream([batch]);
    expect(rowsOf(bytes)).toEqual([{ t: 'a' }, { t: 'é' }, { t: 'b' }]);
  });

  test('several batches, grown and replaced dictionaries are read batch by batch', () => {
    const batches = [batchOf(['a', 'b']), batchOf(['a', 'b', 'c']), batchOf(['z'])];
    const bytes = writeStream(batches);
    expect([...RecordBatchReader.from(bytes)]).toHaveLength(3);
    expect(rowsOf(bytes).map((row) => row.tag)).toEqual(['a', 'b', 'a', 'b', 'c', 'z']);
  });

  test('a stream without batches, or without its end marker, is a stream', () => {
    const empty = writeStream([], new Schema([new Field('a', new Int32(), true)]));
    expect(readForeignStream(empty)).toMatchObject({ batches: [], fields: [{ name: 'a' }] });
    expect(rowsOf(STREAM.subarray(0, STREAM.length - 8))).toHaveLength(6);
  });

  test('the framing from before the continuation marker is read', () => {
    const starts = messageStarts(STREAM);
    const parts = starts.map((start, i) => STREAM.subarray(start + 4, starts[i + 1] ?? STREAM.length));
    expect(starts.length).toBeGreaterThan(3);
    expect(rowsOf(Buffer.concat(parts))).toEqual(rowsOf(STREAM));
  });

  test('an empty body, garbage, a cut stream and trailing bytes are refused', () => {
    expect(() => readForeignStream(new Uint8Array(0))).toThrow('the stream has no schema');
    expect(outcome(Buffer.from('hello world, this is no arrow'))).toBe('invalid_argument');
    expect(outcome(Buffer.concat([STREAM, Buffer.from('x')]))).toBe('invalid_argument');
    const borders = messageStarts(SMALL);
    const read = range(SMALL.length).filter(
      (length) => !borders.includes(length) && outcome(SMALL.subarray(0, length)) === 'read',
    );
    // The last eight bytes mark the end; without the second half of them the marker itself is cut.
    expect(read).toEqual([]);
  });

  test('float16 becomes float32 without loss', () => {
    const bits = Uint16Array.of(0x3e00, 0x8000, 0x7bff, 0x0001, 0x03ff, 0x0400, 0xfc00, 0x7e00);
    const data = makeData({ type: new Float16(), length: bits.length, data: bits });
    const fields = [new Field('h', new Float16(), true)];
    const struct = makeData({ type: new Struct(fields), length: bits.length, children: [data] });
    const rows = rowsOf(writeStream([new RecordBatch(new Schema(fields), struct)]));
    const smallest = 2 ** -24;
    const expected = [1.5, -0, 65504, smallest, 1023 * smallest, 2 ** -14, -Infinity, Number.NaN];
    expect(rows).toEqual(expected.map((h) => ({ h })));
  });

  test('times and durations become int64 nanoseconds, beyond 64 bits they are refused', () => {
    const types = {
      s: flechette.timeSecond(),
      ns: flechette.timeNanosecond(),
      d: flechette.duration(flechette.TimeUnit.SECOND),
    };
    const bytesOf = (d: (bigint | null)[]): Uint8Array => {
      const table = flechette.tableFromArrays({ s: [1, null], ns: [5n, 86_399_999_999_999n], d }, { types, useBigInt: true });
      return flechette.tableToIPC(table, { format: 'stream' }) ?? new Uint8Array(0);
    };
    expect(rowsOf(bytesOf([-2n, null]))).toEqual([
      { s: 1_000_000_000n, ns: 5n, d: -2_000_000_000n },
      { ns: 86_399_999_999_999n },
    ]);
    expect(() => rowsOf(bytesOf([9_223_372_037n, null]))).toThrow('column d has a duration beyond 64-bit nanoseconds');
  });

  test('types that no column can hold are refused by name', () => {
    const int = makeData({ type: new Int32(), length: 1, data: Int32Array.of(7) });
    const type = new SparseUnion([0], [new Field('i', new Int32(), true)]);
    const union = makeData({ type, length: 1, typeIds: Int8Array.of(0), children: [int] as never });
    expect(() => readForeignStream(oneColumn(union))).toThrow('column c has the type Union, which is not supported');
  });

  test('row 24: any changed byte of a stream is read or refused, without a crash and without a hang', () => {
    const results = range(SMALL.length).flatMap((at) =>
      [0x01, 0x80, 0xff].map((flip) => {
        const changed = Uint8Array.from(SMALL);
        changed[at] ^= flip;
        return outcome(changed);
      }),
    );
    expect([...new Set(results)].sort()).toEqual(['invalid_argument', 'payload_too_large', 'read']);
    expect(results.filter((result) => result === 'invalid_argument').length).toBeGreaterThan(results.length / 4);
  });

  test('row 24: offsets, indexes and bitmaps that lie are refused', () => {
    const patched = (stream: Uint8Array, from: number[], to: number[]): string => {
      const changed = Buffer.from(stream);
      const at = changed.indexOf(Buffer.from(Int32Array.from(from).buffer));
      expect(at).toBeGreaterThan(0);
      changed.set(new Uint8Array(Int32Array.from(to).buffer), at);
      return outcome(changed);
    };
    const utf8 = oneColumn(
      makeData({ type: new Utf8(), length: 3, valueOffsets: Int32Array.of(0, 3, 5, 7), data: Buffer.from('abcéef') }),
    );
    expect(patched(utf8, [0, 3, 5, 7], [0, 3, 5, 7])).toBe('read');
    expect(patched(utf8, [0, 3, 5, 7], [0, 3, 5, 6])).toBe('read');
    const lies = [
      [0, 5, 3, 7],
      [-1, 3, 5, 7],
      [0, 3, 5, 7000],
      [0, 3, 6, 5],
      [0, 3, 2147483647, -1],
      [0, 3, 4, 7],
      [0, 4, 5, 7],
    ];
    for (const offsets of lies) expect([offsets, patched(utf8, [0, 3, 5, 7], offsets)]).toEqual([offsets, 'invalid_argument']);
    const values = vectorFromArray(['x', 'y', 'z'], new Utf8());
    const tag = oneColumn(
      makeData({ type: new Dictionary(new Utf8(), new Int32(), 1), length: 3, data: Int32Array.of(2, 1, 2), dictionary: values }),
    );
    expect(patched(tag, [2, 1, 2], [0, 0, 0])).toBe('read');
    for (const index of [-1, 3, 2147483647, -2147483648]) expect(patched(tag, [2, 1, 2], [2, index, 2])).toBe('invalid_argument');
    const nullable = oneColumn(vectorFromArray([1, null, 70000], new Int32()).data[0]);
    const changed = Buffer.from(nullable);
    const bitmap = changed.lastIndexOf(Buffer.from([5, 0, 0, 0, 0, 0, 0, 0]));
    changed[bitmap] = 7;
    expect(outcome(changed)).toBe('invalid_argument');
  });
});

const range = (length: number): number[] => Array.from({ length }, (_, i) => i);

/** Where every message of a stream starts, and its end marker. */
function messageStarts(stream: Uint8Array): number[] {
  const reader = new MessageReader(stream);
  const starts: number[] = [];
  let at = 0;
  for (let message = reader.readMessage(); message !== null; message = reader.readMessage()) {
    starts.push(at);
    at += 8 + Buffer.from(stream).readUInt32LE(at + 4) + message.bodyLength;
    reader.readMessageBody(message.bodyLength);
  }
  return [...starts, at];
}

function oneColumn(data: ReturnType<typeof makeData>): Uint8Array {
  const fields = [new Field('c', data.type, true)];
  return writeStream([
    new RecordBatch(new Schema(fields), makeData({ type: new Struct(fields), length: data.length, children: [data] })),
  ]);
}

function writeStream(batches: RecordBatch[], schema?: Schema): Uint8Array {
  const writer = new RecordBatchStreamWriter();
  if (schema !== undefined) writer.reset(undefined, schema);
  for (const batch of batches) writer.write(batch);
  writer.close();
  return writer.toUint8Array(true);
}
