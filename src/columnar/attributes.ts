import { type Data, type DataType, Dictionary, Field, Int32, Map_, Struct, Uint8, Utf8 } from 'apache-arrow';
import { type ColumnBuilder, capacityFor } from './builders';
import type { ByteSource } from './byte-source';
import { utf8Builder } from './bytes-builder';
import { Interner } from './interner';
import { dictionaryData } from './nested-builders';
import { dataOf, type Keep, keepOwn } from './slab';

const INT32 = new Int32();
const UINT8 = new Uint8();

/** The value of an attribute: its AnyValue field number and its text (see core/table-schema.ts). */
const VALUE_TYPE = new Struct<{ kind: Uint8; text: Utf8 }>([
  new Field('kind', UINT8, false),
  new Field('text', new Utf8(), false),
]);

/**
 * Rows of attributes: Map<Dictionary<Int32, Utf8>, Struct<kind: Uint8, text: Utf8>>.
 * Write an entry with `key`, its text through `text`, then `endEntry(kind)`; close the row with `endRow` or take it back
 * with `dropRow`. A key that comes twice in a row keeps its last value, in the place of the first (OTLP: keys must be
 * unique).
 */
export class AttributesBuilder implements ColumnBuilder {
  length = 0;
  /** A row without attributes is an empty map. */
  readonly nullCount = 0;
  /** Text of the values; write the value's bytes here, `endEntry` closes it. */
  readonly text = utf8Builder(64, 1024);
  readonly keys: Interner;
  private readonly types = attributesTypes();
  private entries = 0;
  private offsets: Int32Array;
  private keyIds = new Int32Array(64);
  private kinds = new Uint8Array(64);
  /** By key id: the row in which the key was last seen. Rows are told apart by `stamp`, which also counts dropped rows. */
  private lastSeen = new Int32Array(64);
  private stamp = 1;
  private repeated = false;

  constructor(distinctKeysMax?: number, capacity = 16) {
    this.keys = new Interner(distinctKeysMax);
    this.offsets = new Int32Array(capacity + 1);
  }

  /** Starts an entry with an interned key (`keys.intern`). */
  key(id: number): void {
    if (this.entries === this.keyIds.length) this.growEntries();
    if (id >= this.lastSeen.length) this.growLastSeen(id);
    if (this.lastSeen[id] === this.stamp) this.repeated = true;
    else this.lastSeen[id] = this.stamp;
    this.keyIds[this.entries] = id;
  }

  /** Closes the entry: `kind` is one of ATTRIBUTE_KIND. */
  endEntry(kind: number): void {
    this.kinds[this.entries++] = kind;
    this.text.endValue();
  }

  /** A whole entry whose text is source[start, end). */
  entryFrom(id: number, kind: number, source: ByteSource, start: number, end: number): void {
    this.key(id);
    this.kinds[this.entries++] = kind;
    this.text.appendFrom(source, start, end);
  }

  endRow(): void {
    if (this.repeated) this.dropRepeated();
    if (this.length + 2 > this.offsets.length) this.growOffsets();
    this.offsets[++this.length] = this.entries;
    this.stamp++;
  }

  /** Forgets the entries of the open row. */
  dropRow(): void {
    this.entries = this.offsets[this.length];
    this.text.truncate(this.entries);
    this.repeated = false;
    this.stamp++;
  }

  /** Entries of the open row so far. */
  get openEntries(): number {
    return this.entries - this.offsets[this.length];
  }

  /** Will `endRow` throw away the earlier values of a repeated key? */
  get hasRepeated(): boolean {
    return this.repeated;
  }

  /** Position in `text` of the first entry of the open row. */
  get openStart(): number {
    return this.offsets[this.length];
  }

  /** The text of `key` in a closed row, or undefined when the row does not have it. */
  find(row: number, key: Uint8Array): Uint8Array | undefined {
    for (let entry = this.offsets[row]; entry < this.offsets[row + 1]; entry++) {
      if (this.keys.equals(this.keyIds[entry], key, 0, key.length)) return this.text.valueAt(entry);
    }
    return undefined;
  }

  /** A row without attributes: an empty map, not a null. */
  appendNull(): void {
    this.endRow();
  }

  private growOffsets(): void {
    const grown = new Int32Array(capacityFor(this.offsets.length, this.length + 2));
    grown.set(this.offsets);
    this.offsets = grown;
  }

  private growEntries(): void {
    const keyIds = new Int32Array(this.entries * 2);
    keyIds.set(this.keyIds);
    this.keyIds = keyIds;
    const kinds = new Uint8Array(this.entries * 2);
    kinds.set(this.kinds);
    this.kinds = kinds;
  }

  private growLastSeen(id: number): void {
    const grown = new Int32Array(capacityFor(this.lastSeen.length, id + 1));
    grown.set(this.lastSeen);
    this.lastSeen = grown;
  }

  /** Rewrites the open row: one entry per key, the value of its last entry in the place of its first. */
  private dropRepeated(): void {
    this.repeated = false;
    const first = this.offsets[this.length];
    const order = new Int32Array(this.entries - first);
    let kept = 0;
    for (let entry = first; entry < this.entries; entry++) {
      const id = this.keyIds[entry];
      // A key met before has its place, negated, where the row's stamp was.
      if (this.lastSeen[id] === this.stamp) this.lastSeen[id] = -++kept;
      order[-this.lastSeen[id] - 1] = entry;
    }
    const last = order.subarray(0, kept);
    const keyIds = last.map((entry) => this.keyIds[entry]);
    const kinds = Uint8Array.from(last, (entry) => this.kinds[entry]);
    this.keyIds.set(keyIds, first);
    this.kinds.set(kinds, first);
    this.text.rearrange(first, last);
    this.entries = first + kept;
  }

  finish(keep: Keep = keepOwn): Data {
    const { entries } = this;
    const keyIds = dataOf({ type: INT32, length: entries, values: keep(this.keyIds.subarray(0, entries)) });
    const kinds = dataOf({ type: UINT8, length: entries, values: keep(this.kinds.subarray(0, entries)) });
    const key = dictionaryData(keyIds, this.keys.values.finish(keep), this.types.key);
    const value = dataOf({ type: VALUE_TYPE, length: entries, children: [kinds, this.text.finish(keep)] });
    const child = dataOf({ type: this.types.entry, length: entries, children: [key, value] });
    const offsets = keep(this.offsets.subarray(0, this.length + 1));
    return dataOf({ type: this.types.map, length: this.length, offsets, children: [child] });
  }

  reset(): void {
    this.length = 0;
    this.entries = 0;
    this.repeated = false;
    this.text.reset();
    this.keys.reset();
    this.lastSeen.fill(0);
    this.stamp = 1;
  }
}

/** The types of one column: the dictionary of its keys has an id of its own. */
interface AttributesTypes {
  readonly key: Dictionary;
  readonly entry: Struct;
  readonly map: Map_;
}

function attributesTypes(): AttributesTypes {
  const key = new Dictionary(new Utf8(), INT32);
  const entry = new Struct([new Field('key', key, false), new Field('value', VALUE_TYPE, false)]);
  return { key, entry, map: mapType(entry) };
}

const mapType = (entry: Struct): Map_ => new Map_(new Field('entries', entry, false) as never, false);

/** The attributes type with plain keys. */
export const ATTRIBUTES_TYPE: DataType = mapType(
  new Struct([new Field('key', new Utf8(), false), new Field('value', VALUE_TYPE, false)]),
);

/** Map data over key and value columns that are laid out entry by entry. */
export function mapData(length: number, offsets: Int32Array, key: Data, value: Data): Data {
  const entry = new Struct([new Field('key', key.type, false), new Field('value', value.type, value.nullCount > 0)]);
  const child = dataOf({ type: entry, length: key.length, children: [key, value] });
  return dataOf({ type: mapType(entry), length, offsets, children: [child] });
}
