import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import { EmbeddedPostgres } from '../../src/embedded/postgres';
import { silentLogger } from '../../src/telemetry';
import { SHARED_POSTGRES_URL } from './shared-postgres';

export interface TestPostgres {
  /** An empty database of its own; the login may create more. */
  readonly url: string;
  /** Drops the database, whoever is still connected. */
  stop(): Promise<void>;
}

/** An empty database on the server that all test files of this run share. */
export async function startPostgres(): Promise<TestPostgres> {
  const server = process.env[SHARED_POSTGRES_URL];
  if (server === undefined) throw new Error('the shared PostgreSQL runs only for tests outside of test/unit');
  const name = `test_${randomBytes(6).toString('hex')}`;
  await execute(server, `CREATE DATABASE ${name}`);
  const url = new URL(server);
  url.pathname = `/${name}`;
  return { url: url.href, stop: () => execute(server, `DROP DATABASE IF EXISTS ${name} WITH (FORCE)`) };
}

/** A server of one's own, for tests that stop or kill it. */
export async function startOwnPostgres(): Promise<TestPostgres & { server: EmbeddedPostgres; dataDir: string }> {
  const dataDir = await mkdtemp(join(tmpdir(), 'thermocline-postgres-'));
  const server = await EmbeddedPostgres.start({ dataDir, logger: silentLogger() });
  const stop = async (): Promise<void> => {
    await server.stop();
    await rm(dataDir, { recursive: true, force: true });
  };
  return { server, dataDir, url: server.url, stop };
}

async function execute(url: string, sql: string): Promise<void> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(sql);
  } finally {
    await client.end();
  }
}
