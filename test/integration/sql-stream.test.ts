/** Statements answered as a stream of Arrow, on a real PostgreSQL and the embedded ClickHouse engine. */
import { RecordBatchReader } from 'apache-arrow';
import { IngestError } from '../../src/core/errors';
import type { ArrowSql } from '../../src/core/query';
import { ClickHouseSql } from '../../src/query/cold';
import { PostgresSql } from '../../src/query/hot';
import { ensureReaderRole } from '../../src/sinks/postgres/reader-role';
import { startClickHouse, type TestClickHouse } from '../support/clickhouse';
import { startPostgres, type TestPostgres } from '../support/postgres';

/** The limit of rows is not one of streams. */
const LIMITS = { rowsMax: 5, timeoutMs: 10_000 };
const ROWS = 25_000;

let postgres: TestPostgres;
let clickhouse: TestClickHouse;
let hot: PostgresSql;
let cold: ClickHouseSql;

beforeAll(async () => {
  [postgres, clickhouse] = await Promise.all([startPostgres(), startClickHouse()]);
  hot = new PostgresSql(await ensureReaderRole(postgres.url), LIMITS);
  cold = new ClickHouseSql(clickhouse.url, LIMITS);
}, 60_000);
afterAll(async () => {
  await Promise.all([hot.close(), cold.close()]);
  await Promise.all([postgres.stop(), clickhouse.stop()]);
}, 60_000);

/** Values of the first column; each IPC stream of the answer is read by apache-arrow. */
async function numbers(store: ArrowSql, sql: string): Promise<{ values: number[]; pieces: number }> {
  const pieces: Uint8Array[] = [];
  for await (const piece of store.stream(sql)) pieces.push(piece);
  const values: number[] = [];
  for (const reader of RecordBatchReader.readAll(Buffer.concat(pieces))) {
    for (const batch of reader) for (const value of batch.getChildAt(0) ?? []) values.push(Number(value));
  }
  return { values, pieces: pieces.length };
}

const refusal = async (store: ArrowSql, sql: string): Promise<unknown> => numbers(store, sql).catch((error: unknown) => error);

test('PostgreSQL gives all rows, in parts', async () => {
  const { values, pieces } = await numbers(hot, `SELECT i FROM generate_series(1, ${ROWS}) AS i;`);
  expect(values).toEqual(Array.from({ length: ROWS }, (_, i) => i + 1));
  expect(pieces).toBe(3);
});

test('ClickHouse gives all rows', async () => {
  const { values } = await numbers(cold, `SELECT number + 1 FROM numbers(${ROWS})`);
  expect(values).toEqual(Array.from({ length: ROWS }, (_, i) => i + 1));
});

test('an answer without rows still has its columns', async () => {
  for (const store of [hot, cold]) {
    const pieces: Uint8Array[] = [];
    for await (const piece of store.stream('SELECT 1 AS one WHERE 1 = 0')) pieces.push(piece);
    const reader = RecordBatchReader.from(Buffer.concat(pieces)).open();
    expect(reader.schema.fields.map(({ name }) => name)).toEqual(['one']);
  }
});

test('statements that write, and broken ones, are refused as invalid', async () => {
  for (const sql of ['CREATE TABLE t (n int)', 'SELEC', 'SELECT * FROM nothing_of_that_name', 'SELECT 1; SELECT 2']) {
    const error = await refusal(hot, sql);
    expect(error).toBeInstanceOf(IngestError);
    expect([sql, (error as IngestError).code]).toEqual([sql, 'invalid_argument']);
  }
  for (const sql of ['SELEC', 'SELECT * FROM nothing_of_that_name']) {
    expect(await refusal(cold, sql)).toMatchObject({ code: 'invalid_argument' });
  }
});

test('who leaves in the middle gives the connection back', async () => {
  for (let i = 0; i < 10; i++) {
    for await (const piece of hot.stream(`SELECT i FROM generate_series(1, ${ROWS}) AS i`)) {
      expect(piece.length).toBeGreaterThan(0);
      break;
    }
  }
  expect((await numbers(hot, 'SELECT 7')).values).toEqual([7]);
});
