/** The built server, started again and again on the same directory; every warning and error that it logs is counted. */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import type { Failpoint } from '../support/failpoints';
import { TestServer } from '../support/server';
import { Clients } from './tables';

/** Longer than the grace period by what a loaded machine needs to notice. */
const STOP_MS_MAX = 30_000;

export class Gateway {
  /** What must not be: a part that did not stop, an invariant that is broken, an end without a reason. */
  readonly complaints: string[] = [];
  /** Warnings and errors in the log, by their message. */
  readonly logged = new Map<string, number>();
  slowestStartMs = 0;
  slowestStopMs = 0;
  private server: TestServer | undefined;
  private clients: Clients | undefined;
  private waiting: (() => void)[] = [];
  private closed = false;

  constructor(
    private readonly dataDir: string,
    private readonly settings: Readonly<Record<string, string>>,
  ) {}

  async start(): Promise<void> {
    const server = await TestServer.start({ dataDir: this.dataDir, settings: this.settings });
    this.slowestStartMs = Math.max(this.slowestStartMs, server.startMs);
    server.child.once('exit', (code, signal) => {
      if (this.server === server) this.complaints.push(`the server ended by itself with ${code ?? signal}`);
    });
    this.adopt(server);
  }

  /**
   * Starts a server that kills itself at a failpoint; resolves when it is dead. `whileUp` says how long it may live when it does
   * not get there; then it is killed, and the answer is false.
   */
  async startDoomed(point: Failpoint, passes: number, whileUp: () => Promise<void>): Promise<boolean> {
    const args = ['-r', require.resolve('../support/run-typescript.cjs'), require.resolve('../support/doomed-server.ts')];
    let server: TestServer;
    try {
      server = await TestServer.start({ dataDir: this.dataDir, settings: this.settings, args: [...args, point, String(passes)] });
    } catch (error) {
      // It may die before it is ready, but it must not fail in another way: nothing but warnings (level 40) in its log.
      if (/ended before it was ready:\s*(\{"level":40,.*\s*)*$/.test((error as Error).message)) return true;
      throw error;
    }
    const ended = this.exitOf(server);
    this.adopt(server);
    const hit = await Promise.race([ended.then(() => true), whileUp().then(() => false)]);
    await this.stop('SIGKILL');
    return hit;
  }

  get current(): TestServer {
    if (this.server === undefined) throw new Error('the server is not running');
    return this.server;
  }

  /** Resident memory of the running server, bytes (Linux). */
  get memoryBytes(): number {
    const status = readFileSync(`/proc/${this.current.child.pid}/status`, 'utf8');
    return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1]) * 1024;
  }

  /** Resolves when the running server has ended. */
  async ended(): Promise<void> {
    if (this.server !== undefined) await this.exitOf(this.server);
  }

  /** kill -9 that nobody waits for. */
  shoot(): void {
    const { server } = this;
    this.server = undefined;
    this.clients?.close();
    this.clients = undefined;
    server?.child.kill('SIGKILL');
  }

  /** Clients of the running server; waits for it. Undefined when there will be none any more. */
  async reach(): Promise<Clients | undefined> {
    while (this.clients === undefined && !this.closed) await new Promise<void>((resolve) => this.waiting.push(resolve));
    return this.clients;
  }

  /** Kills what runs; nobody waits for a server any more. */
  async close(): Promise<void> {
    this.closed = true;
    for (const wake of this.waiting.splice(0)) wake();
    await this.stop('SIGKILL');
  }

  /** Ends the process; with SIGTERM it must end in order and in time. */
  async stop(signal: 'SIGKILL' | 'SIGTERM'): Promise<void> {
    const { server, clients } = this;
    if (server === undefined) return;
    this.server = undefined;
    this.clients = undefined;
    const startedMs = performance.now();
    const late = setTimeout(() => {
      this.complaints.push(`the server did not end within ${STOP_MS_MAX} ms of ${signal}`);
      server.child.kill('SIGABRT');
    }, STOP_MS_MAX);
    const outcome = await server.stop(signal);
    clearTimeout(late);
    clients?.close();
    if (signal === 'SIGKILL') return;
    this.slowestStopMs = Math.max(this.slowestStopMs, performance.now() - startedMs);
    if (outcome !== 0) this.complaints.push(`SIGTERM ended with ${outcome}`);
  }

  private adopt(server: TestServer): void {
    for (const stream of [server.child.stdout, server.child.stderr]) {
      if (stream !== null) createInterface({ input: stream }).on('line', (line) => this.note(line));
    }
    this.server = server;
    this.clients = new Clients(server);
    for (const wake of this.waiting.splice(0)) wake();
  }

  private async exitOf({ child }: TestServer): Promise<void> {
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  }

  private note(line: string): void {
    let entry: { level?: number; msg?: string };
    try {
      entry = JSON.parse(line) as typeof entry;
    } catch {
      return;
    }
    const text = entry.msg ?? '';
    if (/did not stop|invariant|corrupt|damaged|alarm|fatal/.test(text)) this.complaints.push(line.slice(0, 1000));
    if ((entry.level ?? 0) >= 40) this.logged.set(text, (this.logged.get(text) ?? 0) + 1);
  }
}
