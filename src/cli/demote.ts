/** `thermocline demote ...`: asks the admin port of a running server, which does the work, and follows it. */
import { setTimeout as sleep } from 'node:timers/promises';
import { type Command, Option } from 'commander';
import { ask, DEFAULT_ADMIN, oneLine } from './admin-client';

const POLL_MS = 1_000;
const TERMINAL: ReadonlySet<string> = new Set(['demoted', 'aborted', 'restored']);

interface Partition {
  readonly table: string;
  readonly partition: string;
  readonly from: string;
  readonly to: string;
  readonly rows_estimate: number;
  readonly size_bytes: number;
}

interface Progress extends Partition {
  readonly id: string;
  readonly state: string;
  readonly step: string | null;
  readonly rows_done: number;
  readonly rows_total: number;
  readonly rows_per_second: number;
  readonly seconds_left: number | null;
  readonly error: string | null;
}

interface Common {
  readonly admin: string;
  readonly json?: boolean;
}

/** Adds the command with its subcommands. */
export function addDemoteCommand(root: Command): void {
  const command = root.command('demote').description('move aged partitions from PostgreSQL to ClickHouse, verified, and back');
  const add = (name: string, description: string): Command =>
    command
      .command(name)
      .description(description)
      .addOption(new Option('--admin <url>', 'admin port of the server').default(DEFAULT_ADMIN))
      .option('--json', 'one JSON object a line');
  const aged = (name: string, description: string): Command =>
    add(name, description)
      .requiredOption('--table <name>', 'table')
      .requiredOption('--older-than <time>', 'partitions that ended longer ago, such as 2d or 36h');
  aged('plan', 'partitions that a run would move').action(plan);
  aged('run', 'move them, and wait until it is done').option('--no-wait', 'only begin; the server goes on by itself').action(run);
  add('status', 'what was moved and what is on its way').option('--table <name>', 'only of this table').action(status);
  add('restore', 'bring partitions back to PostgreSQL, stop those that are on their way, and wait until it is done')
    .requiredOption('--table <name>', 'table')
    .option('--from <day>', 'first day, such as 2026-01-31')
    .option('--to <day>', 'last day')
    .option('--all', 'every day')
    .option('--no-wait', 'only begin; the server goes on by itself')
    .action(restore);
}

const print = (line: string): void => void process.stdout.write(`${line}\n`);

const agedQuery = ({ table, olderThan }: { table: string; olderThan: string }): Record<string, string> => ({
  table,
  older_than: olderThan,
});

async function plan(options: Common & { table: string; olderThan: string }): Promise<void> {
  const query = new URLSearchParams(agedQuery(options)).toString();
  const { partitions } = (await ask(options.admin, 'GET', `/api/demotions/plan?${query}`)) as { partitions: Partition[] };
  for (const each of partitions) print(options.json ? JSON.stringify(each) : partitionLine(each));
  if (!options.json && partitions.length === 0) print('nothing to move');
}

const partitionLine = ({ partition, from, to, rows_estimate, size_bytes }: Partition): string =>
  `${partition}  ${from} to ${to}  about ${rows_estimate} rows, ${(size_bytes / 1024 / 1024).toFixed(1)} MiB`;

async function run(options: Common & { table: string; olderThan: string; wait: boolean }): Promise<void> {
  const answer = (await ask(options.admin, 'POST', '/api/demotions/run', agedQuery(options))) as { demotions: Progress[] };
  if (answer.demotions.length === 0) print('nothing to move');
  if (options.wait) await follow(options, answer.demotions, 'demoted');
}

async function restore(
  options: Common & { table: string; from?: string; to?: string; all?: boolean; wait: boolean },
): Promise<void> {
  const { table, from, to, all } = options;
  if ((from !== undefined || to !== undefined) === (all === true)) throw new Error('give --from and --to, or --all');
  const answer = (await ask(options.admin, 'POST', '/api/demotions/restore', { table, from, to })) as { demotions: Progress[] };
  if (answer.demotions.length === 0) print('nothing to bring back');
  if (options.wait) await follow(options, answer.demotions, 'restored');
}

async function status(options: Common & { table?: string }): Promise<void> {
  for (const each of await listed(options)) print(options.json ? JSON.stringify(each) : progressLine(each));
}

async function listed({ admin, table }: Common & { table?: string }): Promise<Progress[]> {
  const query = table === undefined ? '' : `?${new URLSearchParams({ table }).toString()}`;
  const { demotions } = (await ask(admin, 'GET', `/api/demotions${query}`)) as { demotions: Progress[] };
  return demotions;
}

function progressLine({ table, from, state, rows_done: done, rows_total: total, error, ...rest }: Progress): string {
  const share = total > 0 ? ` ${Math.floor((done / total) * 100)} %` : '';
  const rate = rest.rows_per_second > 0 ? `, ${rest.rows_per_second} rows/s` : '';
  const left = rest.seconds_left === null ? '' : `, ${rest.seconds_left} s left`;
  const reason = error === null ? '' : `  (${oneLine(error)})`;
  return `${rest.id}  ${table}  ${from.slice(0, 10)}  ${state}  ${done} of ${total} rows${share}${rate}${left}${reason}`;
}

/** Prints what changes until all have come to an end. Fails when one of them ended otherwise than `wanted` (or aborted for no error). */
async function follow(options: Common & { table: string }, begun: readonly Progress[], wanted: string): Promise<void> {
  const open = new Set(begun.map(({ id }) => id));
  const last = new Map<string, string>();
  let failed = 0;
  while (open.size > 0) {
    for (const each of await listed(options)) {
      if (!open.has(each.id)) continue;
      const line = options.json ? JSON.stringify(each) : progressLine(each);
      if (last.get(each.id) !== line) print(line);
      last.set(each.id, line);
      if (!TERMINAL.has(each.state) && !(each.error !== null && each.state === 'restoring')) continue;
      open.delete(each.id);
      if (each.error !== null || (each.state !== wanted && wanted === 'demoted')) failed++;
    }
    if (open.size > 0) await sleep(POLL_MS);
  }
  if (failed > 0) throw new Error(`${failed} partition${failed === 1 ? '' : 's'} could not be moved`);
}
