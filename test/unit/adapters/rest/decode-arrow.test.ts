import {
  Vector as ArrowVector,
  Binary,
  type DataType,
  DateDay,
  Dictionary,
  Field,
  Float32,
  Float64,
  Int8,
  Int16,
  Int32,
  Int64,
  List,
  Map_,
  makeData,
  Null,
  Struct,
  Table,
  TimestampMicrosecond,
  TimestampMillisecond,
  TimestampNanosecond,
  TimestampSecond,
  tableToIPC,
  Uint8,
  Uint16,
  Uint32,
  Uint64,
  Utf8,
  type Vector,
  vectorFromArray,
} from 'apache-arrow';
import { arrowColumns, decodeArrowStream } from '../../../../src/adapters/rest/decode-arrow';
import { encodeIpc } from '../../../../src/columnar/ipc';
import type { DecodedRequest } from '../../../../src/core/batch';
import { LOGS_EVENTS, METRICS_EVENTS, TRACES_SPANS } from '../../../../src/core/builtin-tables';
import { IngestError } from '../../../../src/core/errors';
import type { TableName } from '../../../../src/core/ids';
import type { ColumnType, TableSchema } from '../../../../src/core/table-schema';
import { plainRows } from '../../../support/plain-rows';

const ARRIVAL = 1_800_000_000_000_000_000n;
const stream = (columns: Record<string, Vector>): Uint8Array => tableToIPC(new Table(columns as never), 'stream');
const decode = (columns: Record<string, Vector>, schema: TableSchema): DecodedRequest =>
  decodeArrowStream(stream(columns), schema, { arrivalNs: ARRIVAL });
const rowsOf = (decoded: DecodedRequest): Record<string, unknown>[] => decoded.batches.flatMap(({ batch }) => plainRows(batch));

const table = (columns: Record<string, ColumnType>, required: string[] = []): TableSchema => ({
  table: 'events' as TableName,
  version: 2,
  columns: [
    { name: 'time', type: 'timestamp', nullable: false },
    ...Object.entries(columns).map(([name, type]) => ({ name, type, nullable: !required.includes(name) })),
  ],
  timeColumn: 'time',
  tier: 'hot',
});

/** The values of one column in a column of a type: stored values, or the code of the refusal. */
function cells(values: unknown[], type: DataType, to: ColumnType): unknown[] {
  const decoded = decode({ v: vectorFromArray(values, type) }, table({ v: to }));
  const rows = rowsOf(decoded);
  const refused = new Map(decoded.rejections.map(({ row, code }) => [row, code]));
  return values.map((_, row) => refused.get(row) ?? rows.shift()?.v ?? null);
}

const list = (item: DataType): DataType => new List(new Field('item', item, true));
const MAP = new Map_(
  new Field('entries', new Struct([new Field('key', new Utf8(), false), new Field('value', new Utf8(), true)]), false) as never,
);
const times = (type: DataType, values: bigint[]): Vector =>
  new ArrowVector([makeData({ type: type as TimestampNanosecond, length: values.length, data: BigInt64Array.from(values) })]);

const time = (type: DataType, values: bigint[]): unknown[] => {
  const decoded = decode({ time: times(type, values) }, table({}));
  return [rowsOf(decoded).map((row) => row.time), decoded.rejections.map(({ row, code, column }) => [row, code, column])];
};

describe('Arrow rows', () => {
  test('an inferred table holds what the stream holds', () => {
    const columns = {
      i8: vectorFromArray([1, null], new Int8()),
      u16: vectorFromArray([65535, null], new Uint16()),
      i64: vectorFromArray([2n ** 63n - 1n, null], new Int64()),
      u64: vectorFromArray([2n ** 64n - 1n, null], new Uint64()),
      f: vectorFromArray([1.5, null], new Float32()),
      s: vectorFromArray(['é', null], new Utf8()),
      tag: vectorFromArray(['x', null], new Dictionary(new Utf8(), new Int8())),
      bytes: vectorFromArray([new Uint8Array([0, 255]), null], new Binary()),
      day: vectorFromArray([new Date(86_400_000), null], new DateDay()),
      ts: times(new TimestampMicrosecond(), [1_700_000_000_000_001n, 0n]),
      list: vectorFromArray([[1, -2], null], list(new Int16())),
      map: vectorFromArray([{ k: 'v', n: null }, null], MAP),
      nothing: vectorFromArray([null, null], new Null()),
    };
    const { columns: inferred, timeColumn } = arrowColumns(stream(columns), undefined);
    expect(Object.fromEntries(inferred.map(({ name, type }) => [name, type]))).toEqual({
      i8: 'int16',
      u16: 'int32',
      i64: 'int64',
      u64: 'uint64',
      f: 'float32',
      s: 'string',
      tag: 'string',
      bytes: 'binary',
      day: 'date',
      ts: 'timestamp',
      list: 'list<int64>',
      map: 'attributes',
    });
    expect(timeColumn).toBe('ts');
    const schema: TableSchema = { table: 'events' as TableName, version: 1, columns: inferred, timeColumn, tier: 'hot' };
    const decoded = decode(columns, schema);
    expect(decoded).toMatchObject({ acceptedRows: 2, rejectedRows: 0, batches: [{ table: 'events', schemaVersion: 1 }] });
    expect(rowsOf(decoded)).toEqual([
      {
        i8: 1,
        u16: 65535,
        i64: 2n ** 63n - 1n,
        u64: 2n ** 64n - 1n,
        f: 1.5,
        s: 'é',
        tag: 'x',
        bytes: '00ff',
        day: 1,
        ts: 1700000000000001000n,
        list: [1n, -2n],
        map: [
          ['k', 1, 'v'],
          ['n', 0, ''],
        ],
      },
      { ts: 0n },
    ]);
    // What the WAL stores is what was decoded.
    expect(rowsOf(decodeArrowStream(encodeIpc(decoded.batches[0].batch), schema, { arrivalNs: ARRIVAL }))).toEqual(
      rowsOf(decoded),
    );
  });

  test('values are converted exactly or refused', () => {
    expect(cells([1n, 40_000n, -1n, null], new Int64(), 'int16')).toEqual([1, 'out_of_range', -1, null]);
    expect(cells([1, 2.5, 1e300], new Float64(), 'int64')).toEqual([1n, 'type_mismatch', 'out_of_range']);
    expect(cells([1n, 2n ** 63n], new Uint64(), 'int64')).toEqual([1n, 'out_of_range']);
    expect(cells([1, -1], new Int32(), 'uint64')).toEqual([1n, 'out_of_range']);
    expect(cells([2n ** 53n + 1n], new Int64(), 'float64')).toEqual([2 ** 53]);
    expect(cells([1e300, Number.NaN], new Float64(), 'float32')).toEqual(['out_of_range', Number.NaN]);
    expect(cells(['1'], new Utf8(), 'int64')).toEqual(['type_mismatch']);
    expect(cells([1, null], new Uint32(), 'string')).toEqual(['1', null]);
    expect(cells(['{"a":1}', '{', null], new Utf8(), 'json')).toEqual(['{"a":1}', 'invalid_json', null]);
    expect(cells([1.5, Number.NaN], new Float64(), 'json')).toEqual(['1.5', 'type_mismatch']);
    expect(cells([true], vectorFromArray([true]).type, 'string')).toEqual(['true']);
    expect(cells([true], vectorFromArray([true]).type, 'int64')).toEqual(['type_mismatch']);
    expect(cells([[1, 2], [-1], [null], [], null], list(new Int32()), 'list<uint64>')).toEqual([
      [1n, 2n],
      'out_of_range',
      'type_mismatch',
      [],
      null,
    ]);
    expect(cells([['a', 'b'], [null]], list(new Utf8()), 'list<string>')).toEqual([['a', 'b'], 'type_mismatch']);
    expect(cells([[1n]], list(new Int64()), 'list<string>')).toEqual([['1']]);
    expect(cells([[1n]], list(new Int64()), 'int64')).toEqual(['type_mismatch']);
    expect(cells(['x', 'x', null], new Dictionary(new Utf8(), new Int32()), 'int64')).toEqual([
      'type_mismatch',
      'type_mismatch',
      null,
    ]);
    expect(cells([{ a: 'b' }], MAP, 'string')).toEqual(['type_mismatch']);
  });

  test('timestamps of any unit become nanoseconds; what does not fit is refused row by row', () => {
    expect(time(new TimestampSecond(), [1n, -2_208_988_800n, 9_223_372_036n])).toEqual([
      [10n ** 9n, -2_208_988_800n * 10n ** 9n, 9_223_372_036n * 10n ** 9n],
      [],
    ]);
    expect(time(new TimestampSecond(), [9_223_372_037n, 5n])).toEqual([[5n * 10n ** 9n], [[0, 'out_of_range', 'time']]]);
    expect(time(new TimestampMillisecond('Europe/Berlin'), [1n, 2n ** 62n, -1n])).toEqual([
      [10n ** 6n, -(10n ** 6n)],
      [[1, 'out_of_range', 'time']],
    ]);
    expect(time(new TimestampNanosecond(), [-2_208_988_800n * 10n ** 9n, -2_208_988_800n * 10n ** 9n - 1n])).toEqual([
      [-2_208_988_800n * 10n ** 9n],
      [[1, 'out_of_range', 'time']],
    ]);
    expect(cells([1_700_000_000_000n, 5n], new Int64(), 'timestamp')).toEqual([1_700_000_000n * 10n ** 9n, 5n * 10n ** 9n]);
    expect(cells(['2024-01-01T00:00:00Z', 'noon'], new Utf8(), 'timestamp')).toEqual([
      1_704_067_200n * 10n ** 9n,
      'invalid_time',
    ]);
  });

  test('a refused row is out in every column, the others stay, with their position in the request', () => {
    const decoded = decode(
      {
        id: vectorFromArray([1n, 2n, null, 4n, 5n], new Int64()),
        n: vectorFromArray([1n, 2n ** 40n, 3n, 4n, 5n], new Int64()),
        tags: vectorFromArray([{ a: '1' }, { a: '2' }, { a: '3' }, { a: '4' }, { a: '5' }], MAP),
        other: vectorFromArray([null, null, null, 'x', null], new Utf8()),
      },
      table({ id: 'int64', n: 'int32', tags: 'attributes' }, ['id']),
    );
    expect(rowsOf(decoded)).toEqual([
      { time: ARRIVAL, id: 1n, n: 1, tags: [['a', 1, '1']] },
      { time: ARRIVAL, id: 5n, n: 5, tags: [['a', 1, '5']] },
    ]);
    expect(decoded).toMatchObject({ acceptedRows: 2, rejectedRows: 3 });
    expect(decoded.rejections.map(({ row, code, column }) => [row, code, column])).toEqual([
      [1, 'out_of_range', 'n'],
      [2, 'missing_column', 'id'],
      [3, 'unknown_column', 'other'],
    ]);
  });

  test('rows without a time have the arrival time; a stream without rows has none', () => {
    const schema = table({ a: 'int32' });
    expect(rowsOf(decode({ a: vectorFromArray([1], new Int32()) }, schema))).toEqual([{ time: ARRIVAL, a: 1 }]);
    expect(decode({ a: vectorFromArray([], new Int32()) }, schema)).toEqual({
      batches: [],
      acceptedRows: 0,
      rejectedRows: 0,
      rejections: [],
    });
    expect(() => decodeArrowStream(new Uint8Array(0), schema, { arrivalNs: ARRIVAL })).toThrow(IngestError);
  });

  test('a log has friendly names, and labels for what the table does not have', () => {
    const decoded = decode(
      {
        msg: vectorFromArray(['a', null], new Utf8()),
        ts: times(new TimestampMillisecond(), [1_700_000_000_000n, 1n]),
        labels: vectorFromArray([{ x: 'y' }, null], MAP),
        user: vectorFromArray([7n, null], new Int64()),
        ratio: vectorFromArray([1, null], new Float64()),
        raw: vectorFromArray([new Uint8Array([1, 2]), null], new Binary()),
        at: times(new TimestampMillisecond(), [5n, 5n]),
      },
      LOGS_EVENTS,
    );
    expect(rowsOf(decoded)).toEqual([
      {
        timestamp: 1_700_000_000_000_000_000n,
        message: 'a',
        body_type: 'string',
        labels: [
          ['x', 1, 'y'],
          ['user', 3, '7'],
          ['ratio', 4, '1.0'],
          ['raw', 7, 'AQI='],
          ['at', 1, '1970-01-01T00:00:00.005Z'],
        ],
      },
      { timestamp: 1_000_000n, labels: [['at', 1, '1970-01-01T00:00:00.005Z']] },
    ]);
    expect(rowsOf(decode({ l: vectorFromArray([[1, 2]], list(new Int32())) }, LOGS_EVENTS))).toMatchObject([
      { labels: [['l', 5, '[1,2]']] },
    ]);
  });

  test('metrics keep integers exactly, spans get their duration', () => {
    const metrics = decode(
      { name: vectorFromArray(['m'], new Utf8()), value: vectorFromArray([2n ** 53n + 1n], new Int64()) },
      METRICS_EVENTS,
    );
    expect(rowsOf(metrics)).toEqual([{ time: ARRIVAL, metric: 'm', value: 2 ** 53, value_int: 2n ** 53n + 1n }]);
    const spans = decode(
      { start_time: times(new TimestampMicrosecond(), [1n]), end_time: times(new TimestampMicrosecond(), [3n]) },
      TRACES_SPANS,
    );
    expect(rowsOf(spans)).toEqual([{ start_time: 1000n, end_time: 3000n, duration_ns: 2000n }]);
  });

  test('columns with names that no table can have are refused', () => {
    for (const name of ['_batch_hi', 'time_ns', 'ctid']) {
      expect(() => decode({ [name]: vectorFromArray([1], new Int32()) }, table({}))).toThrow(IngestError);
      expect(arrowColumns(stream({ [name]: vectorFromArray([1], new Int32()) }), table({})).columns).toEqual([]);
    }
  });

  test('attributes of an unknown kind are refused with their row', () => {
    const value = new Struct([new Field('kind', new Uint8(), false), new Field('text', new Utf8(), false)]);
    const type = new Map_(
      new Field('entries', new Struct([new Field('key', new Utf8(), false), new Field('value', value, false)]), false) as never,
    );
    expect(cells([{ a: { kind: 3, text: '5' } }, { a: { kind: 9, text: '5' } }], type, 'attributes')).toEqual([
      [['a', 3, '5']],
      'invalid_value',
    ]);
  });

  test('row 24: any changed byte of a stream is decoded or refused, and never anything else', () => {
    const columns = {
      time: times(new TimestampMillisecond(), [1n, 2n, 3n]),
      s: vectorFromArray(['a', null, 'é'], new Dictionary(new Utf8(), new Int32())),
      m: vectorFromArray([{ k: 'v' }, null, {}], MAP),
      l: vectorFromArray([[1n], null, []], list(new Int64())),
    };
    const schema = table({ s: 'string', m: 'attributes', l: 'list<int64>' });
    const bytes = stream(columns);
    const outcomes = new Set<string>();
    for (let at = 0; at < bytes.length; at++) {
      const changed = Uint8Array.from(bytes);
      changed[at] ^= 0xff >> (at % 8);
      outcomes.add(outcome(changed, schema));
    }
    expect([...outcomes].sort()).toEqual(['invalid_argument', 'ok', 'payload_too_large']);
  });
});

function outcome(bytes: Uint8Array, schema: TableSchema): string {
  try {
    arrowColumns(bytes, undefined);
    for (const { batch } of decodeArrowStream(bytes, schema, { arrivalNs: ARRIVAL }).batches) encodeIpc(batch);
    return 'ok';
  } catch (error) {
    if (error instanceof IngestError) return error.code;
    throw error;
  }
}
