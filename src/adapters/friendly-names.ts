/** What `POST /write/metrics`, `/write/logs` and `/write/traces` accept beside the names of the columns themselves. */
import { BUILTIN_TABLES, LOGS_EVENTS, METRICS_EVENTS, TRACES_SPANS } from '../core/builtin-tables';
import type { TableName } from '../core/ids';
import type { TableSchema } from '../core/table-schema';

/** Names of a time, the likeliest first. */
export const TIME_NAMES = ['time', 'timestamp', 'ts', 'event_time'] as const;

export const isTimeName = (name: string): boolean => (TIME_NAMES as readonly string[]).includes(name);

/** Member name -> column of the table. A member with the column's own name goes before. */
const ALIASES: ReadonlyMap<TableName, Readonly<Record<string, string>>> = new Map([
  [METRICS_EVENTS.table, { name: 'metric' }],
  [LOGS_EVENTS.table, { body: 'message', msg: 'message', severity: 'level' }],
  [TRACES_SPANS.table, {}],
]);

const BUILTIN = new Set(BUILTIN_TABLES.map(({ table }) => table));

/** Built-in tables never grow by what rows hold: unknown members become attributes. */
export const isBuiltin = (table: TableName): boolean => BUILTIN.has(table);

/** Member names that stand for a column, as pairs of name and column. */
export function aliasesOf(schema: TableSchema): [name: string, column: string][] {
  if (!isBuiltin(schema.table)) return [];
  const names = new Set(schema.columns.map((column) => column.name));
  const times = TIME_NAMES.filter((name) => !names.has(name)).map((name): [string, string] => [name, schema.timeColumn]);
  return [...times, ...Object.entries(ALIASES.get(schema.table) ?? {})];
}

/** The attributes column that takes unknown members of a built-in table. */
export const overflowColumn = (schema: TableSchema): string | undefined =>
  isBuiltin(schema.table) ? schema.columns.find(({ name }) => name === 'labels' || name === 'attributes')?.name : undefined;
