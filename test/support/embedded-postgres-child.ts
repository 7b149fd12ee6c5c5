/** Starts an embedded PostgreSQL in the folder given as argument, says its URL on stdout, and waits to be killed. */

import { EmbeddedPostgres } from '../../src/embedded/postgres';
import { createLogger } from '../../src/telemetry';

async function main(): Promise<void> {
  const [, , dataDir = ''] = process.argv;
  const server = await EmbeddedPostgres.start({ dataDir, logger: createLogger('silent') });
  process.stdout.write(`${server.url}\n`);
  // Keeps the process alive; the server alone does not.
  setInterval(() => undefined, 60_000);
}

void main();
