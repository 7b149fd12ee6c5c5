/** `thermocline wal inspect|repair`: what lies in a log of the data directory, and making it one that opens. */
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline/promises';
import { type Command, Option } from 'commander';
import { loadConfig } from '../config';
import { WalCorruptError } from '../wal/errors';
import { FileStorage } from '../wal/file-storage';
import { isNothingToDo, type LostRange, type RepairPlan, repair } from '../wal/repair';
import { isDamaged, type Survey, survey } from '../wal/survey';

/** Folders of the data directory. */
const LOGS = ['wal', 'idempotency', 'dead-letters'] as const;

interface Options {
  readonly config?: string;
  readonly dataDir?: string;
  readonly log: (typeof LOGS)[number];
  readonly json?: boolean;
  readonly yes?: boolean;
}

/** Adds the command and its parts. */
export function addWalCommand(root: Command, config: () => Option): void {
  const wal = root.command('wal').description('look at a log of the data directory, and repair it');
  const add = (name: string, description: string): Command =>
    wal
      .command(name)
      .description(description)
      .option('--data-dir <dir>', 'by default from the configuration')
      .addOption(new Option('--log <log>', 'which log').choices(LOGS).default('wal'))
      .option('--json', 'print the report as one line of JSON')
      .addOption(config());
  add(
    'inspect',
    'segments, checkpoints and damage, read-only, also of a running server; exit code 78 when there is damage',
  ).action(inspect);
  add('repair', 'say what is lost, ask, put damaged files aside and leave a log that opens; the server must be stopped')
    .option('--yes', 'do not ask')
    .action(runRepair);
}

function placeOf({ config, dataDir, log }: Options): { storage: FileStorage; directory: string } {
  const directory = join(dataDir ?? loadConfig(config).data_dir, log);
  if (!existsSync(directory)) throw new Error(`there is no log in ${directory}`);
  return { storage: new FileStorage(), directory };
}

async function inspect(options: Options): Promise<void> {
  const place = placeOf(options);
  let found = await survey(place);
  // A server may have rotated or released segments meanwhile: what is really wrong is wrong twice.
  if (isDamaged(found)) found = confirmed(found, await survey(place));
  const report = reportOf(options.log, place.directory, found);
  print(options.json === true ? `${JSON.stringify(report)}\n` : textOf(report));
  if (isDamaged(found)) {
    throw new WalCorruptError(`the ${options.log} log is damaged`, found.ranges);
  }
}

/** What both looks have seen. */
function confirmed(first: Survey, second: Survey): Survey {
  const key = (range: object): string => JSON.stringify(range);
  const seen = new Set([...first.ranges, ...first.strays].map(key));
  return {
    ...second,
    ranges: second.ranges.filter((range) => seen.has(key(range))),
    strays: second.strays.filter((stray) => seen.has(key(stray))),
    problems: second.problems.filter((problem) => first.problems.includes(problem)),
  };
}

interface Report {
  readonly log: string;
  readonly directory: string;
  readonly status: 'ok' | 'damaged';
  readonly wal_id: string | null;
  readonly segments: readonly {
    readonly file: string;
    readonly bytes: number;
    readonly version: number;
    readonly epoch: number;
    /** Null when there is none. */
    readonly first_lsn: number | null;
    readonly last_lsn: number | null;
    readonly entries: number;
    /** Why it ended; null while it is written, and after an unclean end. */
    readonly seal: string | null;
    readonly checksum: string | null;
  }[];
  readonly checkpoints: readonly {
    readonly tier: string;
    readonly next_lsn: number | null;
    readonly plan: { readonly from_lsn: number; readonly to_lsn: number } | null;
    readonly problem: string | null;
  }[];
  readonly damaged: readonly {
    readonly file: string;
    readonly first_lsn: number;
    readonly last_lsn: number;
    readonly reason: string;
  }[];
  readonly problems: readonly string[];
  /** A torn tail was never acknowledged; the next start cuts it off. */
  readonly torn_tail: { readonly file: string; readonly offset: number; readonly first_lsn: number } | null;
}

function reportOf(log: string, directory: string, found: Survey): Report {
  const last = found.members.at(-1);
  return {
    log,
    directory,
    status: isDamaged(found) ? 'damaged' : 'ok',
    wal_id: found.walId ?? null,
    segments: found.members.map(({ name, segment, entries, lastSeen, seal }) => ({
      file: name,
      bytes: segment.fileBytes,
      version: segment.header.version,
      epoch: segment.header.epoch,
      first_lsn: entries === 0 ? null : segment.base,
      last_lsn: entries === 0 ? null : lastSeen,
      entries,
      seal: seal?.reason ?? null,
      checksum: seal?.checksum?.toString(16).padStart(8, '0') ?? null,
    })),
    checkpoints: found.checkpoints.map(({ tier, state, problem }) => ({
      tier,
      next_lsn: state?.nextLsn ?? null,
      plan: state?.plan === undefined ? null : { from_lsn: state.plan.fromLsn, to_lsn: state.plan.toLsn },
      problem: problem ?? null,
    })),
    damaged: found.ranges.map(({ file, firstLsn, lastLsn, reason }) => ({
      file,
      first_lsn: firstLsn,
      last_lsn: lastLsn,
      reason,
    })),
    problems: [
      ...(found.overlap === undefined ? [] : [found.overlap]),
      ...found.strays.map(({ name, reason }) => `${name} is no part of the log: ${reason}`),
      ...found.problems,
    ],
    torn_tail:
      found.torn === undefined || last === undefined
        ? null
        : { file: last.name, offset: found.torn.offset, first_lsn: found.torn.firstSeq },
  };
}

function textOf(report: Report): string {
  const lines = [`${report.directory}: wal ${report.wal_id ?? 'without a name'}, ${report.status}`];
  for (const { file, bytes, first_lsn, last_lsn, entries, seal, epoch } of report.segments) {
    const range = first_lsn === null ? 'no entries' : `lsn ${first_lsn}-${last_lsn}, ${entries} entries`;
    lines.push(`  ${file}  ${bytes} bytes  ${range}  epoch ${epoch}  ${seal === null ? 'not sealed' : `sealed: ${seal}`}`);
  }
  for (const { tier, next_lsn, plan, problem } of report.checkpoints) {
    const open = plan === null ? '' : `, plan of lsn ${plan.from_lsn}-${plan.to_lsn} under way`;
    lines.push(`  ${tier}: ${problem ?? `delivered below lsn ${next_lsn}${open}`}`);
  }
  const torn = report.torn_tail;
  if (torn !== null) {
    lines.push(`  ${torn.file}: unfinished writes from byte ${torn.offset} on (lsn ${torn.first_lsn}), never acknowledged`);
  }
  for (const { file, first_lsn, last_lsn, reason } of report.damaged) {
    lines.push(`  DAMAGED  lsn ${first_lsn}-${last_lsn} in ${file}: ${reason}`);
  }
  for (const problem of report.problems) lines.push(`  DAMAGED  ${problem}`);
  return `${lines.join('\n')}\n`;
}

async function runRepair(options: Options): Promise<void> {
  const place = placeOf(options);
  let declined = false;
  let planned: RepairPlan | undefined;
  const confirm = async (plan: RepairPlan): Promise<boolean> => {
    planned = plan;
    // With --json the answer on stdout is for a program.
    (options.json === true ? process.stderr : process.stdout).write(planText(plan));
    declined = options.yes !== true && !(await saysYes());
    return !declined;
  };
  const done = await repair({ ...place, nowMs: Date.now(), confirm });
  if (declined) throw new Error('nothing was changed');
  if (options.json === true) {
    print(`${JSON.stringify({ repaired: done !== undefined, lost: (planned?.lost ?? []).map(lostJson) })}\n`);
  } else {
    print(
      done === undefined ? 'the log is whole, there is nothing to do\n' : 'repaired; the damaged files are kept as *.damaged\n',
    );
  }
}

function planText(plan: RepairPlan): string {
  if (isNothingToDo(plan)) return '';
  const lines: string[] = [];
  const count = plan.lost.reduce((sum, { firstLsn, lastLsn }) => sum + lastLsn - firstLsn + 1, 0);
  lines.push(count === 0 ? 'no entry would be lost' : `${count} ${count === 1 ? 'entry' : 'entries'} would be lost:`);
  for (const lost of plan.lost) lines.push(`  lsn ${lost.firstLsn}-${lost.lastLsn}${whereabouts(lost)}`);
  for (const { header } of plan.rewrites)
    lines.push(`segment ${header.segmentNumber} is written again from its readable entries`);
  for (const { name, reason } of plan.aside) lines.push(`${name} is put aside: ${reason}`);
  for (const { from, to } of plan.renamed) lines.push(`${from} gets its name back: ${to}`);
  for (const { file, state, problem } of plan.found.checkpoints) {
    if (problem === undefined && state?.walId === plan.found.walId) continue;
    lines.push(`without ${file} its store is asked at the next start which rows of the log it has, and gets the others`);
  }
  return `${lines.join('\n')}\n`;
}

function whereabouts({ delivered, inDoubt, missing }: LostRange): string {
  const parts = [
    delivered.length > 0 ? `${delivered.join(' and ')} has it` : '',
    inDoubt.length > 0 ? `${inDoubt.join(' and ')} may have some of it` : '',
    missing.length > 0 ? `${missing.join(' and ')} has nothing of it` : '',
  ].filter((part) => part !== '');
  return parts.length === 0 ? '' : `: ${parts.join(', ')}`;
}

const lostJson = ({ firstLsn, lastLsn, delivered, inDoubt, missing }: LostRange): object => ({
  first_lsn: firstLsn,
  last_lsn: lastLsn,
  delivered,
  in_doubt: inDoubt,
  missing,
});

async function saysYes(): Promise<boolean> {
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    const ended = once(terminal, 'close').then(() => '');
    return (await Promise.race([terminal.question('type yes to go on: '), ended])).trim() === 'yes';
  } finally {
    terminal.close();
  }
}

const print = (text: string): void => void process.stdout.write(text);
