/** The ClickHouse HTTP interface as raw HTTP clients see it. */
import { createHash, randomBytes } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { request } from 'node:http';
import { join } from 'node:path';
import { brotliDecompressSync, deflateSync, gunzipSync, gzipSync, inflateSync } from 'node:zlib';
import { startClickHouse, type TestClickHouse } from '../support/clickhouse';

let clickhouse: TestClickHouse;

interface Answer {
  readonly status: number;
  readonly headers: Record<string, string>;
  readonly body: Buffer;
  readonly text: string;
}

interface Ask {
  readonly method?: string;
  readonly path?: string;
  readonly body?: Buffer | string;
  readonly headers?: Record<string, string>;
}

/** node:http, because fetch undoes compression by itself. */
function ask({ method = 'POST', path = '/', body = '', headers = {} }: Ask): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const sent = request(`${clickhouse.url}${path}`, { method, headers }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => {
        const whole = Buffer.concat(chunks);
        const plain = response.headers as Record<string, string>;
        resolve({ status: response.statusCode as number, headers: plain, body: whole, text: whole.toString('utf8') });
      });
    });
    sent.on('error', reject);
    sent.end(body);
  });
}

const url = (parameters: Record<string, string>): string => `/?${new URLSearchParams(parameters).toString()}`;
const sql = async (query: string, parameters: Record<string, string> = {}): Promise<string> => {
  const answer = await ask({ path: url(parameters), body: query });
  if (answer.status !== 200) throw new Error(answer.text);
  return answer.text;
};

/** One field of a multipart body whose boundary is `b`. */
const formField = (name: string, value: string): string =>
  `--b\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`;
const get = (query: string, more = {}): Promise<Answer> => ask({ method: 'GET', path: url({ query, ...more }) });
const readNative = async (revision: number): Promise<Buffer> => {
  const settings = { client_protocol_version: String(revision), max_threads: '1' };
  return (await ask({ path: url(settings), body: 'SELECT * FROM native ORDER BY c_u64 FORMAT Native' })).body;
};
const countBytes = (bytes: Buffer, mark: Buffer): number => bytes.toString('latin1').split(mark.toString('latin1')).length - 1;

beforeAll(async () => {
  clickhouse = await startClickHouse();
});

afterAll(async () => {
  await clickhouse?.stop();
});

describe('health checks', () => {
  it.each(['/ping', '/replicas_status', '/'])('GET %s answers Ok', async (path) => {
    expect(await ask({ method: 'GET', path })).toMatchObject({ status: 200, text: 'Ok.\n' });
  });

  it('an unknown path is 404', async () => {
    expect((await ask({ method: 'GET', path: '/nothing' })).status).toBe(404);
  });
});

describe('queries', () => {
  it('takes the query from the body, the URL, or both, joined by a line end', async () => {
    expect(await sql('SELECT 1')).toBe('1\n');
    expect((await ask({ method: 'GET', path: url({ query: 'SELECT 2' }) })).text).toBe('2\n');
    expect((await ask({ path: url({ query: 'SELECT 3,' }), body: '4' })).text).toBe('3\t4\n');
  });

  it('answers with the headers of a server', async () => {
    const { headers } = await ask({ path: url({ query_id: 'my id' }), body: 'SELECT 1 FORMAT JSONEachRow' });
    expect(headers).toMatchObject({
      'content-type': 'application/x-ndjson; charset=UTF-8',
      'x-clickhouse-query-id': 'my id',
      'x-clickhouse-format': 'JSONEachRow',
      'x-clickhouse-timezone': expect.stringMatching(/./),
      'x-clickhouse-server-display-name': expect.stringMatching(/./),
    });
    expect(JSON.parse(headers['x-clickhouse-summary'])).toMatchObject({ result_rows: '1', written_rows: '0' });
  });

  it.each([
    ['TabSeparated', '1\ta\n'],
    ['CSVWithNames', '"n","s"\n1,"a"\n'],
    ['JSONCompactEachRow', '[1, "a"]\n'],
    ['RowBinary', '\u0001\u0001a'],
    ['Values', "(1,'a')"],
  ])('answers in the format %s, named by parameter, header or statement', async (format, expected) => {
    const query = "SELECT 1::UInt8 AS n, 'a' AS s";
    expect(await sql(query, { default_format: format })).toBe(expected);
    expect((await ask({ body: query, headers: { 'X-ClickHouse-Format': format } })).text).toBe(expected);
    expect(await sql(`${query} FORMAT ${format};`)).toBe(expected);
    expect(await sql(`${query} FORMAT ${format} SETTINGS max_threads = 1 -- the end`)).toBe(expected);
  });

  it('a column or alias called format is no clause', async () => {
    expect(await sql("SELECT format FROM (SELECT 'x' AS format) ORDER BY format DESC")).toBe('x\n');
    expect(await sql("SELECT 'y' AS format")).toBe('y\n');
  });

  it('JSON keeps its statistics and rows', async () => {
    const answer = JSON.parse(await sql('SELECT number FROM numbers(3) FORMAT JSON')) as Record<string, unknown>;
    expect(answer).toMatchObject({ rows: 3, statistics: { rows_read: 3 }, data: [{ number: 0 }, { number: 1 }, { number: 2 }] });
  });

  it('binds parameters of several types on the server', async () => {
    const text = await sql(
      'SELECT {s:String}, {n:UInt64}, {a:Array(String)}, {m:Map(String, UInt8)}, {z:Nullable(String)}, {d:DateTime64(9)}',
      {
        param_s: "it's \\t ü; SELECT",
        param_n: '18446744073709551615',
        param_a: "['x','y']",
        param_m: "{'k':7}",
        param_z: '\\N',
        param_d: '2026-01-02 03:04:05.123456789',
      },
    );
    expect(text).toBe("it\\'s \\t ü; SELECT\t18446744073709551615\t['x','y']\t{'k':7}\t\\N\t2026-01-02 03:04:05.123456789\n");
    expect(await sql('SELECT count() > 0 FROM {d:Identifier}.{t:Identifier}', { param_d: 'system', param_t: 'one' })).toBe('1\n');
  });

  it('does not mix the parameters of parallel requests', async () => {
    const numbers = Array.from({ length: 40 }, (_, index) => String(index));
    expect(await Promise.all(numbers.map((n) => sql('SELECT {n:String}', { param_n: n })))).toEqual(numbers.map((n) => `${n}\n`));
  });

  it('takes every other URL parameter as a setting, for that request only', async () => {
    expect(
      await sql("SELECT getSetting('max_execution_time'), getSetting('max_threads')", {
        max_execution_time: '60',
        max_threads: '1',
      }),
    ).toBe('60\t1\n');
    expect(await sql("SELECT getSetting('max_execution_time')")).toBe('0\n');
    await sql('SET max_threads = 7');
    expect(await sql("SELECT getSetting('max_threads') = 7")).toBe('0\n');
  });

  it('takes the database from the URL or a header', async () => {
    await sql('CREATE DATABASE `other db`');
    expect(await sql('SELECT currentDatabase()', { database: 'other db' })).toBe('other db\n');
    expect((await ask({ body: 'SELECT currentDatabase()', headers: { 'X-ClickHouse-Database': 'other db' } })).text).toBe(
      'other db\n',
    );
    expect(await sql('SELECT currentDatabase()')).toBe('default\n');
  });

  it('keeps a session between requests and locks it', async () => {
    const session = { session_id: 's1' };
    await sql('CREATE TEMPORARY TABLE mine (a UInt8)', session);
    await sql('INSERT INTO mine VALUES (5)', session);
    expect(await sql('SELECT a FROM mine', session)).toBe('5\n');
    const slow = sql('SELECT sleep(0.5)', session);
    await seen("query LIKE 'SELECT sleep(0.5)%'");
    expect((await ask({ path: url(session), body: 'SELECT 1' })).headers['x-clickhouse-exception-code']).toBe('373');
    await slow;
    expect(
      (await ask({ path: url({ session_id: 'none', session_check: '1' }), body: 'SELECT 1' })).headers[
        'x-clickhouse-exception-code'
      ],
    ).toBe('372');
  });

  it('reads the multipart form that carries parameters', async () => {
    const body = `${formField('query', 'SELECT {a:String}, {b:UInt8}')}${formField('param_a', 'ü\\nx')}${formField('param_b', '3')}--b--\r\n`;
    const headers = { 'Content-Type': 'multipart/form-data; boundary=b' };
    expect(await ask({ body, headers })).toMatchObject({ status: 200, text: 'ü\\nx\t3\n' });
  });

  it('answers a result of 72 MB exactly, and leaves no file behind', async () => {
    const answer = await ask({ body: `SELECT number, '' FROM numbers(8000000) FORMAT RowBinary` });
    expect(answer.body).toHaveLength(8_000_000 * 9);
    for (const row of [0, 1, 4_000_000, 7_999_999]) expect(answer.body.readBigUInt64LE(row * 9)).toBe(BigInt(row));
    expect(await readdir(join(clickhouse.dataDir, 'http'))).toEqual([]);
  });
});

/** Waits until the server lists a query. */
async function seen(condition: string): Promise<void> {
  for (let turn = 0; turn < 500; turn++) {
    if ((await sql(`SELECT count() FROM system.processes WHERE ${condition} AND query NOT LIKE '%system.processes%'`)) !== '0\n')
      return;
  }
  throw new Error(`not listed: ${condition}`);
}

describe('Native blocks for a client revision (clickhouse-go, Grafana)', () => {
  const COLUMNS: readonly [string, string, string][] = [
    ['c_u64', 'UInt64', 'number'],
    ['c_str', 'String', "repeat('x', number % 200)"],
    ['c_nul', 'Nullable(String)', "if(number % 2 = 0, NULL, 'y')"],
    ['c_arr', 'Array(Array(Nullable(Int16)))', '[[1, NULL], [number % 100]]'],
    ['c_map', 'Map(LowCardinality(String), String)', "map('k', toString(number), 'l', '')"],
    ['c_low', 'LowCardinality(Nullable(String))', 'if(number % 3 = 0, NULL, toString(number % 7))'],
    ['c_tup', 'Tuple(`a b` String, n Decimal(30, 4), d DateTime64(9))', "('t', 1.5, '2026-01-01 00:00:00')"],
    ['c_fix', 'FixedString(5)', "'abc'"],
    ['c_enu', "Enum8('a(,' = 1, 'b' = 2)", "'b'"],
    ['c_uid', 'UUID', 'generateUUIDv4()'],
    ['c_box', 'Array(Tuple(LowCardinality(String), UInt128))', "[('q', 5)]"],
  ];

  it('begin with the block info and mark no column as custom, for every type', async () => {
    await sql(
      `CREATE TABLE native (${COLUMNS.map(([name, type]) => `${name} ${type}`).join(', ')}) ENGINE = MergeTree ORDER BY c_u64`,
    );
    const values = COLUMNS.map(([name, , expression]) => `${expression} AS ${name}`).join(', ');
    await sql(`INSERT INTO native SELECT ${values} FROM numbers(140000)`);
    const plain = await readNative(0);
    const marked = await readNative(54_460);
    // Found by the headers themselves, without a walk over the values.
    const info = Buffer.from([1, 0, 2, 0xff, 0xff, 0xff, 0xff, 0, COLUMNS.length]);
    const blocks = countBytes(marked, info);
    expect(blocks).toBeGreaterThan(1);
    for (const [name] of COLUMNS) {
      const start = plain.indexOf(name);
      const typeLength = plain[start + name.length];
      const header = plain.subarray(start - 1, start + name.length + 1 + typeLength);
      expect(countBytes(plain, header)).toBe(blocks);
      expect(countBytes(marked, Buffer.concat([header, Buffer.from([0])]))).toBe(blocks);
    }
    expect(marked.length).toBe(plain.length + blocks * (8 + COLUMNS.length));
    expect((await readNative(54_400)).length).toBe(plain.length + blocks * 8);
  });

  it('of DESCRIBE are marked too, and a type that cannot be walked is refused', async () => {
    const path = url({ client_protocol_version: '54460', default_format: 'Native' });
    expect((await ask({ path, body: 'DESCRIBE TABLE native' })).body[0]).toBe(1);
    expect((await ask({ path, body: 'SELECT 1::Dynamic' })).headers['x-clickhouse-exception-code']).toBe('48');
  });
});

describe('errors', () => {
  it.each([
    ['SELECT * FROM nope', 404, '60', 'UNKNOWN_TABLE'],
    ['SELECT * FROM nope.nope', 404, '81', 'UNKNOWN_DATABASE'],
    ['SELECT nope', 404, '47', 'UNKNOWN_IDENTIFIER'],
    ['SELECT nope(1)', 404, '46', 'UNKNOWN_FUNCTION'],
    ['SELEC 1', 400, '62', 'SYNTAX_ERROR'],
    ['SELECT 1; SELECT 2', 400, '62', 'SYNTAX_ERROR'],
    ['', 400, '62', 'SYNTAX_ERROR'],
    ['SELECT 1 FORMAT Nope', 404, '73', 'UNKNOWN_FORMAT'],
    ['SELECT throwIf(number = 90000) FROM numbers(100000)', 500, '395', 'FUNCTION_THROW_IF_VALUE_IS_NON_ZERO'],
    [
      'SELECT 1 SETTINGS max_memory_usage = 1, max_threads = 1, max_untracked_memory = 0 FORMAT JSON',
      500,
      '241',
      'MEMORY_LIMIT_EXCEEDED',
    ],
    ['SELECT sleep(3) SETTINGS max_execution_time = 1', 408, '159', 'TIMEOUT_EXCEEDED'],
    ["SELECT 1 INTO OUTFILE 'x'", 500, '358', 'INTO_OUTFILE_NOT_ALLOWED'],
    ["INSERT INTO t FROM INFILE 'x' FORMAT CSV", 404, '78', 'UNKNOWN_TYPE_OF_QUERY'],
  ])('%s is %i with code %s in header and body', async (query, status, code, name) => {
    const answer = await ask({ body: query });
    expect(answer).toMatchObject({ status, headers: { 'x-clickhouse-exception-code': code } });
    expect(answer.text).toMatch(new RegExp(`^Code: ${code}\\. DB::Exception: [^]*\\. \\(${name}\\) \\(version [0-9.]+\\)\n$`));
  });

  it('an unknown setting or parameter keeps the statement from running', async () => {
    await sql('CREATE TABLE untouched (a UInt8) ENGINE = MergeTree ORDER BY a');
    const answer = await ask({ path: url({ query: 'INSERT INTO untouched FORMAT CSV', no_such_setting: '1' }), body: '1\n' });
    expect(answer).toMatchObject({ status: 404, headers: { 'x-clickhouse-exception-code': '115' } });
    expect((await ask({ path: url({ 'bad;name': '1' }), body: 'SELECT 1' })).status).toBe(400);
    expect(await sql('SELECT count() FROM untouched')).toBe('0\n');
  });

  it.each([
    ["SELECT * FROM file('/etc/hostname', 'LineAsString')", '291'],
    ['SELECT * FROM `file`(`x`)', '291'],
    ["CREATE TABLE f (a String) ENGINE = File(CSV, '/etc/hostname')", '291'],
    ['SELECT * FROM `/etc/hostname`', '60'],
    ['SELECT * FROM default.`/etc/hostname`', '60'],
  ])('%s does not read files of the machine', async (query, code) => {
    expect((await ask({ body: query })).headers['x-clickhouse-exception-code']).toBe(code);
  });
});

describe('read-only requests', () => {
  it('GET may read and change settings, and may not write', async () => {
    await sql('CREATE TABLE guarded (a UInt8) ENGINE = MergeTree ORDER BY a');
    expect((await get('SELECT 1 SETTINGS max_threads = 1')).text).toBe('1\n');
    for (const query of [
      'INSERT INTO guarded VALUES (1)',
      'DROP TABLE guarded',
      'SET readonly = 0',
      'CREATE TABLE x (a UInt8) ENGINE = Memory',
    ]) {
      expect((await get(query)).headers['x-clickhouse-exception-code']).toBe('164');
      expect((await get(query, { session_id: 'reader' })).headers['x-clickhouse-exception-code']).toBe('164');
    }
    expect(await sql('SELECT count() FROM guarded')).toBe('0\n');
  });

  it('readonly = 1 forbids settings too', async () => {
    const answer = await ask({ path: url({ readonly: '1' }), body: 'SELECT 1 SETTINGS max_threads = 1' });
    expect(answer.headers['x-clickhouse-exception-code']).toBe('164');
    expect(await sql('SELECT 1', { readonly: '1', max_execution_time: '9' })).toBe('1\n');
  });
});

describe('compression', () => {
  const rows = Buffer.from(Array.from({ length: 5000 }, (_, row) => `${row}\ttext ${row}\n`).join(''));

  beforeAll(() => sql('CREATE TABLE packed (way String, n UInt32, s String) ENGINE = MergeTree ORDER BY n'));

  it.each([
    ['gzip', gzipSync(rows)],
    ['deflate', deflateSync(rows)],
    ['identity', rows],
  ])('takes a body with Content-Encoding %s', async (way, body) => {
    const query = `INSERT INTO packed (n, s) SELECT n, s FROM input('n UInt32, s String') FORMAT TSV`;
    await sql(`TRUNCATE TABLE packed`);
    expect(await ask({ path: url({ query }), body, headers: { 'Content-Encoding': way } })).toMatchObject({ status: 200 });
    expect(await sql('SELECT n, s FROM packed ORDER BY n')).toBe(rows.toString());
  });

  it.each([
    ['gzip', gunzipSync],
    ['deflate', inflateSync],
    ['br', brotliDecompressSync],
  ])('answers in %s when both sides want it', async (way, decode) => {
    const query = "SELECT number, concat('text ', toString(number)) FROM numbers(5000)";
    const headers = { 'Accept-Encoding': way };
    const packed = await ask({ path: url({ enable_http_compression: '1' }), body: query, headers });
    expect(packed.headers['content-encoding']).toBe(way);
    expect(decode(packed.body).toString()).toBe(rows.toString());
    expect((await ask({ body: query, headers })).headers['content-encoding']).toBeUndefined();
  });

  it('takes a zstd body', async () => {
    const line = Buffer.from('7,seven\n');
    // One frame (RFC 8878): magic, single segment with its size, one raw block that is the last.
    const frame = Buffer.concat([Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x20, line.length, (line.length << 3) | 1, 0, 0]), line]);
    await sql('TRUNCATE TABLE packed');
    const path = url({ query: 'INSERT INTO packed (n, s) FORMAT CSV' });
    expect(await ask({ path, body: frame, headers: { 'Content-Encoding': 'zstd' } })).toMatchObject({ status: 200 });
    expect(await sql('SELECT n, s FROM packed')).toBe('7\tseven\n');
  });

  it('an unknown encoding, damaged data and the native compression are clear errors', async () => {
    const path = url({ query: 'INSERT INTO packed (n) FORMAT CSV' });
    expect(
      (await ask({ path, body: rows, headers: { 'Content-Encoding': 'lzma' } })).headers['x-clickhouse-exception-code'],
    ).toBe('48');
    const damaged = gzipSync(randomBytes(4000)).subarray(0, 2000);
    expect(
      (await ask({ path, body: damaged, headers: { 'Content-Encoding': 'gzip' } })).headers['x-clickhouse-exception-code'],
    ).toBe('271');
    expect((await ask({ path: url({ compress: '1' }), body: 'SELECT 1' })).headers['x-clickhouse-exception-code']).toBe('48');
  });
});

describe('INSERT', () => {
  it.each([
    ['JSONEachRow', '{"a":1,"b":"x"}\n{"a":2}\n', '1\tx\n2\tdd\n'],
    ['CSV', '1,"x\ny"\n2,z\n', '1\tx\\ny\n2\tz\n'],
    ['TSV', '1\tFORMAT JSON; SELECT\n', '1\tFORMAT JSON; SELECT\n'],
    ['RowBinary', Buffer.from([10, 13, 0, 0, 0, 0, 0, 0x80, 3, 0xff, 0x0a, 0]), '9223372036854779146\t\ufffd\\n\\0\n'],
    ['Values', "(1, 'x'), (1 + 1, upper('y'))", '1\tx\n2\tY\n'],
  ])('of %s through the URL and through the body stores the same rows', async (format, data, expected) => {
    const table = `insert_${format.toLowerCase()}`;
    await sql(`CREATE TABLE ${table} (a UInt64, b String DEFAULT 'dd') ENGINE = MergeTree ORDER BY a`);
    const statement = format === 'Values' ? `INSERT INTO ${table} VALUES` : `INSERT INTO ${table} FORMAT ${format}`;
    for (const [path, body] of [
      [url({ query: statement }), Buffer.from(data)],
      [url({}), Buffer.concat([Buffer.from(`${statement}\n`), Buffer.from(data)])],
    ] as const) {
      await sql(`TRUNCATE TABLE ${table}`);
      const answer = await ask({ path, body });
      expect(answer).toMatchObject({ status: 200, text: '' });
      expect(await sql(`SELECT a, b FROM ${table} ORDER BY a`)).toBe(expected);
    }
  });

  it('keeps the column list, SETTINGS before and after FORMAT, comments, and reports the rows', async () => {
    await sql('CREATE TABLE listed (a UInt64, b String, c UInt8 DEFAULT 9) ENGINE = MergeTree ORDER BY a');
    const settings = "SETTINGS format_csv_delimiter = ';'";
    for (const query of [
      `/* INSERT */ INSERT INTO default.listed (b, a) ${settings} FORMAT CSV`,
      `INSERT INTO TABLE \`listed\` (* EXCEPT(c, a), a) FORMAT CSV ${settings}`,
    ]) {
      const answer = await ask({ path: url({ query }), body: 'x;1\ny;2\n' });
      expect(answer).toMatchObject({ status: 200, text: '' });
      expect(JSON.parse(answer.headers['x-clickhouse-summary'])).toMatchObject({ written_rows: '2' });
    }
    expect(await sql('SELECT a, b, c, count() FROM listed GROUP BY ALL ORDER BY a')).toBe('1\tx\t9\t2\n2\ty\t9\t2\n');
  });

  it('of a body that breaks off stores nothing', async () => {
    await sql('CREATE TABLE broken (a UInt64) ENGINE = MergeTree ORDER BY a');
    await new Promise<void>((resolve) => {
      const sent = request(`${clickhouse.url}${url({ query: 'INSERT INTO broken FORMAT CSV', query_id: 'broken off' })}`, {
        method: 'POST',
      });
      sent.on('error', () => resolve());
      sent.write('1\n2\n', () => {
        void seen("query_id = 'broken off'").then(() => sent.destroy());
      });
    });
    for (let left = '1\n'; left !== '0\n'; )
      left = await sql("SELECT count() FROM system.processes WHERE query_id = 'broken off'");
    expect(await sql('SELECT count() FROM broken')).toBe('0\n');
  });

  it('of a body that cannot be parsed names the row, and the connection can be used on', async () => {
    await sql('CREATE TABLE picky (a UInt8) ENGINE = MergeTree ORDER BY a');
    const answer = await ask({ body: 'INSERT INTO picky FORMAT JSONEachRow {"a":1}\n{"a":"x"}' });
    expect(answer).toMatchObject({ status: 400, headers: { 'x-clickhouse-exception-code': '27' } });
    expect(answer.text).not.toMatch(/Code: [0-9]+[^]*Code: /);
    expect(await sql('SELECT count() FROM picky')).toBe('0\n');
  });

  it('of 8 clients in parallel, with selects between, loses and mixes nothing', async () => {
    await sql('CREATE TABLE parallel (client UInt8, n UInt32) ENGINE = MergeTree ORDER BY (client, n)');
    await Promise.all(
      Array.from({ length: 8 }, async (_, client) => {
        for (let part = 0; part < 5; part++) {
          const rows = Array.from({ length: 500 }, (_row, row) => `${client},${part * 500 + row}`).join('\n');
          await sql(rows, { query: 'INSERT INTO parallel FORMAT CSV' });
          const found = await sql(`SELECT count(), max(n) FROM parallel WHERE client = ${client}`);
          expect(found).toBe(`${(part + 1) * 500}\t${(part + 1) * 500 - 1}\n`);
        }
      }),
    );
    expect(await sql('SELECT count(), uniqExact(client, n) FROM parallel')).toBe('20000\t20000\n');
  });

  it('stores random bytes of a String exactly', async () => {
    await sql('CREATE TABLE bytes (s String) ENGINE = MergeTree ORDER BY tuple()');
    const value = randomBytes(100_000);
    const length = Buffer.from([0xa0, 0x8d, 0x06]);
    await ask({ path: url({ query: 'INSERT INTO bytes FORMAT RowBinary' }), body: Buffer.concat([length, value]) });
    const hash = createHash('sha256').update(value).digest('hex');
    expect(await sql('SELECT lower(hex(SHA256(s))) FROM bytes')).toBe(`${hash}\n`);
  });
});

describe('KILL QUERY and system.processes', () => {
  const SLOW = 'SELECT sleepEachRow(0.05) FROM numbers(400) SETTINGS max_block_size = 1';

  it('lists a running query by its id and ends it', async () => {
    const slow = ask({ path: url({ query_id: 'slow one' }), body: SLOW });
    await seen("query_id = 'slow one'");
    expect(await sql("SELECT query FROM system.processes WHERE query_id = 'slow one'")).toBe(`${SLOW}\n`);
    expect(await sql("KILL QUERY WHERE query_id = 'slow one' TEST FORMAT CSV")).toMatch(/^"unknown_status","slow one","default"/);
    expect(await sql("KILL QUERY WHERE query_id = 'slow one' SYNC FORMAT CSV")).toMatch(/^"finished","slow one","default"/);
    expect(await sql("SELECT count() FROM system.processes WHERE query_id = 'slow one'")).toBe('0\n');
    expect(await slow).toMatchObject({ status: 500, headers: { 'x-clickhouse-exception-code': '394' } });
  });

  it('KILL of nothing answers no rows', async () => {
    expect(await sql("KILL QUERY WHERE query_id = 'nobody' SYNC")).toBe('');
  });

  it('refuses a second query with the same id, unless it replaces the first', async () => {
    const first = ask({ path: url({ query_id: 'twice' }), body: SLOW });
    await seen("query_id = 'twice'");
    expect((await ask({ path: url({ query_id: 'twice' }), body: 'SELECT 1' })).headers['x-clickhouse-exception-code']).toBe(
      '216',
    );
    expect(await sql('SELECT 1', { query_id: 'twice', replace_running_query: '1' })).toBe('1\n');
    expect((await first).headers['x-clickhouse-exception-code']).toBe('394');
  });

  it('after KILL SYNC of an INSERT that is still received, none of it is ever stored', async () => {
    await sql('CREATE TABLE killed (a UInt64) ENGINE = MergeTree ORDER BY a');
    const path = url({ query: 'INSERT INTO killed FORMAT CSV', query_id: 'half sent' });
    let status = 0;
    const ended = new Promise<void>((resolve) => {
      const sent = request(`${clickhouse.url}${path}`, { method: 'POST' }, (response) => {
        status = response.statusCode as number;
        response.resume().on('close', () => resolve());
      });
      sent.on('error', () => resolve());
      sent.write('1\n');
      void seen("query_id = 'half sent'")
        .then(() => sql("KILL QUERY WHERE query_id = 'half sent' SYNC"))
        .then(() => sent.end('2\n'));
    });
    await ended;
    expect(status === 500 || status === 0).toBe(true);
    expect(await sql("SELECT count() FROM system.processes WHERE query_id = 'half sent'")).toBe('0\n');
    expect(await sql('SELECT count() FROM killed')).toBe('0\n');
  });

  it('answers KILL QUERY and /ping while all query slots are taken', async () => {
    const ids = Array.from({ length: 20 }, (_, index) => `slot ${index}`);
    const slow = ids.map((id) => ask({ path: url({ query_id: id }), body: SLOW }));
    while ((await ask({ method: 'GET', path: '/ping' })).status !== 200);
    // A SELECT would wait for a slot itself.
    for (let killed = 0; killed < ids.length; ) {
      const answer = await sql("KILL QUERY WHERE query_id LIKE 'slot %' SYNC FORMAT JSONEachRow").catch(() => '');
      killed += answer.split('\n').filter((line) => line !== '').length;
    }
    for (const answer of await Promise.all(slow)) expect(answer.headers['x-clickhouse-exception-code']).toBe('394');
  });
});
