/**
 * Read-only SQL on PostgreSQL. One statement (extended protocol) in a READ ONLY transaction with a statement timeout; SELECT, WITH,
 * VALUES and TABLE through a cursor, so that no more than the row limit leaves the server. Use a login without rights of its own:
 * a superuser could leave the database by functions and COPY TO PROGRAM whatever the transaction says.
 */
import { type FieldDef, Pool, type PoolClient, type QueryArrayConfig, type types } from 'pg';
import { to as copyTo } from 'pg-copy-streams';
import type { BothTiers, TierSnapshot } from '../core/demotion';
import { quoteIdentifier } from '../core/postgres-sql';
import {
  answerToJson,
  type SqlAnswer,
  SqlError,
  type SqlFormat,
  type SqlLimits,
  type SqlResult,
  type SqlStore,
  toIngestError,
} from './answer';
import { answerToArrow, answerToCsv } from './formats';
import { jsonValue, typeName } from './postgres-values';

/** Statements that can be the query of a cursor. */
const CURSOR_STATEMENT = /^\s*(select|with|values|table|\()/i;
const OTHER_STATEMENT = /^\s*(explain|show)\b/i;
const CONNECTIONS_MAX = 4;
/** Rows in memory while an answer is streamed. */
const STREAM_ROWS = 10_000;
/** Who takes no rows for so long loses the connection to others. */
const STREAM_IDLE_MS = 60_000;

const UNAVAILABLE = /^(08|53|57P|58)/;

export class PostgresSql implements SqlStore, BothTiers<HotReader> {
  private readonly pool: Pool;

  constructor(
    url: string,
    private readonly limits: SqlLimits,
  ) {
    this.pool = new Pool({
      connectionString: url,
      max: CONNECTIONS_MAX,
      connectionTimeoutMillis: limits.timeoutMs,
      application_name: 'thermocline-sql',
      types: { getTypeParser: () => (text: string) => text } as unknown as typeof types,
    });
    // An idle connection that breaks is replaced by the pool at its next use.
    this.pool.on('error', () => undefined);
  }

  async query(sql: string, format: SqlFormat): Promise<SqlResult> {
    return inFormat(await this.run(stripEnd(sql)), format);
  }

  /** Parts of `STREAM_ROWS` rows, each an IPC stream of its own. No limit of rows; the time limit is one of each part. */
  async *stream(given: string): AsyncGenerator<Uint8Array> {
    const sql = stripEnd(given);
    let client: PoolClient | undefined;
    try {
      client = await this.begin(sql);
      await client.query(`SET LOCAL idle_in_transaction_session_timeout = ${STREAM_IDLE_MS}`);
      for await (const rows of this.parts(client, sql)) yield answerToArrow(toAnswer(rows)).body as Uint8Array;
    } catch (error) {
      throw toIngestError(sqlError(error));
    } finally {
      // Also when the caller leaves the loop.
      if (client !== undefined) await rollback(client);
    }
  }

  private async *parts(client: PoolClient, sql: string): AsyncGenerator<Rows> {
    if (!CURSOR_STATEMENT.test(sql)) {
      yield await oneStatement(client, sql);
      return;
    }
    await oneStatement(client, declareCursor(sql));
    for (let isFirst = true; ; isFirst = false) {
      const part = await oneStatement(client, `FETCH FORWARD ${STREAM_ROWS} FROM answer`);
      if (isFirst || part.rows.length > 0) yield part;
      if (part.rows.length < STREAM_ROWS) return;
    }
  }

  private async run(sql: string): Promise<SqlAnswer> {
    const client = await this.begin(sql);
    try {
      return await this.read(client, sql);
    } catch (error) {
      throw sqlError(error);
    } finally {
      await rollback(client);
    }
  }

  private async read(client: PoolClient, sql: string): Promise<SqlAnswer> {
    const startedAt = performance.now();
    const read = await (CURSOR_STATEMENT.test(sql) ? this.throughCursor(client, sql) : oneStatement(client, sql));
    const answer = toAnswer({ fields: read.fields, rows: read.rows.slice(0, this.limits.rowsMax) });
    const elapsedMs = Math.round((performance.now() - startedAt) * 1000) / 1000;
    return { ...answer, elapsedMs, truncated: read.rows.length > this.limits.rowsMax };
  }

  private async connect(): Promise<PoolClient> {
    try {
      return await this.pool.connect();
    } catch (error) {
      throw new SqlError('postgresql does not answer', '', 'unavailable', { cause: error });
    }
  }

  /** A connection in a transaction that cannot write; `rollback` gives it back. Throws SqlError. */
  private async begin(sql: string): Promise<PoolClient> {
    checkStatement(sql);
    const client = await this.connect();
    try {
      await client.query(`BEGIN READ ONLY; ${settings(this.limits.timeoutMs)}`);
    } catch (error) {
      await rollback(client);
      throw sqlError(error);
    }
    return client;
  }

  private async throughCursor(client: PoolClient, sql: string): Promise<Rows> {
    await oneStatement(client, declareCursor(sql));
    const rows = await oneStatement(client, `FETCH FORWARD ${this.limits.rowsMax + 1} FROM answer`);
    await client.query('CLOSE answer');
    return rows;
  }

  async snapshot<T>(tables: readonly string[], work: (snapshot: TierSnapshot<HotReader>) => Promise<T>): Promise<T> {
    let client: PoolClient | undefined;
    try {
      client = await this.connect();
      // Between queries nothing else listens, and an error that nobody hears would end the process.
      client.on('error', ignore);
      const hidden = await beginSnapshot(client, tables, this.limits.timeoutMs);
      return await work({ hidden, hot: this.inTurn(client) });
    } catch (error) {
      throw (error as { code?: unknown }).code === undefined ? error : sqlError(error);
    } finally {
      if (client !== undefined) {
        await rollback(client);
        client.removeListener('error', ignore);
      }
    }
  }

  /** Queries on one connection, one after the other. */
  private inTurn(client: PoolClient): HotReader {
    let last: Promise<unknown> = Promise.resolve();
    return {
      query: (sql, format) => {
        const turn = last.then(() => this.answer(client, stripEnd(sql), format));
        last = turn.catch(() => undefined);
        return turn;
      },
      has: async (table) => (await client.query(PRESENT, [[table]])).rows.length > 0,
      copy: (sql) => {
        const stream = client.query(copyTo(`COPY (${sql}) TO STDOUT`));
        return { text: stream, rows: () => stream.rowCount ?? 0 };
      },
    };
  }

  private async answer(client: PoolClient, sql: string, format: SqlFormat): Promise<SqlResult> {
    checkStatement(sql);
    // A query that is refused must not take the snapshot from those that follow.
    await client.query('SAVEPOINT query');
    try {
      return inFormat(await this.read(client, sql), format);
    } catch (error) {
      await client.query('ROLLBACK TO SAVEPOINT query').catch(() => undefined);
      throw sqlError(error);
    }
  }

  async close(): Promise<void> {
    await this.pool.end();
  }
}

const ignore = (): void => undefined;

/** Reads within a snapshot. */
export interface HotReader {
  /** May be called while another one runs. Throws SqlError. */
  query(sql: string, format: SqlFormat): Promise<SqlResult>;
  has(table: string): Promise<boolean>;
  /** The rows in COPY's text format; `rows`: how many there were, after the last. Read it to its end before anything else is asked. */
  copy(sql: string): { readonly text: AsyncIterable<Buffer>; rows(): number };
}

const settings = (timeoutMs: number): string =>
  `SET LOCAL statement_timeout = ${timeoutMs}; SET LOCAL timezone = 'UTC'; SET LOCAL datestyle = 'ISO'`;

const PRESENT = 'SELECT name FROM unnest($1::text[]) AS name WHERE to_regclass(quote_ident(name)) IS NOT NULL';

/**
 * Locks first, then the snapshot, which is taken by the first statement that reads: whatever is hidden in it stays so as long as the
 * locks are held (core/demotion.ts).
 */
async function beginSnapshot(client: PoolClient, tables: readonly string[], timeoutMs: number): Promise<readonly string[]> {
  const { rows } = await client.query<{ name: string }>(PRESENT, [[...tables, '_demotions']]);
  const present = rows.map(({ name }) => name);
  const locked = tables.filter((table) => present.includes(table)).map((table) => `ONLY ${quoteIdentifier(table)}`);
  const lock = locked.length === 0 ? '' : `; LOCK TABLE ${locked.join(', ')} IN ACCESS SHARE MODE`;
  await client.query(`BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; ${settings(timeoutMs)}${lock}`);
  if (!present.includes('_demotions')) return [];
  const hidden = await client.query<{ id: string }>('SELECT id FROM _demotions WHERE hidden AND table_name = ANY ($1)', [tables]);
  return hidden.rows.map(({ id }) => String(BigInt(`0x${id}`)));
}

function checkStatement(sql: string): void {
  if (CURSOR_STATEMENT.test(sql) || OTHER_STATEMENT.test(sql)) return;
  throw new SqlError('only SELECT, WITH, VALUES, TABLE, EXPLAIN and SHOW', '25006', 'invalid');
}

function inFormat(answer: SqlAnswer, format: SqlFormat): SqlResult {
  if (format === 'arrow') return answerToArrow(answer);
  return format === 'csv' ? answerToCsv(answer) : answerToJson(answer);
}

interface Rows {
  readonly fields: readonly FieldDef[];
  readonly rows: readonly (readonly (string | null)[])[];
}

const declareCursor = (sql: string): string => `DECLARE answer NO SCROLL CURSOR FOR ${sql}`;

function toAnswer({ fields, rows }: Rows): SqlAnswer {
  return {
    columns: fields.map((field) => ({ name: field.name, type: typeName(field.dataTypeID) })),
    rows: rows.map((row) => row.map((value, i) => jsonValue(value, fields[i].dataTypeID))),
    elapsedMs: 0,
    truncated: false,
  };
}

/** Ends the transaction and gives the connection back; a broken one is thrown away. */
async function rollback(client: PoolClient): Promise<void> {
  await client.query('ROLLBACK').then(
    () => client.release(),
    (broken: Error) => client.release(broken),
  );
}

/** By the extended protocol, which refuses a second statement behind a semicolon. */
async function oneStatement(client: PoolClient, sql: string): Promise<Rows> {
  const query: QueryArrayConfig & { queryMode: 'extended' } = { text: sql, rowMode: 'array', queryMode: 'extended' };
  return client.query<(string | null)[]>(query);
}

/** Without the semicolon and space at the end, which people leave there. */
const stripEnd = (sql: string): string => sql.replace(/[\s;]+$/, '');

function sqlError(error: unknown): SqlError {
  if (error instanceof SqlError) return error;
  const { code, message } = error as { code?: string; message: string };
  if (code === '57014') return new SqlError('the query took too long', code, 'timeout', { cause: error });
  if (code === undefined || UNAVAILABLE.test(code))
    return new SqlError('postgresql does not answer', code ?? '', 'unavailable', { cause: error });
  return new SqlError(message, code, 'invalid', { cause: error });
}
