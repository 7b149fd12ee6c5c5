import { Client } from 'pg';
import type { TableName } from '../../core/ids';
import { quoteIdentifier } from '../../core/postgres-sql';
import type { RowEraser } from '../../core/row-eraser';
import type { Tier } from '../../core/table-schema';
import { retryError } from './errors';

const CONNECT_TIMEOUT_MS = 10_000;
/** For the COPYs that hold the table; new ones wait behind us meanwhile. */
const LOCK_TIMEOUT_MS = 10_000;

/** TRUNCATE on a connection of its own: a rare statement, which waits for writes that run. */
export class PostgresEraser implements RowEraser {
  readonly tier: Tier = 'hot';

  constructor(private readonly url: string) {}

  async erase(table: TableName): Promise<void> {
    const client = new Client({
      connectionString: this.url,
      application_name: 'thermocline-erase',
      connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    });
    // A connection that breaks while a statement runs fails the statement too.
    client.on('error', () => undefined);
    try {
      await client.connect();
      await client.query(`SET lock_timeout = ${LOCK_TIMEOUT_MS}`);
      const { rows } = await client.query<{ present: boolean }>('SELECT to_regclass($1) IS NOT NULL AS present', [
        quoteIdentifier(table),
      ]);
      if (rows[0]?.present) await client.query(`TRUNCATE TABLE ${quoteIdentifier(table)}`);
    } catch (error) {
      throw retryError(error, `emptying ${table}`);
    } finally {
      await client.end().catch(() => undefined);
    }
  }
}
