import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { EmbeddedClickHouse } from '../../src/embedded/clickhouse/launcher';
import { silentLogger } from '../../src/telemetry';

export interface TestClickHouse {
  readonly url: string;
  readonly dataDir: string;
  readonly server: EmbeddedClickHouse;
  /** Rows of a SELECT; 64-bit integers, NaN and infinities as strings. */
  rows(sql: string): Promise<unknown[][]>;
  /** Runs a statement that gives no rows. */
  command(sql: string): Promise<void>;
  /** Kills the engine as a power cut of its process would, and resolves when it answers again. */
  crash(): Promise<void>;
  stop(): Promise<void>;
}

/** Starts the child from its TypeScript source. */
export const CLICKHOUSE_CHILD = {
  path: join(__dirname, '../../src/embedded/clickhouse/child.ts'),
  execArgv: ['-r', join(__dirname, 'run-typescript.cjs')],
};
const QUOTED = 'output_format_json_quote_64bit_integers=1&output_format_json_quote_denormals=1';
const POLL_MS = 20;

/** A ClickHouse of one's own in an empty directory. */
export async function startClickHouse(): Promise<TestClickHouse> {
  const dataDir = await mkdtemp(join(tmpdir(), 'thermocline-clickhouse-'));
  const server = await EmbeddedClickHouse.start({
    dataDir,
    logger: silentLogger(),
    child: CLICKHOUSE_CHILD,
  });
  const command = async (sql: string): Promise<void> => {
    await ask(server.url, sql);
  };
  return {
    url: server.url,
    dataDir,
    server,
    command,
    rows: async (sql) => {
      const answer = await ask(`${server.url}/?${QUOTED}`, `${sql} FORMAT JSONCompact`);
      return (JSON.parse(answer) as { data: unknown[][] }).data;
    },
    crash: async () => {
      const gone = new Promise<void>((resolve) => {
        const forget = server.onExit(() => {
          forget();
          resolve();
        });
      });
      if (server.pid === undefined) throw new Error('the engine is not running');
      process.kill(server.pid, 'SIGKILL');
      await gone;
      while (server.pid === undefined) await sleep(POLL_MS);
      await command('SELECT 1');
    },
    stop: async () => {
      await server.stop();
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}

async function ask(url: string, body: string): Promise<string> {
  const response = await fetch(url, { method: 'POST', body });
  const text = await response.text();
  if (!response.ok) throw new Error(text);
  return text;
}
