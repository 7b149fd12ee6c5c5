/** What foreign Arrow may not do: lie about lengths, share bytes to become large, grow in endless steps. */
import {
  Dictionary,
  Field,
  FixedSizeList,
  Int8,
  Int32,
  Int64,
  makeData,
  Null,
  RecordBatch,
  RecordBatchStreamWriter,
  Schema,
  Struct,
  Table,
  Utf8,
  Utf8View,
  vectorFromArray,
} from 'apache-arrow';
import { concatRows, wholeBatch } from '../../../src/columnar/concat';
import { dictionaryValues } from '../../../src/columnar/read';
import { ForeignStream, readForeignStream } from '../../../src/columnar/validate';
import { IngestError } from '../../../src/core/errors';
import { LIMITS } from '../../../src/core/limits';
import { regionsOf } from '../../support/arrow-regions';
import { zstdStream } from '../../support/compressed-arrow';
import { ipcParts } from '../../support/flight-client';
import { goldenStream, goldenValues, readValues } from '../../support/golden-arrow';
import { plainRows } from '../../support/plain-rows';

const problem = (bytes: Uint8Array): string => {
  try {
    readForeignStream(bytes);
    return 'read';
  } catch (error) {
    if (error instanceof IngestError) return `${error.code}: ${error.message}`;
    throw error;
  }
};

function streamOf(fields: Field[], children: ReturnType<typeof makeData>[], length: number): Buffer {
  const writer = new RecordBatchStreamWriter();
  writer.write(new RecordBatch(new Schema(fields), makeData({ type: new Struct(fields), length, children })));
  writer.finish();
  return Buffer.from(writer.toUint8Array(true));
}

/** The golden stream with other bytes in the nth buffer of a role of a column. */
function patched(name: string, role: string, of: string, bytes: Uint8Array, at = 0): Buffer {
  const stream = Buffer.from(goldenStream(name));
  const region = regionsOf(stream).find((each) => each.role === role && each.of === of);
  if (region === undefined) throw new Error(`no ${role} of ${of}`);
  stream.set(bytes, region.start + at);
  return stream;
}

describe('compressed bodies', () => {
  const zeros = new Table({
    n: vectorFromArray(
      Array.from({ length: 100_000 }, () => 0n),
      new Int64(),
    ),
  });
  const packed = zstdStream(zeros);

  test('IP2: what they unpack to is told before it is allocated, and may be refused', () => {
    expect(packed.length).toBeLessThan(2_000);
    const totals: number[] = [];
    const { batches } = readForeignStream(packed, (bytes) => totals.push(bytes));
    expect(batches[0].numRows).toBe(100_000);
    expect(totals).toEqual([800_000]);
    const full = new IngestError('unavailable', 'no room');
    expect(() =>
      readForeignStream(packed, () => {
        throw full;
      }),
    ).toThrow(full);
  });

  test.each(['lz4', 'zstd'])('IP5: another length than comes out, of %s, is refused', (name) => {
    for (const [length, message] of [
      [72n * 8n + 1n, 'invalid_argument: arrow: a compressed buffer is not valid'],
      [72n * 8n - 8n, 'invalid_argument: arrow: '],
      [0n, 'invalid_argument: arrow: '],
      [-2n, 'invalid_argument: arrow: a compressed buffer declares a negative length'],
      [2n ** 62n, 'payload_too_large: arrow: a request unpacks to at most'],
      [BigInt(LIMITS.requestBytesMax) + 1n, 'payload_too_large: arrow: a request unpacks to at most'],
    ] as const) {
      const declared = Buffer.from(BigInt64Array.of(length).buffer);
      expect([length, problem(patched(name, 'values', 'same', declared))]).toEqual([length, expect.stringContaining(message)]);
    }
  });

  test('IP5: many batches that unpack to little each are bounded together, and anew for each request', () => {
    const parts = ipcParts(packed);
    const stream = new ForeignStream();
    const [schema, batch] = parts;
    stream.message(schema.dataHeader, schema.dataBody);
    const times = Math.floor(LIMITS.rowsPerRequestMax / 100_000);
    for (let request = 0; request < 3; request++) {
      stream.beginRequest();
      for (let i = 0; i < times; i++) stream.message(batch.dataHeader, batch.dataBody);
      expect(stream.unpackedBytes).toBe(800_000 * times);
      expect(() => stream.message(batch.dataHeader, batch.dataBody)).toThrow('a request has at most');
    }
  });

  test('an unknown codec is refused', () => {
    const [, batch] = ipcParts(packed);
    const stream = Buffer.from(packed);
    const header = stream.indexOf(batch.dataHeader);
    // BodyCompression: the codec is its only byte that is not a default (Zstandard, 1).
    const outcomes = new Set<string>();
    for (let at = header; at < header + batch.dataHeader.length; at++) {
      if (stream[at] !== 1) continue;
      const changed = Buffer.from(stream);
      changed[at] = 7;
      outcomes.add(problem(changed));
    }
    expect([...outcomes]).toContain('invalid_argument: arrow: the body is compressed in an unknown way');
  });
});

describe('values that are not where they should be', () => {
  const int32 = (...values: number[]): Uint8Array => new Uint8Array(Int32Array.from(values).buffer);
  /** The seventh text of the stream is the first that is not in its view. */
  const LONG = 5 * 16;

  test.each([
    ['a buffer that is not there', int32(9), LONG + 8, 'has a value outside of its buffers'],
    ['a negative buffer', int32(-1), LONG + 8, 'has a value outside of its buffers'],
    ['a position outside of the buffer', int32(4_000), LONG + 12, 'has a value outside of its buffers'],
    ['a negative position', int32(-4), LONG + 12, 'has a value outside of its buffers'],
    ['another prefix', Buffer.from('tump'), LONG + 4, 'has a prefix that is not its value'],
    ['a negative length', int32(-20), LONG, 'has a value of a negative length'],
    ['a length beyond the buffer', int32(2_000_000_000), LONG, 'has a value outside of its buffers'],
    ['something behind a short value', Buffer.from('x'), 11, 'has something behind the end of a value'],
  ])('IP5: a view with %s is refused', (_, bytes, at, message) => {
    expect(problem(patched('views', 'views', 'text', bytes, at))).toContain(`invalid_argument: arrow: column text ${message}`);
  });

  test('IP5: views that share their bytes are read, but not into more than a request may hold', () => {
    const views = (count: number, bytes: number): Buffer => {
      const data = Buffer.alloc(count * 16);
      for (let row = 0; row < count; row++) {
        data.writeInt32LE(bytes, row * 16);
        data.write('aaaa', row * 16 + 4);
      }
      const type = new Utf8View();
      const column = makeData({ type, length: count, views: data, variadicBuffers: [Buffer.alloc(bytes, 'a')] });
      return streamOf([new Field('t', type, true)], [column], count);
    };
    expect(readValues(views(3, 20))).toEqual({ t: ['a'.repeat(20), 'a'.repeat(20), 'a'.repeat(20)] });
    expect(problem(views(100, 1_000_000))).toBe(
      `payload_too_large: arrow: a request unpacks to at most ${LIMITS.requestBytesMax} bytes`,
    );
  });

  test('list views in any order are read; those that share items are refused by name', () => {
    const { list_view: lists } = goldenValues('nested');
    expect(lists.slice(0, 4)).toEqual([['1', '2'], null, [], ['3']]);
    const swapped = patched('nested', 'offsets', 'list_view', int32(1, 0, 0, 0));
    expect(readValues(swapped).list_view.slice(0, 4)).toEqual([['2', '3'], null, [], ['1']]);
    const shared = patched('nested', 'offsets', 'list_view', int32(0, 0, 0, 0));
    expect(problem(shared)).toBe('invalid_argument: arrow: column list_view has lists that share items, which is not supported');
    const outside = patched('nested', 'sizes', 'list_view', int32(2_000));
    expect(problem(outside)).toContain('column list_view has a list outside of its items');
  });
});

describe('what takes no bytes', () => {
  test('IP5: thousands of columns of nulls share their zeros', () => {
    const fields = Array.from({ length: 2_000 }, (_, i) => new Field(`n${i}`, new Null(), true));
    const rows = LIMITS.rowsPerRequestMax;
    const column = makeData({ type: new Null(), length: rows });
    const bytes = streamOf(
      fields,
      fields.map(() => column),
      rows,
    );
    const totals: number[] = [];
    const { batches } = readForeignStream(bytes, (total) => totals.push(total));
    expect([batches[0].numRows, totals]).toEqual([rows, [rows / 8]]);
  });
});

describe('values without bytes', () => {
  test('IP5: lists of one size say nothing of how much there is', () => {
    const items = 2 ** 30;
    const type = new FixedSizeList(items, new Field('item', new Null(), true));
    const column = makeData({ type, length: 1, child: makeData({ type: new Null(), length: items }) });
    expect(problem(streamOf([new Field('l', type, true)], [column], 1))).toBe(
      'invalid_argument: arrow: column l.item has too many rows',
    );
    const empty = new Struct([]);
    const structs = new FixedSizeList(items, new Field('item', empty, true));
    const nothing = makeData({ type: structs, length: 1, child: makeData({ type: empty, length: items, children: [] }) });
    expect(problem(streamOf([new Field('l', structs, true)], [nothing], 1))).toBe(
      'invalid_argument: arrow: column l.item has too many rows',
    );
  });
});

describe('messages', () => {
  test('IP5: a body that is longer or shorter than its message says is refused', () => {
    const [schema, batch] = ipcParts(goldenStream('plain'));
    const reader = (): ForeignStream => {
      const stream = new ForeignStream();
      stream.message(schema.dataHeader, schema.dataBody);
      return stream;
    };
    expect(reader().message(batch.dataHeader, batch.dataBody)?.numRows).toBe(9);
    const { length } = batch.dataBody;
    for (const body of [
      batch.dataBody.subarray(0, length - 8),
      Buffer.concat([batch.dataBody, Buffer.alloc(8)]),
      Buffer.alloc(0),
    ]) {
      expect(() => reader().message(batch.dataHeader, body)).toThrow(
        `a message has ${body.length} bytes of body where it says ${length}`,
      );
    }
    expect(() => new ForeignStream().message(schema.dataHeader, Buffer.alloc(8))).toThrow('where it says 0');
  });
});

describe('dictionaries', () => {
  test('IP1: one may come after batches that hold nothing but nulls', () => {
    const type = new Dictionary(new Utf8(), new Int32(), 7);
    const tags = (indexes: number[], nullBitmap: number): Buffer => {
      const nullCount = nullBitmap === 0 ? 2 : 0;
      const dictionary = vectorFromArray(['a', 'b'], new Utf8());
      const data = makeData({
        type,
        length: 2,
        data: Int32Array.from(indexes),
        nullBitmap: Uint8Array.of(nullBitmap),
        nullCount,
        dictionary,
      });
      return streamOf([new Field('tag', type, true)], [data], 2);
    };
    const [schema, , nulls] = ipcParts(tags([9, 9], 0));
    const [, words, batch] = ipcParts(tags([1, 0], 3));
    const stream = new ForeignStream();
    const read = [schema, nulls, words, batch].map(({ dataHeader, dataBody }) => stream.message(dataHeader, dataBody));
    expect(read.flatMap(plainRows)).toEqual([{}, {}, { tag: 'b' }, { tag: 'a' }]);
  });

  test('IP1: one that grows is joined once for a batch, and endless small steps are refused', () => {
    const words = Array.from({ length: 1_000 }, (_, i) => `${i}`.padStart(1_000, 'w'));
    const values = vectorFromArray(words, new Utf8()).concat(vectorFromArray(['more'], new Utf8()));
    const type = new Dictionary(new Utf8(), new Int32(), 7);
    const tags = makeData({ type, length: 2, data: Int32Array.of(1_000, 0), dictionary: values });
    const [schema, first, delta, batch] = ipcParts(streamOf([new Field('tag', type, true)], [tags], 2));
    const stream = new ForeignStream();
    stream.message(schema.dataHeader, schema.dataBody);
    stream.message(first.dataHeader, first.dataBody);
    const grow = (): void => {
      stream.message(delta.dataHeader, delta.dataBody);
      stream.message(batch.dataHeader, batch.dataBody);
    };
    const endless = (): void => {
      for (let i = 0; i < 1_000; i++) grow();
    };
    for (let i = 0; i < 1_000; i++) stream.message(delta.dataHeader, delta.dataBody);
    expect(stream.message(batch.dataHeader, batch.dataBody)?.numRows).toBe(2);
    expect(endless).toThrow('the dictionaries of a request grow in too many steps');
    stream.beginRequest();
    expect(grow).not.toThrow();
  });

  test('IP1: after an inner dictionary is replaced, the outer one must come again', () => {
    const parts = ipcParts(goldenStream('inner'));
    const stream = new ForeignStream();
    const batches = parts.map(({ dataHeader, dataBody }) => stream.message(dataHeader, dataBody));
    const first = batches.findIndex((batch) => batch !== undefined);
    const inner = parts[1];
    stream.message(inner.dataHeader, inner.dataBody);
    expect(() => stream.message(parts[first].dataHeader, parts[first].dataBody)).toThrow('into 0 values');
    for (const { dataHeader, dataBody } of parts.slice(1, first)) stream.message(dataHeader, dataBody);
    expect(stream.message(parts[first].dataHeader, parts[first].dataBody)?.numRows).toBe(9);
  });

  test('IP5: a long value under many indexes is many long values', () => {
    const type = new Dictionary(new Utf8(), new Int32(), 5);
    const dictionary = vectorFromArray(['x'.repeat(1_000_000), 'short'], new Utf8());
    const tags = (rows: number): Buffer => {
      const data = makeData({ type, length: rows, data: new Int32Array(rows), dictionary });
      return streamOf([new Field('tag', type, true)], [data], rows);
    };
    expect(problem(tags(500))).toBe('read');
    expect(problem(tags(600))).toBe(
      `payload_too_large: arrow: the rows take more than ${LIMITS.walFrameBytesMax} bytes without dictionaries`,
    );
  });

  test('batches that share a dictionary are joined with one copy of it', () => {
    const types = { text: new Dictionary(new Utf8(), new Int32(), 1), number: new Dictionary(new Int64(), new Int32(), 2) };
    const values = { text: vectorFromArray(['a', 'b'], new Utf8()), number: vectorFromArray([5n, 7n], new Int64()) };
    const batch = (): RecordBatch => {
      const columns = (['text', 'number'] as const).map((name) =>
        makeData({ type: types[name] as never, length: 2, data: Int32Array.of(1, 0), dictionary: values[name] as never }),
      );
      const fields = (['text', 'number'] as const).map((name) => new Field(name, types[name], true));
      return new RecordBatch(new Schema(fields), makeData({ type: new Struct(fields), length: 2, children: columns as never }));
    };
    const joined = concatRows([batch(), batch(), batch()].map(wholeBatch));
    expect(joined.data.children.map((data) => dictionaryValues(data).length)).toEqual([2, 2]);
    expect(plainRows(joined)).toEqual(
      Array.from({ length: 6 }, (_, i) => (i % 2 ? { text: 'a', number: 5n } : { text: 'b', number: 7n })),
    );
  });

  test('IP1: a dictionary with indexes of one byte may have more values than they reach', () => {
    const values = vectorFromArray(
      Array.from({ length: 300 }, (_, i) => `v${i}`),
      new Utf8(),
    );
    const data = makeData({
      type: new Dictionary(new Utf8(), new Int8(), 3),
      length: 2,
      data: Int8Array.of(127, 0),
      dictionary: values,
    });
    expect(readValues(streamOf([new Field('d', data.type, true)], [data], 2))).toEqual({ d: ['v127', 'v0'] });
  });
});
