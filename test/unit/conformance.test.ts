/** docs/conformance.md against the tests: every rule has a row, and every test file that a row names has a test of the rule. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { loadConfig } from '../../src/config';

const ROOT = join(__dirname, '../..');
/** Rules of each group; they are numbered from 1. */
const GROUPS = { OH: 17, OJ: 12, OG: 10, OD: 5, PB: 7, GR: 11, FL: 13, FS: 5, IP: 7 };
const RULES = Object.entries(GROUPS).flatMap(([group, count]) => Array.from({ length: count }, (_, i) => `${group}${i + 1}`));

interface Row {
  readonly rule: string;
  readonly how: string;
  readonly files: readonly string[];
}

const ROWS: readonly Row[] = readFileSync(join(ROOT, 'docs/conformance.md'), 'utf8')
  .split('\n')
  .filter((line) => /^\| [A-Z]{2}\d+ \|/.test(line))
  .map((line) => {
    const [, rule, , how, tests] = line.split('|').map((cell) => cell.trim());
    return { rule, how, files: [...tests.matchAll(/`([^`]+)`/g)].map(([, file]) => file) };
  });

/** The rules that titles of a test file begin with: `'OH4, OH5: ...`. */
function rulesOf(file: string): Set<string> {
  const titles = readFileSync(join(ROOT, file), 'utf8').matchAll(/['"`]((?:[A-Z]{2}\d+(?:, )?)+): /g);
  return new Set([...titles].flatMap(([, rules]) => rules.split(', ')));
}

test('every rule has one row, and no row is for anything else', () => {
  expect(ROWS.map(({ rule }) => rule)).toEqual(RULES);
});

test.each(ROWS)('$rule is shown by a test or has a reason', ({ rule, how, files }) => {
  for (const file of files) {
    expect(existsSync(join(ROOT, file))).toBe(true);
    expect([...rulesOf(file)]).toContain(rule);
  }
  // Without a test the text must say why, which takes more than a word.
  expect(files.length > 0 || how.split(' ').length > 5).toBe(true);
});

test('every rule of Arrow Flight, Flight SQL and Arrow IPC has a test', () => {
  const untested = ROWS.filter(({ rule, files }) => /^(FL|FS|IP)/.test(rule) && files.length === 0);
  expect(untested.map(({ rule }) => rule)).toEqual([]);
});

test('no test is named after a rule that does not exist', () => {
  const files = readdirSync(join(ROOT, 'test'), { recursive: true, encoding: 'utf8' }).filter((file) =>
    file.endsWith('.test.ts'),
  );
  const named = new Set(files.flatMap((file) => [...rulesOf(join('test', file))]));
  const groups = new RegExp(`^(${Object.keys(GROUPS).join('|')})\\d+$`);
  expect([...named].filter((rule) => groups.test(rule) && !RULES.includes(rule))).toEqual([]);
});

test('OG10: the ports are 4317 and 4318 unless they are set', () => {
  expect(loadConfig(undefined, {})).toMatchObject({ grpc_port: 4317, http_port: 4318 });
});
