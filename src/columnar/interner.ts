import { type BytesBuilder, capacityFor, utf8Builder } from './builders';

/**
 * Gives equal byte strings the same small number, without making JavaScript strings: an open hash table over the bytes.
 * After `distinctMax` values it stops remembering: every further value gets a number of its own (correct, only not shared),
 * so that hostile input costs memory in proportion to its own size and nothing else.
 */
export class Interner {
  readonly values: BytesBuilder;
  private table: Int32Array;
  private mask: number;
  private starts = new Int32Array(64);

  constructor(private readonly distinctMax: number) {
    this.values = utf8Builder(64, 1024);
    this.table = new Int32Array(128).fill(-1);
    this.mask = 127;
  }

  get size(): number {
    return this.values.length;
  }

  /** The number of the value `source[start, end)`. */
  intern(source: Uint8Array, start: number, end: number): number {
    let slot = hash(source, start, end) & this.mask;
    for (let id = this.table[slot]; id >= 0; id = this.table[slot]!) {
      if (this.equals(id, source, start, end)) return id;
      slot = (slot + 1) & this.mask;
    }
    const id = this.add(source, start, end);
    if (id < this.distinctMax) {
      this.table[slot] = id;
      if ((id + 1) * 2 > this.table.length) this.rehash();
    }
    return id;
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

  private add(source: Uint8Array, start: number, end: number): number {
    const id = this.values.length;
    this.values.append(source, start, end);
    if (id + 2 > this.starts.length) {
      const grown = new Int32Array(capacityFor(this.starts.length, id + 2));
      grown.set(this.starts);
      this.starts = grown;
    }
    this.starts[id + 1] = this.values.used;
    return id;
  }

  private rehash(): void {
    const table = new Int32Array(this.table.length * 2).fill(-1);
    this.mask = table.length - 1;
    const count = Math.min(this.values.length, this.distinctMax);
    for (let id = 0; id < count; id++) {
      let slot = hash(this.values.bytes, this.starts[id], this.starts[id + 1]) & this.mask;
      while (table[slot] >= 0) slot = (slot + 1) & this.mask;
      table[slot] = id;
    }
    this.table = table;
  }
}

const ENCODER = new TextEncoder();

/** FNV-1a over at most 64 bytes from the front and the length: long values that differ later only cost a compare. */
function hash(source: Uint8Array, start: number, end: number): number {
  let h = 0x811c9dc5 ^ (end - start);
  const stop = Math.min(end, start + 64);
  for (let i = start; i < stop; i++) h = Math.imul(h ^ source[i], 0x01000193);
  return (h ^ (h >>> 15)) >>> 0;
}
