/** What the project does with a ClickHouse server, through @clickhouse/client, against the embedded one. */
import { Readable } from 'node:stream';
import { type ClickHouseClient, ClickHouseLogLevel, createClient } from '@clickhouse/client';
import { Field, makeData, RecordBatch, RecordBatchStreamWriter, Schema, Struct, tableFromIPC, Uint64 } from 'apache-arrow';
import { startClickHouse, type TestClickHouse } from '../support/clickhouse';

let clickhouse: TestClickHouse;
let client: ClickHouseClient;

beforeAll(async () => {
  clickhouse = await startClickHouse();
  client = createClient({ ...QUIET, url: clickhouse.url });
});

afterAll(async () => {
  await client?.close();
  await clickhouse?.stop();
});

/** Errors are what some tests are about. */
const QUIET = { log: { level: ClickHouseLogLevel.OFF } };

const one = async (query: string): Promise<unknown[]> => (await clickhouse.rows(query))[0];

/** One record batch of `rows` rows: `columns` UInt64 columns a0, a1, ... that hold row * (column + 1) from `from` on. */
function arrowStream(from: number, rows: number, columns = 1, batches = 1): Buffer {
  const schema = new Schema(Array.from({ length: columns }, (_, column) => new Field(`a${column}`, new Uint64(), false)));
  const writer = new RecordBatchStreamWriter();
  for (let batch = 0; batch < batches; batch++) {
    const children = Array.from({ length: columns }, (_, column) => {
      const data = new BigUint64Array(rows);
      // All values fit the low half.
      const halves = new Uint32Array(data.buffer);
      for (let row = 0; row < rows; row++) halves[row * 2] = (from + batch * rows + row) * (column + 1);
      return makeData({ type: new Uint64(), length: rows, nullCount: 0, data });
    });
    writer.write(new RecordBatch(schema, makeData({ type: new Struct(schema.fields), length: rows, nullCount: 0, children })));
  }
  writer.finish();
  return Buffer.from(writer.toUint8Array(true));
}

async function insertArrow(
  table: string,
  body: Buffer,
  settings: Record<string, string | number> = {},
  id?: string,
): Promise<void> {
  const result = await client.exec({
    query: `INSERT INTO ${table} FORMAT ArrowStream`,
    values: Readable.from([body.subarray(0, 1000), body.subarray(1000)], { objectMode: false }),
    clickhouse_settings: { async_insert: 0, wait_end_of_query: 1, ...settings },
    ...(id === undefined ? {} : { query_id: id }),
  });
  for await (const chunk of result.stream) expect(chunk).toHaveLength(0);
}

describe('@clickhouse/client', () => {
  it('pings, commands, inserts and queries', async () => {
    expect(await client.ping()).toEqual({ success: true });
    expect(await client.ping({ select: true })).toEqual({ success: true });
    await client.command({ query: 'CREATE TABLE basics (id UInt64, name String) ENGINE = MergeTree ORDER BY id' });
    const inserted = await client.insert({
      table: 'basics',
      format: 'JSONEachRow',
      values: [
        { id: '18446744073709551615', name: 'ü' },
        { id: 2, name: "'" },
      ],
    });
    expect(inserted.summary).toMatchObject({ written_rows: '2' });
    const result = await client.query({
      query: 'SELECT * FROM basics WHERE id > {min:UInt64} ORDER BY id',
      query_params: { min: 1 },
      format: 'JSON',
    });
    expect(await result.json()).toMatchObject({ rows: 2, data: [{ name: "'" }, { name: 'ü' }] });
  });

  it('gives the code and type of an error', async () => {
    await expect(client.query({ query: 'SELECT * FROM nope' })).rejects.toMatchObject({ code: '60', type: 'UNKNOWN_TABLE' });
    await expect(client.command({ query: 'SELEC' })).rejects.toMatchObject({ code: '62' });
  });

  it('sends its own and reads our compressed bodies', async () => {
    const packed = createClient({ ...QUIET, url: clickhouse.url, compression: { request: true, response: true } });
    try {
      await packed.command({ query: 'CREATE TABLE packed (n UInt64) ENGINE = MergeTree ORDER BY n' });
      await packed.insert({ table: 'packed', format: 'JSONEachRow', values: Array.from({ length: 20_000 }, (_, n) => ({ n })) });
      const result = await packed.query({ query: 'SELECT n FROM packed ORDER BY n', format: 'JSONCompactEachRow' });
      const rows = await result.json<[number]>();
      expect([rows.length, rows[19_999]?.[0]]).toEqual([20_000, 19_999]);
    } finally {
      await packed.close();
    }
  });

  it('takes large parameters in a multipart body', async () => {
    const text = 'x\n\tü'.repeat(20_000);
    const result = await client.query({
      query: 'SELECT {t:String} AS t',
      query_params: { t: text },
      format: 'JSONEachRow',
      use_multipart_params: true,
    });
    expect(await result.json()).toEqual([{ t: text }]);
  });

  it('streams rows', async () => {
    const result = await client.query({ query: 'SELECT number AS n FROM numbers(300000)', format: 'JSONEachRow' });
    let rows = 0;
    for await (const part of result.stream()) rows += part.length;
    expect(rows).toBe(300_000);
  });
});

describe('ArrowStream', () => {
  it('of 100 MB is stored exactly, and read back exactly', async () => {
    await client.command({
      query: 'CREATE TABLE big (a0 UInt64, a1 UInt64, a2 UInt64, a3 UInt64) ENGINE = MergeTree ORDER BY a0',
    });
    const body = arrowStream(0, 800_000, 4, 4);
    expect(body.length).toBeGreaterThan(100_000_000);
    await insertArrow('big', body);
    expect(
      await one('SELECT count(), uniqExact(a0), sum(a0), sum(a3) = 4 * sum(a0), countIf(a1 = 2 * a0 AND a2 = 3 * a0) FROM big'),
    ).toEqual(['3200000', '3200000', '5119998400000', 1, '3200000']);
    const answer = await fetch(`${clickhouse.url}/?output_format_arrow_compression_method=none`, {
      method: 'POST',
      body: 'SELECT a0 FROM big ORDER BY a0 FORMAT ArrowStream',
    });
    const column = tableFromIPC(new Uint8Array(await answer.arrayBuffer())).getChild('a0');
    expect(column?.length).toBe(3_200_000);
    expect(column?.get(3_199_999)).toBe(3_199_999n);
  });

  it('of one record batch is one block and one part', async () => {
    await client.command({ query: 'CREATE TABLE blocks (a0 UInt64) ENGINE = MergeTree ORDER BY a0' });
    await client.command({ query: 'SYSTEM STOP MERGES blocks' });
    await insertArrow('blocks', arrowStream(0, 1_000_000));
    expect(await one("SELECT count(), sum(rows) FROM system.parts WHERE table = 'blocks' AND active")).toEqual(['1', '1000000']);
  });

  it('that is cut off or damaged is an error and stores nothing', async () => {
    await client.command({ query: 'CREATE TABLE cut (a0 UInt64) ENGINE = MergeTree ORDER BY a0' });
    const body = arrowStream(0, 10_000);
    await expect(insertArrow('cut', body.subarray(0, 50_000))).rejects.toMatchObject({ code: expect.stringMatching(/^\d+$/) });
    await expect(insertArrow('cut', Buffer.from('no arrow at all'))).rejects.toMatchObject({
      code: expect.stringMatching(/^\d+$/),
    });
    expect(await one('SELECT count() FROM cut')).toEqual(['0']);
  });
});

describe('insert_deduplication_token', () => {
  beforeAll(() =>
    client.command({
      query: 'CREATE TABLE tokens (a0 UInt64) ENGINE = MergeTree ORDER BY a0 SETTINGS non_replicated_deduplication_window = 100',
    }),
  );

  it('makes a repeated insert of one record batch count once', async () => {
    const body = arrowStream(0, 50_000);
    for (let attempt = 0; attempt < 3; attempt++) await insertArrow('tokens', body, { insert_deduplication_token: 't-1' });
    expect(await one('SELECT count(), uniqExact(a0) FROM tokens')).toEqual(['50000', '50000']);
    await insertArrow('tokens', body, { insert_deduplication_token: 't-2' });
    expect(await one('SELECT count() FROM tokens')).toEqual(['100000']);
  });

  it('is remembered over kill -9, and what was acknowledged is there', async () => {
    const body = arrowStream(1_000_000, 1000);
    await insertArrow('tokens', body, { insert_deduplication_token: 't-3' });
    const before = await one('SELECT count() FROM tokens');
    const { url } = clickhouse.server;
    await clickhouse.crash();
    expect(clickhouse.server.url).toBe(url);
    expect(await one('SELECT count() FROM tokens')).toEqual(before);
    await insertArrow('tokens', body, { insert_deduplication_token: 't-3' });
    expect(await one('SELECT count() FROM tokens')).toEqual(before);
  });
});

describe('statements of a server', () => {
  it('knows system tables, SHOW, DESCRIBE, EXPLAIN, SYSTEM and OPTIMIZE', async () => {
    await client.command({ query: 'CREATE TABLE shown (n UInt64) ENGINE = MergeTree ORDER BY n' });
    expect(await one("SELECT engine FROM system.tables WHERE database = currentDatabase() AND name = 'shown'")).toEqual([
      'MergeTree',
    ]);
    expect(await one("SELECT engine FROM system.databases WHERE name = 'default'")).toEqual(['Atomic']);
    expect(await one("SELECT type FROM system.columns WHERE table = 'shown'")).toEqual(['UInt64']);
    expect(await one("SELECT type FROM system.settings WHERE name = 'max_threads'")).toHaveLength(1);
    expect((await clickhouse.rows('DESCRIBE TABLE shown'))[0]?.slice(0, 2)).toEqual(['n', 'UInt64']);
    expect(await clickhouse.rows("SHOW TABLES LIKE 'shown'")).toEqual([['shown']]);
    expect((await one('SHOW CREATE TABLE shown'))[0]).toMatch(/^CREATE TABLE default\.shown/);
    expect((await clickhouse.rows('EXPLAIN SELECT n FROM shown')).length).toBeGreaterThan(1);
    for (const query of ['SYSTEM FLUSH LOGS', 'OPTIMIZE TABLE shown FINAL']) await client.command({ query });
    expect((await one('SELECT uptime(), version()'))[1]).toMatch(/^\d+\.\d+/);
  });

  it('keeps nanoseconds, maps of low cardinality, views, materialized views and ALTER', async () => {
    await client.command({
      query: `CREATE TABLE events (ts DateTime64(9), labels Map(LowCardinality(String), String)) ENGINE = MergeTree
        PARTITION BY toYYYYMMDD(ts) ORDER BY ts SETTINGS fsync_after_insert = 1, fsync_part_directory = 1`,
    });
    await client.command({
      query: `CREATE MATERIALIZED VIEW per_label (k String, n UInt64) ENGINE = SummingMergeTree ORDER BY k
        AS SELECT arrayJoin(mapKeys(labels)) AS k, count() AS n FROM events GROUP BY k`,
    });
    await client.command({ query: 'CREATE VIEW seen AS SELECT ts, labels FROM events' });
    await client.insert({
      table: 'events',
      format: 'JSONEachRow',
      values: [
        { ts: '2026-01-02 03:04:05.123456789', labels: { a: '1', b: '2' } },
        { ts: '2026-01-03 00:00:00.000000001', labels: { a: 'x' } },
      ],
    });
    expect(await clickhouse.rows('SELECT * FROM seen ORDER BY ts')).toEqual([
      ['2026-01-02 03:04:05.123456789', { a: '1', b: '2' }],
      ['2026-01-03 00:00:00.000000001', { a: 'x' }],
    ]);
    expect(await clickhouse.rows('SELECT k, sum(n) FROM per_label GROUP BY k ORDER BY k')).toEqual([
      ['a', '2'],
      ['b', '1'],
    ]);
    await client.command({ query: 'ALTER TABLE events ADD COLUMN extra UInt8 DEFAULT 4' });
    await client.command({
      query: "ALTER TABLE events DELETE WHERE labels['a'] = 'x'",
      clickhouse_settings: { mutations_sync: '1' },
    });
    expect(await clickhouse.rows('SELECT extra FROM events')).toEqual([[4]]);
    await client.command({ query: 'ALTER TABLE events DROP PARTITION 20260102' });
    expect(await one('SELECT count() FROM events')).toEqual(['0']);
  });

  it('keeps tables, views and rows over a stop and a start', async () => {
    await client.command({ query: 'CREATE TABLE kept (n UInt64) ENGINE = MergeTree ORDER BY n' });
    await client.insert({ table: 'kept', format: 'JSONEachRow', values: [{ n: 7 }] });
    await client.command({ query: 'CREATE VIEW kept_view AS SELECT n + 1 AS m FROM default.kept' });
    await clickhouse.crash();
    await clickhouse.crash();
    expect(await one('SELECT m FROM kept_view')).toEqual(['8']);
  });
});

describe('the recovery recipe of the sink (rule C5)', () => {
  it('finds after KILL QUERY SYNC either all rows or none, and the retry makes it all', async () => {
    await client.command({
      query: 'CREATE TABLE recipe (a0 UInt64) ENGINE = MergeTree ORDER BY a0 SETTINGS non_replicated_deduplication_window = 100',
    });
    for (let round = 0; round < 8; round++) {
      const body = arrowStream(round * 100_000, 100_000);
      const id = `recipe/${round}`;
      const inserting = insertArrow('recipe', body, { insert_deduplication_token: id }, id).then(
        () => 'stored',
        () => 'failed',
      );
      const listed = `SELECT count() FROM system.processes WHERE query_id = '${id}'`;
      // The server has seen it, or is done with it already.
      while ((await Promise.race([inserting, one(listed)])).toString() === '0');
      // A different moment each time: while receiving, running, or after the end.
      for (let turn = 0; turn < round; turn++) await clickhouse.command('SELECT 1');
      await clickhouse.command(`KILL QUERY WHERE query_id = '${id}' SYNC`);
      expect(await one(listed)).toEqual(['0']);
      const range = `a0 >= ${round * 100_000} AND a0 < ${(round + 1) * 100_000}`;
      const [found] = await one(`SELECT count() FROM recipe WHERE ${range}`);
      expect(['0', '100000']).toContain(found);
      // A success that the client was told of is never a lie.
      expect(`${await inserting} ${String(found)}`).not.toBe('stored 0');
      await insertArrow('recipe', body, { insert_deduplication_token: id }, `${id}/again`);
      expect(await one(`SELECT count() FROM recipe WHERE ${range}`)).toEqual(['100000']);
    }
  });
});
