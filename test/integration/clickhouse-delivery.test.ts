/**
 * Writes to a real engine through a proxy that breaks requests and answers, and across crashes of the engine: every row is
 * there exactly once when the write has succeeded (durability rules C1 to C5 and C7).
 */

import { recordBatch } from '../../src/columnar/record-batch';
import { LOGS_EVENTS } from '../../src/core/builtin-tables';
import { type Lsn, lsn, type TableName, type WalId } from '../../src/core/ids';
import { SinkError, type SinkWrite } from '../../src/core/sink';
import type { TableSchema } from '../../src/core/table-schema';
import { ClickHouseSink } from '../../src/sinks/clickhouse/sink';
import { silentLogger } from '../../src/telemetry';
import { startClickHouse, type TestClickHouse } from '../support/clickhouse';
import { columnOf } from '../support/columns';
import { HTTP_FAULTS, type HttpFault, HttpFaultProxy } from '../support/http-fault-proxy';
import { logBatch } from '../support/log-batches';
import { NOTHING_REFUSED, Refusals } from '../support/refusals';

// Every insert is synced to disk several times: a slow disk needs more than the usual time.
jest.setTimeout(120_000);

const ROWS = 50;
const START_NS = 1_767_312_000_000_000_000n;
const BATCH = logBatch({ rows: ROWS, startNs: START_NS });

let clickhouse: TestClickHouse;
let proxy: HttpFaultProxy;
let sink: ClickHouseSink;
let last = 0;

const nextLsn = (): Lsn => lsn(++last);

const write = (at: Lsn, mayHaveRun: boolean, schema: TableSchema = LOGS_EVENTS): SinkWrite => ({
  id: { walId: 'd'.repeat(32) as WalId, lsn: at, lastLsn: at, table: schema.table, partition: '20260102' },
  schema,
  batch: BATCH,
  mayHaveRun,
  ...NOTHING_REFUSED,
});

/** Rows of an insert, as text. */
async function count(at: Lsn, table = 'logs_events'): Promise<string> {
  const [[rows]] = (await clickhouse.rows(`SELECT count() FROM ${table} WHERE _batch_lo = ${at}`)) as [[string]];
  return rows;
}

/** The attempt that a request inserts with; undefined for other requests. */
const tokenOf = (url: URL): string | undefined => url.searchParams.get('insert_deduplication_token') ?? undefined;

/** Faults that only end with the time of a request. */
const isSilent = (fault: HttpFault): boolean => fault === 'silence' || fault === 'swallow answer';

/** Breaks the next INSERTs in this way, one after the other, and lets everything else through. */
function breakInserts(...faults: HttpFault[]): void {
  proxy.next = (url) => (tokenOf(url) === undefined ? 'none' : (faults.shift() ?? 'none'));
}

/** Repeats as the delivery loop does. */
async function deliver(at: Lsn, repeated = false): Promise<void> {
  for (let mayHaveRun = repeated; ; mayHaveRun = true) {
    try {
      return await sink.write(write(at, mayHaveRun));
    } catch (error) {
      if (!(error instanceof SinkError) || error.failure !== 'retry') throw error;
    }
  }
}

/** Delivers a range of writes, four at a time. */
async function deliverAll(from: number, to: number): Promise<void> {
  let at = from;
  const worker = async (): Promise<void> => {
    while (at <= to) await deliver(lsn(at++));
  };
  await Promise.all([worker(), worker(), worker(), worker()]);
}

/** How many writes of a range are there, and the fewest and most rows that one has. */
const counts = (from: number, to: number): Promise<unknown[][]> =>
  clickhouse.rows(
    'SELECT count(), min(n), max(n) FROM ' +
      `(SELECT count() AS n FROM logs_events WHERE _batch_lo BETWEEN ${from} AND ${to} GROUP BY _batch_lo)`,
  );

/** Mulberry32. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

beforeAll(async () => {
  clickhouse = await startClickHouse();
  proxy = new HttpFaultProxy(clickhouse.url);
  sink = new ClickHouseSink({
    url: await proxy.start(),
    logger: silentLogger(),
    queryTimeoutMs: 20_000,
    insertTimeoutMs: 20_000,
  });
  await sink.start();
  await sink.ensureTable(LOGS_EVENTS);
});

beforeEach(() => {
  proxy.next = () => 'none';
});

afterAll(async () => {
  await sink?.stop();
  await proxy?.stop();
  await clickhouse?.stop();
});

describe('a write to ClickHouse', () => {
  it('is there once after any faults of the way to the store and back', async () => {
    const next = random(20_260_102);
    const repeated = new Set<string>();
    const faults = HTTP_FAULTS.filter((fault) => !isSilent(fault));
    proxy.next = (url) => {
      const fault = next() < 0.4 ? faults[Math.floor(next() * faults.length)] : 'none';
      const token = tokenOf(url);
      // A lie on the very first attempt cannot be told from a clean success, which rule C4 trusts.
      const first = token !== undefined && token.endsWith('/0') && !repeated.has(token);
      if (token !== undefined) repeated.add(token);
      return fault === 'false success' && first ? 'none' : fault;
    };
    const from = last + 1;
    const to = from + 99;
    last = to;
    await deliverAll(from, to);
    proxy.next = () => 'none';
    expect(await counts(from, to)).toEqual([['100', `${ROWS}`, `${ROWS}`]]);
    expect([...proxy.seen.keys()].sort()).toEqual([...faults].sort());
  });

  it.each(HTTP_FAULTS.filter((fault) => fault !== 'false success' && fault !== 'refuse' && !isSilent(fault)))(
    'ends within one call when only its first insert suffers "%s"',
    async (fault) => {
      breakInserts(fault);
      const at = nextLsn();
      await sink.write(write(at, false));
      expect(await count(at)).toBe(`${ROWS}`);
    },
  );

  it('is there once when the engine is killed again and again while it writes', async () => {
    const from = last + 1;
    const to = from + 59;
    last = to;
    const delivered = deliverAll(from, to);
    for (let kill = 0; kill < 3; kill++) await clickhouse.crash();
    await delivered;
    expect(await counts(from, to)).toEqual([['60', `${ROWS}`, `${ROWS}`]]);
  });

  it('is killed and settled when its connection breaks in the middle of a long insert', async () => {
    const rows = 50_000;
    breakInserts('cut after forward');
    const at = nextLsn();
    await sink.write({ ...write(at, false), batch: logBatch({ rows, startNs: START_NS }) });
    expect(await count(at)).toBe(`${rows}`);
  });

  it('takes another token when a success brought no rows', async () => {
    breakInserts('cut before', 'false success');
    const at = nextLsn();
    const tokens: string[] = [];
    const faults = proxy.next;
    proxy.next = (url) => {
      const token = tokenOf(url);
      if (token !== undefined) tokens.push(token.slice(token.lastIndexOf('/') + 1));
      return faults(url);
    };
    await sink.write(write(at, false));
    expect(tokens).toEqual(['0', '0', '1']);
    expect(await count(at)).toBe(`${ROWS}`);
  });

  it('is handed back for another try when the store is silent', async () => {
    const impatient = new ClickHouseSink({ url: proxy.url, logger: silentLogger(), insertTimeoutMs: 200 });
    breakInserts('silence', 'silence');
    const at = nextLsn();
    await expect(impatient.write(write(at, false))).rejects.toMatchObject({
      failure: 'retry',
      storeCode: '',
      message: 'clickhouse does not answer in time',
    });
    await impatient.stop();
    await sink.write(write(at, true));
    expect(await count(at)).toBe(`${ROWS}`);
  });

  it('changes nothing when it is repeated, also after the engine was killed', async () => {
    const at = nextLsn();
    await sink.write(write(at, false));
    await sink.write(write(at, true));
    await sink.write(write(at, false));
    expect(await count(at)).toBe(`${ROWS}`);
    await clickhouse.crash();
    proxy.target = clickhouse.url;
    await deliver(at, true);
    expect(await count(at)).toBe(`${ROWS}`);
  });

  it('changes nothing when it is repeated after its token was forgotten', async () => {
    const at = nextLsn();
    await sink.write(write(at, false));
    await clickhouse.command('ALTER TABLE logs_events MODIFY SETTING non_replicated_deduplication_window = 0');
    await clickhouse.command('ALTER TABLE logs_events MODIFY SETTING non_replicated_deduplication_window = 10000');
    await sink.write(write(at, true));
    expect(await count(at)).toBe(`${ROWS}`);
  });

  it('stops the sink when part of its rows is there', async () => {
    const at = nextLsn();
    await clickhouse.command(
      `INSERT INTO logs_events (timestamp, _batch_hi, _batch_lo) VALUES ('2026-01-02 03:04:05', 0xdddddddddddddddd, ${at})`,
    );
    await expect(sink.write(write(at, true))).rejects.toMatchObject({ failure: 'broken' });
  });

  it('creates its table again when somebody has dropped it', async () => {
    const schema: TableSchema = { ...LOGS_EVENTS, table: 'dropped' as TableName };
    await sink.ensureTable(schema);
    for (const mayHaveRun of [false, true]) {
      await clickhouse.command('DROP TABLE dropped SYNC');
      const at = nextLsn();
      await sink.write(write(at, mayHaveRun, schema));
      expect(await count(at, 'dropped')).toBe(`${ROWS}`);
    }
  });

  it('has no row stored when the store takes none, and each is refused with its code', async () => {
    const schema: TableSchema = { ...LOGS_EVENTS, table: 'choosy' as TableName };
    await sink.ensureTable(schema);
    await clickhouse.command("ALTER TABLE choosy ADD CONSTRAINT no_get CHECK message NOT LIKE 'GET%'");
    const at = nextLsn();
    const { refused, onRefused, rows } = new Refusals();
    await sink.write({ ...write(at, false, schema), refused, onRefused });
    expect(rows).toHaveLength(ROWS);
    expect(rows[0]).toMatchObject({ row: 0, stage: 'insert', code: '469', column: 'message' });
    expect(await count(at, 'choosy')).toBe('0');
  });

  it('is refused as a whole when a column is not in the schema', async () => {
    const batch = recordBatch([...columnsOf(), { name: 'stranger', data: columnOf('int32', Array(ROWS).fill(1), 'plain') }]);
    const at = nextLsn();
    const { refused, onRefused, rows } = new Refusals();
    await sink.write({ ...write(at, false), batch, refused, onRefused });
    expect(rows).toHaveLength(ROWS);
    expect(rows[0]).toMatchObject({ stage: 'schema', code: 'unknown_column', column: 'stranger' });
    expect(await count(at)).toBe('0');
  });
});

const columnsOf = (): { name: string; data: (typeof BATCH.data.children)[number] }[] =>
  BATCH.schema.fields.map(({ name }, i) => ({ name, data: BATCH.data.children[i] }));

describe('the ClickHouse sink', () => {
  it('creates the database of its URL', async () => {
    const own = new ClickHouseSink({ url: `${clickhouse.url.replace(/\/$/, '')}/tele`, logger: silentLogger() });
    await own.start();
    await own.start();
    await own.ensureTable(LOGS_EVENTS);
    const at = nextLsn();
    await own.write(write(at, false));
    await own.ping();
    await own.stop();
    expect(await count(at, 'tele.logs_events')).toBe(`${ROWS}`);
    expect(await clickhouse.rows('SELECT count() FROM tele.otel_logs')).toEqual([[`${ROWS}`]]);
  });

  it('adds the columns of a newer schema and keeps the rows', async () => {
    const first: TableSchema = {
      table: 'growing' as TableName,
      version: 1,
      timeColumn: 'at',
      tier: 'cold',
      columns: [{ name: 'at', type: 'timestamp', nullable: false }],
    };
    const second: TableSchema = {
      ...first,
      version: 2,
      columns: [...first.columns, { name: 'n', type: 'int64', nullable: true }, { name: 's', type: 'string', nullable: true }],
    };
    const batch = recordBatch([{ name: 'at', data: columnOf('timestamp', [START_NS], 'plain') }]);
    await sink.ensureTable(first);
    await sink.write({ ...write(nextLsn(), false, first), batch });
    await Promise.all([sink.ensureTable(second), sink.ensureTable(first), sink.ensureTable(second)]);
    const wide = recordBatch([
      { name: 'n', data: columnOf('int64', [7n], 'plain') },
      { name: 'at', data: columnOf('timestamp', [START_NS + 1n], 'plain') },
    ]);
    await sink.write({ ...write(nextLsn(), false, second), batch: wide });
    expect(await clickhouse.rows('SELECT n, s FROM growing ORDER BY at')).toEqual([
      [null, ''],
      ['7', ''],
    ]);
  });

  it('does not write into a table whose inserts could fall apart', async () => {
    await clickhouse.command('CREATE TABLE foreign_one (timestamp DateTime) ENGINE = MergeTree ORDER BY timestamp');
    const schema: TableSchema = { ...LOGS_EVENTS, table: 'foreign_one' as TableName };
    await expect(sink.ensureTable(schema)).rejects.toMatchObject({
      failure: 'retry',
      message: 'foreign_one is partitioned by nothing, toYYYYMMDD(timestamp) is needed',
    });
  });

  it('tells that a store is not there', async () => {
    const nobody = new ClickHouseSink({ url: 'http://127.0.0.1:1', logger: silentLogger() });
    await expect(nobody.start()).rejects.toMatchObject({ failure: 'retry', message: 'clickhouse does not answer' });
    await expect(nobody.write(write(nextLsn(), false))).rejects.toMatchObject({ failure: 'retry' });
    await nobody.stop();
  });
});
