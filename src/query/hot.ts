/**
 * Read-only SQL on PostgreSQL. One statement (extended protocol) in a READ ONLY transaction with a statement timeout; SELECT, WITH,
 * VALUES and TABLE through a cursor, so that no more than the row limit leaves the server. Use a login without rights of its own:
 * a superuser could leave the database by functions and COPY TO PROGRAM whatever the transaction says.
 */
import { type FieldDef, Pool, type PoolClient, type QueryArrayConfig, type types } from 'pg';
import { answerToJson, type SqlAnswer, SqlError, type SqlFormat, type SqlLimits, type SqlResult, type SqlStore } from './answer';
import { answerToArrow, answerToCsv } from './formats';
import { jsonValue, typeName } from './postgres-values';

/** Statements that can be the query of a cursor. */
const CURSOR_STATEMENT = /^\s*(select|with|values|table|\()/i;
const OTHER_STATEMENT = /^\s*(explain|show)\b/i;
const CONNECTIONS_MAX = 4;

const UNAVAILABLE = /^(08|53|57P|58)/;

export class PostgresSql implements SqlStore {
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
    const answer = await this.run(stripEnd(sql));
    if (format === 'arrow') return answerToArrow(answer);
    return format === 'csv' ? answerToCsv(answer) : answerToJson(answer);
  }

  private async run(sql: string): Promise<SqlAnswer> {
    const useCursor = CURSOR_STATEMENT.test(sql);
    if (!useCursor && !OTHER_STATEMENT.test(sql))
      throw new SqlError('only SELECT, WITH, VALUES, TABLE, EXPLAIN and SHOW', '25006', 'invalid');
    const startedAt = performance.now();
    let client: PoolClient;
    try {
      client = await this.pool.connect();
    } catch (error) {
      throw new SqlError('postgresql does not answer', '', 'unavailable', { cause: error });
    }
    try {
      await client.query(
        `BEGIN READ ONLY; SET LOCAL statement_timeout = ${this.limits.timeoutMs}; SET LOCAL timezone = 'UTC'; SET LOCAL datestyle = 'ISO'`,
      );
      const { fields, rows } = useCursor ? await this.throughCursor(client, sql) : await oneStatement(client, sql);
      await client.query('ROLLBACK');
      client.release();
      return {
        columns: fields.map((field) => ({ name: field.name, type: typeName(field.dataTypeID) })),
        rows: rows.slice(0, this.limits.rowsMax).map((row) => row.map((value, i) => jsonValue(value, fields[i].dataTypeID))),
        elapsedMs: Math.round((performance.now() - startedAt) * 1000) / 1000,
        truncated: rows.length > this.limits.rowsMax,
      };
    } catch (error) {
      await client.query('ROLLBACK').then(
        () => client.release(),
        (broken: Error) => client.release(broken),
      );
      throw sqlError(error);
    }
  }

  private async throughCursor(client: PoolClient, sql: string): Promise<Rows> {
    await oneStatement(client, `DECLARE answer NO SCROLL CURSOR FOR ${sql}`);
    return oneStatement(client, `FETCH FORWARD ${this.limits.rowsMax + 1} FROM answer`);
  }

  async close(): Promise<void> {
    await this.pool.end();
  }
}

interface Rows {
  readonly fields: readonly FieldDef[];
  readonly rows: readonly (readonly (string | null)[])[];
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
