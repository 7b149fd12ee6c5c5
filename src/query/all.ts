/**
 * `POST /api/sql` with target `all`: one ClickHouse query over the rows of both tiers.
 *
 * Each table that the query names becomes a subquery of its name: the rows of ClickHouse that count (core/demotion.ts) and those of
 * PostgreSQL, which are copied beside them first - only the columns and the time that the query is about. Both are as of one moment of
 * PostgreSQL, so that rows which move between the tiers meanwhile are seen once.
 */

import { identifier, literal } from '../core/clickhouse-sql';
import { storeForm } from '../core/column-name';
import { type BothTiers, countsInCold } from '../core/demotion';
import type { TableName } from '../core/ids';
import { quoteIdentifier, quoteLiteral } from '../core/postgres-sql';
import type { TableSchema, Tier } from '../core/table-schema';
import { carriedColumns } from './all-columns';
import { type Bound, type TableUse, tablesOf } from './all-plan';
import { SqlError, type SqlFormat, type SqlResult, type SqlStore } from './answer';
import type { HotReader } from './hot';
import type { ScratchTables } from './scratch';

/** A range of the time column that the question is about, ISO 8601 in UTC with up to nine digits: from inclusive, to exclusive. */
export interface AskedTime {
  readonly from?: string | undefined;
  readonly to?: string | undefined;
}

export interface BothTiersSqlOptions {
  readonly hot: BothTiers<HotReader>;
  readonly cold: SqlStore;
  readonly scratch: ScratchTables;
  readonly tables: () => readonly TableSchema[];
  /** Names and types of the columns of the ClickHouse table of a schema, by store names. */
  readonly coldColumns: (schema: TableSchema) => ReadonlyMap<string, string>;
  /** Where each row of a table is found once; undefined when that cannot be said. */
  readonly onceIn: (table: TableName) => Tier | 'both' | undefined;
  /** Rows of PostgreSQL that one question may take. */
  readonly hotRowsMax: number;
}

/** Questions at one time; more wait. */
const AT_ONCE = 2;
const ISO_TIME = /^(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d(?:\.\d{1,9})?)Z$/;

export class BothTiersSql {
  private running = 0;
  private readonly waiting: (() => void)[] = [];

  constructor(private readonly options: BothTiersSqlOptions) {}

  /** Throws SqlError. */
  async query(sql: string, format: SqlFormat, asked: AskedTime): Promise<SqlResult> {
    const range = { from: timeText(asked.from, 'from'), to: timeText(asked.to, 'to') };
    const uses = usesOf(sql, this.options.tables());
    if (uses.length === 0) throw new SqlError('the query names no table that is registered', '', 'invalid');
    await this.turn();
    const made: string[] = [];
    try {
      return await this.options.hot.snapshot(
        uses.map(({ schema }) => schema.table),
        async ({ hot, hidden }) => {
          const parts: string[] = [];
          for (const use of uses) parts.push(await this.bothTiers(use, range, hot, hidden, made));
          return this.options.cold.query(withTables(sql, parts), format);
        },
      );
    } finally {
      await Promise.all(made.map((name) => this.options.scratch.drop(name).catch(() => undefined)));
      this.running--;
      this.waiting.shift()?.();
    }
  }

  private async turn(): Promise<void> {
    while (this.running >= AT_ONCE) await new Promise<void>((resolve) => this.waiting.push(resolve));
    this.running++;
  }

  /** `name AS (...)`: a table's rows of both tiers. */
  private async bothTiers(
    use: TableUse,
    range: AskedTime,
    hot: HotReader,
    hidden: readonly string[],
    made: string[],
  ): Promise<string> {
    const schema = storeForm(use.schema);
    const types = this.options.coldColumns(use.schema);
    const renamed = new Map(use.schema.columns.map(({ name }, i) => [name, schema.columns[i].name]));
    const columns = carriedColumns(schema, types, new Set(use.columns.map((name) => renamed.get(name)!)));
    const names = columns.map(({ name }) => identifier(name)).join(', ');
    const selects: string[] = [];
    const where = this.options.onceIn(schema.table);
    if (where === undefined) {
      const reason = `rules send some rows of ${schema.table} to both tiers and no tier has all of them: ask hot or cold`;
      throw new SqlError(reason, '', 'invalid');
    }
    if (where !== 'cold' && (await hot.has(schema.table))) {
      const name = await this.options.scratch.create(columns, types);
      made.push(name);
      const bounds = [...(await this.boundsOf(use)), ...hotRange(schema.timeColumn, range)];
      await this.copy(hot, name, columns, schema.table, bounds);
      selects.push(`SELECT ${names} FROM ${name}`);
    }
    if (where !== 'hot' && (await this.hasCold(schema.table))) {
      const conditions = [...coldRange(schema.timeColumn, range), countsInCold(hidden)];
      selects.push(`SELECT ${names} FROM ${identifier(schema.table)} WHERE ${conditions.join(' AND ')}`);
    }
    if (selects.length === 0) throw new SqlError(`no store has the table ${schema.table}`, '', 'invalid');
    return `${identifier(schema.table)} AS (${selects.join(' UNION ALL ')})`;
  }

  private async copy(
    hot: HotReader,
    name: string,
    columns: ReturnType<typeof carriedColumns>,
    table: string,
    bounds: readonly string[],
  ): Promise<void> {
    const { scratch, hotRowsMax } = this.options;
    const where = bounds.length === 0 ? '' : ` WHERE ${bounds.join(' AND ')}`;
    const sent = columns.flatMap((column) => column.sent).join(', ');
    const reading = hot.copy(`SELECT ${sent} FROM ${quoteIdentifier(table)}${where} LIMIT ${hotRowsMax + 1}`);
    await scratch.fill(name, columns, reading.text);
    if (reading.rows() > hotRowsMax) {
      const hint = 'ask for less time: with conditions on the time column, or with from and to';
      throw new SqlError(`the question is about more than ${hotRowsMax} rows of postgresql; ${hint}`, '', 'invalid');
    }
  }

  private async hasCold(table: string): Promise<boolean> {
    const [[found]] = await this.values(
      `SELECT count() FROM system.tables WHERE database = currentDatabase() AND name = ${literal(table)}`,
    );
    return found !== '0';
  }

  /** The query's own conditions in the words of PostgreSQL; one that cannot be reckoned is left out. */
  private async boundsOf({ schema, bounds }: TableUse): Promise<string[]> {
    const stored = storeForm(schema);
    const conditions = await Promise.all(
      bounds.map((bound) => {
        const at = schema.columns.findIndex(({ name }) => name === bound.column);
        return this.conditionOf(bound, quoteIdentifier(stored.columns[at].name)).catch(() => undefined);
      }),
    );
    return conditions.filter((condition) => condition !== undefined);
  }

  private async conditionOf({ kind, expression }: Bound, column: string): Promise<string | undefined> {
    if (kind === 'equal') {
      const [[text]] = await this.values(`SELECT toString(${expression})`);
      // '' stands for a missing value too.
      return typeof text !== 'string' || text === '' || text.includes('\0') ? undefined : `${column} = ${quoteLiteral(text)}`;
    }
    const [[micros]] = await this.values(`SELECT toUnixTimestamp64Micro(toDateTime64(${expression}, 6, 'UTC'))`);
    if (typeof micros !== 'string' || !/^-?\d+$/.test(micros)) return undefined;
    // A microsecond more on either side: the query itself is exact.
    const edge = BigInt(micros) + (kind === 'from' ? -1n : 1n);
    return `${column} ${kind === 'from' ? '>=' : '<='} '${isoMicros(edge)}'::timestamptz`;
  }

  private async values(sql: string): Promise<unknown[][]> {
    const { body } = await this.options.cold.query(sql, 'json');
    return (JSON.parse(body.toString()) as { rows: unknown[][] }).rows;
  }
}

/** Microseconds since 1970 as PostgreSQL reads them. */
function isoMicros(micros: bigint): string {
  const ms = micros / 1_000n - (micros % 1_000n < 0n ? 1n : 0n);
  return `${new Date(Number(ms)).toISOString().slice(0, -1)}${String(micros - ms * 1_000n).padStart(3, '0')}+00`;
}

/** `2026-01-02 03:04:05.123`, undefined when there is none. */
function timeText(text: string | undefined, name: string): string | undefined {
  if (text === undefined) return undefined;
  const [, day, clock] = ISO_TIME.exec(text) ?? [];
  if (day === undefined || Number.isNaN(Date.parse(`${day}T${clock.slice(0, 8)}Z`)))
    throw new SqlError(`${name} must be a time such as 2026-01-02T03:04:05.123Z`, '', 'invalid');
  return `${day} ${clock}`;
}

function coldRange(timeColumn: string, { from, to }: AskedTime): string[] {
  const time = (text: string): string => `toDateTime64(${literal(text)}, 9, 'UTC')`;
  return [
    ...(from === undefined ? [] : [`${identifier(timeColumn)} >= ${time(from)}`]),
    ...(to === undefined ? [] : [`${identifier(timeColumn)} < ${time(to)}`]),
  ];
}

/** PostgreSQL keeps microseconds and, apart, the nanoseconds below: both are compared. */
function hotRange(timeColumn: string, { from, to }: AskedTime): string[] {
  const compared = `(${quoteIdentifier(timeColumn)}, coalesce(${quoteIdentifier(`${timeColumn}_ns`)}, 0))`;
  const pair = (text: string): string => {
    const [seconds, fraction = ''] = text.split('.');
    const digits = fraction.padEnd(9, '0');
    return `('${seconds}.${digits.slice(0, 6)}+00'::timestamptz, ${Number(digits.slice(6))}::smallint)`;
  };
  const coarse = (text: string, operator: string): string =>
    `${quoteIdentifier(timeColumn)} ${operator} '${text.slice(0, 26)}+00'::timestamptz`;
  return [
    ...(from === undefined ? [] : [coarse(from, '>='), `${compared} >= ${pair(from)}`]),
    ...(to === undefined ? [] : [coarse(to, '<='), `${compared} < ${pair(to)}`]),
  ];
}

function usesOf(sql: string, tables: readonly TableSchema[]): TableUse[] {
  try {
    return tablesOf(sql, tables);
  } catch (error) {
    if (error instanceof RangeError) throw new SqlError(error.message, '', 'invalid', { cause: error });
    throw error;
  }
}

/** The query with its tables in front; one that begins with WITH goes on after them. */
function withTables(sql: string, parts: readonly string[]): string {
  const [, own] = /^\s*WITH\b([\s\S]*)$/i.exec(sql) ?? [];
  return own === undefined ? `WITH ${parts.join(', ')} ${sql}` : `WITH ${parts.join(', ')}, ${own}`;
}
