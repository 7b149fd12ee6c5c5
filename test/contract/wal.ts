import { IngestError } from '../../src/core/errors';
import { lsn } from '../../src/core/ids';
import type { Wal } from '../../src/core/wal';
import { fingerprint, readAll, walBatch } from '../support/wal-fixtures';

/** One log under test. `reopen` opens what an earlier `open` of this subject left behind. */
export interface WalSubject {
  open(): Promise<Wal>;
  reopen(): Promise<Wal>;
  dispose(): Promise<void>;
}

const NEVER = new AbortController().signal;

/** What every implementation of `Wal` must do. `make` gives a new, empty log for each test. */
export function registerWalContractTests(name: string, make: () => Promise<WalSubject>): void {
  describe(`${name} keeps the wal contract`, () => {
    let subject: WalSubject;
    let wal: Wal;

    beforeEach(async () => {
      subject = await make();
      wal = await subject.open();
    });

    afterEach(async () => {
      await wal.close();
      await subject.dispose();
    });

    test('a new log is empty and has a random id of 32 hex digits', async () => {
      expect(wal.walId).toMatch(/^[0-9a-f]{32}$/);
      expect(wal.stats()).toMatchObject({ durableLsn: 0, firstLsn: 1 });
      expect(await wal.read(lsn(1), 1000)).toEqual([]);
      const other = await make();
      const otherWal = await other.open();
      expect(otherWal.walId).not.toBe(wal.walId);
      await otherWal.close();
      await other.dispose();
    });

    test('appends made at once get positions from 1 without gaps, in the order of the calls', async () => {
      const positions = await Promise.all(Array.from({ length: 50 }, (_, index) => wal.append([walBatch(index, index * 20)])));
      expect(positions).toEqual(Array.from({ length: 50 }, (_, index) => index + 1));
      expect(wal.stats().durableLsn).toBe(50);
    });

    test('entries read back byte for byte: several batches, no bytes, many pieces, larger than a segment', async () => {
      const entries = [
        [walBatch(1, 100), walBatch(2, 0), walBatch(3, 77, 9)],
        [walBatch(4, 20_000, 500)],
        [walBatch(5, 1)],
        [walBatch(6, 5_000, 2)],
      ];
      for (const batches of entries) await wal.append(batches);
      const read = await readAll(wal);
      expect(read.map((entry) => fingerprint(entry.batches))).toEqual(entries.map(fingerprint));
      for (const entry of read) {
        expect(entry.appendedAtMs).toBeGreaterThan(0);
        expect(entry.sizeBytes).toBeGreaterThan(entry.batches.reduce((sum, batch) => sum + batch.ipc[0].length, 0));
        for (const batch of entry.batches) expect(batch.ipc[0].byteOffset % 8).toBe(0);
      }
    });

    test('a read gives at least one entry and not much more than asked', async () => {
      for (let seed = 1; seed <= 30; seed++) await wal.append([walBatch(seed, 500)]);
      expect(await wal.read(lsn(1), 1)).toHaveLength(1);
      const some = await wal.read(lsn(11), 3_000);
      expect(some[0]?.lsn).toBe(11);
      expect(some.length).toBeGreaterThan(1);
      expect(some.reduce((sum, entry) => sum + entry.sizeBytes, 0)).toBeLessThan(4_000);
    });

    test('any position can be read, in any order', async () => {
      for (let seed = 1; seed <= 60; seed++) await wal.append([walBatch(seed, 300)]);
      for (const at of [60, 1, 33, 32, 34, 5, 59]) {
        const [entry] = await wal.read(lsn(at), 1);
        expect(entry?.lsn).toBe(at);
        expect(fingerprint(entry?.batches ?? [])).toBe(fingerprint([walBatch(at, 300)]));
      }
      expect(await wal.read(lsn(61), 1_000)).toEqual([]);
    });

    test('a reader that follows the log sees each entry once, in order, while it grows', async () => {
      const total = 300;
      const seen: number[] = [];
      const follow = async (): Promise<void> => {
        while (seen.length < total) {
          const from = lsn(seen.length + 1);
          await wal.waitFor(from, NEVER);
          for (const entry of await wal.read(from, 2_000)) {
            expect(entry.lsn).toBeLessThanOrEqual(wal.stats().durableLsn);
            expect(fingerprint(entry.batches)).toBe(fingerprint([walBatch(entry.lsn, (entry.lsn * 13) % 900)]));
            seen.push(entry.lsn);
          }
        }
      };
      const write = async (): Promise<void> => {
        for (let seed = 1; seed <= total; seed += 6) {
          const group = Array.from({ length: 6 }, (_, index) => seed + index);
          await Promise.all(group.map((each) => wal.append([walBatch(each, (each * 13) % 900)])));
        }
      };
      await Promise.all([follow(), write()]);
      expect(seen).toEqual(Array.from({ length: total }, (_, index) => index + 1));
    });

    test('waitFor resolves when the position is durable, at once when it is already, and when the signal aborts', async () => {
      const waiting = wal.waitFor(lsn(2), NEVER);
      await wal.append([walBatch(1, 10)]);
      const abort = new AbortController();
      const never = wal.waitFor(lsn(99), abort.signal);
      await wal.append([walBatch(2, 10)]);
      await waiting;
      expect(wal.stats().durableLsn).toBe(2);
      await wal.waitFor(lsn(1), NEVER);
      abort.abort();
      await never;
      await wal.waitFor(lsn(99), abort.signal);
    });

    test('release frees whole segments, never an entry that is needed, and never goes back', async () => {
      for (let seed = 1; seed <= 60; seed++) await wal.append([walBatch(seed, 500)]);
      const before = wal.stats();
      await wal.release(lsn(30));
      const after = wal.stats();
      expect(after.firstLsn).toBeGreaterThan(1);
      expect(after.firstLsn).toBeLessThanOrEqual(30);
      expect(after.sizeBytes).toBeLessThan(before.sizeBytes);
      await wal.release(lsn(2));
      expect(wal.stats().firstLsn).toBe(after.firstLsn);
      const rest = await readAll(wal);
      expect(rest.map((entry) => Number(entry.lsn))).toEqual(rest.map((_, index) => after.firstLsn + index));
      expect(rest.at(-1)?.lsn).toBe(60);
      await expect(wal.read(lsn(1), 100)).rejects.toThrow(/released/);
    });

    test('a closed log refuses appends as unavailable, lets waiters go, and keeps everything for the next start', async () => {
      const appended = Promise.all([1, 2, 3].map((seed) => wal.append([walBatch(seed, 400)])));
      const waiting = wal.waitFor(lsn(99), NEVER).then(
        () => undefined,
        (error: unknown) => error,
      );
      await wal.close();
      await wal.close();
      expect(await appended).toEqual([1, 2, 3]);
      expect(await waiting).toBeInstanceOf(IngestError);
      await expect(wal.append([walBatch(4, 1)])).rejects.toMatchObject({ code: 'unavailable', retryable: true });
      const { walId } = wal;
      wal = await subject.reopen();
      expect(wal.walId).toBe(walId);
      expect((await readAll(wal)).map((entry) => fingerprint(entry.batches))).toEqual(
        [1, 2, 3].map((seed) => fingerprint([walBatch(seed, 400)])),
      );
      expect(await wal.append([walBatch(4, 1)])).toBe(4);
    });

    test('an entry above the limit is refused and leaves no gap', async () => {
      await expect(wal.append([walBatch(1, 200_000)])).rejects.toMatchObject({ code: 'payload_too_large' });
      expect(await wal.append([walBatch(2, 10)])).toBe(1);
    });
  });
}
