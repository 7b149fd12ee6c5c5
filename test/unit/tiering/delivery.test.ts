import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { NumberBuilder, timestampBuilder } from '../../../src/columnar/builders';
import { utf8Builder } from '../../../src/columnar/bytes-builder';
import { encodeIpc } from '../../../src/columnar/ipc';
import { recordBatch } from '../../../src/columnar/record-batch';
import type { DeadLetterParking } from '../../../src/core/dead-letter';
import type { Tier } from '../../../src/core/table-schema';
import type { WalBatch } from '../../../src/core/wal';
import { silentLogger, Telemetry } from '../../../src/telemetry';
import { Delivery } from '../../../src/tiering/delivery';
import { FileDeliveryStateStore } from '../../../src/wal/delivery-state';
import { FileStorage } from '../../../src/wal/file-storage';
import { FileWal } from '../../../src/wal/file-wal';
import { MemoryParking } from '../../support/memory-parking';
import { type Fault, MemorySink } from '../../support/memory-sink';
import { thingsSchema } from '../../support/things';

const SCHEMA = thingsSchema();

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'thermocline-delivery-'));
});
afterEach(() => rm(directory, { recursive: true }));

const openWal = (): Promise<FileWal> =>
  FileWal.open({
    directory,
    segmentBytes: 64 * 1024,
    frameBytesMax: 1024 * 1024,
    storage: new FileStorage(),
    clock: Date.now,
    onFatal: (error) => {
      throw error;
    },
  });

/** A batch of rows with these ids, spread over two days. */
function batchOf(ids: readonly number[], tiers: Tier[] = ['hot', 'cold']): WalBatch {
  const time = timestampBuilder();
  const id = NumberBuilder.float64();
  for (const n of ids) {
    time.appendBigInt(BigInt(n % 2) * 86_400_000_000_000n);
    id.append(n);
  }
  const batch = recordBatch([
    { name: 'time', data: time.finish() },
    { name: 'id', data: id.finish() },
  ]);
  return { table: SCHEMA.table, schemaVersion: 1, tiers, rows: ids.length, ipc: [encodeIpc(batch)] };
}

function deliver(
  wal: FileWal,
  sink: MemorySink,
  bounds: { rowsMax?: number; intervalMs?: number; deadLetters?: DeadLetterParking } = {},
): Delivery {
  return new Delivery({
    wal,
    sink,
    deadLetters: bounds.deadLetters ?? new MemoryParking(),
    states: new FileDeliveryStateStore({ directory, storage: new FileStorage(), walId: wal.walId }),
    schemaOf: () => SCHEMA,
    tables: () => [SCHEMA],
    rowsMax: bounds.rowsMax ?? 10,
    bytesMax: 1024 * 1024,
    intervalMs: bounds.intervalMs ?? 1,
    telemetry: new Telemetry(),
    logger: silentLogger(),
    onAdvance: () => undefined,
  });
}

const range = (from: number, count: number): number[] => Array.from({ length: count }, (_, i) => from + i);

async function append(wal: FileWal, delivery: Delivery, batch: WalBatch): Promise<void> {
  await wal.append([batch]);
  delivery.backlog.add([batch]);
}

test.each<['none' | 'day', Tier]>([
  ['none', 'hot'],
  ['day', 'cold'],
])('with faults before and after the effect every row arrives once (partitioning %s)', async (partitioning, tier) => {
  const fault = fc.option(fc.record({ effect: fc.boolean(), failure: fc.constant('retry' as const) }), { freq: 1 });
  const faults: (Fault | null)[] = fc.sample(fc.array(fault, { minLength: 10, maxLength: 10 }), { numRuns: 1, seed: 7 })[0];
  const wal = await openWal();
  const sink = new MemorySink(tier, partitioning, () => faults.shift() ?? undefined);
  const delivery = deliver(wal, sink);
  await delivery.start();
  for (let i = 0; i < 10; i++) await append(wal, delivery, batchOf(range(i * 7, 7)));
  await delivery.delivered(wal.stats().durableLsn, AbortSignal.timeout(20_000));
  expect(sink.ids).toEqual(range(0, 70));
  expect(delivery.status()).toMatchObject({ rows: 0, bytes: 0, up: true });
  await delivery.stop(1_000);
  await wal.close();
});

test('rows of another tier move the cursor and are not written', async () => {
  const wal = await openWal();
  const sink = new MemorySink('hot', 'none');
  const delivery = deliver(wal, sink);
  await delivery.start();
  await append(wal, delivery, batchOf([1, 2], ['cold']));
  await append(wal, delivery, batchOf([3], ['hot']));
  await append(wal, delivery, batchOf([4], ['cold']));
  await delivery.delivered(wal.stats().durableLsn, AbortSignal.timeout(5_000));
  expect(sink.ids).toEqual([3]);
  await delivery.stop(1_000);
  const again = deliver(wal, new MemorySink('hot', 'none'));
  await again.start();
  expect(again.releasableLsn).toBe(4);
  expect(again.totals).toEqual({ things: { delivered: 1, deadLetters: 0 } });
  await again.stop(1_000);
  await wal.close();
});

test('a store that is down at the start and comes later gets everything, and the backlog is known before', async () => {
  const wal = await openWal();
  const sink = new MemorySink('cold', 'day');
  sink.up = false;
  const delivery = deliver(wal, sink);
  await wal.append([batchOf(range(0, 30))]);
  await delivery.start();
  await append(wal, delivery, batchOf(range(30, 30)));
  await expect(delivery.delivered(wal.stats().durableLsn, AbortSignal.timeout(300))).rejects.toThrow(/timeout/);
  expect(delivery.status()).toMatchObject({ up: false, rows: 60, lastError: 'the store is down' });
  sink.up = true;
  await delivery.delivered(wal.stats().durableLsn, AbortSignal.timeout(20_000));
  expect(sink.ids).toEqual(range(0, 60));
  expect(sink.tables).toEqual(['things']);
  await delivery.stop(1_000);
  await wal.close();
});

test('a restart in the middle of a plan repeats its unfinished inserts with the same rows and says so', async () => {
  const wal = await openWal();
  const store = new Map<string, number[]>();
  const stuck = new MemorySink('cold', 'day', () => ({ effect: true, failure: 'retry' }));
  const first = deliver(wal, stuck, { intervalMs: 50 });
  await first.start();
  for (let i = 0; i < 5; i++) await append(wal, first, batchOf(range(i * 4, 4)));
  while (stuck.inserts.size < 2) await new Promise((resolve) => setTimeout(resolve, 5));
  await first.stop(1);
  for (const [key, ids] of stuck.inserts) store.set(key, ids);

  const sink = new MemorySink('cold', 'day');
  for (const [key, ids] of store) sink.inserts.set(key, ids);
  const second = deliver(wal, sink, { rowsMax: 3 });
  await second.start();
  await second.delivered(wal.stats().durableLsn, AbortSignal.timeout(20_000));
  expect(sink.ids).toEqual(range(0, 20));
  expect(
    sink.writes.filter((write) => store.has([write.id.walId, write.id.lsn, write.id.table, write.id.partition].join('/'))),
  ).toEqual(expect.arrayContaining([expect.objectContaining({ mayHaveRun: true })]));
  await second.stop(1_000);
  await wal.close();
});

test('small requests are gathered into one insert', async () => {
  const wal = await openWal();
  const sink = new MemorySink('hot', 'none');
  const delivery = deliver(wal, sink, { rowsMax: 1_000, intervalMs: 300 });
  await delivery.start();
  for (let i = 0; i < 20; i++) await append(wal, delivery, batchOf([i]));
  await delivery.delivered(wal.stats().durableLsn, AbortSignal.timeout(5_000));
  expect(sink.inserts.size).toBeLessThanOrEqual(2);
  expect(sink.ids).toEqual(range(0, 20));
  await delivery.stop(1_000);
  await wal.close();
});

const refusesSevens = (id: number): boolean => id % 7 === 0;

test.each<['none' | 'day', Tier]>([
  ['none', 'hot'],
  ['day', 'cold'],
])('refused rows are parked with the entry that brought them, the others delivered once (partitioning %s)', async (by, tier) => {
  const wal = await openWal();
  const parking = new MemoryParking();
  let faults = 6;
  const sink = new MemorySink(
    tier,
    by,
    () => (faults-- > 0 ? { effect: faults % 2 === 0, failure: 'retry' } : undefined),
    refusesSevens,
  );
  const delivery = deliver(wal, sink, { deadLetters: parking });
  await delivery.start();
  for (let i = 0; i < 10; i++) await append(wal, delivery, batchOf(range(i * 5, 5)));
  await delivery.delivered(wal.stats().durableLsn, AbortSignal.timeout(20_000));
  expect(sink.ids).toEqual(range(0, 50).filter((id) => !refusesSevens(id)));
  const letters = parking.parked.flatMap(({ rows, batch }) =>
    rows.map((row, i) => ({ id: batch.getChild('id')!.get(i) as number, lsn: row.lsn, stage: row.stage, column: row.column })),
  );
  expect(letters.sort((a, b) => a.id - b.id)).toEqual(
    range(0, 50)
      .filter(refusesSevens)
      .map((id) => ({ id, lsn: Math.floor(id / 5) + 1, stage: `${tier}_insert`, column: 'id' })),
  );
  expect(delivery.totals).toEqual({ things: { delivered: 42, deadLetters: 8 } });
  expect([...delivery.backlog.rowsByTable]).toEqual([['things', 0]]);
  expect(delivery.status()).toMatchObject({ rows: 0, bytes: 0, up: true });
  await delivery.stop(1_000);
  await wal.close();
});

test('dead letters without room hold the sink and lose nothing', async () => {
  const wal = await openWal();
  const parking = new MemoryParking();
  parking.full = true;
  const sink = new MemorySink('hot', 'none', undefined, refusesSevens);
  const delivery = deliver(wal, sink, { deadLetters: parking });
  await delivery.start();
  await append(wal, delivery, batchOf(range(0, 10)));
  while (delivery.status().up) await new Promise((resolve) => setTimeout(resolve, 5));
  expect(sink.ids).toEqual([]);
  expect(delivery.status()).toMatchObject({ rows: 10, lastError: 'the dead letters are full' });
  parking.full = false;
  await delivery.delivered(wal.stats().durableLsn, AbortSignal.timeout(20_000));
  expect(sink.ids).toEqual([1, 2, 3, 4, 5, 6, 8, 9]);
  await delivery.stop(1_000);
  await wal.close();
});

test('after a stop between parking and the insert the same rows are left out, although the store would take them now', async () => {
  const wal = await openWal();
  const parking = new MemoryParking();
  const stuck = new MemorySink('cold', 'day', () => ({ effect: false, failure: 'retry' }), refusesSevens);
  const first = deliver(wal, stuck, { deadLetters: parking });
  await first.start();
  await append(wal, first, batchOf(range(0, 10)));
  while (parking.parked.length < 2) await new Promise((resolve) => setTimeout(resolve, 5));
  await first.stop(1);
  const sink = new MemorySink('cold', 'day');
  const second = deliver(wal, sink, { deadLetters: parking });
  await second.start();
  await second.delivered(wal.stats().durableLsn, AbortSignal.timeout(20_000));
  expect(sink.ids).toEqual([1, 2, 3, 4, 5, 6, 8, 9]);
  expect(parking.parked.flatMap(({ rows }) => rows)).toHaveLength(2);
  expect(second.totals).toEqual({ things: { delivered: 8, deadLetters: 2 } });
  await second.stop(1_000);
  await wal.close();
});

test('rows of a day that was moved go to the other tier once, whatever happens between that and the write', async () => {
  const wal = await openWal();
  const parking = new MemoryParking();
  const stuck = new MemorySink(
    'hot',
    'none',
    () => ({ effect: false, failure: 'retry' }),
    () => false,
    refusesSevens,
  );
  const first = deliver(wal, stuck, { deadLetters: parking });
  await first.start();
  await append(wal, first, batchOf(range(0, 10)));
  while (stuck.writes.length < 2) await new Promise((resolve) => setTimeout(resolve, 5));
  await first.stop(1);
  // The day has come back: what was sent away stays away.
  const sink = new MemorySink('hot', 'none');
  const second = deliver(wal, sink, { deadLetters: parking });
  await second.start();
  await second.delivered(wal.stats().durableLsn, AbortSignal.timeout(20_000));
  expect(sink.ids).toEqual([1, 2, 3, 4, 5, 6, 8, 9]);
  expect(parking.diverted.map(({ to, rows, batch }) => [to, rows, [...batch.getChild('id')!]])).toEqual([
    ['cold', [0, 7], [0, 7]],
  ]);
  expect(second.totals).toEqual({ things: { delivered: 8, deadLetters: 0, diverted: 2 } });
  await second.stop(1_000);
  await wal.close();
});

test('a batch of another type than its table is parked whole and does not touch the batches it is delivered with', async () => {
  const wal = await openWal();
  const parking = new MemoryParking();
  const sink = new MemorySink('hot', 'none');
  const delivery = deliver(wal, sink, { rowsMax: 100, intervalMs: 200, deadLetters: parking });
  await delivery.start();
  const time = timestampBuilder();
  const id = utf8Builder();
  for (const text of ['seven', 'eight']) {
    time.appendBigInt(0n);
    id.appendString(text);
  }
  const odd = recordBatch([
    { name: 'time', data: time.finish() },
    { name: 'id', data: id.finish() },
  ]);
  await append(wal, delivery, batchOf([1, 2]));
  await append(wal, delivery, { ...batchOf([3, 4]), ipc: [encodeIpc(odd)] });
  await append(wal, delivery, batchOf([5, 6]));
  await delivery.delivered(wal.stats().durableLsn, AbortSignal.timeout(5_000));
  expect(sink.ids).toEqual([1, 2, 5, 6]);
  const [{ rows, batch }] = parking.parked;
  expect(rows.map(({ row, lsn: at, stage, code, column }) => [row, at, stage, code, column])).toEqual([
    [2, 2, 'schema', 'type_mismatch', 'id'],
    [3, 2, 'schema', 'type_mismatch', 'id'],
  ]);
  expect([...batch.getChild('id')!]).toEqual(['seven', 'eight']);
  await delivery.stop(1_000);
  await wal.close();
});

test('rows without a time are of a part without a day, for the sink to refuse', async () => {
  const wal = await openWal();
  const sink = new MemorySink('cold', 'day');
  const delivery = deliver(wal, sink);
  await delivery.start();
  const id = NumberBuilder.float64();
  id.append(9);
  await append(wal, delivery, { ...batchOf([1]), ipc: [encodeIpc(recordBatch([{ name: 'id', data: id.finish() }]))] });
  await append(wal, delivery, batchOf([2, 3]));
  await delivery.delivered(wal.stats().durableLsn, AbortSignal.timeout(5_000));
  expect(sink.writes.map((write) => write.id.partition).sort()).toEqual(['', '19700101', '19700102']);
  await delivery.stop(1_000);
  await wal.close();
});
