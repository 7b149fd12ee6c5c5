import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { refit } from '../../../src/adapters/rest/refit';
import { NumberBuilder, timestampBuilder } from '../../../src/columnar/builders';
import { decodeIpc } from '../../../src/columnar/ipc';
import { recordBatch } from '../../../src/columnar/record-batch';
import type { DeadLetterStore, ParkedRows } from '../../../src/core/dead-letter';
import { lsn, type WalId } from '../../../src/core/ids';
import type { TableSchema, Tier } from '../../../src/core/table-schema';
import { ReplayLog } from '../../../src/deadletter/replay-log';
import { LogDeadLetterStore } from '../../../src/deadletter/store';
import { silentLogger } from '../../../src/telemetry';
import { FileStorage } from '../../../src/wal/file-storage';
import { FileWal } from '../../../src/wal/file-wal';
import { thingsSchema } from '../../support/things';

const MAIN_WAL = 'a'.repeat(32) as WalId;
const SCHEMA: TableSchema = { ...thingsSchema(), version: 3 };

/** The store and its log on files of their own; `settledBelow`: how far the sinks are. */
class Subject {
  settledBelow = Number.POSITIVE_INFINITY;
  schema: TableSchema | undefined = SCHEMA;
  replaysDeliveredBelow = Number.POSITIVE_INFINITY;
  replayed = 0;
  private constructor(
    private readonly directory: string,
    private readonly bytesMax: number,
    public log: FileWal,
    public store: LogDeadLetterStore,
  ) {}

  static async open(bytesMax = 1024 * 1024): Promise<Subject> {
    const directory = await mkdtemp(join(tmpdir(), 'thermocline-letters-'));
    const subject = new Subject(directory, bytesMax, undefined as never, undefined as never);
    await subject.reopen();
    return subject;
  }

  async reopen(): Promise<void> {
    await (this.log as FileWal | undefined)?.close();
    this.log = await FileWal.open({
      directory: this.directory,
      segmentBytes: 16 * 1024,
      frameBytesMax: 1024 * 1024,
      storage: new FileStorage(),
      clock: Date.now,
      onFatal: (error) => {
        throw error;
      },
    });
    this.store = await LogDeadLetterStore.open({
      log: this.log,
      bytesMax: this.bytesMax,
      settled: (_tier, id) => id.lsn < this.settledBelow,
      schemaOf: () => this.schema,
      route: (batch) => [{ ...batch, tiers: ['hot'] }],
      refit,
      onReplayed: (batches) => {
        for (const { rows } of batches) this.replayed += rows;
      },
      replayedBelow: () => lsn(Math.min(this.replaysDeliveredBelow, this.log.stats().durableLsn + 1)),
      clock: () => 1_767_312_000_000,
      logger: silentLogger(),
      garbageBytesMax: 64 * 1024,
    });
  }

  async close(): Promise<void> {
    await this.log.close();
    await rm(this.directory, { recursive: true, force: true });
  }
}

let subject: Subject;
beforeEach(async () => {
  subject = await Subject.open();
});
afterEach(() => subject.close());

function parked(at: number, ids: readonly number[], more: { tier?: Tier; code?: string; codes?: string[] } = {}): ParkedRows {
  const time = timestampBuilder();
  const id = NumberBuilder.float64();
  for (const n of ids) {
    time.appendBigInt(1_767_312_000_123_456_789n);
    id.append(n);
  }
  const { tier = 'hot', code = '22003', codes = [] } = more;
  return {
    tier,
    id: { walId: MAIN_WAL, lsn: lsn(at), lastLsn: lsn(at), table: SCHEMA.table, partition: '' },
    rows: ids.map((n, i) => ({
      row: n,
      lsn: lsn(at),
      schemaVersion: 3,
      stage: `${tier}_insert` as const,
      code: codes[i] ?? code,
      column: 'id',
      message: `id ${n} is refused`,
    })),
    batch: recordBatch([
      { name: 'time', data: time.finish() },
      { name: 'id', data: id.finish() },
    ]),
  };
}

/** Every letter that is kept, page by page: id of the letter and of the row. */
async function all(store: DeadLetterStore, limit = 3): Promise<[string, number][]> {
  const found: [string, number][] = [];
  for (let after: string | undefined; ; ) {
    const page = await store.list({ filter: {}, limit, ...(after === undefined ? {} : { after }) });
    for (const { id, json } of page.letters) found.push([id, (JSON.parse(json) as { id: number }).id]);
    if (page.next === undefined) return found;
    after = page.next;
  }
}

/** Rows that are on their way again. */
async function replays(): Promise<number[]> {
  const log = new ReplayLog(subject.log);
  const entries = await log.read(subject.log.stats().firstLsn, 1024 * 1024);
  return entries.flatMap(({ batches }) =>
    batches.flatMap(({ ipc }) => [...decodeIpc(Buffer.concat(ipc)).getChild('id')!] as number[]),
  );
}

test('a letter is there after a restart, with its reason, its row as Arrow and as JSON', async () => {
  await subject.store.park(parked(5, [70, 71]));
  await subject.reopen();
  const { letters, next } = await subject.store.list({ filter: {}, limit: 10 });
  expect(next).toBeUndefined();
  expect(letters[1]).toMatchObject({
    id: '1-1',
    table: 'things',
    tier: 'hot',
    stage: 'hot_insert',
    code: '22003',
    column: 'id',
    message: 'id 71 is refused',
    schemaVersion: 3,
    lsn: 5,
    atMs: 1_767_312_000_000,
    json: '{"time":"2026-01-02T00:00:00.123456789Z","id":71}',
  });
  expect([...decodeIpc(letters[1].row).getChild('id')!]).toEqual([71]);
  expect(await subject.store.get('1-1')).toEqual(letters[1]);
  expect(await subject.store.get('1-2')).toBeUndefined();
});

test('filters by table, tier and code, and pages without losing or repeating a letter', async () => {
  await subject.store.park(parked(1, [1, 2, 3, 4, 5], { codes: ['a', 'b', 'a', 'b', 'a'] }));
  await subject.store.park(parked(2, [6, 7], { tier: 'cold', code: 'a' }));
  const rowsOf = async (filter: object): Promise<number[]> =>
    (await subject.store.list({ filter, limit: 10 })).letters.map(({ json }) => (JSON.parse(json) as { id: number }).id);
  expect(await rowsOf({ code: 'a' })).toEqual([1, 3, 5, 6, 7]);
  expect(await rowsOf({ code: 'a', tier: 'hot' })).toEqual([1, 3, 5]);
  expect(await rowsOf({ table: 'others' })).toEqual([]);
  for (const limit of [1, 2, 3, 7]) expect((await all(subject.store, limit)).map(([, id]) => id)).toEqual([1, 2, 3, 4, 5, 6, 7]);
});

test('rows of a write are refused for as long as the write may be repeated, and cannot be taken out before', async () => {
  subject.settledBelow = 5;
  await subject.store.park(parked(5, [8, 9]));
  expect(await subject.store.drop({ filter: {} })).toEqual({
    done: 0,
    keptCount: 2,
    kept: ['1-0', '1-1'].map((id) => ({ id, reason: 'the write it was taken from is not finished yet' })),
  });
  await subject.reopen();
  expect(await subject.store.refusedRows('hot', parked(5, []).id)).toEqual(new Set([8, 9]));
  expect(await subject.store.refusedRows('cold', parked(5, []).id)).toEqual(new Set());
  subject.settledBelow = 6;
  expect(await subject.store.drop({ filter: {} })).toMatchObject({ done: 2, keptCount: 0 });
});

test('diverted rows are on their way at once, are no letters, and stay left out for as long as their write may be repeated', async () => {
  subject.settledBelow = 5;
  const { id, batch } = parked(5, [8, 9]);
  await subject.store.divert({ tier: 'hot', id, rows: [3, 4], to: 'cold', schemaVersion: 3, batch });
  expect(subject.replayed).toBe(2);
  expect(subject.store.stats()).toMatchObject({ letters: 0, sizeBytes: 0 });
  // Letters that come and go let the log give back its segments, but not this one.
  for (let round = 0; round < 6; round++) {
    await subject.store.park(
      parked(
        1,
        Array.from({ length: 60 }, (_, i) => i),
        { code: 'x'.repeat(40) },
      ),
    );
    await subject.store.drop({ filter: { code: 'x'.repeat(40) } });
  }
  expect(subject.log.stats().firstLsn).toBe(1);
  await subject.reopen();
  expect(await subject.store.divertedRows('hot', id)).toEqual(new Set([3, 4]));
  expect(await subject.store.refusedRows('hot', id)).toEqual(new Set());
  expect(await subject.store.divertedRows('cold', id)).toEqual(new Set());
  const [entry] = await new ReplayLog(subject.log).read(lsn(1), 1);
  expect(entry?.batches.map(({ table, tiers, rows, schemaVersion }) => [table, tiers, rows, schemaVersion])).toEqual([
    ['things', ['cold'], 2, 3],
  ]);
  subject.settledBelow = 6;
  await subject.store.release();
  expect(subject.log.stats().firstLsn).toBeGreaterThan(1);
});

test('a replay is one step with the end of its letters: it happens once, also across restarts', async () => {
  subject.replaysDeliveredBelow = 1;
  await subject.store.park(parked(1, [1, 2, 3]));
  expect(await subject.store.replay({ ids: ['1-1', '1-1', '9-0', 'nonsense'] })).toMatchObject({ done: 1, keptCount: 2 });
  await subject.reopen();
  expect(await subject.store.replay({ ids: ['1-1'] })).toMatchObject({ done: 0, keptCount: 1 });
  expect((await all(subject.store)).map(([, id]) => id)).toEqual([1, 3]);
  expect(await replays()).toEqual([2]);
  expect(await subject.store.replay({ filter: {} }, ['hot', 'cold'])).toMatchObject({ done: 2 });
  expect(await replays()).toEqual([2, 1, 3]);
  expect(subject.replayed).toBe(3);
  expect(subject.store.stats()).toMatchObject({ letters: 0, sizeBytes: 0 });
});

test('a letter that no schema fits stays, with the reason', async () => {
  await subject.store.park(parked(1, [1]));
  subject.schema = undefined;
  expect((await subject.store.replay({ filter: {} })).kept).toEqual([{ id: '1-0', reason: 'table things is not registered' }]);
  subject.schema = { ...SCHEMA, columns: SCHEMA.columns.slice(0, 1) };
  expect((await subject.store.replay({ filter: {} })).kept).toEqual([
    { id: '1-0', reason: 'column id is not in version 3 of things' },
  ]);
  expect(subject.store.stats().letters).toBe(1);
});

test('without room nothing is parked and nothing is lost; letters of unfinished writes do not take the room away', async () => {
  await subject.close();
  subject = await Subject.open(3_000);
  subject.settledBelow = 10;
  for (let at = 10; at < 20; at++) await subject.store.park(parked(at, [at]));
  subject.settledBelow = 20;
  await expect(subject.store.park(parked(20, [20]))).rejects.toMatchObject({ failure: 'retry' });
  expect(subject.store.stats().letters).toBe(10);
  await subject.store.drop({ filter: {} });
  await subject.store.park(parked(20, [20]));
  expect((await all(subject.store)).map(([, id]) => id)).toEqual([20]);
});

test('one old letter does not hold the log: it is copied behind what came after it, and keeps its id', async () => {
  await subject.store.park(parked(1, [1, 2], { tier: 'cold' }));
  await subject.store.drop({ ids: ['1-0'] });
  const young = Array.from({ length: 100 }, (_, i) => i);
  for (let at = 2; at < 32; at++) {
    await subject.store.park(parked(at, young));
    await subject.store.drop({ filter: { tier: 'hot' } });
  }
  // 30 times about 20 KiB went through; a log without copies would hold all of it.
  expect(subject.log.stats().firstLsn).toBeGreaterThan(1);
  expect(subject.log.stats().sizeBytes).toBeLessThanOrEqual(160 * 1024);
  await subject.store.park(parked(40, [9]));
  const kept = await all(subject.store);
  expect(kept.map(([, id]) => id)).toEqual([2, 9]);
  expect(kept[0][0]).toBe('1-1');
  await subject.reopen();
  expect(await all(subject.store)).toEqual(kept);
  expect(await subject.store.replay({ ids: ['1-1'] })).toMatchObject({ done: 1 });
  await subject.reopen();
  expect((await all(subject.store)).map(([, id]) => id)).toEqual([9]);
});

type Step = { kind: 'park'; rows: number } | { kind: 'drop' | 'replay'; pick: number } | { kind: 'reopen' };

test('behaves as a list from which letters are taken, over any steps and restarts', async () => {
  const step: fc.Arbitrary<Step> = fc.oneof(
    fc.record({ kind: fc.constant('park' as const), rows: fc.integer({ min: 1, max: 4 }) }),
    fc.record({ kind: fc.constantFrom('drop' as const, 'replay' as const), pick: fc.nat() }),
    fc.constant({ kind: 'reopen' as const }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 12 }), async (steps) => {
      await subject.close();
      subject = await Subject.open();
      let model: [string, number][] = [];
      const sent: number[] = [];
      let last = 0;
      let taken = 0;
      let asked = 0;
      for (const each of steps) {
        if (each.kind === 'reopen') await subject.reopen();
        if (each.kind === 'park') {
          const ids = Array.from({ length: each.rows }, () => ++last);
          const group = subject.log.stats().durableLsn + 1;
          await subject.store.park(parked(last, ids));
          model.push(...ids.map((id, row): [string, number] => [`${group}-${row}`, id]));
        }
        if ((each.kind === 'drop' || each.kind === 'replay') && model.length > 0) {
          const [letter, id] = model[each.pick % model.length];
          taken += (await subject.store[each.kind]({ ids: [letter] })).done;
          asked++;
          model = model.filter(([other]) => other !== letter);
          if (each.kind === 'replay') sent.push(id);
        }
        expect(await all(subject.store)).toEqual(model);
      }
      expect(taken).toBe(asked);
      expect(subject.replayed).toBe(sent.length);
    }),
    { numRuns: 25 },
  );
});
