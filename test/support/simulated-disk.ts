/**
 * A disk in memory that forgets what was not synced, under the `Storage` interface of the WAL.
 *
 * Every file has what readers see (the page cache) and what is on the medium. `fdatasync` moves the writes issued before it to
 * the medium; `syncDirectory` does that for names. `crash('power')` keeps of everything else an arbitrary part: each unsynced
 * write whole, not at all, or some of its 512-byte sectors; each unsynced change of names or not. `crash('process')` keeps the
 * page cache, like kill -9. A failed fdatasync marks the pages clean, as Linux does: the cache still shows them, the medium never
 * gets them, and the next sync reports success.
 *
 * Faults: short writes, a failing sync, a full device, and a crash in the middle of any operation. All choices come from the
 * numbers of `random`, so that a schedule can be repeated from its seed.
 */
import * as path from 'node:path';
import type { OpenMode, Storage, StorageFile, StorageLock } from '../../src/wal/storage';

const SECTOR_BYTES = 512;

type Change =
  | { readonly kind: 'write'; readonly at: number; readonly bytes: Buffer }
  | { readonly kind: 'truncate'; readonly sizeBytes: number };

class Inode {
  cache: Buffer = Buffer.alloc(0);
  medium: Buffer = Buffer.alloc(0);
  unsynced: Change[] = [];
}

type NameChange =
  | { readonly kind: 'link'; readonly name: string; readonly inode: Inode }
  | { readonly kind: 'unlink'; readonly name: string }
  | { readonly kind: 'rename'; readonly from: string; readonly to: string; readonly inode: Inode };

export interface SimulatedFaults {
  /** Probability that a write takes only a part of its bytes. */
  shortWrites: number;
  /** Bytes that the device can hold. */
  capacityBytes: number;
  /** The sync that fails next: 0 is the next one, undefined is none. */
  failSyncIn: number | undefined;
  /** The operation at which the machine goes down: 0 is the next one, undefined is none. */
  crashIn: number | undefined;
}

export type CrashKind = 'power' | 'process';

function failure(code: string): Error {
  return Object.assign(new Error(`${code}: simulated`), { code });
}

function apply(bytes: Buffer, change: Change): Buffer {
  if (change.kind === 'truncate') return resized(bytes, change.sizeBytes);
  const result = resized(bytes, Math.max(bytes.length, change.at + change.bytes.length));
  change.bytes.copy(result, change.at);
  return result;
}

function resized(bytes: Buffer, sizeBytes: number): Buffer {
  const result = Buffer.alloc(sizeBytes);
  bytes.copy(result, 0, 0, Math.min(bytes.length, sizeBytes));
  return result;
}

export class SimulatedDisk {
  readonly faults: SimulatedFaults = {
    shortWrites: 0,
    capacityBytes: Number.POSITIVE_INFINITY,
    failSyncIn: undefined,
    crashIn: undefined,
  };
  /** How many operations were asked for, in all lives. */
  operations = 0;
  private readonly random: () => number;
  private names = new Map<string, Inode>();
  private mediumNames = new Map<string, Inode>();
  private nameChanges: NameChange[] = [];
  private locked = new Set<string>();
  /** Counts the lives of the machine: what was opened in an earlier one is dead. */
  private life = 0;
  private isDown = false;

  constructor(random: () => number = () => 0.5) {
    this.random = random;
  }

  /** The machine goes down, if it has not yet, and comes up again with what survived. */
  crash(kind: CrashKind): void {
    this.life++;
    this.isDown = false;
    this.locked.clear();
    this.faults.crashIn = undefined;
    this.faults.failSyncIn = undefined;
    if (kind === 'process') return;
    for (const change of this.nameChanges) if (this.random() < 0.5) applyTo(this.mediumNames, change);
    this.nameChanges = [];
    const inodes = new Set([...this.names.values(), ...this.mediumNames.values()]);
    for (const inode of inodes) {
      for (const change of inode.unsynced) this.survive(inode, change);
      inode.unsynced = [];
      inode.cache = Buffer.from(inode.medium);
    }
    this.names = new Map(this.mediumNames);
  }

  /** The bytes of a file as a reader sees them. */
  peek(file: string): Buffer {
    const inode = this.names.get(file);
    if (inode === undefined) throw failure('ENOENT');
    return Buffer.from(inode.cache);
  }

  /** Puts bytes on the medium, names included: damage done from outside. */
  poke(file: string, bytes: Buffer): void {
    const inode = new Inode();
    inode.cache = Buffer.from(bytes);
    inode.medium = Buffer.from(bytes);
    this.names.set(file, inode);
    this.mediumNames.set(file, inode);
  }

  files(): string[] {
    return [...this.names.keys()].sort();
  }

  get usedBytes(): number {
    return [...this.names.values()].reduce((sum, inode) => sum + inode.cache.length, 0);
  }

  /** The file system as a process of this life of the machine sees it; after a crash its calls fail. */
  mount(): Storage {
    return new SimulatedStorage(this, this.life);
  }

  open(file: string, mode: OpenMode, life: number): Promise<StorageFile> {
    return this.step(life, () => {
      let inode = this.names.get(file);
      if (mode === 'create') {
        if (inode !== undefined) throw failure('EEXIST');
        inode = new Inode();
        this.changeName({ kind: 'link', name: file, inode });
      }
      if (inode === undefined) throw failure('ENOENT');
      return new SimulatedFile(this, inode, life);
    });
  }

  rename(from: string, to: string, life: number): Promise<void> {
    return this.step(life, () => {
      const inode = this.names.get(from);
      if (inode === undefined) throw failure('ENOENT');
      this.changeName({ kind: 'rename', from, to, inode });
    });
  }

  unlink(file: string, life: number): Promise<void> {
    return this.step(life, () => {
      if (!this.names.has(file)) throw failure('ENOENT');
      this.changeName({ kind: 'unlink', name: file });
    });
  }

  syncNames(life: number): Promise<void> {
    const covered = new Set(this.nameChanges);
    return this.step(life, () => {
      this.failSyncIfDue();
      for (const change of this.nameChanges) if (covered.has(change)) applyTo(this.mediumNames, change);
      this.nameChanges = this.nameChanges.filter((change) => !covered.has(change));
    });
  }

  lock(file: string, life: number): Promise<StorageLock | undefined> {
    return this.step(life, () => {
      if (this.locked.has(file)) return undefined;
      this.locked.add(file);
      return {
        release: async () => {
          if (life === this.life) this.locked.delete(file);
        },
      };
    });
  }

  async write(inode: Inode, pieces: readonly Uint8Array[], at: number, life: number): Promise<number> {
    const all = Buffer.concat(pieces);
    const isShort = all.length > 1 && this.random() < this.faults.shortWrites;
    let bytes = isShort ? all.subarray(0, 1 + Math.floor(this.random() * (all.length - 1))) : all;
    const room = this.faults.capacityBytes - this.usedBytes + Math.max(0, inode.cache.length - at);
    if (room <= 0) throw failure('ENOSPC');
    bytes = bytes.subarray(0, Math.min(bytes.length, room));
    const change: Change = { kind: 'write', at, bytes: Buffer.from(bytes) };
    // Seen at once, also when the machine goes down before the call returns.
    if (life === this.life && !this.isDown) this.change(inode, change);
    return await this.step(life, () => bytes.length);
  }

  truncate(inode: Inode, sizeBytes: number, life: number): Promise<void> {
    return this.step(life, () => this.change(inode, { kind: 'truncate', sizeBytes }));
  }

  /** Covers the writes issued before the call, not those that come while it is under way. */
  sync(inode: Inode, life: number): Promise<void> {
    const covered = new Set(inode.unsynced);
    return this.step(life, () => {
      inode.unsynced = inode.unsynced.filter((change) => !covered.has(change));
      this.failSyncIfDue();
      for (const change of covered) inode.medium = apply(inode.medium, change);
    });
  }

  /** Lets some time pass, then has the effect of an operation, unless the hour of the machine has come. */
  async step<T>(life: number, effect: () => T): Promise<T> {
    this.operations++;
    const turns = Math.floor(this.random() * 3);
    for (let turn = 0; turn <= turns; turn++) await Promise.resolve();
    if (life !== this.life || this.isDown) throw failure('EIO');
    if (this.faults.crashIn !== undefined && this.faults.crashIn-- <= 0) {
      this.isDown = true;
      throw failure('EIO');
    }
    return effect();
  }

  private failSyncIfDue(): void {
    if (this.faults.failSyncIn === undefined) return;
    if (this.faults.failSyncIn-- > 0) return;
    this.faults.failSyncIn = undefined;
    throw failure('EIO');
  }

  private change(inode: Inode, change: Change): void {
    inode.cache = apply(inode.cache, change);
    inode.unsynced.push(change);
  }

  private survive(inode: Inode, change: Change): void {
    const luck = this.random();
    if (luck < 0.3) return;
    if (luck < 0.6 || change.kind === 'truncate') {
      inode.medium = apply(inode.medium, change);
      return;
    }
    for (let from = 0; from < change.bytes.length; ) {
      const to = Math.min(change.bytes.length, from + SECTOR_BYTES - ((change.at + from) % SECTOR_BYTES));
      if (this.random() < 0.5) {
        inode.medium = apply(inode.medium, { kind: 'write', at: change.at + from, bytes: change.bytes.subarray(from, to) });
      }
      from = to;
    }
  }

  private changeName(change: NameChange): void {
    this.nameChanges.push(change);
    applyTo(this.names, change);
  }
}

function applyTo(names: Map<string, Inode>, change: NameChange): void {
  if (change.kind === 'link') {
    names.set(change.name, change.inode);
  } else if (change.kind === 'unlink') {
    names.delete(change.name);
  } else {
    // The old name may be another file's on the medium, when changes before this one were lost.
    if (names.get(change.from) === change.inode) names.delete(change.from);
    names.set(change.to, change.inode);
  }
}

class SimulatedFile implements StorageFile {
  private readonly disk: SimulatedDisk;
  private readonly inode: Inode;
  private readonly life: number;

  constructor(disk: SimulatedDisk, inode: Inode, life: number) {
    this.disk = disk;
    this.inode = inode;
    this.life = life;
  }

  writev(pieces: readonly Uint8Array[], position: number): Promise<number> {
    return this.disk.write(this.inode, pieces, position, this.life);
  }

  read(into: Uint8Array, position: number): Promise<number> {
    return this.disk.step(this.life, () => {
      const end = Math.min(this.inode.cache.length, position + into.length);
      return position < end ? this.inode.cache.copy(into, 0, position, end) : 0;
    });
  }

  fdatasync(): Promise<void> {
    return this.disk.sync(this.inode, this.life);
  }

  truncate(sizeBytes: number): Promise<void> {
    return this.disk.truncate(this.inode, sizeBytes, this.life);
  }

  size(): Promise<number> {
    return this.disk.step(this.life, () => this.inode.cache.length);
  }

  async close(): Promise<void> {
    await Promise.resolve();
  }
}

class SimulatedStorage implements Storage {
  private readonly disk: SimulatedDisk;
  private readonly life: number;

  constructor(disk: SimulatedDisk, life: number) {
    this.disk = disk;
    this.life = life;
  }

  makeDirectory(): Promise<void> {
    return this.disk.step(this.life, () => undefined);
  }

  open(file: string, mode: OpenMode): Promise<StorageFile> {
    return this.disk.open(file, mode, this.life);
  }

  list(directory: string): Promise<string[]> {
    return this.disk.step(this.life, () => {
      const files = this.disk.files().filter((file) => path.dirname(file) === directory);
      return files.map((file) => path.basename(file));
    });
  }

  rename(from: string, to: string): Promise<void> {
    return this.disk.rename(from, to, this.life);
  }

  unlink(file: string): Promise<void> {
    return this.disk.unlink(file, this.life);
  }

  syncDirectory(): Promise<void> {
    return this.disk.syncNames(this.life);
  }

  freeBytes(): Promise<number> {
    return this.disk.step(this.life, () => Math.max(0, this.disk.faults.capacityBytes - this.disk.usedBytes));
  }

  lock(file: string): Promise<StorageLock | undefined> {
    return this.disk.lock(file, this.life);
  }
}
