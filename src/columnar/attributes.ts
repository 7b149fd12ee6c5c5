import { type Data, type DataType, Field, Int32, Map_, makeData, Struct, Uint8, Utf8 } from 'apache-arrow';
import { type ColumnBuilder, capacityFor, dictionaryData, utf8Builder } from './builders';
import { Interner } from './interner';

/** The value of an attribute: its AnyValue field number and its text (see core/table-schema.ts). */
const VALUE_TYPE = new Struct<{ kind: Uint8; text: Utf8 }>([
  new Field('kind', new Uint8(), false),
  new Field('text', new Utf8(), false),
]);

/**
 * Rows of attributes: Map<Dictionary<Int32, Utf8>, Struct<kind: Uint8, text: Utf8>>.
 * Write an entry with `key`, its text through `text`, then `endEntry(kind)`; close the row with `endRow`.
 * A key that comes twice in a row keeps its last value, in the place of the first (OTLP: keys must be unique).
 */
export class AttributesBuilder implements ColumnBuilder {
  length = 0;
  /** Text of the values; write the value's bytes here, `endEntry` closes it. */
  readonly text = utf8Builder(64, 4096);
  readonly keys: Interner;
  private entries = 0;
  private offsets: Int32Array;
  private keyIds = new Int32Array(64);
  private kinds = new Uint8Array(64);
  /** Row (plus one) in which a key was last seen, by key id. */
  private lastRow = new Int32Array(64);
  private repeated = false;

  constructor(distinctKeysMax: number, capacity = 16) {
    this.keys = new Interner(distinctKeysMax);
    this.offsets = new Int32Array(capacity + 1);
  }

  /** Starts an entry with an interned key (`keys.intern`). */
  key(id: number): void {
    if (this.entries === this.keyIds.length) this.growEntries();
    if (id >= this.lastRow.length) {
      const grown = new Int32Array(capacityFor(this.lastRow.length, id + 1));
      grown.set(this.lastRow);
      this.lastRow = grown;
    }
    const row = this.length + 1;
    if (this.lastRow[id] === row) this.repeated = true;
    else this.lastRow[id] = row;
    this.keyIds[this.entries] = id;
  }

  /** Closes the entry: `kind` is one of ATTRIBUTE_KIND. */
  endEntry(kind: number): void {
    this.kinds[this.entries++] = kind;
    this.text.endValue();
  }

  endRow(): void {
    if (this.repeated) this.dropRepeated();
    if (this.length + 2 > this.offsets.length) {
      const grown = new Int32Array(capacityFor(this.offsets.length, this.length + 2));
      grown.set(this.offsets);
      this.offsets = grown;
    }
    this.offsets[++this.length] = this.entries;
  }

  /** A row without attributes: an empty map, not a null. */
  appendNull(): void {
    this.endRow();
  }

  private growEntries(): void {
    const keyIds = new Int32Array(this.entries * 2);
    keyIds.set(this.keyIds);
    this.keyIds = keyIds;
    const kinds = new Uint8Array(this.entries * 2);
    kinds.set(this.kinds);
    this.kinds = kinds;
  }

  /** Rewrites the open row with one entry per key. Rare, so it may make objects. */
  private dropRepeated(): void {
    this.repeated = false;
    const first = this.offsets[this.length];
    const last = new Map<number, { kind: number; text: Uint8Array }>();
    for (let entry = first; entry < this.entries; entry++) {
      last.set(this.keyIds[entry], { kind: this.kinds[entry], text: this.text.valueAt(entry).slice() });
    }
    this.text.truncate(first);
    this.entries = first;
    for (const [id, { kind, text }] of last) {
      this.keyIds[this.entries] = id;
      this.text.write(text, 0, text.length);
      this.endEntry(kind);
    }
  }

  finish(): Data {
    const keyIds = makeData({ type: new Int32(), length: this.entries, data: this.keyIds.subarray(0, this.entries) });
    const key = dictionaryData(keyIds, this.keys.values.finish());
    const value = makeData({
      type: VALUE_TYPE,
      length: this.entries,
      nullCount: 0,
      children: [
        makeData({ type: new Uint8(), length: this.entries, data: this.kinds.subarray(0, this.entries) }),
        this.text.finish(),
      ],
    });
    return mapData(this.length, this.offsets.subarray(0, this.length + 1), key, value);
  }
}

/** The attributes type with plain keys. */
export const ATTRIBUTES_TYPE: DataType = new Map_(
  new Field('entries', new Struct([new Field('key', new Utf8(), false), new Field('value', VALUE_TYPE, false)]), false) as never,
  false,
);

/** Map data over key and value columns that are laid out entry by entry. */
export function mapData(length: number, valueOffsets: Int32Array, key: Data, value: Data): Data {
  const entryType = new Struct([new Field('key', key.type, false), new Field('value', value.type, value.nullCount > 0)]);
  const child = makeData({ type: entryType, length: key.length, nullCount: 0, children: [key, value] });
  return makeData({
    type: new Map_(new Field('entries', entryType, false) as never, false),
    length,
    nullCount: 0,
    valueOffsets,
    child: child as never,
  });
}
