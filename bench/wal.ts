/**
 * Micro-benchmark of the file WAL, run by hand:
 *
 *   npx tsc -p tsconfig.json --noEmit false --outDir build && node build/bench/wal.js [directory] [seconds]
 *
 * Prints for each entry size and number of writers: appends/s, MB/s, ACK latency, entries per commit, CPU per MB (user and system
 * of this process, all threads). A reader follows the log and releases what it has read, as a sink does, unless it is off.
 */
import * as fs from 'node:fs/promises';
import * as os from 'node:os';
import * as path from 'node:path';
import { type Lsn, lsn, type TableName } from '../src/core/ids';
import { LIMITS } from '../src/core/limits';
import type { WalBatch } from '../src/core/wal';
import { FileStorage } from '../src/wal/file-storage';
import { FileWal } from '../src/wal/file-wal';

interface Scenario {
  readonly entryBytes: number;
  readonly pieces: number;
  readonly writers: number;
  readonly reader: boolean;
}

const READ_BYTES = 8 * 1024 * 1024;
const MEGABYTE = 1e6;

function batchOf({ entryBytes, pieces }: Scenario): WalBatch {
  const pieceBytes = Math.floor(entryBytes / pieces);
  const ipc = Array.from({ length: pieces }, (_, index) => Buffer.alloc(pieceBytes, index + 1));
  return { table: 'logs_events' as TableName, schemaVersion: 1, tiers: ['hot', 'cold'], rows: 1000, ipc };
}

async function follow(wal: FileWal, signal: AbortSignal): Promise<void> {
  let from: Lsn = lsn(1);
  while (!signal.aborted) {
    await wal.waitFor(from, signal);
    const entries = await wal.read(from, READ_BYTES);
    const last = entries.at(-1);
    if (last === undefined) continue;
    from = lsn(last.lsn + 1);
    await wal.release(from);
  }
}

const quantile = (sorted: readonly number[], part: number): number => sorted[Math.floor((sorted.length - 1) * part)] ?? 0;

async function measure(scenario: Scenario, parent: string, seconds: number): Promise<Record<string, string | number>> {
  const directory = await fs.mkdtemp(path.join(parent, 'thermocline-bench-wal-'));
  let commits = 0;
  const wal = await FileWal.open({
    directory,
    segmentBytes: LIMITS.walSegmentBytes,
    frameBytesMax: LIMITS.walFrameBytesMax,
    storage: new FileStorage(),
    clock: Date.now,
    onFatal: (error) => {
      throw error;
    },
    onCommit: () => commits++,
  });
  const batches = [batchOf(scenario)];
  const stop = new AbortController();
  const reading = scenario.reader ? follow(wal, stop.signal) : Promise.resolve();
  const latencies: number[] = [];
  const cpuBefore = process.cpuUsage();
  const startedAt = performance.now();
  const write = async (): Promise<void> => {
    while (performance.now() - startedAt < seconds * 1000) {
      const appendedAt = performance.now();
      await wal.append(batches);
      latencies.push(performance.now() - appendedAt);
    }
  };
  await Promise.all(Array.from({ length: scenario.writers }, write));
  const elapsed = (performance.now() - startedAt) / 1000;
  const cpu = process.cpuUsage(cpuBefore);
  stop.abort();
  await reading;
  await wal.close();
  await fs.rm(directory, { recursive: true });
  const megabytes = (latencies.length * scenario.entryBytes) / MEGABYTE;
  latencies.sort((a, b) => a - b);
  return {
    'entry KiB': scenario.entryBytes / 1024,
    pieces: scenario.pieces,
    writers: scenario.writers,
    reader: scenario.reader ? 'yes' : 'no',
    'appends/s': Math.round(latencies.length / elapsed),
    'MB/s': Math.round(megabytes / elapsed),
    'p50 ms': Number(quantile(latencies, 0.5).toFixed(2)),
    'p99 ms': Number(quantile(latencies, 0.99).toFixed(2)),
    'per commit': Number((latencies.length / commits).toFixed(1)),
    'user ms/MB': Number((cpu.user / 1000 / megabytes).toFixed(3)),
    'sys ms/MB': Number((cpu.system / 1000 / megabytes).toFixed(3)),
  };
}

async function main(): Promise<void> {
  const parent = process.argv[2] ?? os.tmpdir();
  const seconds = Number(process.argv[3] ?? '3');
  const rows: Record<string, string | number>[] = [];
  for (const reader of [false, true]) {
    for (const entryKib of [64, 1024]) {
      for (const writers of [1, 8, 32]) {
        rows.push(await measure({ entryBytes: entryKib * 1024, pieces: 32, writers, reader }, parent, seconds));
      }
    }
    rows.push(await measure({ entryBytes: 5 * 1024, pieces: 32, writers: 256, reader }, parent, seconds));
  }
  console.table(rows);
}

main().catch((error: unknown) => {
  console.error(error);
  process.exitCode = 1;
});
