/** Tables that their store refuses as a whole: their rows wait beside the cursor, the others go on, and each row arrives once. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { NumberBuilder, timestampBuilder } from '../../../src/columnar/builders';
import { encodeIpc } from '../../../src/columnar/ipc';
import { recordBatch } from '../../../src/columnar/record-batch';
import { lsn, type TableName } from '../../../src/core/ids';
import { type FailureScope, SinkError, type SinkWrite } from '../../../src/core/sink';
import type { Tier } from '../../../src/core/table-schema';
import type { WalBatch } from '../../../src/core/wal';
import { silentLogger, Telemetry } from '../../../src/telemetry';
import { Delivery } from '../../../src/tiering/delivery';
import type { DeliveryOptions } from '../../../src/tiering/delivery-options';
import { FileStorage } from '../../../src/wal/file-storage';
import { FileWal } from '../../../src/wal/file-wal';
import { MemoryStates } from '../../support/delivery-states';
import { MemoryParking } from '../../support/memory-parking';
import { MemorySink } from '../../support/memory-sink';
import { thingsSchema } from '../../support/things';

const DAY_NS = 86_400_000_000_000n;

/** Refuses what it is told to, by table. */
class PickySink extends MemorySink {
  readonly refused = new Map<string, FailureScope>();
  readonly attempts = new Map<string, number>();

  override async write(write: SinkWrite): Promise<void> {
    const { table } = write.id;
    this.attempts.set(table, (this.attempts.get(table) ?? 0) + 1);
    const scope = this.refused.get(table) ?? this.refused.get('*');
    if (scope !== undefined) throw new SinkError('retry', `${table} is refused`, { storeCode: 'P0001', scope });
    await super.write(write);
  }

  /** The same store for a process that may die before or after a write takes effect. */
  as(step: () => Promise<void>): MemorySink {
    const { tier, partitioning } = this;
    const write = async (asked: SinkWrite): Promise<void> => {
      await step();
      await this.write(asked);
      await step();
    };
    return Object.assign(new MemorySink(tier, partitioning), { write });
  }

  /** Ids that are stored of a table, sorted. */
  idsOf(table: string): number[] {
    const inserts = [...this.inserts].filter(([key]) => key.split('/')[2] === table);
    return inserts.flatMap(([, ids]) => ids).sort((a, b) => a - b);
  }
}

let directory: string;
let wal: FileWal;
let deliveries: Delivery[] = [];
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'thermocline-held-'));
  wal = await FileWal.open({
    directory,
    segmentBytes: 64 * 1024,
    frameBytesMax: 1024 * 1024,
    storage: new FileStorage(),
    clock: Date.now,
    onFatal: (error) => {
      throw error;
    },
  });
});
afterEach(async () => {
  for (const delivery of deliveries.splice(0)) await delivery.stop(1);
  await wal.close();
  await rm(directory, { recursive: true });
});

const batchOf = (table: string, ids: readonly number[], tiers: Tier[] = ['hot', 'cold']): WalBatch => {
  const time = timestampBuilder();
  const id = NumberBuilder.float64();
  for (const n of ids) {
    time.appendBigInt(BigInt(n % 2) * DAY_NS);
    id.append(n);
  }
  const columns = [
    { name: 'time', data: time.finish() },
    { name: 'id', data: id.finish() },
  ];
  return { table: table as TableName, schemaVersion: 1, tiers, rows: ids.length, ipc: [encodeIpc(recordBatch(columns))] };
};

function deliver(sink: MemorySink, options: Partial<DeliveryOptions> = {}): Delivery {
  const delivery = new Delivery({
    wal,
    sink,
    deadLetters: new MemoryParking(),
    states: new MemoryStates(),
    schemaOf: (table) => thingsSchema(table),
    tables: () => [],
    rowsMax: 10,
    bytesMax: 1024 * 1024,
    intervalMs: 1,
    heldPauseMaxMs: 30,
    telemetry: new Telemetry(),
    logger: silentLogger(),
    onAdvance: () => undefined,
    ...options,
  });
  deliveries.push(delivery);
  return delivery;
}

async function append(delivery: Delivery, ...batches: WalBatch[]): Promise<void> {
  await wal.append(batches);
  delivery.backlog.add(batches);
}

const range = (from: number, count: number): number[] => Array.from({ length: count }, (_, i) => from + i);

async function until(condition: () => boolean): Promise<void> {
  const deadline = performance.now() + 20_000;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error('waited in vain');
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

const last = () => wal.stats().durableLsn;
const soon = (): AbortSignal => AbortSignal.timeout(20_000);

test.each<['none' | 'day', Tier]>([
  ['none', 'hot'],
  ['day', 'cold'],
])('a refused table waits, the others go on, and after the fix its rows arrive once (partitioning %s)', async (by, tier) => {
  const sink = new PickySink(tier, by);
  sink.refused.set('bad', 'table');
  const delivery = deliver(sink);
  await delivery.start();
  for (let i = 0; i < 20; i++) await append(delivery, batchOf('good', range(i * 3, 3)), batchOf('bad', range(i * 2, 2)));
  await delivery.delivered(last(), soon(), ['good' as TableName]);
  expect(sink.idsOf('good')).toEqual(range(0, 60));
  await append(delivery, batchOf('bad', range(40, 2)));
  await until(() => delivery.status().nextLsn > last());
  expect(delivery.status()).toMatchObject({
    up: true,
    rows: 42,
    held: [{ table: 'bad', code: 'P0001', reason: 'bad is refused' }],
  });
  expect(delivery.isDelivered(lsn(1), ['good' as TableName])).toBe(true);
  expect(delivery.isDelivered(lsn(1), ['bad' as TableName])).toBe(false);
  expect(delivery.releasableLsn).toBe(1);
  expect(delivery.totals).toEqual({ good: { delivered: 60, deadLetters: 0 } });
  expect(new Map(delivery.backlog.rowsByTable)).toEqual(
    new Map([
      ['good', 0],
      ['bad', 42],
    ]),
  );
  sink.refused.clear();
  await delivery.delivered(last(), soon());
  expect(sink.idsOf('bad')).toEqual(range(0, 42));
  await until(() => delivery.status().held.length === 0);
  expect(delivery.status()).toMatchObject({ rows: 0, bytes: 0, held: [] });
  expect(delivery.totals).toMatchObject({ bad: { delivered: 42, deadLetters: 0 } });
  await append(delivery, batchOf('bad', [42]));
  await delivery.delivered(last(), soon());
  await until(() => delivery.releasableLsn === last() + 1);
  expect(delivery.backlog.heldRows).toBe(0);
});

test('rows of a held table that come later are not tried before it works', async () => {
  const sink = new PickySink('hot', 'none');
  sink.refused.set('bad', 'table');
  const delivery = deliver(sink, { heldPauseMaxMs: 3_600_000 });
  await delivery.start();
  await append(delivery, batchOf('bad', [0]));
  await until(() => delivery.status().held.length === 1);
  await until(() => sink.attempts.get('bad')! >= 8);
  const before = sink.attempts.get('bad')!;
  for (let i = 1; i <= 50; i++) await append(delivery, batchOf('bad', [i]), batchOf('good', [i]));
  await delivery.delivered(last(), soon(), ['good' as TableName]);
  expect(sink.attempts.get('bad')! - before).toBeLessThan(3);
});

test('a stop does not wait for a held table, and the next start delivers it', async () => {
  const states = new MemoryStates();
  const sink = new PickySink('cold', 'day');
  sink.refused.set('bad', 'table');
  const first = deliver(sink, { states });
  await first.start();
  await append(first, batchOf('bad', range(0, 6)), batchOf('good', [1]));
  await until(() => first.status().held.length === 1);
  await append(first, batchOf('bad', range(6, 6)));
  await until(() => first.status().nextLsn > last());
  await first.stop(3_600_000);
  sink.refused.clear();
  const second = deliver(sink, { states });
  await second.start();
  await second.counted;
  expect(second.backlog.rows).toBe(12);
  await second.delivered(last(), soon());
  expect(sink.idsOf('bad')).toEqual(range(0, 12));
  expect(second.totals).toMatchObject({ bad: { delivered: 12 }, good: { delivered: 1 } });
  expect(second.status()).toMatchObject({ rows: 0, bytes: 0 });
  expect(second.backlog.heldRows).toBe(0);
  await second.stop(1_000);
});

test('a table that the registry does not know waits and is delivered once it is known', async () => {
  let known = false;
  const sink = new PickySink('cold', 'day');
  const delivery = deliver(sink, { schemaOf: (table) => (table !== 'lost' || known ? thingsSchema(table) : undefined) });
  await delivery.start();
  await append(delivery, batchOf('lost', range(0, 5)), batchOf('good', range(0, 5)));
  await append(delivery, batchOf('lost', range(5, 5)));
  await delivery.delivered(last(), soon(), ['good' as TableName]);
  await until(() => delivery.status().nextLsn > last());
  expect(delivery.status().held).toMatchObject([
    { table: 'lost', reason: 'table lost has rows in the WAL but is not in the registry' },
  ]);
  known = true;
  await delivery.delivered(last(), soon());
  expect(sink.idsOf('lost')).toEqual(range(0, 10));
});

test('a broken invariant holds its table with its rows in the WAL', async () => {
  let broken = true;
  const sink = new MemorySink('cold', 'day', () => (broken ? { effect: false, failure: 'broken' } : undefined));
  const delivery = deliver(sink);
  await delivery.start();
  await append(delivery, batchOf('odd', [1]));
  await until(() => delivery.status().held.length === 1);
  expect(delivery.status()).toMatchObject({ rows: 1, held: [{ table: 'odd', reason: 'a fault on demand' }] });
  expect(delivery.releasableLsn).toBe(1);
  broken = false;
  await delivery.delivered(last(), soon());
  expect(sink.ids).toEqual([1]);
});

test('an error that does not tell whose fault it is holds one table on trial, and no second while nothing succeeds', async () => {
  const sink = new PickySink('hot', 'none');
  sink.refused.set('*', 'unknown');
  const delivery = deliver(sink, { holdAfterMs: 20, rowsMax: 1 });
  await delivery.start();
  for (const table of ['a', 'b', 'c', 'd']) await append(delivery, batchOf(table, [1, 2]));
  await until(() => (sink.attempts.get('b') ?? 0) >= 6);
  expect(delivery.status()).toMatchObject({ up: false, held: [{ table: 'a' }] });
  sink.refused.delete('*');
  sink.refused.set('c', 'unknown');
  await delivery.delivered(last(), soon(), ['a', 'b', 'd'] as TableName[]);
  await until(() => delivery.status().held.length === 1);
  expect(delivery.status().held).toMatchObject([{ table: 'c' }]);
  expect(sink.idsOf('d')).toEqual([1, 2]);
});

test('with as many tables held as may be the cursor waits, and all rows arrive after the fix', async () => {
  const sink = new PickySink('hot', 'none');
  sink.refused.set('*', 'table');
  const delivery = deliver(sink, { rowsMax: 1, heldTablesMax: 3 });
  for (const [i, table] of ['a', 'b', 'c', 'd', 'e'].entries()) await wal.append([batchOf(table, [i])]);
  await delivery.start();
  await until(() => delivery.status().held.length === 3);
  await until(() => (sink.attempts.get('d') ?? 0) >= 5);
  expect(delivery.status()).toMatchObject({ up: false, nextLsn: 4, lastError: 'd is refused' });
  expect(delivery.status().held).toHaveLength(3);
  sink.refused.clear();
  await delivery.delivered(last(), soon());
  expect(sink.ids).toEqual([0, 1, 2, 3, 4]);
});

/** A process that dies at its `at`-th step: nothing that it does later takes effect. */
class Life {
  readonly died: Promise<void>;
  private markDied: () => void = () => undefined;

  constructor(private left: number) {
    this.died = new Promise((resolve) => {
      this.markDied = resolve;
    });
  }

  readonly step = (): Promise<void> => {
    if (this.left-- > 0) return Promise.resolve();
    this.markDied();
    return new Promise(() => undefined);
  };
}

test('with crashes at any step and tables refused for a while every row arrives once and the counts agree', async () => {
  const world = fc.record({
    deaths: fc.array(fc.nat(40), { maxLength: 6 }),
    entries: fc.array(fc.array(fc.constantFrom('a', 'b', 'c'), { minLength: 1, maxLength: 3 }), { minLength: 1, maxLength: 12 }),
    by: fc.constantFrom<'none' | 'day'>('none', 'day'),
    refused: fc.subarray(['a', 'b']),
    fixedAfter: fc.nat(6),
    rowsMax: fc.integer({ min: 1, max: 12 }),
  });
  await fc.assert(
    fc.asyncProperty(world, async ({ deaths, entries, by, refused, fixedAfter, rowsMax }) => {
      const from = last() + 1;
      const expected = new Map<string, number[]>();
      let id = 0;
      for (const tables of entries) {
        const batches = tables.map((table) => {
          const ids = [id++, id++, id++];
          expected.set(table, [...(expected.get(table) ?? []), ...ids]);
          return batchOf(table, ids);
        });
        await wal.append(batches);
      }
      const sink = new PickySink('cold', by);
      for (const table of refused) sink.refused.set(table, 'table');
      const states = new MemoryStates();
      states.put({ nextLsn: lsn(from), plan: undefined });
      for (let restart = 0; ; restart++) {
        const life = new Life(deaths[restart] ?? Number.POSITIVE_INFINITY);
        if (restart >= Math.min(fixedAfter, deaths.length)) sink.refused.clear();
        const delivery = deliver(sink.as(life.step), { states: states.as(life.step), rowsMax, heldPauseMaxMs: 2 });
        await delivery.start();
        await delivery.counted;
        const done = delivery.delivered(last(), soon()).then(() => 'done' as const);
        const outcome = await Promise.race([done, life.died.then(() => 'died' as const)]);
        if (outcome === 'died') {
          // It hangs where it died.
          deliveries = deliveries.filter((other) => other !== delivery);
          void delivery.stop(1);
          continue;
        }
        for (const [table, ids] of expected) {
          expect(sink.idsOf(table)).toEqual(ids);
          expect(delivery.totals[table]).toEqual({ delivered: ids.length, deadLetters: 0 });
          expect(delivery.backlog.rowsByTable.get(table as TableName) ?? 0).toBe(0);
        }
        deliveries = deliveries.filter((other) => other !== delivery);
        const stopped = delivery.stop(1_000).then(() => 'stopped' as const);
        const isStopped = (await Promise.race([stopped, life.died])) === 'stopped';
        expect(isStopped ? delivery.releasableLsn : last() + 1).toBe(last() + 1);
        return;
      }
    }),
    { numRuns: 30, endOnFailure: true },
  );
});
