/**
 * Rows by every protocol while the server and its stores are killed and cut off at random; at the end every acknowledged row must be
 * in its store or among the dead letters, once.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { randomOf } from '../support/random';
import { checkRows, type TableResult, untilDrained } from './check';
import { Faults } from './faults';
import { Gateway } from './gateway';
import { Load } from './load';
import { SoakStores } from './stores';
import { SOAK_TABLES } from './tables';

const DRAIN_MS_MAX = 300_000;
const CLIENTS_PER_TABLE = 4;
const FAULTS_OF_INSERTS = 0.1;

export interface KillOptions {
  readonly minutes: number;
  readonly seed: number;
  readonly rowsPerSecond: number;
}

/** Prints what happened; whether everything is as it must be. */
export async function soakUnderKills(
  { minutes, seed, rowsPerSecond }: KillOptions,
  print: (text: string) => void,
): Promise<boolean> {
  const directory = await mkdtemp(join(tmpdir(), 'thermocline-soak-'));
  const stores = await SoakStores.start(join(directory, 'stores'), randomOf(seed * 31 + 7));
  const gateway = new Gateway(join(directory, 'data'), {
    ...stores.settings,
    DELIVERY_INTERVAL_MS: '50',
    SHUTDOWN_GRACE_MS: '8000',
    WAL_SEGMENT_BYTES: String(4 * 1024 * 1024),
  });
  let passed = false;
  try {
    await gateway.start();
    await prepare(gateway, stores);
    const load = new Load(gateway, SOAK_TABLES, {
      random: randomOf(seed * 17 + 3),
      rowsPerSecond: rowsPerSecond / SOAK_TABLES.length,
      clients: CLIENTS_PER_TABLE,
    });
    const faults = new Faults(gateway, stores, randomOf(seed));
    stores.faultsOfInserts = FAULTS_OF_INSERTS;
    load.start();
    const ticker = setInterval(() => print(progressLine(load, faults)), 60_000);
    await faults.run(performance.now() + minutes * 60_000);
    clearInterval(ticker);
    await load.stop();
    stores.heal();
    await stores.answers();
    const drainStartMs = performance.now();
    const drained = await untilDrained(gateway.current, DRAIN_MS_MAX);
    print(drained ? `drained in ${Math.round(performance.now() - drainStartMs)} ms` : `NOT DRAINED in ${DRAIN_MS_MAX} ms`);
    const results = await checkRows(gateway.current, stores, load.ids);
    await gateway.stop('SIGTERM');
    report(results, { load, faults, gateway, stores }, print);
    const wrong = results.filter(
      (each) => each.lost + each.duplicates + each.foreign + each.misplaced > 0 || each.ledger !== 'balanced',
    );
    passed = drained && wrong.length === 0 && gateway.complaints.length === 0;
  } finally {
    await gateway.stop('SIGKILL');
    await stores.stop();
    if (passed) await rm(directory, { recursive: true, force: true, maxRetries: 5 });
    else print(`the server's directory is kept: ${directory}`);
  }
  return passed;
}

async function prepare(gateway: Gateway, stores: SoakStores): Promise<void> {
  const server = gateway.current;
  for (const { table, tier, columns } of SOAK_TABLES) {
    if (columns === undefined) continue;
    const response = await server.post('/schema/register', JSON.stringify({ table_name: table, tier, columns }));
    if (!response.ok) throw new Error(`${table}: ${await response.text()}`);
  }
  for (const { table, tier, constraint } of SOAK_TABLES) {
    if (constraint === undefined) continue;
    const sql = `ALTER TABLE ${table} ADD CONSTRAINT soak CHECK ${tier === 'hot' ? `(${constraint})` : constraint}`;
    if (tier === 'hot') await stores.execute(sql);
    else await stores.command(sql);
  }
}

const sum = (counts: Iterable<number>): number => [...counts].reduce((total, count) => total + count, 0);

function progressLine(load: Load, faults: Faults): string {
  const ids = [...load.ids.values()];
  const rows = `${sum(ids.map(({ sent }) => sent))} rows sent, ${sum(ids.map(({ acknowledged }) => acknowledged))} acknowledged`;
  return `${rows}, ${sum(faults.counts.values())} faults`;
}

interface Parts {
  readonly load: Load;
  readonly faults: Faults;
  readonly gateway: Gateway;
  readonly stores: SoakStores;
}

function report(results: readonly TableResult[], { load, faults, gateway, stores }: Parts, print: (text: string) => void): void {
  const columns = ['sent', 'acked', 'stored', 'parked', 'unacked', 'duplicates', 'lost', 'misplaced', 'foreign'] as const;
  const line = (cells: readonly unknown[]): string =>
    cells.map((cell, i) => String(cell)[i < 3 ? 'padEnd' : 'padStart'](i < 3 ? 15 : 11)).join('');
  print(line(['table', 'protocol', 'tier', ...columns, 'ledger']));
  for (const each of results)
    print(line([each.table, each.protocol, each.tier, ...columns.map((name) => each[name]), each.ledger]));
  print(line(['all', '', '', ...columns.map((name) => sum(results.map((each) => each[name]))), '']));
  for (const tier of ['hot', 'cold'])
    print(`rows in ${tier}: ${sum(results.filter((each) => each.tier === tier).map((each) => each.stored))}`);
  for (const ids of load.ids.values()) for (const example of ids.examples) print(`  ${example}`);
  print(`requests: ${load.counts.requests}, refused with a hint to retry: ${load.counts.hints}`);
  for (const [reason, count] of load.counts.failures) print(`  ${count} x ${reason}`);
  print(`faults: ${sum(faults.counts.values())}, TCP cuts that took effect: ${stores.toPostgres.cuts}`);
  for (const [fault, count] of faults.counts) print(`  ${count} x ${fault}`);
  for (const [fault, count] of stores.toClickHouse.seen) if (fault !== 'none') print(`  ${count} x ClickHouse request: ${fault}`);
  print(`slowest start ${Math.round(gateway.slowestStartMs)} ms, slowest SIGTERM ${Math.round(gateway.slowestStopMs)} ms`);
  print('logged by the server, warnings and errors:');
  for (const [text, count] of gateway.logged) print(`  ${count} x ${text}`);
  print(`complaints: ${gateway.complaints.length}`);
  for (const complaint of gateway.complaints) print(`  ${complaint}`);
}
