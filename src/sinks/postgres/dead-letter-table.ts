/**
 * The dead letters as a table of PostgreSQL, for queries: `dead_letters`, one row a letter. A copy of the dead-letter log, which is
 * what counts; letters of several servers stand beside each other, told apart by `log_id`. A row whose JSON is longer than
 * ROW_LENGTH_MAX has none here, `row` is null then.
 */
import type { Pool } from 'pg';
import type { DeadLetterCopy, DeadLetterView } from '../../core/dead-letter';
import type { WalId } from '../../core/ids';
import type { Logger } from '../../telemetry';
import { closePool, createPool, inTransaction, withConnection } from './connection';

const STATEMENT_TIMEOUT_MS = 30_000;
const ROW_LENGTH_MAX = 1024 * 1024;
const INSERT_LENGTH = 4 * 1024 * 1024;
const CLOSE_MS = 1_000;

const DDL = `CREATE TABLE IF NOT EXISTS dead_letters (
  log_id text NOT NULL, letter_group bigint NOT NULL, id text NOT NULL,
  table_name text NOT NULL, tier text, stage text NOT NULL, code text NOT NULL, column_name text, message text NOT NULL,
  schema_version integer NOT NULL, lsn bigint NOT NULL, at timestamptz NOT NULL, "row" jsonb,
  PRIMARY KEY (log_id, letter_group, id))`;

const INSERT = `INSERT INTO dead_letters SELECT $1, x.* FROM jsonb_to_recordset($2::jsonb) AS x(
  letter_group bigint, id text, table_name text, tier text, stage text, code text, column_name text, message text,
  schema_version integer, lsn bigint, at timestamptz, "row" jsonb)`;

/** Serialises the DDL of servers that start at once. */
const LOCK = "SELECT pg_advisory_xact_lock(hashtext('thermocline dead_letters'))";

export class PostgresDeadLetterTable implements DeadLetterCopy {
  private readonly pool: Pool;

  constructor({ url, logger }: { readonly url: string; readonly logger: Logger }) {
    this.pool = createPool({ url, connectionsMax: 1, statementTimeoutMs: STATEMENT_TIMEOUT_MS, logger });
  }

  async groups(log: WalId): Promise<ReadonlyMap<number, number>> {
    return withConnection(this.pool, STATEMENT_TIMEOUT_MS, async (client) => {
      await client.query('BEGIN');
      await client.query(LOCK);
      await client.query(DDL);
      await client.query('COMMIT');
      const { rows } = await client.query<{ letter_group: string; letters: string }>(
        'SELECT letter_group, count(*) AS letters FROM dead_letters WHERE log_id = $1 GROUP BY letter_group',
        [log],
      );
      return new Map(rows.map(({ letter_group: group, letters }) => [Number(group), Number(letters)]));
    });
  }

  async replace(log: WalId, groups: ReadonlyMap<number, readonly DeadLetterView[]>): Promise<void> {
    await inTransaction(this.pool, STATEMENT_TIMEOUT_MS, async (client) => {
      await client.query('DELETE FROM dead_letters WHERE log_id = $1 AND letter_group = ANY($2)', [log, [...groups.keys()]]);
      let texts: string[] = [];
      let length = 0;
      const flush = async (): Promise<void> => {
        if (texts.length > 0) await client.query(INSERT, [log, `[${texts.join()}]`]);
        texts = [];
        length = 0;
      };
      for (const [group, letters] of groups) {
        for (const letter of letters) {
          const text = recordOf(group, letter);
          texts.push(text);
          length += text.length;
          if (length >= INSERT_LENGTH) await flush();
        }
      }
      await flush();
    });
  }

  async close(): Promise<void> {
    await closePool(this.pool, CLOSE_MS);
  }
}

function recordOf(group: number, letter: DeadLetterView): string {
  const { id, table, tier, stage, code, column, message, schemaVersion, lsn, atMs, json } = letter;
  const reason = { id, table_name: table, tier, stage, code, column_name: column, message };
  const record = { letter_group: group, ...reason, schema_version: schemaVersion, lsn, at: new Date(atMs).toISOString() };
  const row = json.length > ROW_LENGTH_MAX ? 'null' : json;
  return withoutNul(`${JSON.stringify(record).slice(0, -1)},"row":${row}}`);
}

/** jsonb holds no NUL: a text has the replacement character there. */
function withoutNul(json: string): string {
  if (!json.includes('\\u0000')) return json;
  return json.replace(/\\(u0000|.)/g, (escape, kind: string) => (kind === 'u0000' ? '\\ufffd' : escape));
}
