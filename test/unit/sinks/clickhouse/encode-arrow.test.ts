/** The stream as another Arrow implementation (flechette) reads it; test/integration/clickhouse-encode has the engine read it. */
import { tableFromIPC } from '@uwdata/flechette';
import type { Data } from 'apache-arrow';
import { recordBatch } from '../../../../src/columnar/record-batch';
import { LOGS_EVENTS } from '../../../../src/core/builtin-tables';
import { lsn, type TableName, type WalId } from '../../../../src/core/ids';
import type { ColumnSchema, ColumnType, TableSchema } from '../../../../src/core/table-schema';
import { encodeArrow } from '../../../../src/sinks/clickhouse/encode-arrow';
import { type ColumnValue, columnOf } from '../../../support/columns';
import { attributes, dictionary, int32, logBatch, timestamps, utf8 } from '../../../support/log-batches';

const column = (name: string, type: ColumnType): ColumnSchema => ({ name, type, nullable: true });

function schemaOf(...columns: ColumnSchema[]): TableSchema {
  return {
    table: 't' as TableName,
    version: 3,
    timeColumn: 'at',
    tier: 'cold',
    columns: [column('at', 'timestamp'), ...columns],
  };
}

const ID = {
  walId: `00000000000000ff${'0'.repeat(16)}` as WalId,
  lsn: lsn(2 ** 40),
  lastLsn: lsn(2 ** 40),
  table: 't' as TableName,
  partition: '19700101',
};

/** Encodes one column beside a time column, and gives what flechette reads of it. */
function encoded(type: ColumnType, data: Data): { values: unknown[]; batches: number } {
  const batch = recordBatch([
    { name: 'at', data: timestamps(Array.from({ length: data.length }, () => 0n)) },
    { name: 'c', data },
  ]);
  const table = tableFromIPC(encodeArrow({ id: ID, schema: schemaOf(column('c', type)), batch }).bytes, { useMap: false });
  const child = table.getChild('c');
  return { values: [...child], batches: child.data.length };
}

const encode = (columns: Parameters<typeof recordBatch>[0]): unknown =>
  encodeArrow({ id: ID, schema: schemaOf(), batch: recordBatch(columns) });

describe('an ArrowStream for ClickHouse', () => {
  it('is one record batch with the batch id in every row', () => {
    const { bytes, columns, rows } = encodeArrow({
      id: ID,
      schema: LOGS_EVENTS,
      batch: logBatch({ rows: 5_000, startNs: 1_767_312_000_000_000_000n }),
    });
    const table = tableFromIPC(bytes, { useBigInt: true });
    expect(rows).toBe(5_000);
    expect(table.names).toEqual(columns);
    expect(columns.slice(-2)).toEqual(['_batch_hi', '_batch_lo']);
    expect(table.numRows).toBe(5_000);
    expect(table.getChildAt(0).data).toHaveLength(1);
    expect(new Set(table.getChild('_batch_hi').toArray())).toEqual(new Set([255n]));
    expect(new Set(table.getChild('_batch_lo').toArray())).toEqual(new Set([2n ** 40n]));
  });

  it('leaves out columns that the batch does not have', () => {
    const batch = recordBatch([{ name: 'at', data: timestamps([1n]) }]);
    const { columns } = encodeArrow({ id: ID, schema: schemaOf(column('c', 'string')), batch });
    expect(columns).toEqual(['at', '_batch_hi', '_batch_lo']);
  });

  it('carries attributes as maps of texts', () => {
    const rows = [{ a: '1', b: '' }, {}, { a: 'x\0' }];
    expect(encoded('attributes', attributes(rows)).values).toEqual([
      [
        ['a', '1'],
        ['b', ''],
      ],
      [],
      [['a', 'x\0']],
    ]);
  });

  it('spreads shared attributes over their rows, null as none', () => {
    const data = dictionary([1, 0, null, 1, 2], attributes([{ a: '1' }, { b: '1', c: '2' }, {}]));
    const b = [
      ['b', '1'],
      ['c', '2'],
    ];
    expect(encoded('attributes', data).values).toEqual([b, [['a', '1']], [], b, []]);
  });

  it('joins equal values of a dictionary, which ClickHouse would refuse', () => {
    const data = dictionary([0, 1, 2, 3, null, 0, 1, 2], utf8(['x', 'y', 'x', '']));
    const batch = recordBatch([
      { name: 'at', data: timestamps(Array(8).fill(0n)) },
      { name: 'c', data },
    ]);
    const { bytes } = encodeArrow({ id: ID, schema: schemaOf(column('c', 'string')), batch });
    const child = tableFromIPC(bytes).getChild('c');
    expect([...child]).toEqual(['x', 'y', 'x', '', null, 'x', 'y', 'x']);
    const { dictionary: distinct } = child.data[0] as unknown as { dictionary: Iterable<string> };
    expect([...distinct].sort()).toEqual(['', 'x', 'y']);
  });

  it('expands a dictionary that has about as many values as rows, or nulls among its values', () => {
    expect(encoded('string', dictionary([2, null, 0], utf8(['a', 'b', 'c']))).values).toEqual(['c', null, 'a']);
    expect(encoded('string', dictionary([0, 1, 0, 1, 1], utf8(['a', null]))).values).toEqual(['a', null, 'a', null, null]);
    expect(encoded('string', dictionary([null, null], utf8([]))).values).toEqual([null, null]);
    expect(encoded('int32', dictionary([1, 0, 1], int32([7, 8]))).values).toEqual([8, 7, 8]);
  });

  it('makes null lists empty, also when elements lie beneath them', () => {
    const lists = columnOf('list<uint64>', [[1n, 2n], [3n], [4n]], 'plain');
    const hidden = lists.clone(lists.type, 0, 3, 1, [
      lists.valueOffsets,
      lists.values,
      Uint8Array.of(0b101),
      lists.typeIds,
    ] as never);
    expect(encoded('list<uint64>', hidden).values.map((list) => [...(list as Iterable<number>)])).toEqual([[1, 2], [], [4]]);
    expect(
      encoded('list<uint64>', columnOf('list<uint64>', [null, [5n]], 'shared')).values.map((list) => [
        ...(list as Iterable<number>),
      ]),
    ).toEqual([[], [5]]);
  });

  it('makes null attributes empty, also when entries lie beneath them', () => {
    const maps = attributes([{ a: '1' }, { b: '2' }]);
    const hidden = maps.clone(maps.type, 0, 2, 1, [maps.valueOffsets, maps.values, Uint8Array.of(0b10), maps.typeIds] as never);
    expect(encoded('attributes', hidden).values).toEqual([[], [['b', '2']]]);
  });

  it.each<[ColumnType, ColumnType, ColumnValue]>([
    ['int32', 'int64', 7],
    ['uint32', 'uint64', 7],
    ['float32', 'float64', 0.5],
    ['uint8', 'int16', 7],
  ])('passes %s on for a column that was widened to %s', (from, to, value) => {
    expect(encoded(to, columnOf(from, [value], 'plain')).values).toEqual([value]);
  });

  it.each<[ColumnType, ColumnType]>([
    ['uint64', 'int64'],
    ['int64', 'int32'],
    ['float64', 'float32'],
    ['string', 'attributes'],
    ['int64', 'timestamp'],
    ['list<int64>', 'list<uint64>'],
  ])('refuses %s in a column of type %s, which ClickHouse would change silently', (from, to) => {
    expect(() => encoded(to, columnOf(from, [null], 'plain'))).toThrow(/column c holds .*, expected/);
  });

  it('refuses rows without a time and columns that the schema does not have', () => {
    expect(() => encode([{ name: 'at', data: timestamps([1n, null]) }])).toThrow('every row needs a value in at');
    const stranger = [
      { name: 'at', data: timestamps([1n]) },
      { name: 'c', data: int32([1]) },
    ];
    expect(() => encode(stranger)).toThrow('column c is not in version 3 of t');
  });
});
