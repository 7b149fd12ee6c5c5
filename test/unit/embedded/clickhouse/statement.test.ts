import * as fc from 'fast-check';
import {
  applyEdits,
  type InsertData,
  insertFromFile,
  onlyReads,
  outputEdit,
  readStatement,
} from '../../../../src/embedded/clickhouse/statement';

const select = (sql: string, format = 'TSV'): string => {
  const statement = readStatement(sql, true);
  if (statement?.kind !== 'select') throw new Error(`${statement?.kind}`);
  return applyEdits(sql.slice(0, statement.end), [outputEdit(statement, '/f', format)]);
};
const insert = (text: string): [string, string] => {
  const statement = readStatement(text, true);
  if (statement?.kind !== 'insert') throw new Error(`${statement?.kind}`);
  return [insertFromFile(text, statement, '/f').replace(/\s+/g, ' ').trim(), text.slice(statement.dataAt)];
};
const OUT = "INTO OUTFILE '/f' TRUNCATE COMPRESSION 'none' ";
const IN = "FROM INFILE '/f' COMPRESSION 'none'";

describe('a SELECT is sent to a file', () => {
  it.each([
    ['SELECT 1', `SELECT 1\n${OUT}FORMAT TSV`],
    ['SELECT 1 -- end', `SELECT 1 -- end\n${OUT}FORMAT TSV`],
    ['SELECT 1;\n', `SELECT 1\n${OUT}FORMAT TSV`],
    ['SELECT 1 FORMAT JSON', `SELECT 1 ${OUT}FORMAT JSON`],
    ['SELECT 1 format JSON SETTINGS a = 1', `SELECT 1 ${OUT}format JSON SETTINGS a = 1`],
    ['SELECT (SELECT 1 FORMAT x)', `SELECT (SELECT 1 FORMAT x)\n${OUT}FORMAT TSV`],
    ["SELECT 'FORMAT JSON'", `SELECT 'FORMAT JSON'\n${OUT}FORMAT TSV`],
    ['SELECT a ORDER BY format DESC', `SELECT a ORDER BY format DESC\n${OUT}FORMAT TSV`],
    ['WITH 1 AS x SELECT x', `WITH 1 AS x SELECT x\n${OUT}FORMAT TSV`],
    ['(SELECT 1) UNION ALL (SELECT 2)', `(SELECT 1) UNION ALL (SELECT 2)\n${OUT}FORMAT TSV`],
  ])('%s', (sql, expected) => {
    expect(select(sql)).toBe(expected);
  });
});

describe('an INSERT with data reads it from a file', () => {
  it.each([
    ['INSERT INTO t FORMAT CSV\n1,2', `INSERT INTO t ${IN} FORMAT CSV`, '1,2'],
    ['insert into t (a, b) values (1), (2)', `insert into t (a, b) ${IN} FORMAT Values`, '(1), (2)'],
    ['INSERT INTO t SETTINGS x = 1 FORMAT TSV \r\n\n1', `INSERT INTO t ${IN} SETTINGS x = 1 FORMAT TSV`, '\n1'],
    ["INSERT INTO t FORMAT CSV SETTINGS a = ';', b=-1.5\n1", `INSERT INTO t ${IN} SETTINGS a = ';', b=-1.5 FORMAT CSV`, '1'],
    ['INSERT INTO d.`t FORMAT x` FORMAT RowBinary\n\n;', `INSERT INTO d.\`t FORMAT x\` ${IN} FORMAT RowBinary`, '\n;'],
    ['INSERT INTO format FORMAT CSV\n1', `INSERT INTO format ${IN} FORMAT CSV`, '1'],
    ['INSERT INTO values VALUES (1)', `INSERT INTO values ${IN} FORMAT Values`, '(1)'],
    ['INSERT INTO {t:Identifier} FORMAT JSONEachRow {"a":1}', `INSERT INTO {t:Identifier} ${IN} FORMAT JSONEachRow`, '{"a":1}'],
    [
      "INSERT INTO t SELECT x FROM input('x UInt8') FORMAT CSV\n1",
      "INSERT INTO t SELECT x FROM file('/f', 'CSV', 'x UInt8', 'none')",
      '1',
    ],
  ])('%s', (text, expected, data) => {
    expect(insert(text)).toEqual([expected, data]);
  });

  it('is found in any beginning that is long enough, with the same meaning, and never too early', () => {
    const text = `/* c */ INSERT INTO t (a) SETTINGS x = 'FORMAT y' FORMAT CSV SETTINGS z = 2\n${'1,2\n'.repeat(40)}`;
    const whole = readStatement(text, true) as InsertData;
    fc.assert(
      fc.property(fc.nat(text.length), (length) => {
        const part = readStatement(text.slice(0, length), false);
        expect(part ?? whole).toMatchObject({ kind: 'insert', dataAt: whole.dataAt, format: 'CSV' });
        expect(part !== undefined || length < whole.dataAt + 40).toBe(true);
      }),
    );
  });

  it.each([
    'INSERT INTO t SELECT 1',
    'WITH 1 AS x INSERT INTO t SELECT x',
    'CREATE TABLE t (a Int8) ENGINE = Memory',
    'SHOW TABLES FORMAT CSV',
  ])('%s is none', (sql) => {
    expect(readStatement(sql, true)?.kind).toBe('other');
  });
});

describe('what a server refuses', () => {
  it.each([
    ['SELECT 1; SELECT 2', 62],
    ["SELECT 1 INTO OUTFILE 'x'", 358],
    ["INSERT INTO t FROM INFILE 'x' FORMAT CSV", 78],
    ["SELECT * FROM file('x')", 291],
    ["INSERT INTO FUNCTION file('x') VALUES (1)", 291],
    ["INSERT INTO FUNCTION File('x') SELECT 1", 291],
    ["CREATE DATABASE d ENGINE = Filesystem('/')", 291],
    ['CREATE DATABASE d ENGINE = Filesystem', 291],
    ["SELECT * FROM executable('x')", 291],
    ["BACKUP TABLE t TO File('x')", 291],
    ["CREATE DICTIONARY d (a Int8) PRIMARY KEY a SOURCE(FILE(path 'x' format 'CSV')) LAYOUT(FLAT())", 291],
  ])('%s is %i', (sql, code) => {
    expect(() => readStatement(sql, true)).toThrow(expect.objectContaining({ code }));
  });

  it('a column called file is not a call', () => {
    expect(readStatement("SELECT file, 'file(1)' FROM t WHERE file = 'x' -- file(", true)?.kind).toBe('select');
  });
});

it.each([
  ['SELECT 1', true],
  ['SHOW TABLES', true],
  ['SET max_threads = 1', true],
  ['SET max_threads = 1, readonly = 0', false],
  ['DROP TABLE t', false],
  ['INSERT INTO t VALUES (1)', false],
  ["KILL QUERY WHERE query_id = 'x'", false],
])('%s only reads: %s', (sql, expected) => {
  const statement = readStatement(sql, true);
  expect(statement !== undefined && onlyReads(statement)).toBe(expected);
});
