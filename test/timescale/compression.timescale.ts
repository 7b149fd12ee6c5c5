/** Statements that only the full license of TimescaleDB has, against PGlite with TimescaleDB, in this process. */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import { METRICS_EVENTS } from '../../src/core/builtin-tables';
import { createIndexes, createTable } from '../../src/sinks/postgres/ddl';
import { IS_COMPRESSED, LIST_CHUNKS } from '../../src/sinks/postgres/hot-partitions';
import { compress, createHypertable } from '../../src/sinks/postgres/timescale';

jest.setTimeout(120_000);

let child: ChildProcessWithoutNullStreams;
let answers: Interface;

beforeAll(() => {
  const folder = process.env['THERMOCLINE_TEST_PGLITE'];
  if (folder === undefined) throw new Error('run by `make test-timescale`');
  child = spawn(process.execPath, [join(__dirname, 'pglite-child.mjs'), folder]);
  child.stderr.resume();
  answers = createInterface({ input: child.stdout });
});
afterAll(async () => {
  const ended = once(child, 'exit');
  child.stdin.end();
  await ended;
});

/** Rows of the last statement. */
async function rows(sql: string): Promise<unknown[][]> {
  const answered = once(answers, 'line') as Promise<[string]>;
  child.stdin.write(`${JSON.stringify(sql)}\n`);
  const answer = JSON.parse((await answered)[0]) as { rows: unknown[][]; error?: string };
  if (answer.error !== undefined) throw new Error(`${answer.error}: ${sql}`);
  return answer.rows;
}

const insert = (day: string, count: number): Promise<unknown[][]> =>
  rows(
    `INSERT INTO metrics_events (time, app, value) SELECT '${day}'::timestamptz + n * interval '1 second', 'app' || n % 3, n ` +
      `FROM generate_series(0, ${count - 1}) AS n`,
  );

test('a hypertable is compressed by its policy, takes late rows into compressed chunks, and new columns', async () => {
  await rows(createTable(METRICS_EVENTS, false));
  await rows(createHypertable(METRICS_EVENTS, { chunkHours: 24 }));
  for (const statement of createIndexes(METRICS_EVENTS)) await rows(statement);
  for (const statement of compress(METRICS_EVENTS, 7)) await rows(statement);
  await insert('2025-01-01', 3_000);
  await insert('2025-01-02', 3_000);
  const [[job]] = await rows(
    "SELECT job_id FROM timescaledb_information.jobs WHERE proc_name IN ('policy_compression', 'columnstore_policy')",
  );
  await rows(`CALL run_job(${String(job)})`);
  const compressed =
    "SELECT count(*)::int FROM timescaledb_information.chunks WHERE hypertable_name = 'metrics_events' AND is_compressed";
  expect(await rows(compressed)).toEqual([[2]]);
  await insert('2025-01-01 12:00', 10);
  expect(await rows('SELECT count(*)::int, sum(value)::int FROM metrics_events')).toEqual([
    [6_010, 2 * ((2_999 * 3_000) / 2) + 45],
  ]);
  await rows('ALTER TABLE metrics_events ADD COLUMN IF NOT EXISTS extra double precision');
  expect(await rows("SELECT count(*)::int FROM metrics_events WHERE extra IS NULL AND time < '2025-01-02'")).toEqual([[3_010]]);
});

test('the age of compression is found again and can be changed', async () => {
  const days =
    "SELECT extract(epoch FROM (config->>'compress_after')::interval)::float8 / 86400 AS days FROM timescaledb_information.jobs " +
    "WHERE proc_name IN ('policy_compression', 'columnstore_policy')";
  expect(await rows(days)).toEqual([[7]]);
  for (const statement of compress(METRICS_EVENTS, 30)) await rows(statement);
  expect(await rows(days)).toEqual([[30]]);
});

test('chunks are listed with their ranges, and one is decompressed as a demotion does it', async () => {
  const of = (sql: string, value: string): string => sql.replaceAll('$1', `'${value}'`);
  const listed = await rows(of(LIST_CHUNKS, 'metrics_events'));
  const [first] = listed.sort((a, b) => Number(a[1]) - Number(b[1]));
  expect(first.slice(1, 3)).toEqual([Date.UTC(2025, 0, 1), Date.UTC(2025, 0, 2)]);
  const chunk = String(first[0]);
  expect(await rows(of(IS_COMPRESSED, chunk))).toEqual([[true]]);
  await rows(`SELECT decompress_chunk('${chunk}'::regclass)`);
  expect(await rows(of(IS_COMPRESSED, chunk))).toEqual([[false]]);
  expect(await rows(`SELECT count(*)::int FROM ONLY ${chunk} WHERE ctid >= '(0,0)'::tid`)).toEqual([[3_010]]);
});

test('whole chunks are dropped, compressed or not', async () => {
  await insert('2025-01-05', 5);
  await rows("SELECT drop_chunks('metrics_events', older_than => '2025-01-02'::timestamptz)");
  expect(await rows('SELECT count(*)::int FROM metrics_events')).toEqual([[3_005]]);
});
