/** `thermocline dead-letters ...`: asks the admin port of a running server. */
import { type Command, InvalidArgumentError, Option } from 'commander';
import { ask, DEFAULT_ADMIN, oneLine } from './admin-client';

const PAGE = 500;
/** Ids in one request: their bytes stay below what the admin port reads. */
const IDS_AT_ONCE = 10_000;
const MESSAGE_LENGTH_MAX = 120;

interface Letter {
  readonly id: string;
  readonly at: string;
  readonly table: string;
  /** Null: no store has seen the row. */
  readonly tier: string | null;
  readonly code: string;
  readonly column: string | null;
  readonly message: string;
}

interface Page {
  readonly dead_letters: readonly Letter[];
  readonly next: string | null;
}

interface Outcome {
  readonly replayed?: number;
  readonly dropped?: number;
  readonly kept: number;
  readonly reasons: readonly { readonly id: string; readonly reason: string }[];
}

interface FilterOptions {
  readonly admin: string;
  readonly table?: string;
  readonly tier?: string;
  readonly code?: string;
}

/** Adds the command with its subcommands. */
export function addDeadLettersCommand(root: Command): void {
  const command = root
    .command('dead-letters')
    .description('rows that no store takes: look at them, deliver them again, drop them');
  const add = (name: string, description: string): Command =>
    command
      .command(name)
      .description(description)
      .addOption(new Option('--admin <url>', 'admin port of the server').default(DEFAULT_ADMIN));
  const addFiltered = (name: string, description: string): Command =>
    add(name, description)
      .option('--table <name>', 'only of this table')
      .addOption(new Option('--tier <tier>', 'only refused by this tier, or seen by none').choices(['hot', 'cold', 'none']))
      .option('--code <code>', 'only with this code (SQLSTATE, ClickHouse code, or a word)');

  addFiltered('list', 'one line a letter, the oldest first')
    .option('--limit <n>', 'at most so many', positive, 100)
    .option('--json', 'one JSON object a line, with the row')
    .action(list);
  add('show <id>', 'one letter with its whole row').action(show);
  addFiltered('replay [ids...]', 'deliver rows again, with the schema of now; with a filter instead of ids, all that match')
    .addOption(
      new Option('--to <tier>', 'where to (default: the tier that refused, or the routing of the table)').choices([
        'hot',
        'cold',
        'all',
      ]),
    )
    .option('--all', 'every letter')
    .action((ids: string[], options: FilterOptions & { to?: string; all?: boolean }) => takeOut('replay', ids, options));
  addFiltered('drop [ids...]', 'forget rows for good; with a filter instead of ids, all that match')
    .option('--all', 'every letter')
    .action((ids: string[], options: FilterOptions & { all?: boolean }) => takeOut('drop', ids, options));
}

function positive(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError('must be a number from 1');
  return value;
}

const filterOf = ({ table, tier, code }: FilterOptions): Record<string, string> =>
  Object.fromEntries(
    Object.entries({ table, tier, code }).flatMap(([key, value]) => (value === undefined ? [] : [[key, value]])),
  );

async function list(options: FilterOptions & { limit: number; json?: boolean }): Promise<void> {
  let after: string | null = null;
  for (let left = options.limit; left > 0; ) {
    const query = new URLSearchParams({
      ...filterOf(options),
      limit: String(Math.min(left, PAGE)),
      ...(after === null ? {} : { after }),
    });
    const page = (await ask(options.admin, 'GET', `/api/dead-letters?${query.toString()}`)) as Page;
    for (const letter of page.dead_letters) process.stdout.write(`${options.json ? JSON.stringify(letter) : lineOf(letter)}\n`);
    left -= page.dead_letters.length;
    after = page.next;
    if (after === null) return;
  }
}

const lineOf = ({ id, at, table, tier, code, column, message }: Letter): string =>
  [id, at, tier ?? '-', table, code, column ?? '-', oneLine(message).slice(0, MESSAGE_LENGTH_MAX)].join('  ');

async function show(id: string, { admin }: { admin: string }): Promise<void> {
  const letter = await ask(admin, 'GET', `/api/dead-letters/${encodeURIComponent(id)}`);
  process.stdout.write(`${JSON.stringify(letter, undefined, 2)}\n`);
}

async function takeOut(
  action: 'replay' | 'drop',
  ids: readonly string[],
  options: FilterOptions & { to?: string; all?: boolean },
): Promise<void> {
  const filter = filterOf(options);
  const ways = [ids.length > 0, Object.keys(filter).length > 0, options.all === true].filter(Boolean).length;
  if (ways !== 1) throw new Error('give ids, or a filter, or --all');
  const more = options.to === undefined ? {} : { tier: options.to };
  const slices = ids.length === 0 ? [undefined] : chunks(ids, IDS_AT_ONCE);
  let kept = 0;
  for (const slice of slices) {
    const body = { ...(slice === undefined ? { filter } : { ids: slice }), ...more };
    const outcome = (await ask(options.admin, 'POST', `/api/dead-letters/${action}`, body)) as Outcome;
    const done = action === 'replay' ? `${outcome.replayed} replayed` : `${outcome.dropped} dropped`;
    process.stdout.write(`${done}, ${outcome.kept} kept\n`);
    for (const { id, reason } of outcome.reasons) process.stdout.write(`${id}  ${oneLine(reason)}\n`);
    kept += outcome.kept;
  }
  if (kept > 0) throw new Error(`${kept} dead letters stay as they were`);
}

const chunks = <T>(all: readonly T[], size: number): T[][] =>
  Array.from({ length: Math.ceil(all.length / size) }, (_, i) => all.slice(i * size, (i + 1) * size));
