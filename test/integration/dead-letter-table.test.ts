/** `dead_letters` in PostgreSQL: the letters as they are in the log, put right when the table was lost or changed. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import { refit } from '../../src/adapters/rest/refit';
import { utf8Builder } from '../../src/columnar/bytes-builder';
import { recordBatch } from '../../src/columnar/record-batch';
import { lsn, type TableName, type WalId } from '../../src/core/ids';
import { Mirror } from '../../src/deadletter/mirror';
import { LogDeadLetterStore } from '../../src/deadletter/store';
import { PostgresDeadLetterTable } from '../../src/sinks/postgres/dead-letter-table';
import { silentLogger } from '../../src/telemetry';
import { FileStorage } from '../../src/wal/file-storage';
import { FileWal } from '../../src/wal/file-wal';
import { startPostgres, type TestPostgres } from '../support/postgres';

const REQUESTS = 'a'.repeat(32) as WalId;
const logger = silentLogger();

let postgres: TestPostgres;
let client: Client;
let directory: string;
let log: FileWal;
let store: LogDeadLetterStore;
let table: PostgresDeadLetterTable;
let mirror: Mirror;

const startMirror = (): void => {
  table = new PostgresDeadLetterTable({ url: postgres.url, logger });
  mirror = new Mirror({ store, logId: log.walId, copy: table, logger });
  mirror.start();
};

const stopMirror = async (): Promise<void> => {
  await mirror.stop();
  await table.close();
};

beforeAll(async () => {
  postgres = await startPostgres();
  client = new Client({ connectionString: postgres.url });
  await client.connect();
  directory = await mkdtemp(join(tmpdir(), 'thermocline-letter-table-'));
  const onFatal = (error: Error): void => {
    throw error;
  };
  const storage = new FileStorage();
  const bounds = { segmentBytes: 1024 * 1024, frameBytesMax: 1024 * 1024 };
  log = await FileWal.open({ directory, ...bounds, storage, clock: Date.now, onFatal });
  store = await LogDeadLetterStore.open({
    log,
    bytesMax: 1024 * 1024,
    settled: () => true,
    schemaOf: () => undefined,
    route: () => [],
    refit,
    onReplayed: () => undefined,
    onChange: (group) => mirror?.note(group),
    replayedBelow: () => lsn(log.stats().durableLsn + 1),
    clock: () => 1_767_312_000_000,
    logger,
  });
  startMirror();
}, 60_000);
afterAll(async () => {
  await stopMirror();
  await client.end();
  await log.close();
  await Promise.all([postgres.stop(), rm(directory, { recursive: true, force: true })]);
}, 60_000);

async function park(at: number, texts: readonly string[], code = 'type_mismatch'): Promise<void> {
  const builder = utf8Builder();
  for (const text of texts) builder.appendString(text);
  const batch = recordBatch([{ name: 'v', data: builder.finish() }]);
  const rows = texts.map((text, row) => {
    return { row, lsn: lsn(at), schemaVersion: 2, stage: 'schema' as const, code, column: 'v', message: `not ${text}` };
  });
  const id = { walId: REQUESTS, lsn: lsn(at), lastLsn: lsn(at), table: 'things' as TableName, partition: '' };
  await store.park({ tier: 'hot', id, rows, batch });
}

/** Asks until the rows are these, in the order of their ids, and gives the last answer. */
async function rowsUntil(expected: readonly unknown[][]): Promise<unknown[][]> {
  const deadline = Date.now() + 20_000;
  for (;;) {
    const query = 'SELECT id, lsn::int, message, "row" FROM dead_letters ORDER BY letter_group, id';
    const rows = await client.query({ text: query, rowMode: 'array' }).then(
      (result) => result.rows as unknown[][],
      () => [],
    );
    if (JSON.stringify(rows) === JSON.stringify(expected) || Date.now() > deadline) return rows;
  }
}

const FIRST = ['1-0', 5, 'not a', { v: 'a' }];

test('letters are there with what is known of them, NUL replaced, and go when they are dropped', async () => {
  await park(5, ['a', 'n\0']);
  await park(6, ['b']);
  const all = [FIRST, ['1-1', 5, 'not n\ufffd', { v: 'n\ufffd' }], ['2-0', 6, 'not b', { v: 'b' }]];
  expect(await rowsUntil(all)).toEqual(all);
  const { rows } = await client.query('SELECT * FROM dead_letters WHERE id = $1', ['1-0']);
  expect(rows).toMatchObject([
    { table_name: 'things', tier: 'hot', stage: 'schema', code: 'type_mismatch', column_name: 'v', schema_version: 2 },
  ]);
  expect((rows[0] as { at: Date }).at.getTime()).toBe(1_767_312_000_000);
  await store.drop({ ids: ['1-1', '2-0'] });
  const left = [FIRST];
  expect(await rowsUntil(left)).toEqual(left);
});

test('a table that was emptied, changed or dropped, also while nobody looked, has the letters again', async () => {
  await stopMirror();
  await client.query(`DELETE FROM dead_letters; INSERT INTO dead_letters SELECT '${log.walId}', 99, '99-0', 'x', NULL, 'schema', 'c',
    NULL, 'm', 1, 1, now(), NULL`);
  startMirror();
  const again = [FIRST];
  expect(await rowsUntil(again)).toEqual(again);
  await client.query('DROP TABLE dead_letters');
  await park(7, ['c']);
  const more = [FIRST, ['4-0', 7, 'not c', { v: 'c' }]];
  expect(await rowsUntil(more)).toEqual(more);
});

test('letters of another server stay where they are', async () => {
  await client.query(`INSERT INTO dead_letters SELECT '${'b'.repeat(32)}', 1, '0-0', 'x', NULL, 'schema', 'c', NULL, 'm', 1, 1, now(),
    '{}'`);
  await store.drop({ filter: {} });
  const others = [['0-0', 1, 'm', {}]];
  expect(await rowsUntil(others)).toEqual(others);
});
