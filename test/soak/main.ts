/**
 * `make soak`: faults for as long as you like. `node -r ./test/support/run-typescript.cjs test/soak/main.ts [--minutes 10] [--seed n]
 * [--rate rows/s] [--parts kills,schedules,points,server-points,power]`. Prints the seed, which repeats the order of the faults; exit code 1 when
 * a row was lost or doubled, or anything else was not as it must be. `--parts outage` is run only when it is asked for.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { parseArgs } from 'node:util';
import { FAILPOINTS } from '../support/failpoints';
import { losePower } from '../support/power-loss';
import { killAtPoint } from '../support/wal-process';
import { runSchedules } from '../support/wal-schedules';
import { soakUnderKills } from './kills';
import { soakInOutage } from './outage';
import { killServerAt, SERVER_POINTS } from './points';
import { SoakRig } from './rig';

const SCHEDULES = 100_000;
const KILLS_AT_POINT = 20;
const POWER_LOSSES = 50;

interface Options {
  readonly minutes: number;
  readonly seed: number;
  readonly rowsPerSecond: number;
}
type Print = (text: string) => void;

/** Each gives whether everything was as it must be. */
const PARTS: Readonly<Record<string, (options: Options, print: Print) => Promise<boolean>>> = {
  kills: soakUnderKills,
  outage: soakInOutage,
  schedules: async ({ seed }, print) => {
    const acknowledged = await runSchedules(SCHEDULES, seed);
    print(`${SCHEDULES} schedules on the simulated disk, ${acknowledged} entries acknowledged, lost or doubled 0`);
    return true;
  },
  points: async (_options, print) => {
    let bad = 0;
    for (const point of FAILPOINTS) {
      const { acked, problems } = await killAtPoint(point, KILLS_AT_POINT);
      print(`kill -9 ${point} x${KILLS_AT_POINT}: ${acked} entries acknowledged, problems ${problems.length}`);
      for (const problem of problems) print(`  ${problem}`);
      bad += problems.length;
    }
    return bad === 0;
  },
  'server-points': async (options, print) => {
    const rig = await SoakRig.open(options);
    try {
      rig.load.start();
      for (const point of SERVER_POINTS) {
        const hits = await killServerAt(rig, point, KILLS_AT_POINT);
        print(`kill -9 of the server ${point}: ${hits} of ${KILLS_AT_POINT} starts got there`);
      }
      await rig.gateway.start();
      await rig.finish();
      const rows = rig.results.reduce((sum, { acked }) => sum + acked, 0);
      print(`${rows} rows acknowledged, problems ${rig.problems().length}`);
      for (const problem of rig.problems()) print(`  ${problem}`);
      return rig.problems().length === 0;
    } finally {
      await rig.close();
    }
  },
  power: async (_options, print) => {
    const result = await losePower(POWER_LOSSES);
    if (typeof result === 'string') {
      print(`power loss: skipped, ${result}`);
      return true;
    }
    print(`${result.rounds} power losses, ${result.acked} entries acknowledged, problems ${result.problems.length}`);
    for (const problem of result.problems) print(`  ${problem}`);
    return result.problems.length === 0;
  },
};

function number(text: string | undefined, fallback: number): number {
  const value = text === undefined || text === '' ? fallback : Number(text);
  if (!Number.isFinite(value) || value < 0) throw new Error(`not a number: ${text}`);
  return value;
}

async function runPart(name: string, options: Options): Promise<boolean> {
  const startedMs = performance.now();
  const print: Print = (text) => {
    const seconds = Math.round((performance.now() - startedMs) / 1000);
    process.stdout.write(`${String(seconds).padStart(5)} s ${name}: ${text}\n`);
  };
  const passed = await PARTS[name](options, print);
  print(passed ? 'passed' : `FAILED, repeat with SEED=${options.seed}`);
  return passed;
}

/** A part in a process of its own, so that one does not slow down the clock of another. */
async function spawnPart(name: string, { minutes, seed, rowsPerSecond }: Options): Promise<boolean> {
  const options = ['--parts', name, '--minutes', String(minutes), '--seed', String(seed), '--rate', String(rowsPerSecond)];
  const args = ['-r', require.resolve('../support/run-typescript.cjs'), __filename, ...options];
  const child = spawn(process.execPath, args, { stdio: 'inherit' });
  const [code] = (await once(child, 'exit')) as [number | null];
  return code === 0;
}

async function main(): Promise<boolean> {
  const text = { type: 'string' } as const;
  const { values } = parseArgs({ options: { minutes: text, seed: text, rate: text, parts: text } });
  const options = {
    minutes: number(values.minutes, 10),
    seed: number(values.seed, 1 + Math.floor(Math.random() * 1e6)),
    rowsPerSecond: number(values.rate, 6_000),
  };
  const names = values.parts ? values.parts.split(',') : Object.keys(PARTS).filter((name) => name !== 'outage');
  const unknown = names.find((name) => !(name in PARTS));
  if (unknown !== undefined) throw new Error(`${unknown} is no part; there are ${Object.keys(PARTS).join()}`);
  if (names.length === 1) return runPart(names[0], options);
  process.stdout.write(`soak: SEED=${options.seed}, ${names.join()}\n`);
  // Beside the kills, which take their time, the others one after the other.
  const others = async (): Promise<boolean> => {
    let passed = true;
    for (const name of names) if (name !== 'kills') passed = (await spawnPart(name, options)) && passed;
    return passed;
  };
  const outcomes = await Promise.all([names.includes('kills') ? spawnPart('kills', options) : true, others()]);
  const passed = outcomes.every(Boolean);
  process.stdout.write(passed ? 'soak: passed\n' : `soak: FAILED, repeat with SEED=${options.seed}\n`);
  return passed;
}

main().then(
  (passed) => process.exit(passed ? 0 : 1),
  (error: unknown) => {
    process.stderr.write(`soak: ${error instanceof Error ? error.stack : String(error)}\n`);
    process.exit(1);
  },
);
