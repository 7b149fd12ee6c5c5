/**
 * Rows by every protocol while the server and its stores are killed and cut off at random; at the end every acknowledged row must be
 * in its store or among the dead letters, once.
 */
import { randomOf } from '../support/random';
import { Faults } from './faults';
import { SoakRig } from './rig';

const FAULTS_OF_INSERTS = 0.1;

export interface KillOptions {
  readonly minutes: number;
  readonly seed: number;
  readonly rowsPerSecond: number;
}

/** Prints what happened; whether everything is as it must be. */
export async function soakUnderKills(options: KillOptions, print: (text: string) => void): Promise<boolean> {
  const { minutes, seed } = options;
  const rig = await SoakRig.open(options);
  try {
    const faults = new Faults(rig.gateway, rig.stores, randomOf(seed));
    rig.stores.faultsOfInserts = FAULTS_OF_INSERTS;
    rig.load.start();
    const ticker = setInterval(() => print(progressLine(rig, faults)), 60_000);
    await faults.run(performance.now() + minutes * 60_000);
    clearInterval(ticker);
    await rig.finish();
    report(rig, faults, print);
    return rig.problems().length === 0;
  } finally {
    const kept = await rig.close();
    if (kept !== undefined) print(`the server's directory is kept: ${kept}`);
  }
}

const sum = (counts: Iterable<number>): number => [...counts].reduce((total, count) => total + count, 0);

function progressLine({ load }: SoakRig, faults: Faults): string {
  const ids = [...load.ids.values()];
  const rows = `${sum(ids.map(({ sent }) => sent))} rows sent, ${sum(ids.map(({ acknowledged }) => acknowledged))} acknowledged`;
  return `${rows}, ${sum(faults.counts.values())} faults`;
}

const COLUMNS = ['sent', 'acked', 'stored', 'parked', 'unacked', 'duplicates', 'lost', 'misplaced', 'foreign'] as const;
const TEXT_COLUMNS = 3;

function tableLine(cells: readonly unknown[]): string {
  return cells.map((cell, i) => (i < TEXT_COLUMNS ? String(cell).padEnd(15) : String(cell).padStart(11))).join('');
}

function report(rig: SoakRig, faults: Faults, print: (text: string) => void): void {
  const { results, drainMs, load, gateway, stores } = rig;
  print(`drained in ${drainMs} ms`);
  print(tableLine(['table', 'protocol', 'tier', ...COLUMNS, 'ledger']));
  for (const each of results)
    print(tableLine([each.table, each.protocol, each.tier, ...COLUMNS.map((name) => each[name]), each.ledger]));
  print(tableLine(['all', '', '', ...COLUMNS.map((name) => sum(results.map((each) => each[name])))]));
  for (const tier of ['hot', 'cold']) {
    print(`rows in ${tier}: ${sum(results.filter((each) => each.tier === tier).map(({ stored }) => stored))}`);
  }
  print(`requests: ${load.counts.requests}, refused with a hint to retry: ${load.counts.hints}`);
  for (const [reason, count] of load.counts.failures) print(`  ${count} x ${reason}`);
  print(`faults: ${sum(faults.counts.values())}, TCP cuts that took effect: ${stores.toPostgres.cuts}`);
  for (const [fault, count] of faults.counts) print(`  ${count} x ${fault}`);
  for (const [fault, count] of stores.toClickHouse.seen) if (fault !== 'none') print(`  ${count} x ClickHouse request: ${fault}`);
  print(`slowest start ${Math.round(gateway.slowestStartMs)} ms, slowest SIGTERM ${Math.round(gateway.slowestStopMs)} ms`);
  print('warnings and errors in the log of the server:');
  for (const [text, count] of gateway.logged) print(`  ${count} x ${text}`);
  const problems = rig.problems();
  print(`problems: ${problems.length}`);
  for (const problem of problems) print(`  ${problem}`);
}
