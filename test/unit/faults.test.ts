/** docs/faults.md against the tests: each of the 43 faults has a row, and every test that a row names exists. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const ROOT = join(__dirname, '../..');
const FAULTS = 43;

interface Row {
  readonly number: number;
  readonly tests: readonly { file: string; title: string }[];
  readonly reason: string;
}

const ROWS: readonly Row[] = readFileSync(join(ROOT, 'docs/faults.md'), 'utf8')
  .split('\n')
  .filter((line) => /^\| \d+ \|/.test(line))
  .map((line) => {
    const [, number, , tests, , reason] = line
      .split(' | ')
      .join('|')
      .split('|')
      .map((cell) => cell.trim());
    const named = tests === '-' ? [] : tests.split('<br>');
    return {
      number: Number(number),
      reason,
      tests: named.map((text) => {
        const [, file, title] = /^`([^`]+)` (.+)$/.exec(text) ?? [];
        return { file, title };
      }),
    };
  });

test('every fault has one row, in order', () => {
  expect(ROWS.map(({ number }) => number)).toEqual(Array.from({ length: FAULTS }, (_, i) => i + 1));
});

test.each(ROWS)('row $number names tests that exist, or says why there is none', ({ tests, reason }) => {
  for (const { file, title } of tests) {
    expect([file, existsSync(join(ROOT, file))]).toEqual([file, true]);
    expect([title, readFileSync(join(ROOT, file), 'utf8').includes(title)]).toEqual([title, true]);
  }
  // Without a test the text must say why, which takes more than a word.
  expect(tests.length > 0 || reason.split(' ').length > 5).toBe(true);
});
