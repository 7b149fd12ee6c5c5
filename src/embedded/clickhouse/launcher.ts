/**
 * The embedded ClickHouse: a child process that runs the chDB engine behind the ClickHouse HTTP interface. A crash of the engine
 * costs its process, not ours; the launcher starts it again on the same port and data directory.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { mkdirSync, realpathSync } from 'node:fs';
import { join } from 'node:path';
import type { Logger } from '../../telemetry';
import type { ChildMessage, ChildOptions } from './child-protocol';

export interface EmbeddedClickHouseOptions {
  /** Made when missing. One process at a time may use it. */
  readonly dataDir: string;
  readonly host?: string;
  /** 0, the default, picks a free port, which is kept over restarts. */
  readonly port?: number;
  /** Asked of every request; default none. */
  readonly password?: string;
  readonly logger: Logger;
  /** How the child is started, where its file is not beside this one (sources that are not compiled). */
  readonly child?: { readonly path: string; readonly execArgv: readonly string[] };
}

export interface ChildExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** When it is started again, milliseconds. */
  readonly restartInMs: number;
}

const RESTART_MS_MIN = 100;
const RESTART_MS_MAX = 30_000;
/** Alive for so long, a child counts as healthy and the back-off starts anew. */
const HEALTHY_MS = 60_000;
const START_MS_MAX = 120_000;
/** The child drains for 10 s before it kills its queries. */
const STOP_MS_MAX = 30_000;
const CHECK_MS = 10;

export class EmbeddedClickHouse {
  private readonly options: EmbeddedClickHouseOptions;
  private readonly listeners = new Set<(exit: ChildExit) => void>();
  private readonly dataDir: string;
  private child: ChildProcess | undefined;
  private port: number;
  private restartMs = RESTART_MS_MIN;
  private restartTimer: NodeJS.Timeout | undefined;
  private restarting: Promise<void> | undefined;
  private stopping: Promise<void> | undefined;

  private constructor(options: EmbeddedClickHouseOptions, dataDir: string) {
    this.options = options;
    this.dataDir = dataDir;
    this.port = options.port ?? 0;
  }

  /**
   * Starts the child and resolves when it answers /ping and SELECT 1. Throws an Error that says what to do when the package
   * `chdb` is missing, the directory is in use, or the engine cannot open it.
   */
  static async start(options: EmbeddedClickHouseOptions): Promise<EmbeddedClickHouse> {
    mkdirSync(options.dataDir, { recursive: true });
    const server = new EmbeddedClickHouse(options, realpathSync(options.dataDir));
    const startedMs = performance.now();
    await server.launch();
    const elapsedMs = Math.round(performance.now() - startedMs);
    options.logger.info({ url: server.url, dataDir: server.dataDir, elapsedMs }, 'embedded ClickHouse is ready');
    return server;
  }

  /** Stays the same over restarts of the child. */
  get url(): string {
    const host = this.options.host ?? '127.0.0.1';
    return `http://${host.includes(':') ? `[${host}]` : host}:${this.port}`;
  }

  /** Process id of the child; undefined between a crash and its restart. */
  get pid(): number | undefined {
    return this.child?.pid;
  }

  /** Calls `listener` when the child ends without being asked to. Answers the function that takes the listener away. */
  onExit(listener: (exit: ChildExit) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** Lets running queries end (10 s), closes the engine and gives the directory back. Repeatable. */
  stop(): Promise<void> {
    this.stopping ??= this.end();
    return this.stopping;
  }

  private async end(): Promise<void> {
    clearTimeout(this.restartTimer);
    await this.restarting;
    const child = this.child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const exited = new Promise<void>((resolve) => {
      child.once('exit', () => resolve());
    });
    const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS_MAX);
    child.send('stop', (error) => {
      if (error !== null) child.kill('SIGKILL');
    });
    await exited;
    clearTimeout(timer);
  }

  private async launch(): Promise<void> {
    const { host = '127.0.0.1', password, child: entry } = this.options;
    const childOptions: ChildOptions = {
      dataDir: this.dataDir,
      host,
      port: this.port,
      ...(password === undefined ? {} : { password }),
    };
    // The working directory must hold no pattern characters either, for the engine resolves relative names in it.
    const child = fork(entry?.path ?? join(__dirname, 'child.js'), [JSON.stringify(childOptions)], {
      cwd: this.dataDir,
      execArgv: [...(entry?.execArgv ?? [])],
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    });
    const stderr = new LastText();
    child.stderr?.on('data', (chunk: Buffer) => stderr.add(chunk.toString('utf8')));
    try {
      this.port = await ready(child, stderr);
      await this.answers();
    } catch (error) {
      child.kill('SIGKILL');
      throw error;
    }
    this.child = child;
    const launchedMs = performance.now();
    child.once('exit', (code, signal) => this.exited(code, signal, performance.now() - launchedMs, stderr));
    // It may have ended between its answer and this line.
    if (child.exitCode !== null || child.signalCode !== null) this.exited(child.exitCode, child.signalCode, 0, stderr);
  }

  private async answers(): Promise<void> {
    const headers = this.options.password === undefined ? undefined : { 'X-ClickHouse-Key': this.options.password };
    for (const path of ['/ping', '/?query=SELECT%201']) {
      const response = await fetch(`${this.url}${path}`, headers === undefined ? {} : { headers });
      const text = await response.text();
      if (!response.ok) throw new Error(`the embedded ClickHouse does not answer: ${text.trim()}`);
    }
  }

  private exited(code: number | null, signal: NodeJS.Signals | null, aliveMs: number, stderr: LastText): void {
    this.child = undefined;
    if (this.stopping !== undefined) return;
    if (aliveMs > HEALTHY_MS) this.restartMs = RESTART_MS_MIN;
    this.options.logger.error(
      { code, signal, restartInMs: this.restartMs, stderr: stderr.text },
      'embedded ClickHouse ended by itself and is started again',
    );
    const exit = { code, signal, restartInMs: this.restartMs };
    this.restartLater();
    for (const listener of this.listeners) listener(exit);
  }

  private restartLater(): void {
    this.restartTimer = setTimeout(() => {
      this.restarting = this.restart();
    }, this.restartMs);
    this.restartMs = Math.min(this.restartMs * 2, RESTART_MS_MAX);
  }

  private async restart(): Promise<void> {
    try {
      await this.launch();
      this.options.logger.info({ url: this.url }, 'embedded ClickHouse is ready again');
    } catch (error) {
      this.options.logger.error({ err: error, restartInMs: this.restartMs }, 'embedded ClickHouse did not start');
      if (this.stopping === undefined) this.restartLater();
    }
  }
}

/** The last lines that a child wrote. */
class LastText {
  text = '';

  add(chunk: string): void {
    this.text = (this.text + chunk).slice(-4096);
  }
}

/** The port that the child listens on. Rejects with its own words when it cannot start. */
function ready(child: ChildProcess, stderr: LastText): Promise<number> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(
      () => finish(() => reject(new Error('the embedded ClickHouse did not start in 120 s'))),
      START_MS_MAX,
    );
    const finish = (act: () => void): void => {
      clearTimeout(timer);
      child.removeAllListeners('message');
      child.removeListener('exit', exited);
      child.removeListener('error', failed);
      act();
    };
    const exited = (code: number | null, signal: NodeJS.Signals | null): void => {
      // What the child said last may still be in the pipe.
      const settle = setTimeout(() => {
        const reason = `code ${code}, signal ${signal}: ${stderr.text.trim()}`;
        finish(() => reject(new Error(`the embedded ClickHouse ended while starting (${reason})`)));
      }, CHECK_MS);
      settle.ref();
    };
    const failed = (error: Error): void => {
      finish(() => reject(new Error('the process of the embedded ClickHouse cannot be started', { cause: error })));
    };
    child.once('exit', exited);
    child.once('error', failed);
    child.on('message', (message) => {
      const said = message as ChildMessage;
      finish(() => (said.type === 'ready' ? resolve(said.port) : reject(new Error(said.message))));
    });
  });
}
