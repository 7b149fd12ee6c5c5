import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { CLICKHOUSE_ERRORS } from '../../../src/sinks/clickhouse/error-rules';
import { POSTGRES_ERRORS } from '../../../src/sinks/postgres/error-rules';

const page = readFileSync(join(__dirname, '../../../docs/delivery.md'), 'utf8');

test.each([
  ['PostgreSQL', POSTGRES_ERRORS],
  ['ClickHouse', CLICKHOUSE_ERRORS],
])('docs/delivery.md shows what every error of %s means', (store, rules) => {
  const section = page
    .slice(page.indexOf(`### ${store}`))
    .split('\n## ')[0]
    .split('\n### ')[0];
  const lines = section.split('\n').filter((line) => /^\| (?!code|-)/.test(line));
  const expected = Object.entries(rules).map(
    ([code, { action, scope, reason }]) => `| ${code || '(none)'} | ${action} | ${scope} | ${reason} |`,
  );
  expect(lines).toEqual(expected);
});

test('every code that operations know by heart has a line of its own', () => {
  const postgres = [
    '53100',
    '53300',
    '40P01',
    '40001',
    '25006',
    '28P01',
    '42P01',
    '57P01',
    '57P02',
    '57P03',
    '08',
    '22',
    '23',
    '54',
  ];
  const clickhouse = ['252', '241', '164', '242', '159', '210', '516', '60', '396', '395', '1001'];
  expect(postgres.filter((code) => POSTGRES_ERRORS[code] === undefined)).toEqual([]);
  expect(clickhouse.filter((code) => CLICKHOUSE_ERRORS[code] === undefined)).toEqual([]);
});
