/**
 * Scenario: schedules of appends, releases, reads, faults and crashes on the simulated disk.
 * Guarantee: after any crash every acknowledged entry that was not released is read back once, in order, byte for byte; what was
 * readable once never changes; nothing is readable before it is durable; positions have no gaps.
 */
import { strict as assert } from 'node:assert';
import * as fc from 'fast-check';
import { IngestError } from '../../src/core/errors';
import { type Lsn, lsn } from '../../src/core/ids';
import { FileDeliveryStateStore } from '../../src/wal/delivery-state';
import type { FileWal } from '../../src/wal/file-wal';
import { randomOf } from './random';
import { type CrashKind, SimulatedDisk } from './simulated-disk';
import { fingerprint, openWal, readAll, walBatch } from './wal-fixtures';

/** Of the device, for which the log must leave room. */
const RESERVE_BYTES = 1_000;
const DIRECTORY = '/disk/wal';

type Step =
  | { readonly do: 'append'; readonly sizes: readonly number[]; readonly wait: boolean }
  | { readonly do: 'release'; readonly part: number; readonly wait: boolean }
  | { readonly do: 'read'; readonly bytesMax: number }
  | { readonly do: 'fault'; readonly fault: 'sync' | 'space' | 'short'; readonly after: number }
  | { readonly do: 'crash'; readonly kind: CrashKind; readonly after: number | undefined }
  | { readonly do: 'close' };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant('append' as const),
      sizes: fc.array(fc.oneof(fc.integer({ min: 0, max: 300 }), fc.integer({ min: 300, max: 2500 }), fc.constant(6000)), {
        minLength: 1,
        maxLength: 6,
      }),
      wait: fc.boolean(),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('release' as const),
      part: fc.oneof(fc.constant(1), fc.double({ min: 0, max: 1, noNaN: true })),
      wait: fc.boolean(),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('read' as const), bytesMax: fc.integer({ min: 1, max: 9000 }) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('fault' as const),
      fault: fc.constantFrom('sync' as const, 'space' as const, 'short' as const),
      after: fc.integer({ min: 0, max: 6 }),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('crash' as const),
      kind: fc.constantFrom('power' as const, 'process' as const),
      after: fc.option(fc.integer({ min: 0, max: 25 }), { nil: undefined }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('close' as const) }) },
);

class Model {
  readonly disk: SimulatedDisk;
  private wal: FileWal | undefined;
  private readonly acked = new Map<number, string>();
  /** Every position that a reader ever saw, with what it held. */
  private readonly seen = new Map<number, string>();
  private releasedBelow = 1;
  private seed = 0;
  private starts = 0;
  /** The last position whose checkpoint was durable. */
  private checkpointed = 0;
  private checkpoints: FileDeliveryStateStore | undefined;
  private walId: string | undefined;
  private open: Promise<unknown>[] = [];

  constructor(seed: number) {
    this.disk = new SimulatedDisk(randomOf(seed));
  }

  async run(each: Step): Promise<void> {
    if (each.do === 'append') await this.append(each.sizes, each.wait);
    else if (each.do === 'release') await this.release(each.part, each.wait);
    else if (each.do === 'read') await this.read(each.bytesMax);
    else if (each.do === 'fault') this.fault(each.fault, each.after);
    else if (each.do === 'crash') await this.crash(each.kind, each.after);
    else await this.restart('close');
  }

  /** The end of every schedule: power loss, again right behind the recovery, then a comparison. Gives what was acknowledged. */
  async finish(): Promise<number> {
    await this.restart('power');
    await this.restart('power');
    await this.check();
    await this.wal?.close();
    return this.acked.size;
  }

  private async running(): Promise<FileWal> {
    if (this.wal !== undefined) return this.wal;
    const storage = this.disk.mount();
    // Both ways of checking a start must keep the guarantee.
    const verify = this.starts++ % 2 === 0 ? 'all' : 'tail';
    this.wal = await openWal(storage, DIRECTORY, { onFatal: () => undefined, verify, reserveBytes: RESERVE_BYTES });
    this.checkpoints = new FileDeliveryStateStore({ storage, directory: DIRECTORY, walId: this.wal.walId });
    this.walId ??= this.wal.walId;
    if (this.acked.size > 0) assert.equal(this.wal.walId, this.walId);
    this.walId = this.wal.walId;
    return this.wal;
  }

  private async append(sizes: readonly number[], wait: boolean): Promise<void> {
    const wal = await this.startOrSkip();
    if (wal === undefined) return;
    for (const size of sizes) {
      const batches = [walBatch(++this.seed, size, 3)];
      if (size % 2 === 0) batches.push(walBatch(++this.seed, size % 100));
      const appended = wal.append(batches).then(
        (at) => {
          assert.equal(this.acked.has(at), false);
          this.acked.set(at, fingerprint(batches));
          assert.ok(wal.stats().durableLsn >= at);
        },
        (error: unknown) => {
          assert.ok(error instanceof IngestError);
          assert.equal(error.code, 'unavailable');
        },
      );
      this.open.push(appended);
    }
    if (wait) await this.settle();
  }

  private async settle(): Promise<void> {
    await Promise.all(this.open);
    this.open = [];
  }

  private async release(part: number, wait: boolean): Promise<void> {
    const wal = await this.startOrSkip();
    if (wal === undefined) return;
    const { firstLsn, durableLsn } = wal.stats();
    const below = Math.floor(firstLsn + part * (durableLsn + 1 - firstLsn));
    this.releasedBelow = Math.max(this.releasedBelow, below);
    // As the delivery does it: the checkpoint is durable before anything is released.
    const { checkpoints } = this;
    const saved = checkpoints?.save('hot', { nextLsn: lsn(below), plan: undefined });
    const released = saved?.then(() => {
      this.checkpointed = Math.max(this.checkpointed, below);
      return wal.release(lsn(below));
    });
    this.open.push(Promise.resolve(released).catch(() => undefined));
    if (wait) await this.settle();
  }

  private async read(bytesMax: number): Promise<void> {
    const wal = await this.startOrSkip();
    if (wal === undefined) return;
    const durable = wal.stats().durableLsn;
    const entries = await readAll(wal, wal.stats().firstLsn, bytesMax).catch((error: unknown) => {
      // The machine went down under the read, or a release that was under way overtook it; damage must never be the reason.
      const { code, message } = error as { code?: string; message: string };
      assert.match(code ?? message, /^EIO$|was released/);
      return [];
    });
    for (const entry of entries) this.see(entry.lsn, fingerprint(entry.batches));
    if (entries.length > 0) assert.ok((entries.at(-1)?.lsn ?? 0) >= durable);
  }

  private see(at: Lsn, print: string): void {
    const before = this.seen.get(at);
    if (before !== undefined) assert.equal(print, before);
    this.seen.set(at, print);
  }

  private fault(kind: 'sync' | 'space' | 'short', after: number): void {
    if (kind === 'sync') this.disk.faults.failSyncIn = after;
    else if (kind === 'short') this.disk.faults.shortWrites = after / 8;
    else this.disk.faults.capacityBytes = after === 0 ? Number.POSITIVE_INFINITY : this.disk.usedBytes + after * 700;
  }

  /** `after`: the machine goes down at that operation of what follows; otherwise now. */
  private async crash(kind: CrashKind, after: number | undefined): Promise<void> {
    if (after !== undefined) {
      this.disk.faults.crashIn = after;
      return;
    }
    await this.restart(kind);
  }

  private async restart(kind: CrashKind | 'close'): Promise<void> {
    if (kind === 'close') {
      await this.wal?.close().catch(() => undefined);
    }
    this.disk.crash(kind === 'close' ? 'process' : kind);
    await this.settle();
    await this.wal?.close().catch(() => undefined);
    this.wal = undefined;
    // Room for the repair and for the next segment: a server that cannot even start is not part of this test.
    this.disk.faults.capacityBytes = Number.POSITIVE_INFINITY;
    await this.check();
  }

  /** The WAL, unless the machine went down at start: then it is restarted by the next step. */
  private async startOrSkip(): Promise<FileWal | undefined> {
    try {
      return await this.running();
    } catch (error) {
      // Down at start, or a full device: a new WAL needs its first segment, and a repair needs room for the last one.
      const name = (error as { code?: string }).code ?? (error as Error).name;
      assert.match(name, /^(EIO|SyncFailedError|NoSpaceError|ENOSPC)$/);
      this.disk.faults.capacityBytes = Number.POSITIVE_INFINITY;
      this.disk.crash('power');
      return undefined;
    }
  }

  private async check(): Promise<void> {
    const wal = await this.running();
    const { firstLsn, durableLsn } = wal.stats();
    const checkpoint = await this.checkpoints?.load('hot');
    assert.ok((checkpoint?.nextLsn ?? 0) >= this.checkpointed, 'a checkpoint went back');
    assert.ok(firstLsn <= this.releasedBelow, 'an entry that is needed was released');
    const entries = await readAll(wal);
    assert.deepEqual(
      entries.map((entry) => Number(entry.lsn)),
      entries.map((_, index) => firstLsn + index),
    );
    const last = Math.max(0, ...this.acked.keys(), ...this.seen.keys());
    assert.ok(durableLsn >= last, `entry ${last} is lost, the log ends at ${durableLsn}`);
    for (const entry of entries) {
      const print = fingerprint(entry.batches);
      const acked = this.acked.get(entry.lsn);
      if (acked !== undefined) assert.equal(print, acked);
      this.see(entry.lsn, print);
    }
  }
}

/** Runs so many schedules, those of `seed` if given; gives the number of acknowledged entries. Throws with the smallest failing schedule. */
export async function runSchedules(runs: number, seed?: number): Promise<number> {
  let acknowledged = 0;
  const property = fc.asyncProperty(fc.integer(), fc.array(step, { minLength: 3, maxLength: 14 }), async (diskSeed, steps) => {
    const model = new Model(diskSeed);
    for (const each of steps) await model.run(each);
    acknowledged += await model.finish();
  });
  await fc.assert(property, { numRuns: runs, ...(seed === undefined ? {} : { seed }) });
  return acknowledged;
}
