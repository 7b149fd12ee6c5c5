/** The built server, started again and again on the same directory; every warning and error that it logs is counted. */
import { createInterface } from 'node:readline';
import { TestServer } from '../support/server';
import { Clients } from './tables';

/** Longer than the grace period by what a loaded machine needs to notice. */
const STOP_MS_MAX = 30_000;

export class Gateway {
  /** Log lines that must not be: a part that did not stop, an invariant that is broken. */
  readonly complaints: string[] = [];
  /** Other warnings and errors, by their message. */
  readonly logged = new Map<string, number>();
  slowestStartMs = 0;
  slowestStopMs = 0;
  private server: TestServer | undefined;
  private clients: Clients | undefined;
  private waiting: (() => void)[] = [];

  constructor(
    private readonly dataDir: string,
    private readonly settings: Readonly<Record<string, string>>,
  ) {}

  async start(): Promise<void> {
    const server = await TestServer.start({ dataDir: this.dataDir, settings: { ...this.settings } });
    for (const stream of [server.child.stdout, server.child.stderr]) {
      if (stream !== null) createInterface({ input: stream }).on('line', (line) => this.note(line));
    }
    server.child.once('exit', (code, signal) => {
      if (this.server === server) this.complaints.push(`the server ended by itself with ${code ?? signal}`);
    });
    this.slowestStartMs = Math.max(this.slowestStartMs, server.startMs);
    this.server = server;
    this.clients = new Clients(server);
    for (const wake of this.waiting.splice(0)) wake();
  }

  get current(): TestServer {
    if (this.server === undefined) throw new Error('the server is not running');
    return this.server;
  }

  get pid(): number | undefined {
    return this.server?.child.pid;
  }

  /** Clients of the running server; waits for it. */
  async reach(): Promise<Clients> {
    while (this.clients === undefined) await new Promise<void>((resolve) => this.waiting.push(resolve));
    return this.clients;
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

  private note(line: string): void {
    let entry: { level?: number; msg?: string; err?: { message?: string } };
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
