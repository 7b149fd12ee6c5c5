import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const MAIN = join(__dirname, '..', '..', 'dist', 'main.js');

export interface ServerOptions {
  readonly dataDir: string;
  /** Further settings, by variable without prefix: `POSTGRES_URL`. */
  readonly settings?: Readonly<Record<string, string>>;
  /** Arguments of node in the place of the built command. */
  readonly args?: readonly string[];
  /** A program that is given node and its arguments to run; it must become that process, or pass signals on. */
  readonly under?: readonly [string, ...string[]];
  /** Further variables of the environment. */
  readonly environment?: Readonly<Record<string, string>>;
}

export interface SqlAnswer {
  readonly columns: { name: string; type: string }[];
  readonly rows: unknown[][];
}

/** The built command as a process of its own. */
export class TestServer {
  private constructor(
    readonly child: ChildProcess,
    readonly grpc: string,
    readonly http: string,
    readonly admin: string,
    /** Milliseconds from the spawn to the ready line. */
    readonly startMs: number,
  ) {}

  static async start({
    dataDir,
    settings = {},
    args = [MAIN, 'serve'],
    under,
    environment: more,
  }: ServerOptions): Promise<TestServer> {
    if (!existsSync(MAIN)) throw new Error('dist/ is missing: run `make build` first (`make test` does)');
    const startedAt = performance.now();
    const environment = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('THERMOCLINE_')));
    Object.assign(environment, more);
    const own = {
      DATA_DIR: dataDir,
      GRPC_PORT: '0',
      HTTP_PORT: '0',
      ADMIN_PORT: '0',
      LOG_LEVEL: 'warn',
      WAL_ALLOW_ANY_FILESYSTEM: 'true',
      ...settings,
    };
    for (const [name, value] of Object.entries(own)) environment[`THERMOCLINE_${name}`] = value;
    const [program, ...programArgs] = [...(under ?? []), process.execPath, ...args] as [string, ...string[]];
    const child = spawn(program, programArgs, { env: environment, stdio: ['ignore', 'pipe', 'pipe'] });
    let log = '';
    child.stderr.on('data', (chunk: Buffer) => {
      log = (log + chunk.toString()).slice(-10_000);
    });
    const lines = createInterface({ input: child.stdout });
    for await (const line of lines) {
      if (!line.startsWith('{"msg":"ready"')) {
        log = `${log}${line}\n`.slice(-10_000);
        continue;
      }
      const { grpc, http, admin } = JSON.parse(line) as { grpc: string; http: string; admin: string };
      // What is logged from now on must be read, or the server would block on a full pipe.
      child.stdout.resume();
      return new TestServer(child, grpc, http, admin, performance.now() - startedAt);
    }
    throw new Error(`the server ended before it was ready:\n${log}`);
  }

  post(
    path: string,
    body: string | Uint8Array,
    headers: Record<string, string> = { 'content-type': 'application/json' },
  ): Promise<Response> {
    return fetch(`http://${this.http}${path}`, { method: 'POST', headers, body });
  }

  async sql(target: 'hot' | 'cold', query: string): Promise<SqlAnswer> {
    const response = await fetch(`http://${this.admin}/api/sql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ target, query }),
    });
    const body = (await response.json()) as SqlAnswer & { error?: unknown };
    if (response.status !== 200) throw new Error(JSON.stringify(body.error));
    return body;
  }

  /** Asks until the first value of the first row is `expected`, and gives the last answer. */
  async sqlUntil(target: 'hot' | 'cold', query: string, expected: unknown, timeoutMs = 20_000): Promise<SqlAnswer> {
    const deadline = Date.now() + timeoutMs;
    for (;;) {
      const answer = await this.sql(target, query);
      if (String(answer.rows[0]?.[0]) === String(expected)) return answer;
      if (Date.now() > deadline) throw new Error(`${query} gave ${JSON.stringify(answer.rows[0])}, expected ${String(expected)}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /** Waits until both sinks have everything. */
  async drained(timeoutMs = 30_000): Promise<void> {
    const deadline = Date.now() + timeoutMs;
    for (;;) {
      const { sinks } = (await (await fetch(`http://${this.admin}/readyz`)).json()) as {
        sinks: Record<string, { rows: number }>;
      };
      if (Object.values(sinks).every((sink) => sink.rows === 0)) return;
      if (Date.now() > deadline) throw new Error(`not drained: ${JSON.stringify(sinks)}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /** Sends the signal and gives the exit code (or the signal's name). */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | string> {
    const { child } = this;
    if (child.exitCode !== null) return child.exitCode;
    if (child.signalCode !== null) return child.signalCode;
    const ended = once(child, 'exit') as Promise<[number | null, string | null]>;
    child.kill(signal);
    const [code, by] = await ended;
    return code ?? by ?? '';
  }
}

/** A directory of its own, removed by `remove`. */
export async function temporaryDirectory(): Promise<{ path: string; remove(): Promise<void> }> {
  const path = await mkdtemp(join(tmpdir(), 'thermocline-e2e-'));
  return { path, remove: () => rm(path, { recursive: true, force: true, maxRetries: 5 }) };
}
