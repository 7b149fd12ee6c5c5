import { createHash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import * as fc from 'fast-check';
import { type Lsn, lsn, type TableName } from '../../../src/core/ids';
import type { WalBatch } from '../../../src/core/wal';
import { IdempotencyKeys } from '../../../src/ingest/idempotency';
import { silentLogger } from '../../../src/telemetry';
import { FileStorage } from '../../../src/wal/file-storage';
import { FileWal } from '../../../src/wal/file-wal';

const BATCH: WalBatch = { table: 't' as TableName, schemaVersion: 1, tiers: ['hot'], rows: 1, ipc: [Buffer.from('rows')] };

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'thermocline-keys-'));
});
afterEach(() => rm(directory, { recursive: true }));

const openWal = (name: string): Promise<FileWal> =>
  FileWal.open({
    directory: join(directory, name),
    segmentBytes: 4096,
    frameBytesMax: 1024 * 1024,
    storage: new FileStorage(),
    clock: Date.now,
    onFatal: (error) => {
      throw error;
    },
  });

interface Opened {
  readonly keys: IdempotencyKeys;
  readonly wal: FileWal;
  /** Stores a request; the content is its digest's input. */
  readonly send: (key: string, content: string) => Promise<Lsn>;
  readonly close: (options?: { flush: boolean }) => Promise<void>;
}

async function open(options: { windowMs?: number; keysMax?: number; clock?: () => number } = {}): Promise<Opened> {
  const wal = await openWal('wal');
  const keyWal = await openWal('keys');
  const keys = await IdempotencyKeys.open({
    wal,
    keyWal,
    windowMs: options.windowMs ?? 60_000,
    keysMax: options.keysMax ?? 1_000,
    clock: options.clock ?? Date.now,
    logger: silentLogger(),
    onRelease: () => undefined,
  });
  return {
    keys,
    wal,
    send: (key, content) =>
      keys.once({ key, digest: createHash('sha256').update(content).digest() }, (note) => wal.append([BATCH], note)),
    close: async ({ flush } = { flush: true }) => {
      if (flush) await keys.close();
      await keyWal.close();
      await wal.close();
    },
  };
}

test('the same key and content give the first answer and store nothing, other content is refused', async () => {
  const { send, wal, close } = await open();
  const first = await send('a', 'x');
  expect(await send('a', 'x')).toBe(first);
  await expect(send('a', 'y')).rejects.toMatchObject({ code: 'already_exists' });
  expect(await send('b', 'x')).toBe(first + 1);
  expect(wal.stats().durableLsn).toBe(2);
  await close();
});

test('of many equal requests at once one is stored and all get its answer', async () => {
  const { send, wal, close } = await open();
  const answers = await Promise.all(Array.from({ length: 50 }, () => send('a', 'x')));
  expect(new Set(answers).size).toBe(1);
  expect(wal.stats().durableLsn).toBe(1);
  await close();
});

test('a request that was not stored does not use up its key', async () => {
  const { keys, send, close } = await open();
  const digest = createHash('sha256').update('x').digest();
  const failing = keys.once({ key: 'a', digest }, () => Promise.reject(new Error('no space')));
  const waiting = send('a', 'x');
  await expect(failing).rejects.toThrow('no space');
  expect(await waiting).toBe(1);
  expect(await send('a', 'x')).toBe(1);
  await close();
});

test.each([true, false])('keys survive a restart, also when the key log was not written (flushed: %s)', async (flush) => {
  const first = await open();
  const at = await first.send('a', 'x');
  await first.close({ flush });
  const second = await open();
  expect(await second.send('a', 'x')).toBe(at);
  await expect(second.send('a', 'y')).rejects.toMatchObject({ code: 'already_exists' });
  await second.close();
});

test('keys survive the deletion of the entries that carried them', async () => {
  const first = await open();
  for (let i = 0; i < 100; i++) await first.send(`key ${i}`, 'x');
  expect(first.keys.releasableLsn).toBe(1);
  await first.keys.close();
  expect(first.keys.releasableLsn).toBe(Number.MAX_SAFE_INTEGER);
  await first.wal.release(lsn(101));
  expect(first.wal.stats().firstLsn).toBeGreaterThan(50);
  await first.close();
  const second = await open();
  expect(await Promise.all(Array.from({ length: 100 }, (_, i) => second.send(`key ${i}`, 'x')))).toEqual(
    Array.from({ length: 100 }, (_, i) => i + 1),
  );
  await second.close();
});

test('a key is forgotten after the window, also by a restart', async () => {
  let now = Date.now();
  const options = { windowMs: 1_000, clock: () => now };
  const first = await open(options);
  await first.send('a', 'x');
  now += 999;
  expect(await first.send('a', 'x')).toBe(1);
  now += 2;
  expect(await first.send('a', 'y')).toBe(2);
  await first.close();
  now += 1_001;
  const second = await open(options);
  expect(await second.send('a', 'z')).toBe(3);
  await second.close();
});

test('of more keys than are kept the oldest are forgotten first', async () => {
  const { send, close } = await open({ keysMax: 3 });
  for (const key of ['a', 'b', 'c', 'd', 'e']) await send(key, 'x');
  expect(await send('e', 'x')).toBe(5);
  expect(await send('d', 'x')).toBe(4);
  expect(await send('a', 'y')).toBe(6);
  await close();
});

test('any sequence of requests and restarts stores each key once, with its first content', async () => {
  const step = fc.oneof(
    { weight: 5, arbitrary: fc.record({ key: fc.constantFrom('a', 'b', 'c', 'ключ'), content: fc.constantFrom('x', 'y') }) },
    { weight: 1, arbitrary: fc.constantFrom('restart', 'crash') },
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 15 }), async (steps) => {
      await rm(directory, { recursive: true, force: true });
      const model = new Map<string, { content: string; at: number }>();
      let opened = await open();
      let stored = 0;
      for (const each of steps) {
        if (typeof each === 'string') {
          await opened.close({ flush: each === 'restart' });
          opened = await open();
          continue;
        }
        const known = model.get(each.key) ?? { content: each.content, at: ++stored };
        model.set(each.key, known);
        const answer = await opened.send(each.key, each.content).catch((error: { code: string }) => error.code);
        expect(answer).toBe(known.content === each.content ? known.at : 'already_exists');
      }
      expect(opened.wal.stats().durableLsn).toBe(stored);
      await opened.close();
    }),
    { numRuns: 25 },
  );
});

test('what is kept of a key for the window is small', async () => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const KEYS = 2_000;
  const keys = await IdempotencyKeys.open({
    wal: await openWal('wal'),
    keyWal: await openWal('keys'),
    windowMs: 60_000,
    keysMax: KEYS,
    clock: Date.now,
    logger: silentLogger(),
    onRelease: () => undefined,
  });
  collect();
  const before = process.memoryUsage();
  for (let n = 0; n < KEYS; n++) {
    const digest = createHash('sha256').update(String(n)).digest();
    // Other small buffers of a request come and go in between.
    for (let other = 0; other < 8; other++) Buffer.from('x'.repeat(1_000));
    await keys.once({ key: `key ${n}`, digest }, async () => lsn(n + 1));
  }
  await keys.close();
  // Buffers are freed beside the collection, by and by.
  let grown = Number.POSITIVE_INFINITY;
  for (let look = 0; look < 100 && grown >= KEYS * 1_000; look++) {
    collect();
    await sleep(20);
    grown = process.memoryUsage().arrayBuffers - before.arrayBuffers;
  }
  expect(grown).toBeLessThan(KEYS * 1_000);
});
