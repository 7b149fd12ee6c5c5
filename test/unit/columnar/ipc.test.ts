import { tableFromIPC } from '@uwdata/flechette';
import { AttributesBuilder } from '../../../src/columnar/attributes';
import { BoolBuilder, int64Builder, NumberBuilder, uint64Builder } from '../../../src/columnar/builders';
import { utf8Builder } from '../../../src/columnar/bytes-builder';
import { encodeIpc, joinPieces } from '../../../src/columnar/ipc';
import { DictionaryBuilder, ListBuilder } from '../../../src/columnar/nested-builders';
import { recordBatch } from '../../../src/columnar/record-batch';

/** Every kind of column that a batch can have, with `rows` rows (row 1 null where it can be). */
function everyColumn(rows: number): ReturnType<typeof recordBatch> {
  const text = utf8Builder();
  const int = int64Builder();
  const flag = new BoolBuilder();
  const list = new ListBuilder(uint64Builder());
  const double = NumberBuilder.float64();
  const tag = new DictionaryBuilder(utf8Builder());
  tag.values.appendString('tag');
  const origin = new DictionaryBuilder(new AttributesBuilder(10));
  origin.values.key(origin.values.keys.internString('service.name'));
  origin.values.text.writeString('shop');
  origin.values.endEntry(1);
  origin.values.endRow();
  for (let row = 0; row < rows; row++) {
    if (row === 1) {
      for (const column of [text, int, flag, list, double, tag]) column.appendNull();
    } else {
      text.appendString(`text ${row}`);
      int.appendBigInt(-(2n ** 63n) + BigInt(row));
      flag.append(row % 2 === 0);
      list.items.appendBigInt(2n ** 64n - 1n);
      list.endRow();
      double.append(row / 4);
      tag.append(0);
    }
    origin.append(0);
  }
  return recordBatch(
    Object.entries({ text, int, flag, list, double, tag, origin }).map(([name, builder]) => ({ name, data: builder.finish() })),
  );
}

test.each([0, 1, 2, 9, 100])('another implementation of Arrow reads our streams: %i rows', (rows) => {
  const table = tableFromIPC(encodeIpc(everyColumn(rows)), { useBigInt: true, useMap: true });
  expect(table.numRows).toBe(rows);
  for (let row = 0; row < rows; row++) {
    const isNull = row === 1;
    const value = (name: string): unknown => table.getChild(name).at(row);
    expect(value('text')).toBe(isNull ? null : `text ${row}`);
    expect(value('int')).toBe(isNull ? null : -(2n ** 63n) + BigInt(row));
    expect(value('flag')).toBe(isNull ? null : row % 2 === 0);
    expect(value('list')).toEqual(isNull ? null : BigUint64Array.of(2n ** 64n - 1n));
    expect(value('double')).toBe(isNull ? null : row / 4);
    expect(value('tag')).toBe(isNull ? null : 'tag');
    expect(value('origin')).toEqual(new Map([['service.name', { kind: 1, text: 'shop' }]]));
  }
});

test('the schema of a stream is remembered by shape: equal shapes give equal bytes, others their own', () => {
  const first = encodeIpc(everyColumn(3));
  expect(Buffer.from(encodeIpc(everyColumn(3))).equals(first)).toBe(true);
  const renamed = utf8Builder();
  renamed.appendString('x');
  const table = tableFromIPC(encodeIpc(recordBatch([{ name: 'renamed', data: renamed.finish() }])));
  expect(table.schema.fields.map((field) => field.name)).toEqual(['renamed']);
});

test('pieces are laid end to end, one piece is not copied', () => {
  const piece = Uint8Array.of(1, 2);
  expect(joinPieces([piece])).toBe(piece);
  expect([...joinPieces([piece, Uint8Array.of(3)])]).toEqual([1, 2, 3]);
});
