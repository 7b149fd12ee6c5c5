/** Parked rows on their way from the WAL of requests to the letters: each becomes one, whatever fails in between. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { NumberBuilder } from '../../../src/columnar/builders';
import { encodeIpc } from '../../../src/columnar/ipc';
import { encodeParked } from '../../../src/columnar/parked-ipc';
import { recordBatch } from '../../../src/columnar/record-batch';
import type { UnfitRows } from '../../../src/core/batch';
import { IngestError } from '../../../src/core/errors';
import { type Lsn, lsn, type TableName } from '../../../src/core/ids';
import type { Wal, WalBatch } from '../../../src/core/wal';
import { ParkedMover } from '../../../src/deadletter/parked-mover';
import { LogDeadLetterStore } from '../../../src/deadletter/store';
import { silentLogger } from '../../../src/telemetry';
import { FileStorage } from '../../../src/wal/file-storage';
import { FileWal } from '../../../src/wal/file-wal';

function numbers(values: readonly number[]) {
  const builder = NumberBuilder.float64();
  for (const value of values) builder.append(value);
  return recordBatch([{ name: 'n', data: builder.finish() }]);
}

const unfit = (table: string, values: readonly number[]): UnfitRows => ({
  table: table as TableName,
  schemaVersion: 1,
  batch: numbers(values),
  reasons: values.map((value) => ({ stage: 'schema', code: 'type_mismatch', column: 'n', message: `${value} does not fit` })),
  jsonColumns: [],
});

const good = (table: string): WalBatch => ({
  table: table as TableName,
  schemaVersion: 1,
  tiers: ['hot'],
  rows: 1,
  ipc: [encodeIpc(numbers([0]))],
});

/** Both logs on files of their own, and the mover between them. */
class Subject {
  wal!: FileWal;
  log!: FileWal;
  store!: LogDeadLetterStore;
  mover!: ParkedMover;
  failures = 0;
  private moved: () => void = () => undefined;

  private constructor(
    private readonly directory: string,
    private readonly bytesMax: number,
  ) {}

  static async open(bytesMax = 1024 * 1024): Promise<Subject> {
    const subject = new Subject(await mkdtemp(join(tmpdir(), 'thermocline-parked-')), bytesMax);
    await subject.start();
    return subject;
  }

  private async start(): Promise<void> {
    this.wal = await this.openLog('wal');
    this.log = await this.openLog('letters');
    this.store = await LogDeadLetterStore.open({
      log: failing(this.log, () => this.failures-- > 0),
      bytesMax: this.bytesMax,
      settled: () => true,
      schemaOf: () => undefined,
      route: () => [],
      refit: () => ({ batches: [], refused: new Map() }),
      onReplayed: () => undefined,
      replayedBelow: () => lsn(this.log.stats().durableLsn + 1),
      clock: () => 0,
      logger: silentLogger(),
      garbageBytesMax: 32 * 1024,
    });
    this.mover = await ParkedMover.open({
      wal: this.wal,
      store: this.store,
      onRelease: () => this.moved(),
      logger: silentLogger(),
    });
    this.mover.start();
  }

  private openLog(name: string): Promise<FileWal> {
    return FileWal.open({
      directory: join(this.directory, name),
      segmentBytes: 16 * 1024,
      frameBytesMax: 1024 * 1024,
      storage: new FileStorage(),
      clock: () => 1_767_312_000_000,
      onFatal: (error) => {
        throw error;
      },
    });
  }

  async append(parked: readonly UnfitRows[]): Promise<Lsn> {
    const batches = [good('things'), ...parked.map(encodeParked)];
    const room = this.mover.reserve(parked.length);
    try {
      const at = await this.wal.append(batches);
      this.mover.add(at, batches);
      return at;
    } finally {
      room.release();
    }
  }

  async restart(): Promise<void> {
    await this.stop();
    await this.start();
  }

  /** Until nothing waits. */
  async settle(): Promise<void> {
    while (this.mover.pending.size > 0) {
      await new Promise<void>((resolve) => {
        this.moved = resolve;
        if (this.mover.pending.size === 0) resolve();
      });
    }
  }

  private async stop(): Promise<void> {
    await this.mover.stop();
    await Promise.all([this.wal.close(), this.log.close()]);
  }

  async close(): Promise<void> {
    await this.stop();
    await rm(this.directory, { recursive: true, force: true });
  }
}

function failing(log: FileWal, fails: () => boolean): Wal {
  return {
    walId: log.walId,
    append: (...args: Parameters<Wal['append']>) =>
      fails() ? Promise.reject(new IngestError('unavailable', 'no space')) : log.append(...args),
    read: log.read.bind(log),
    waitFor: log.waitFor.bind(log),
    release: log.release.bind(log),
    stats: log.stats.bind(log),
    close: log.close.bind(log),
  };
}

type Step = { readonly tables: readonly number[] } | 'restart' | 'fail' | 'drop';

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ tables: fc.array(fc.nat(2), { minLength: 1, maxLength: 4 }) }) },
  { weight: 2, arbitrary: fc.constant('restart' as const) },
  { weight: 1, arbitrary: fc.constant('fail' as const) },
  { weight: 1, arbitrary: fc.constant('drop' as const) },
);

test('every parked row is one letter with its reason and its entry, whatever fails and whenever the server starts again', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 25 }), async (steps) => {
      const subject = await Subject.open();
      const expected: string[] = [];
      const seen: string[] = [];
      const collect = async (): Promise<void> => {
        await subject.settle();
        // A failure that the mover has not met would be the drop's, which is told to who asked for it.
        subject.failures = 0;
        const { letters } = await subject.store.list({ filter: {}, limit: 10_000 });
        for (const { table, lsn: at, message, json } of letters) seen.push(`${table} ${at} ${message} ${json}`);
        await subject.store.drop({ filter: {} });
      };
      try {
        let next = 0;
        for (const each of steps) {
          if (each === 'restart') await subject.restart();
          else if (each === 'fail') subject.failures = 1;
          else if (each === 'drop') await collect();
          else {
            const parked = each.tables.map((table) => unfit(`t${table}`, [next++, next++]));
            const at = await subject.append(parked);
            for (const { table, batch } of parked) {
              for (const n of batch.getChild('n') ?? []) expected.push(`${table} ${at} ${n} does not fit {"n":${n}}`);
            }
          }
        }
        await subject.restart();
        await collect();
        expect(seen.sort()).toEqual(expected.sort());
        const totals = subject.store.parkedProgress(subject.wal.walId)?.totals ?? {};
        expect(Object.values(totals).reduce((sum, rows) => sum + rows, 0)).toBe(expected.length);
        expect(subject.mover.releasableLsn).toBe(Number.POSITIVE_INFINITY);
      } finally {
        await subject.close();
      }
    }),
    { numRuns: 12 },
  );
});

test('an entry stays needed until its rows are letters, and full letters refuse more', async () => {
  const subject = await Subject.open(1);
  try {
    subject.failures = 3;
    const first = await subject.append([unfit('t', [1])]);
    expect(subject.mover.releasableLsn).toBe(first);
    expect([subject.mover.rowsOf(first), [...subject.mover.pending]]).toEqual([1, [['t', 1]]]);
    expect(() => subject.mover.reserve(1)).toThrow(expect.objectContaining({ code: 'unavailable', retryAfterMs: 5_000 }));
    await subject.settle();
    expect([subject.mover.releasableLsn, subject.mover.rowsOf(first)]).toEqual([Number.POSITIVE_INFINITY, 0]);
    expect(await subject.store.lettersOf(subject.wal.walId, first)).toBe(1);
    expect(() => subject.mover.reserve(1)).toThrow('the dead letters are full');
    await subject.store.drop({ filter: {} });
    subject.mover.reserve(1).release();
  } finally {
    await subject.close();
  }
});

test('the totals of parked rows outlive the segments that they were first written to', async () => {
  const subject = await Subject.open();
  try {
    for (let i = 0; i < 60; i++)
      await subject.append([
        unfit(
          't',
          Array.from({ length: 60 }, (_, n) => n),
        ),
      ]);
    await subject.settle();
    await subject.store.drop({ filter: {} });
    expect(subject.log.stats().firstLsn).toBeGreaterThan(10);
    await subject.restart();
    expect(subject.store.parkedProgress(subject.wal.walId)).toMatchObject({ totals: { t: 3_600 } });
    expect(subject.mover.pending.size).toBe(0);
  } finally {
    await subject.close();
  }
});
