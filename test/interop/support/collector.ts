/** The Go Collector and telemetrygen as processes. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { promisify } from 'node:util';
import { COLLECTOR, TELEMETRYGEN } from './toolchains';

const READY = 'Everything is ready. Begin running and processing data.';

/** `count` ports that were free a moment ago. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'));
  await Promise.all(servers.map((server) => once(server, 'listening')));
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

export class Collector {
  private constructor(
    private readonly child: ChildProcess,
    private readonly output: { log: string },
  ) {}

  /** Resolves when it receives data. Rejects with its log when it ends before. */
  static async start(configPath: string, environment: Readonly<Record<string, string>> = {}): Promise<Collector> {
    const child = spawn(COLLECTOR, ['--config', configPath], {
      env: { ...process.env, ...environment },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    const output = { log: '' };
    await new Promise<void>((resolve, reject) => {
      child.stderr.on('data', (chunk: Buffer) => {
        output.log = (output.log + chunk.toString()).slice(-100_000);
        if (output.log.includes(READY)) resolve();
      });
      child.once('exit', () => reject(new Error(`the Collector ended before it was ready:\n${output.log}`)));
      child.once('error', reject);
    });
    return new Collector(child, output);
  }

  /** What it says about data it gave up. */
  dropped(): string[] {
    return this.output.log.split('\n').filter((line) => /Dropping data|no more retries/i.test(line));
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const ended = once(this.child, 'exit');
    this.child.kill(signal);
    await ended;
  }
}

/** Runs telemetrygen to its end. Rejects with its log when an export failed. */
export async function telemetrygen(
  signal: 'logs' | 'traces' | 'metrics',
  endpoint: string,
  args: readonly string[],
): Promise<void> {
  const fixed = ['--otlp-insecure', '--rate', '0', '--otlp-endpoint', endpoint];
  await promisify(execFile)(TELEMETRYGEN, [signal, ...fixed, ...args], { timeout: 60_000, maxBuffer: 64 * 1024 * 1024 });
}
