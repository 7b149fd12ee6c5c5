/** Streams that another implementation wrote: every type, every form of dictionary, views, nesting and compression. */
import { readForeignStream } from '../../../src/columnar/validate';
import { GOLDEN_STREAMS, goldenStream, goldenValues, readValues } from '../../support/golden-arrow';

describe('Arrow streams of pyarrow', () => {
  test.each(GOLDEN_STREAMS)('IP1, IP2, IP6: each value of the stream %s is read as pyarrow wrote it', (name) => {
    expect(readValues(goldenStream(name))).toEqual(goldenValues(name));
  });

  test('IP6: they are read the same wherever their bytes lie in memory', () => {
    for (const name of GOLDEN_STREAMS) {
      for (const shift of [1, 3, 4]) {
        const moved = Buffer.concat([Buffer.alloc(shift), goldenStream(name)]).subarray(shift);
        expect(readValues(moved)).toEqual(goldenValues(name));
      }
    }
  });

  test('views, lists of one size and list views have become plain columns', () => {
    const [batch] = readForeignStream(goldenStream('nested')).batches;
    const types = Object.fromEntries(batch.schema.fields.map(({ name, type }) => [name, String(type)]));
    expect(types).toMatchObject({ triple: 'List<Float32>', list_view: 'List<Int32>', large_list_view: 'List<Utf8>' });
    const [views] = readForeignStream(goldenStream('views')).batches;
    expect(views.schema.fields.map(({ type }) => String(type))).toEqual(['Utf8', 'Binary', 'List<Utf8>', 'Utf8']);
  });
});
