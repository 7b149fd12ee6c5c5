/**
 * `thermocline bench`: a server of its own and a load process of its own, over real sockets, acknowledged after fsync.
 * The rate that counts is rows per CPU-second of the server process: it holds on a busy machine, where wall-clock rates do not.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { childEnvironment } from '../config';
import type { LoadJob, LoadResult } from './bench-load';

export const BENCH_SINKS = ['null', 'stores'];

interface BenchOptions {
  readonly scenario: string;
  readonly sink: string;
  readonly seconds: number;
  readonly connections: number;
  readonly json?: boolean;
}

interface Ready {
  readonly grpc: string;
  readonly http: string;
  readonly admin: string;
}

const SCENARIO = /^otlp-(http|grpc)-(logs|metrics|traces)-(\d{1,6})$/;
const WARM_UP_SECONDS = 2;

export async function runBench(options: BenchOptions): Promise<void> {
  const match = SCENARIO.exec(options.scenario);
  if (match === null)
    throw new Error(`unknown scenario ${options.scenario}: otlp-{http,grpc}-{logs,metrics,traces}-<rows per request>`);
  if (!(options.seconds >= 1 && options.seconds <= 3_600)) throw new Error('--seconds must be between 1 and 3600');
  const directory = await mkdtemp(join(tmpdir(), 'thermocline-bench-'));
  const children: ChildProcess[] = [];
  try {
    const server = await startServer(directory, options.sink, children);
    const [, transport, signal, rows] = match;
    const job: LoadJob = {
      transport: transport as LoadJob['transport'],
      signal: signal as LoadJob['signal'],
      address: transport === 'grpc' ? server.grpc : server.http,
      rows: Number(rows),
      seconds: WARM_UP_SECONDS,
      connections: options.connections,
    };
    await runLoadProcess(job, children);
    const cpuBefore = await cpuSeconds(server.admin);
    const result = await runLoadProcess({ ...job, seconds: options.seconds }, children);
    const cpu = (await cpuSeconds(server.admin)) - cpuBefore;
    report(options, result, cpu);
  } finally {
    await Promise.all(children.map(endChild));
    await rm(directory, { recursive: true, force: true });
  }
}

async function startServer(directory: string, sink: string, children: ChildProcess[]): Promise<Ready> {
  const config = join(directory, 'config.yaml');
  const sinks = sink === 'null' ? 'none' : 'stores';
  await writeFile(
    config,
    `data_dir: ${JSON.stringify(join(directory, 'data'))}\ngrpc_port: 0\nhttp_port: 0\nadmin_port: 0\nsinks: ${sinks}\nlog_level: warn\n`,
  );
  const child = spawn(process.execPath, [require.resolve('../main'), 'serve', '--config', config], {
    env: childEnvironment(),
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  children.push(child);
  for await (const line of createInterface({ input: child.stdout })) {
    if (line.startsWith('{"msg":"ready"')) return JSON.parse(line) as Ready;
  }
  throw new Error('the server ended before it was ready');
}

async function runLoadProcess(job: LoadJob, children: ChildProcess[]): Promise<LoadResult> {
  const child = spawn(process.execPath, [require.resolve('../main'), 'bench-load'], {
    env: childEnvironment(),
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  children.push(child);
  child.stdin.end(JSON.stringify(job));
  let output = '';
  for await (const chunk of child.stdout) output += String(chunk);
  const result = JSON.parse(output.trim().split('\n').at(-1) ?? '') as LoadResult;
  return result;
}

/** CPU time of the server process so far, all threads, user and system. */
async function cpuSeconds(admin: string): Promise<number> {
  const text = await (await fetch(`http://${admin}/metrics`)).text();
  const match = /^process_cpu_seconds_total (\S+)/m.exec(text);
  if (match === null) throw new Error('the server does not tell its CPU time');
  return Number(match[1]);
}

function report(options: BenchOptions, result: LoadResult, cpu: number): void {
  const rounded = (value: number): number => Math.round(value * 100) / 100;
  const figures = {
    scenario: options.scenario,
    sink: options.sink,
    seconds: rounded(result.seconds),
    rows: result.rows,
    rows_per_second: Math.round(result.rows / result.seconds),
    rows_per_server_cpu_second: Math.round(result.rows / cpu),
    server_cpu_seconds: rounded(cpu),
    ack_p50_ms: rounded(result.ackP50Ms),
    ack_p99_ms: rounded(result.ackP99Ms),
    errors: result.errors,
  };
  if (options.json) process.stdout.write(`${JSON.stringify(figures)}\n`);
  else for (const [name, value] of Object.entries(figures)) process.stdout.write(`${name.padEnd(28)}${value}\n`);
}

async function endChild(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), 30_000);
  await ended;
  clearTimeout(timer);
}
