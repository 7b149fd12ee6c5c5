/** A process that owns an embedded ClickHouse, for tests that kill it. Sends the process id of the server. */
import { EmbeddedClickHouse } from '../../src/embedded/clickhouse/launcher';
import { silentLogger } from '../../src/telemetry';
import { CLICKHOUSE_CHILD } from './clickhouse';

async function main(): Promise<void> {
  const server = await EmbeddedClickHouse.start({
    dataDir: process.argv[2],
    logger: silentLogger(),
    child: CLICKHOUSE_CHILD,
  });
  process.send?.(server.pid);
}

void main();
