/** `schema list|register|diff`: the registry of a running server, over its HTTP port. */
import { readFile } from 'node:fs/promises';
import { loadConfig } from '../config';

export interface SchemaOptions {
  readonly config?: string;
  /** Base of the server's HTTP port; by default from the configuration. */
  readonly url?: string;
  readonly json?: boolean;
}

interface Column {
  readonly name: string;
  readonly type: string;
  readonly nullable: boolean;
}

interface Table {
  readonly table: string;
  readonly version: number;
  readonly tier: string;
  readonly policy: string;
  readonly time_column: string;
  readonly columns: readonly Column[];
}

interface Difference {
  readonly tier: string;
  readonly kind: string;
  readonly column?: string;
  readonly expected?: string;
  readonly found?: string;
}

/** Prints the tables in the registry; with a name, one table with its columns. Throws Error when the server refuses. */
export async function listSchemas(table: string | undefined, options: SchemaOptions): Promise<void> {
  if (table !== undefined) {
    const schema = (await ask(options, `/schema/${encodeURIComponent(table)}`)) as Table;
    print(options, schema, `${headOf(schema)}\n${schema.columns.map(columnLine).join('\n')}`);
    return;
  }
  const answer = (await ask(options, '/schema')) as { tables: Table[] };
  print(options, answer, answer.tables.map(headOf).join('\n'));
}

/** Registers the table that a JSON file describes (`-`: standard input). Throws Error when the server refuses. */
export async function registerSchema(path: string, options: SchemaOptions & { readonly dryRun?: boolean }): Promise<void> {
  const body = path === '-' ? await readInput() : await readFile(path, 'utf8');
  const query = options.dryRun === true ? '?dry_run=1' : '';
  const answer = (await ask(options, `/schema/register${query}`, body)) as Table & { stores: unknown };
  const stores = options.dryRun === true ? ddlOf(answer.stores) : storesOf(answer.stores);
  print(options, answer, `${headOf(answer)}${stores}\n${answer.columns.map(columnLine).join('\n')}`);
}

/** Prints in what the stores differ from the registry. Throws Error when they do. */
export async function diffSchemas(table: string | undefined, options: SchemaOptions): Promise<void> {
  const path = table === undefined ? '/schema?diff=1' : `/schema/${encodeURIComponent(table)}?diff=1`;
  const answer = await ask(options, path);
  type Compared = Table & { differences: Difference[] };
  const tables = table === undefined ? (answer as { tables: Compared[] }).tables : [answer as Compared];
  const lines = tables.flatMap(({ table: name, differences }) => differences.map((found) => `${name}: ${differenceText(found)}`));
  print(options, answer as object, lines.length === 0 ? 'registry and stores are alike' : lines.join('\n'));
  if (lines.length > 0) throw new Error(`the stores differ from the registry in ${lines.length} points`);
}

function differenceText({ tier, kind, column, expected, found }: Difference): string {
  const what = `${tier}: ${kind.replaceAll('_', ' ')}${column === undefined ? '' : ` ${column}`}`;
  if (expected === undefined) return found === undefined ? what : `${what}: ${found}`;
  return `${what}: expected ${expected}${found === undefined ? '' : `, found ${found}`}`;
}

const headOf = ({ table, version, tier, policy, time_column: time, columns }: Table): string =>
  `${table}  version ${version}  ${tier}  ${policy}  ${columns.length} columns, ordered by ${time}`;

const columnLine = ({ name, type, nullable }: Column): string => `  ${name}  ${type}${nullable ? '' : '  not null'}`;

const storesOf = (states: unknown): string =>
  Object.entries(states as Record<string, string>)
    .map(([tier, state]) => `  ${tier} ${state}`)
    .join('');

const ddlOf = (stores: unknown): string =>
  (stores as { tier: string; ddl: string[] }[])
    .flatMap(({ tier, ddl }) => ddl.map((statement) => `\n-- ${tier}\n${statement};`))
    .join('');

function print({ json = false }: SchemaOptions, answer: object, text: string): void {
  process.stdout.write(json ? `${JSON.stringify(answer)}\n` : `${text}\n`);
}

async function readInput(): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of process.stdin) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
}

async function ask(options: SchemaOptions, path: string, body?: string): Promise<unknown> {
  const base = (options.url ?? urlOf(options.config)).replace(/\/$/, '');
  const request = body === undefined ? {} : { method: 'POST', body, headers: { 'content-type': 'application/json' } };
  const response = await fetch(base + path, request).catch((error: unknown) => {
    throw new Error(`no server answers at ${base}`, { cause: error });
  });
  const text = await response.text();
  if (response.ok) return JSON.parse(text);
  throw new Error(errorText(text, response.status));
}

function errorText(text: string, status: number): string {
  try {
    const { error } = JSON.parse(text) as { error: { message: string; at?: string } };
    return error.at === undefined ? error.message : `${error.message} (at ${error.at})`;
  } catch {
    return `the server answered with status ${status}`;
  }
}

function urlOf(path: string | undefined): string {
  const { host, http_port: port } = loadConfig(path);
  const reachable = host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '[::1]' : host.includes(':') ? `[${host}]` : host;
  return `http://${reachable}:${port}`;
}
