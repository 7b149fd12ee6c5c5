/** Connections to PostgreSQL: how they are set up, and transactions that never leave a connection in a doubtful state behind. */
import { type ClientBase, Pool, type PoolClient } from 'pg';
import type { Logger } from '../../telemetry';
import { LOCK_FAILURES, sqlStateOf } from './errors';

export interface ConnectionOptions {
  readonly url: string;
  readonly connectionsMax: number;
  /** Longest statement, a whole COPY included, milliseconds. The server ends it. */
  readonly statementTimeoutMs: number;
  readonly logger: Logger;
}

const CONNECT_TIMEOUT_MS = 10_000;
const KEEPALIVE_MS = 10_000;
/** A connection is replaced after this time, so that a failover or a changed address is noticed. */
const LIFETIME_SECONDS = 3_600;
/** How much longer than the server's own limit we wait for an answer before we give the connection up. */
const DEADLINE_SLACK_MS = 30_000;

/**
 * The server must notice that we are gone, or a dead connection's transaction would block its own repetition (P1 waits).
 * `timezone` makes partition bounds readable, `client_min_messages` keeps "already exists, skipping" off the wire.
 */
const sessionSettings = (statementTimeoutMs: number): string =>
  `SET statement_timeout = ${statementTimeoutMs}; SET idle_in_transaction_session_timeout = 60000; SET timezone = 'UTC';
  SET client_min_messages = warning; SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3`;

/** Not known on every platform. */
const OPTIONAL_SETTINGS = ['SET tcp_user_timeout = 30000', "SET client_connection_check_interval = '5s'"];

export function createPool({ url, connectionsMax, statementTimeoutMs, logger }: ConnectionOptions): Pool {
  const setUp = async (client: ClientBase): Promise<void> => {
    await client.query(sessionSettings(statementTimeoutMs));
    for (const setting of OPTIONAL_SETTINGS) {
      try {
        await client.query(setting);
      } catch (error) {
        if (sqlStateOf(error) === '') throw error;
        logger.debug({ err: error, setting }, 'postgresql does not know a setting');
      }
    }
  };
  const pool = new Pool({
    connectionString: url,
    max: connectionsMax,
    application_name: 'thermocline',
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    idleTimeoutMillis: 60_000,
    maxLifetimeSeconds: LIFETIME_SECONDS,
    keepAlive: true,
    keepAliveInitialDelayMillis: KEEPALIVE_MS,
    // oxlint-disable-next-line typescript/no-misused-promises -- the pool waits for it, its types do not say so
    onConnect: setUp,
  });
  // An idle connection that breaks is replaced by the pool at its next use.
  pool.on('error', (error) => logger.debug({ err: error }, 'an idle postgresql connection broke'));
  return pool;
}

const ignore = (): void => undefined;

/**
 * Runs `work` on a connection of its own. If it fails, what it began is rolled back; a connection that cannot even do that is
 * closed, so that none comes back to the pool inside a transaction. A server that says nothing for longer than any statement may
 * take is given up.
 */
export async function withConnection<T>(pool: Pool, deadlineMs: number, work: (client: PoolClient) => Promise<T>): Promise<T> {
  const client = await pool.connect();
  const busy = busyClients(pool).add(client);
  // Errors of a connection in use come out of its queries; without a listener they would end the process.
  client.on('error', ignore);
  const deadline = setTimeout(() => destroy(client, 'no answer from postgresql in time'), deadlineMs + DEADLINE_SLACK_MS);
  let usable = false;
  try {
    const result = await work(client);
    usable = true;
    return result;
  } catch (error) {
    // After an error of the server itself the connection can go on, unless the server is on its way down or read-only by now.
    if (sqlStateOf(error) !== '' && !/^(08|25006|57|58|XX)/.test(sqlStateOf(error))) {
      usable = await client.query('ROLLBACK').then(
        () => true,
        () => false,
      );
    }
    throw error;
  } finally {
    clearTimeout(deadline);
    client.removeListener('error', ignore);
    busy.delete(client);
    client.release(!usable);
  }
}

const BUSY = new WeakMap<Pool, Set<PoolClient>>();

function busyClients(pool: Pool): Set<PoolClient> {
  const known = BUSY.get(pool) ?? new Set();
  BUSY.set(pool, known);
  return known;
}

/** Closes the pool; work that still runs after `graceMs` loses its connection. Repeatable. */
export async function closePool(pool: Pool, graceMs: number): Promise<void> {
  if (pool.ending) return;
  const cutter = setTimeout(() => {
    for (const client of busyClients(pool)) destroy(client, 'the postgresql sink is closing');
  }, graceMs);
  await pool.end();
  clearTimeout(cutter);
}

/** Cuts the connection; its running query fails. */
function destroy(client: PoolClient, reason: string): void {
  const { connection } = client as unknown as { connection: { stream: { destroy(error: Error): void } } };
  connection.stream.destroy(new Error(reason));
}

export async function inTransaction<T>(pool: Pool, deadlineMs: number, work: (client: PoolClient) => Promise<T>): Promise<T> {
  return withConnection(pool, deadlineMs, async (client) => {
    await client.query('BEGIN');
    const result = await work(client);
    await client.query('COMMIT');
    return result;
  });
}

/**
 * A transaction that gives up soon when it does not get its locks, so that those who wait behind it go on: then it gives undefined, and
 * nothing has happened.
 */
export async function tryLocked<T>(
  pool: Pool,
  { deadlineMs, lockTimeoutMs }: { deadlineMs: number; lockTimeoutMs: number },
  work: (client: PoolClient) => Promise<T>,
): Promise<T | undefined> {
  try {
    return await withConnection(pool, deadlineMs, async (client) => {
      await client.query(`BEGIN; SET LOCAL lock_timeout = ${lockTimeoutMs}`);
      const result = await work(client);
      const { command } = await client.query('COMMIT');
      if (command !== 'COMMIT') throw new Error(`postgresql answered ${command} to COMMIT`);
      return result;
    });
  } catch (error) {
    if (LOCK_FAILURES.has(sqlStateOf(error))) return undefined;
    throw error;
  }
}
