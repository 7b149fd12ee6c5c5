import { randomBytes } from 'node:crypto';
import { Client } from 'pg';

const ROLE = 'thermocline_reader';

/**
 * A login that can read every table and do nothing else, for the SQL API on the embedded PostgreSQL, where the sink's own login
 * owns everything. Its password is new at every start. Gives the URL to connect with.
 */
export async function ensureReaderRole(url: string): Promise<string> {
  const password = randomBytes(24).toString('hex');
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    const { rowCount } = await client.query('SELECT FROM pg_roles WHERE rolname = $1', [ROLE]);
    if (rowCount === 0) await client.query(`CREATE ROLE ${ROLE} NOLOGIN NOSUPERUSER`);
    await client.query(`ALTER ROLE ${ROLE} LOGIN PASSWORD '${password}'`);
    await client.query(`ALTER ROLE ${ROLE} SET default_transaction_read_only = on`);
    await client.query(`GRANT pg_read_all_data TO ${ROLE}`);
  } finally {
    await client.end();
  }
  const reader = new URL(url);
  reader.username = ROLE;
  reader.password = password;
  return reader.toString();
}
