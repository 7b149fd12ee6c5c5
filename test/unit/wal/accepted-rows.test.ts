import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { lsn } from '../../../src/core/ids';
import type { Tier } from '../../../src/core/table-schema';
import type { DeliveryState, WalBatch } from '../../../src/core/wal';
import { silentLogger } from '../../../src/telemetry';
import { AcceptedRows, type AcceptedRowsOptions } from '../../../src/wal/accepted-rows';
import { FileStorage } from '../../../src/wal/file-storage';
import type { FileWal } from '../../../src/wal/file-wal';
import { openWal as openSmallWal, walBatch } from '../../support/wal-fixtures';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'thermocline-accepted-'));
});
afterEach(() => rm(directory, { recursive: true }));

const openWal = (): Promise<FileWal> => openSmallWal(new FileStorage(), directory);

const TIERS: readonly Tier[] = ['hot', 'cold'];
const counting = (nextLsn: number): DeliveryState => ({ nextLsn: lsn(nextLsn), plan: undefined, totals: {} });
const bothAt = (nextLsn: number): Map<Tier, DeliveryState> => new Map(TIERS.map((tier) => [tier, counting(nextLsn)]));

function open(wal: FileWal, options: Partial<AcceptedRowsOptions> = {}): Promise<AcceptedRows> {
  return AcceptedRows.open({
    directory,
    storage: new FileStorage(),
    wal,
    checkpoints: bothAt(1),
    clock: () => 1_000,
    logger: silentLogger(),
    onFatal: (error) => {
      throw error;
    },
    onRelease: () => undefined,
    ...options,
  });
}

const rowsOf = (accepted: AcceptedRows): Record<string, Record<string, number>> =>
  Object.fromEntries(TIERS.map((tier) => [tier, Object.fromEntries(accepted.of(tier)?.rows ?? [])]));

function expected(batches: readonly WalBatch[]): Record<string, Record<string, number>> {
  const rows: Record<string, Record<string, number>> = { hot: {}, cold: {} };
  for (const batch of batches) {
    for (const tier of batch.tiers) rows[tier][batch.table] = (rows[tier][batch.table] ?? 0) + batch.rows;
  }
  return rows;
}

test('the counts are exact after any sequence of appends, crashes, orderly stops and released segments', async () => {
  const step = fc.oneof(
    { weight: 6, arbitrary: fc.record({ append: fc.array(fc.integer({ min: 0, max: 40 }), { minLength: 1, maxLength: 3 }) }) },
    { weight: 1, arbitrary: fc.constant('crash' as const) },
    { weight: 1, arbitrary: fc.constant('stop' as const) },
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 25 }), async (steps) => {
      await rm(directory, { recursive: true });
      let wal = await openWal();
      let accepted = await open(wal);
      const sent: WalBatch[] = [];
      for (const next of steps) {
        if (typeof next === 'object') {
          const batches = next.append.map((seed) => walBatch(seed, 400));
          accepted.add(await wal.append(batches), batches);
          sent.push(...batches);
        } else {
          const { releasableLsn } = accepted;
          const dead = accepted;
          if (next === 'stop') await accepted.close();
          await wal.release(next === 'stop' ? accepted.releasableLsn : releasableLsn);
          await wal.close();
          wal = await openWal();
          accepted = await open(wal);
          if (next === 'crash') clearTimer(dead);
        }
        expect(rowsOf(accepted)).toEqual(expected(sent));
      }
      await accepted.close();
      await wal.close();
    }),
    { numRuns: 30 },
  );
});

/** A process that is killed runs no timers either. */
const clearTimer = (accepted: AcceptedRows): void => clearInterval((accepted as unknown as { timer: NodeJS.Timeout }).timer);

test('an entry that nobody told of is counted from the log, and one that is told late or twice is counted once', async () => {
  const wal = await openWal();
  const accepted = await open(wal);
  const batches = [1, 2, 3, 5].map((seed) => [walBatch(seed, 100)]);
  const at = [];
  for (const each of batches) at.push(await wal.append(each));
  accepted.add(at[3], batches[3]);
  accepted.add(at[1], batches[1]);
  accepted.add(at[1], batches[1]);
  await accepted.close();
  expect(rowsOf(accepted)).toEqual(expected(batches.flat()));
  expect(accepted.releasableLsn).toBe(5);
  await wal.close();
});

test('a damaged file begins the count anew with what the checkpoints vouch for, and says since when', async () => {
  const wal = await openWal();
  const first = await open(wal);
  const batches = [walBatch(5, 100), walBatch(8, 100)];
  for (const batch of batches) first.add(await wal.append([batch]), [batch]);
  await first.close();
  const file = join(directory, 'accepted.state');
  const bytes = await readFile(file);
  bytes[bytes.length - 5] ^= 1;
  await writeFile(file, bytes);
  const checkpoint: DeliveryState = { ...counting(2), totals: { table_0: { delivered: 3, deadLetters: 2 } } };
  const second = await open(wal, { checkpoints: new Map([['hot', checkpoint]]), clock: () => 9_000 });
  expect(second.of('hot')).toEqual({
    sinceMs: 9_000,
    rows: new Map([
      ['table_0', 5],
      ['table_3', 8],
    ]),
  });
  expect(second.of('cold')).toBeUndefined();
  await second.close();
  await wal.close();
});

test('a checkpoint that counted nothing begins its tier anew at its cursor, the other tier goes on', async () => {
  const wal = await openWal();
  const first = await open(wal);
  const batches = [walBatch(5, 100), walBatch(5, 100), walBatch(5, 100)];
  for (const batch of batches) first.add(await wal.append([batch]), [batch]);
  await first.close();
  const checkpoints = new Map([
    ['hot', { nextLsn: lsn(3), plan: undefined }],
    ['cold', counting(1)],
  ] as [Tier, DeliveryState][]);
  const second = await open(wal, { checkpoints, clock: () => 9_000 });
  expect(rowsOf(second)).toEqual({ hot: { table_0: 5 }, cold: { table_0: 15 } });
  expect([second.of('hot')?.sinceMs, second.of('cold')?.sinceMs]).toEqual([9_000, 1_000]);
  await second.close();
  await wal.close();
});

test('a full device leaves the last file in force and the entries needed, and the next save counts them', async () => {
  const wal = await openWal();
  const storage = new FileStorage();
  const accepted = await open(wal, { storage });
  const batch = walBatch(5, 100);
  accepted.add(await wal.append([batch]), [batch]);
  const full = jest.spyOn(storage, 'open').mockRejectedValueOnce(Object.assign(new Error('no space'), { code: 'ENOSPC' }));
  await expect(accepted.close()).rejects.toThrow('no space');
  full.mockRestore();
  expect(accepted.releasableLsn).toBe(1);
  await accepted.close();
  expect(accepted.releasableLsn).toBe(2);
  await wal.close();
});
