import { randomBytes } from 'node:crypto';
import { capacityFor } from './builders';
import { type ByteSource, sameBytes } from './byte-source';
import { type BytesBuilder, utf8Builder } from './bytes-builder';

/**
 * Gives equal byte strings the same small number, without making JavaScript strings: an open hash table over the bytes.
 * Numbers count up from 0 in order of first appearance, so `values` holds each value once.
 * Hostile input costs memory in proportion to its own size and time in proportion to its length: the hash covers every byte
 * and has a random seed, a search looks at no more than PROBES_MAX slots, and after `distinctMax` values nothing more is
 * remembered. A value that finds no slot gets a number of its own (correct, only not shared).
 */
export class Interner {
  readonly values: BytesBuilder;
  /** Number of the value in each slot, or -1. */
  private table: Int32Array;
  private mask: number;
  private starts = new Int32Array(32);
  private hashes = new Int32Array(32);
  private remembered = 0;

  constructor(private readonly distinctMax = Number.MAX_SAFE_INTEGER) {
    this.values = utf8Builder(32, 512);
    this.table = new Int32Array(SLOTS).fill(-1);
    this.mask = SLOTS - 1;
  }

  /** Forgets all values; their numbers start again from 0. */
  reset(): void {
    if (this.table.length > SLOTS_KEPT_MAX) {
      this.table = new Int32Array(SLOTS).fill(-1);
      this.mask = SLOTS - 1;
    } else if (this.remembered > 0) this.table.fill(-1);
    this.remembered = 0;
    this.values.reset();
  }

  get size(): number {
    return this.values.length;
  }

  /** The number of the value `source[start, end)`. */
  intern(source: Uint8Array, start: number, end: number): number {
    return this.find(source, start, end, hashOf(source, start, end));
  }

  /** As `intern`, from bytes with a view. */
  internFrom(source: ByteSource, start: number, end: number): number {
    return this.find(source.bytes, start, end, hashFrom(source, start, end));
  }

  private find(source: Uint8Array, start: number, end: number, hash: number): number {
    let slot = hash & this.mask;
    for (let probe = 0; probe < PROBES_MAX; probe++) {
      const id = this.table[slot];
      if (id < 0) return this.add(source, start, end, hash, slot);
      if (this.hashes[id] === hash && this.equals(id, source, start, end)) return id;
      slot = (slot + 1) & this.mask;
    }
    return this.add(source, start, end, hash, -1);
  }

  internString(text: string): number {
    const bytes = ENCODER.encode(text);
    return this.intern(bytes, 0, bytes.length);
  }

  /** Does value `id` equal these bytes? The fast path of a caller that guesses the next value. */
  equals(id: number, source: Uint8Array, start: number, end: number): boolean {
    const from = this.starts[id];
    const length = this.starts[id + 1] - from;
    if (length !== end - start) return false;
    const { bytes } = this.values;
    for (let i = 0; i < length; i++) if (bytes[from + i] !== source[start + i]) return false;
    return true;
  }

  /** As `equals`, from bytes with a view. */
  equalsFrom(id: number, source: ByteSource, start: number, end: number): boolean {
    const from = this.starts[id];
    const length = this.starts[id + 1] - from;
    return length === end - start && sameBytes(source, start, this.values, from, length);
  }

  private add(source: Uint8Array, start: number, end: number, hash: number, slot: number): number {
    const id = this.values.length;
    this.values.append(source, start, end);
    if (id + 2 > this.starts.length) {
      this.starts = grown(this.starts, id + 2);
      this.hashes = grown(this.hashes, id + 2);
    }
    this.starts[id + 1] = this.values.used;
    this.hashes[id] = hash;
    if (slot >= 0 && this.remembered < this.distinctMax) {
      this.table[slot] = id;
      this.remembered++;
      if (this.remembered * 2 > this.table.length) this.rehash();
    }
    return id;
  }

  private rehash(): void {
    const old = this.table;
    const table = new Int32Array(old.length * 2).fill(-1);
    const mask = table.length - 1;
    for (const id of old) {
      if (id < 0) continue;
      let slot = this.hashes[id] & mask;
      while (table[slot] >= 0) slot = (slot + 1) & mask;
      table[slot] = id;
    }
    this.table = table;
    this.mask = mask;
  }
}

function grown(array: Int32Array<ArrayBuffer>, needed: number): Int32Array<ArrayBuffer> {
  const larger = new Int32Array(capacityFor(array.length, needed));
  larger.set(array);
  return larger;
}

/** Slots at first, and the most that are cleared for reuse instead of being given back. */
const SLOTS = 64;
const SLOTS_KEPT_MAX = 4_096;

const ENCODER = new TextEncoder();

/** At a load of at most one half a search is a few slots long; only crafted collisions reach this bound. */
const PROBES_MAX = 64;

const SEED = randomBytes(4).readInt32LE(0);

const mix = (hash: number, word: number): number => {
  const h = Math.imul(hash ^ word, 0x5bd1e995);
  return h ^ (h >>> 15);
};

function hashOf(source: Uint8Array, start: number, end: number): number {
  let h = SEED ^ (end - start);
  let i = start;
  for (; i + 4 <= end; i += 4) h = mix(h, source[i] | (source[i + 1] << 8) | (source[i + 2] << 16) | (source[i + 3] << 24));
  for (; i < end; i++) h = mix(h, source[i]);
  return h;
}

/** The same hash in steps of four bytes. */
function hashFrom(source: ByteSource, start: number, end: number): number {
  let h = SEED ^ (end - start);
  let i = start;
  for (; i + 4 <= end; i += 4) h = mix(h, source.view.getInt32(i, true));
  for (; i < end; i++) h = mix(h, source.bytes[i]);
  return h;
}
