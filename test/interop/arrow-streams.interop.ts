/** Streams that pyarrow writes of many rows, read by this server: test/golden/arrow has the same of a few. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { GOLDEN_STREAMS, goldenStream, goldenValues, readValues } from '../support/golden-arrow';
import { temporaryDirectory } from '../support/server';
import { hasPython, PYTHON } from './support/toolchains';

const GENERATOR = join(__dirname, '../golden/arrow/generate.py');
const ROWS = 5_000;
const describeWithPython = hasPython() ? describe : describe.skip;

describeWithPython('Arrow streams of pyarrow', () => {
  let folder: Awaited<ReturnType<typeof temporaryDirectory>>;
  beforeAll(async () => {
    folder = await temporaryDirectory();
    await promisify(execFile)(PYTHON, ['-W', 'ignore', GENERATOR, folder.path, String(ROWS)]);
  }, 120_000);
  afterAll(async () => {
    await folder.remove();
  });

  it.each(GOLDEN_STREAMS)('every value of thousands of rows of the stream %s is read as it was written', (name) => {
    const wanted = goldenValues(name, folder.path);
    const read = readValues(goldenStream(name, folder.path));
    expect(Object.keys(read)).toEqual(Object.keys(wanted));
    for (const [column, rows] of Object.entries(wanted)) {
      expect(rows.length).toBeGreaterThanOrEqual(ROWS);
      const different = rows.findIndex((value, row) => JSON.stringify(value) !== JSON.stringify(read[column][row]));
      expect([column, different, read[column].length]).toEqual([column, -1, rows.length]);
    }
  });
});
