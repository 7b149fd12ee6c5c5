/**
 * `make demotion-show`: metric rows of five days are demoted under write load while the server is killed again and again. Shows that a
 * reader of both tiers sees each row once at every moment, that values are identical (by aggregates and md5 of SQL in both stores),
 * that late rows arrive once, and that roll-ups equal the aggregate of the raw rows. Exit code 1 when anything is otherwise.
 * `node -r ./test/support/run-typescript.cjs test/soak/demotion/main.ts [--rows 10000000] [--kills 20] [--seed n]`, after a build.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { Client } from 'pg';
import { PostgresSql } from '../../../src/query/hot';
import { startClickHouse, type TestClickHouse } from '../../support/clickhouse';
import { type OwnPostgres, startOwnPostgres } from '../../support/postgres';
import { randomOf } from '../../support/random';
import { TestServer, temporaryDirectory } from '../../support/server';
import { coldFigures, DAY_MS, DAYS, fillDay, firstDay, hotFigures, rollupFigures } from './data';
import { Watcher, Writer } from './watch';

const print = (text: string): void => void process.stdout.write(`${text}\n`);
const seconds = (fromMs: number): string => `${((performance.now() - fromMs) / 1000).toFixed(1)} s`;

interface Stage {
  readonly postgres: OwnPostgres;
  readonly clickhouse: TestClickHouse;
  readonly client: Client;
  readonly dataDir: string;
  readonly rows: number;
  readonly kills: number;
  readonly random: () => number;
}

let server: TestServer | undefined;

async function startServer({ postgres, clickhouse, dataDir, rows, kills }: Stage): Promise<void> {
  const settings = {
    POSTGRES_URL: postgres.url,
    CLICKHOUSE_URL: clickhouse.url,
    LOG_LEVEL: 'error',
    DELIVERY_INTERVAL_MS: '200',
    DEMOTION_INTERVAL_MS: '1000',
    // Slow enough that all kills meet a demotion on its way.
    DEMOTION_ROWS_PER_SECOND: String(Math.max(20_000, Math.ceil(rows / Math.max(1, kills)))),
    ROLLUPS_INTERVAL_MS: '2000',
    ROLLUPS_CLOSE_AFTER_MS: '1000',
  };
  server = await TestServer.start({ dataDir, settings });
}

interface State {
  readonly state: string;
  readonly rows_done: number;
  readonly rows_total: number;
}

async function states({ client }: Stage): Promise<string[]> {
  const { rows } = await client.query<{ state: string }>('SELECT state FROM _demotions ORDER BY from_ms');
  return rows.map(({ state }) => state);
}

async function fill({ client, rows }: Stage, fromMs: number): Promise<void> {
  const startedAt = performance.now();
  const perDay = Math.floor(rows / DAYS);
  for (let day = 0; day < DAYS; day++) {
    // A late row makes the partition of its day, as in life.
    const time = new Date(fromMs + day * DAY_MS + 1_000).toISOString();
    await server!.post('/write/metrics?ack=hot', JSON.stringify([{ time, app: 'first', value: 0 }]), {
      'content-type': 'application/json',
      'x-ack': 'hot',
    });
    await fillDay(client, fromMs + day * DAY_MS, perDay, day * perDay);
  }
  await client.query('ANALYZE metrics_events');
  print(`filled ${perDay * DAYS} rows of ${DAYS} days in ${seconds(startedAt)}`);
}

const STEPS: readonly string[] = ['planned', 'copying', 'verifying', 'flipping'];
/** How far a demotion is. */
const reached = (state: string): number => (STEPS.includes(state) ? STEPS.indexOf(state) : STEPS.length);

/** Asks for the demotion and kills the server at random times until all kills are done and everything has moved. */
async function demoteUnderKills(stage: Stage): Promise<Map<string, number>> {
  const { kills, random, client } = stage;
  const killedIn = new Map<string, number>();
  const body = JSON.stringify({ table: 'metrics_events', older_than: '2d' });
  const asked = await fetch(`http://${server!.admin}/api/demotions/run`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body,
  });
  if (asked.status !== 200) throw new Error(await asked.text());
  for (let kill = 0; kill < kills; kill++) {
    // Spread over the partitions and over the steps of each.
    const partition = Math.floor((kill * DAYS) / kills);
    const step = STEPS[Math.floor(random() * STEPS.length)];
    let now = await states(stage);
    for (; reached(now[partition]) < STEPS.indexOf(step); now = await states(stage)) await sleep(20);
    await sleep(random() * 1_500);
    now = await states(stage);
    const before = now.find((state) => !['demoted', 'planned'].includes(state)) ?? 'between two partitions';
    const running = server;
    server = undefined;
    await running?.stop('SIGKILL');
    killedIn.set(before, (killedIn.get(before) ?? 0) + 1);
    await startServer(stage);
  }
  for (let last = ''; ; await sleep(1_000)) {
    const now = await states(stage);
    const { demotions } = (await (await fetch(`http://${server!.admin}/api/demotions`)).json()) as { demotions: State[] };
    const line = demotions.map(({ state, rows_done: done, rows_total: total }) => `${state} ${done}/${total}`).join(', ');
    if (line !== last) print(`  ${line}`);
    last = line;
    if (now.every((state) => state === 'demoted')) return killedIn;
    if (now.includes('aborted')) {
      const { rows } = await client.query<{ error: string }>('SELECT error FROM _demotions WHERE error IS NOT NULL');
      throw new Error(`a demotion was given up: ${rows.map(({ error }) => error).join('; ')}`);
    }
  }
}

/** The load has arrived: each acknowledged row once, in one of the tiers. */
async function checkLoad({ client, clickhouse }: Stage, writer: Writer): Promise<boolean> {
  const expected = `${writer.acknowledged} of ${writer.acknowledged} different`;
  for (let attempt = 0; ; attempt++) {
    const hot = await client.query<{ n: string; d: string }>(
      "SELECT count(*) AS n, count(DISTINCT value_int) AS d FROM metrics_events WHERE app = 'load'",
    );
    const [[n, d]] = (await clickhouse.rows(
      "SELECT count(), uniqExact(value_int) FROM metrics_events WHERE app = 'load'",
    )) as string[][];
    const found = `${Number(hot.rows[0].d) + Number(d)} of ${Number(hot.rows[0].n) + Number(n)} different`;
    if (found === expected || attempt >= 120) {
      print(`load: ${writer.acknowledged} rows acknowledged, ${writer.late} late; found ${found}, ${n} of them in ClickHouse`);
      return found === expected;
    }
    await sleep(500);
  }
}

async function checkValues({ clickhouse }: Stage, fromMs: number, before: readonly object[]): Promise<boolean> {
  let same = true;
  for (const [day, expected] of before.entries()) {
    const found = await coldFigures(clickhouse, fromMs + day * DAY_MS);
    const isSame = JSON.stringify(found) === JSON.stringify(expected);
    print(`${isSame ? 'same' : 'DIFFERENT'}: ${JSON.stringify(found)}${isSame ? '' : ` expected ${JSON.stringify(expected)}`}`);
    same &&= isSame;
  }
  return same;
}

async function checkRollups({ clickhouse }: Stage, fromMs: number): Promise<boolean> {
  for (let attempt = 0; ; attempt++) {
    const days = await Promise.all(Array.from({ length: DAYS }, (_, day) => rollupFigures(clickhouse, fromMs + day * DAY_MS)));
    const same = days.filter(({ rollup, raw }) => rollup === raw).length;
    if (same === DAYS || attempt >= 60) {
      print(`roll-ups by hour equal the aggregate of the raw rows on ${same} of ${DAYS} days`);
      return same === DAYS;
    }
    await sleep(1_000);
  }
}

async function show(stage: Stage): Promise<boolean> {
  const fromMs = firstDay(Date.now());
  await startServer(stage);
  await fill(stage, fromMs);
  const before = [];
  for (let day = 0; day < DAYS; day++) before.push(await hotFigures(stage.client, fromMs + day * DAY_MS));
  const reader = new PostgresSql(stage.postgres.url, { rowsMax: 10, timeoutMs: 120_000 });
  const watcher = new Watcher(reader, stage.clickhouse, { fromMs, toMs: fromMs + DAYS * DAY_MS });
  const expected = await watcher.look();
  const writer = new Writer(() => server?.http, fromMs, DAYS, 200, 50);
  watcher.start();
  writer.start();
  const startedAt = performance.now();
  const killedIn = await demoteUnderKills(stage);
  print(
    `demoted ${DAYS} partitions with ${stage.kills} kills in ${seconds(startedAt)}: ${JSON.stringify(Object.fromEntries(killedIn))}`,
  );
  await sleep(2_000);
  await writer.stop();
  await watcher.stop();
  await reader.close();
  print(
    `a reader of both tiers looked ${watcher.looks} times (longest ${watcher.longestMs.toFixed(0)} ms) and saw ${JSON.stringify(Object.fromEntries(watcher.seen))}`,
  );
  const checks = [
    watcher.seen.size === 1 && watcher.seen.has(expected),
    await checkValues(stage, fromMs, before),
    await checkLoad(stage, writer),
    await checkRollups(stage, fromMs),
  ];
  const { rows: left } = await stage.client.query<{ n: string }>(
    'SELECT count(*) AS n FROM metrics_events WHERE time >= $1 AND time < $2',
    [new Date(fromMs).toISOString(), new Date(fromMs + DAYS * DAY_MS).toISOString()],
  );
  print(`${left[0].n} rows of these days are left in PostgreSQL`);
  const { body } = await ledger();
  print(`ledger: ${body}`);
  return checks.every(Boolean) && left[0].n === '0' && body.includes('"balanced":true}');
}

async function ledger(): Promise<{ body: string }> {
  const answer = (await (await fetch(`http://${server!.admin}/api/ledger`)).json()) as {
    tables: { table: string }[];
    balanced: boolean;
  };
  const tables = answer.tables.filter(({ table }) => table === 'metrics_events');
  return { body: JSON.stringify({ tables, balanced: answer.balanced }) };
}

async function main(): Promise<number> {
  const { values } = parseArgs({ options: { rows: { type: 'string' }, kills: { type: 'string' }, seed: { type: 'string' } } });
  const rows = Number(values.rows || 10_000_000);
  const kills = Number(values.kills || 20);
  const seed = Number(values.seed || Date.now() % 1_000_000);
  print(`${rows} rows, ${kills} kills, seed ${seed}`);
  const [postgres, clickhouse, directory] = await Promise.all([startOwnPostgres(), startClickHouse(), temporaryDirectory()]);
  const client = new Client({ connectionString: postgres.url });
  await client.connect();
  await client.query("SET timezone = 'UTC'");
  try {
    const good = await show({ postgres, clickhouse, client, dataDir: directory.path, rows, kills, random: randomOf(seed) });
    print(good ? 'everything is as it must be' : 'SOMETHING IS WRONG');
    return good ? 0 : 1;
  } finally {
    await server?.stop();
    await client.end();
    await Promise.all([postgres.stop(), clickhouse.stop(), directory.remove()]);
  }
}

main().then(
  (code) => process.exit(code),
  (error: unknown) => {
    print(String((error as Error).stack));
    process.exit(1);
  },
);
