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

export interface OwnPostgres extends TestPostgres {
  readonly server: EmbeddedPostgres;
  readonly dataDir: string;
  /** A new server, on another port, on the data of the one before, which must have ended. */
  startAgain(): Promise<EmbeddedPostgres>;
}

/** A server of one's own, for tests that stop or kill it. */
export async function startOwnPostgres(): Promise<OwnPostgres> {
  const dataDir = await mkdtemp(join(tmpdir(), 'thermocline-postgres-'));
  let server = await EmbeddedPostgres.start({ dataDir, logger: silentLogger() });
  return {
    server,
    dataDir,
    url: server.url,
    startAgain: async () => {
      server = await EmbeddedPostgres.start({ dataDir, logger: silentLogger() });
      return server;
    },
    stop: async () => {
      await server.stop();
      await rm(dataDir, { recursive: true, force: true });
    },
  };
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
