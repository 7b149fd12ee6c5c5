/**
 * The requests of this server by query_id, so that KILL QUERY and system.processes are true for them. The engine names
 * its queries itself and forgets none before its connection closes; so each request carries a tag in the setting log_comment,
 * and both statements are answered from this table and the engine's together.
 *
 * KILL QUERY ... SYNC answers when the request has ended: nothing of it can take effect afterwards.
 */

import { literal } from '../../core/clickhouse-sql';
import { asBytes, fromBytes } from '../../core/sql-tokens';
import type { Engine } from './engine';
import { refuse, toException } from './exception';
import type { Edit, Statement } from './statement';

export interface RunningQuery {
  readonly queryId: string;
  readonly user: string;
  readonly tag: string;
  /** Aborted by KILL QUERY: a request that still waits or receives ends at once. */
  readonly killed: AbortController;
  readonly startedMs: number;
  query: string;
  state: 'waiting' | 'running';
  /** Resolves when nothing of the request runs any more. */
  readonly ended: Promise<void>;
  end(): void;
}

const QUERY_TEXT_MAX = 16 * 1024;
const KILL_REPEAT_MS = 50;
/** Separates tag, query_id and the client's own log_comment. */
const SEPARATOR = '\u0001';
/** Of the table itself, under its alias: the column that replaces it has the same name. */
const PARTS = `splitByChar(char(1), p.Settings['log_comment'])`;

export class RunningQueries {
  private readonly byId = new Map<string, RunningQuery>();
  private nextTag = 1;

  /** Throws ClickHouseException 216 when the id is in use, unless `replace` asks to end the other one first. */
  async register(queryId: string, user: string, replace: boolean): Promise<RunningQuery> {
    for (let other = this.byId.get(queryId); other !== undefined; other = this.byId.get(queryId)) {
      if (!replace) {
        throw refuse('QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING', `Query with id = ${queryId} is already running`);
      }
      other.killed.abort();
      await other.ended;
    }
    const ended = new Deferred();
    const entry: RunningQuery = {
      queryId,
      user,
      tag: `t${this.nextTag++}`,
      killed: new AbortController(),
      startedMs: performance.now(),
      query: '',
      state: 'waiting',
      ended: ended.promise,
      end: () => {
        if (this.byId.get(queryId) === entry) this.byId.delete(queryId);
        ended.resolve();
      },
    };
    this.byId.set(queryId, entry);
    return entry;
  }

  /** Ends all requests; for shutdown. */
  killAll(): Promise<void> {
    const all = [...this.byId.values()];
    for (const entry of all) entry.killed.abort();
    return Promise.all(all.map((entry) => entry.ended)).then(() => undefined);
  }

  /** A sub-query with the columns of system.processes: what runs in the engine, and what waits here. */
  processesSql(): string {
    const all = [...this.byId.values()];
    const running = all.filter((entry) => entry.state === 'running');
    const waiting = all.filter((entry) => entry.state === 'waiting');
    const shown = `SELECT * REPLACE (${PARTS}[2] AS query_id, ${PARTS}[2] AS initial_query_id,
      ${transformSql(running, (entry) => entry.query, 'p.query')} AS query,
      ${transformSql(running, (entry) => entry.user, 'p.user')} AS user,
      mapUpdate(p.Settings, map('log_comment', ${PARTS}[3])) AS Settings)
      FROM system.processes AS p WHERE ${PARTS}[1] IN (${list(running.map((entry) => entry.tag))})`;
    if (waiting.length === 0) return `(${shown})`;
    // A waiting request has no row in the engine: the row of the query that asks serves as the pattern.
    const rows = waiting.map((entry) => {
      const elapsed = ((performance.now() - entry.startedMs) / 1000).toFixed(3);
      return `SELECT * REPLACE (${literal(entry.queryId)} AS query_id, ${literal(entry.queryId)} AS initial_query_id,
        ${literal(entry.query)} AS query, ${literal(entry.user)} AS user, toFloat64(${elapsed}) AS elapsed,
        CAST(map(), 'Map(LowCardinality(String), String)') AS Settings) FROM system.processes AS p WHERE p.query_id = queryID()`;
    });
    return `(${[shown, ...rows].join(' UNION ALL ')})`;
  }

  /** The edits that let a statement read this table where it names system.processes. */
  processesEdits(statement: Exclude<Statement, { kind: 'empty' }>): Edit[] {
    const { tokens } = statement;
    if (tokens[0]?.text === 'SHOW' && tokens[1]?.text === 'PROCESSLIST') {
      const text = `SELECT * FROM ${this.processesSql()} ORDER BY elapsed DESC`;
      return [{ start: tokens[0].start, end: tokens[1].end, text: asBytes(text) }];
    }
    const edits: Edit[] = [];
    for (const [index, token] of tokens.entries()) {
      const [dot, table, after] = [tokens[index + 1], tokens[index + 2], tokens[index + 3]];
      if (token.text.toLowerCase() !== 'system' || dot?.text !== '.' || table?.text.toLowerCase() !== 'processes') continue;
      if (after?.text === '.' || tokens[index - 1]?.text === '.' || !isTableSource(tokens[index - 1])) continue;
      edits.push({ start: token.start, end: table.end, text: asBytes(this.processesSql()) });
    }
    return edits;
  }

  /** Runs KILL QUERY; the answer is a SELECT of its result, to be run and formatted like any other. */
  async kill(engine: Engine, text: string, statement: Statement & { kind: 'kill' }): Promise<string> {
    const plan = readKill(text, statement);
    const ids = await this.matching(engine, plan.condition);
    const entries = ids.flatMap((id) => this.byId.get(id) ?? []);
    if (plan.mode !== 'TEST') for (const entry of entries) entry.killed.abort();
    if (plan.mode === 'SYNC') await Promise.all(entries.map((entry) => entry.ended));
    const status = plan.mode === 'SYNC' ? 'finished' : plan.mode === 'TEST' ? 'unknown_status' : 'waiting';
    const rows = entries.map((entry) => `(${list([status, entry.queryId, entry.user, entry.query])})`);
    const structure = `'kill_status String, query_id String, user String, query String'`;
    return rows.length === 0
      ? `SELECT '' AS kill_status, '' AS query_id, '' AS user, '' AS query WHERE 0${plan.format}`
      : `SELECT * FROM values(${structure}, ${rows.join(', ')})${plan.format}`;
  }

  /** Cancels the engine's query of a request, again and again, because it may not have begun yet. */
  async cancelInEngine(engine: Engine, entry: RunningQuery): Promise<void> {
    const connection = engine.connect();
    const parts = PARTS.replace('p.', '');
    const sql = `KILL QUERY WHERE ${parts}[1] = ${literal(entry.tag)} ASYNC`;
    try {
      while (this.byId.get(entry.queryId) === entry) {
        await connection.run(sql, 'TSV');
        await Promise.race([entry.ended, pause(KILL_REPEAT_MS)]);
      }
    } finally {
      connection.close();
    }
  }

  private async matching(engine: Engine, condition: string): Promise<string[]> {
    if (this.byId.size === 0) return [];
    const connection = engine.connect();
    try {
      const sql = `SET implicit_select = 0; SELECT DISTINCT query_id FROM ${this.processesSql()} WHERE ${condition}`;
      const { bytes } = await connection.run(sql, 'JSONCompactEachRow');
      const lines = bytes.toString('utf8').split('\n');
      return lines.filter((line) => line !== '').map((line) => (JSON.parse(line) as [string])[0]);
    } catch (error) {
      throw toException(error);
    } finally {
      connection.close();
    }
  }
}

class Deferred {
  resolve!: () => void;
  readonly promise = new Promise<void>((resolve) => {
    this.resolve = resolve;
  });
}

/** What the engine is told, so that its own list can be matched with ours. */
export function logComment(entry: RunningQuery, own: string): string {
  return [entry.tag, entry.queryId, own].join(SEPARATOR);
}

export function shortQueryText(text: string): string {
  return text.length > QUERY_TEXT_MAX ? text.slice(0, QUERY_TEXT_MAX) : text;
}

function isTableSource(before: { readonly text: string } | undefined): boolean {
  return before !== undefined && ['FROM', 'JOIN', ',', '('].includes(before.text);
}

interface KillPlan {
  readonly condition: string;
  readonly mode: 'SYNC' | 'ASYNC' | 'TEST';
  readonly format: string;
}

function readKill(text: string, statement: Statement & { kind: 'kill' }): KillPlan {
  const { tokens, end } = statement;
  const where = tokens.find((token) => token.kind === 'word' && token.text === 'WHERE' && token.depth === 0);
  if (where === undefined) throw refuse('SYNTAX_ERROR', 'Syntax error: KILL QUERY needs WHERE');
  const words = tokens.filter((token) => token.kind === 'word' && token.depth === 0 && token.start > where.start);
  const format = words.find((token, index) => token.text === 'FORMAT' && words[index + 1] !== undefined);
  const last = words.filter((token) => format === undefined || token.start < format.start).at(-1);
  const mode = last !== undefined && ['SYNC', 'ASYNC', 'TEST'].includes(last.text) ? last : undefined;
  const condition = text.slice(where.end, mode?.start ?? format?.start ?? end);
  return {
    condition: `(${fromBytes(condition)}\n)`,
    mode: (mode?.text ?? 'ASYNC') as KillPlan['mode'],
    format: format === undefined ? '' : ` ${fromBytes(text.slice(format.start, end))}`,
  };
}

function transformSql(entries: readonly RunningQuery[], value: (entry: RunningQuery) => string, fallback: string): string {
  if (entries.length === 0) return fallback;
  const tags = list(entries.map((entry) => entry.tag));
  return `transform(${PARTS}[1], [${tags}], [${list(entries.map((entry) => value(entry)))}], ${fallback})`;
}

function list(values: readonly string[]): string {
  return values.length === 0 ? `''` : values.map((value) => literal(value)).join(', ');
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}
