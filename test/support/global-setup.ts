import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { EmbeddedPostgres } from '../../src/embedded/postgres';
import { silentLogger } from '../../src/telemetry';
import { SHARED_POSTGRES_URL, shared } from './shared-postgres';

interface RunOptions {
  testPathPatterns?: { patterns?: readonly string[] };
}

/**
 * Starts the PostgreSQL that `startPostgres` (test/support/postgres.ts) gives databases of, unless the environment names a server:
 * a login there must be able to make databases.
 */
// oxlint-disable-next-line import/no-default-export -- the form jest asks for
export default async function globalSetup(options: RunOptions): Promise<void> {
  const patterns = options.testPathPatterns?.patterns ?? [];
  if (patterns.length > 0 && patterns.every((pattern) => pattern.includes('unit/') || pattern.endsWith('unit'))) return;
  if (process.env[SHARED_POSTGRES_URL] !== undefined) return;
  const directory = await mkdtemp(join(tmpdir(), 'thermocline-postgres-'));
  const server = await EmbeddedPostgres.start({ dataDir: directory, logger: silentLogger() });
  shared.postgres = { server, directory };
  process.env[SHARED_POSTGRES_URL] = server.url;
}
