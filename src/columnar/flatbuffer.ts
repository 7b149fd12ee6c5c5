/**
 * Bounds-checked reading of flatbuffers from outside (FlatBuffers "Internals"; only what Arrow metadata uses).
 * Every position is checked before it is read, so that broken bytes are refused instead of being read as zeros. The fields of
 * a table must lie inside it, each in a place of its own.
 */
import { isUtf8 } from 'node:buffer';
import { corrupt } from './foreign-error';

const STRING_BYTES_MAX = 1024;
/** Fields of one table; those of Arrow have fewer than ten. */
const FIELDS_MAX = 32;
/** In front of the fields: where the vtable is. In front of a vtable's entries: its size, and that of the table. */
const HEAD_BYTES = 4;

export class FlatTable {
  /** Where the fields are in the table; 0 for absent ones. */
  private readonly fields: Uint16Array;
  private readonly tableBytes: number;

  private constructor(
    private readonly view: DataView,
    private readonly at: number,
  ) {
    this.check(at, HEAD_BYTES);
    const vtable = at - view.getInt32(at, true);
    this.check(vtable, HEAD_BYTES);
    if (at % 4 !== 0 || vtable % 2 !== 0) throw corrupt('a table of the metadata is not aligned');
    const vtableBytes = view.getUint16(vtable, true);
    this.tableBytes = view.getUint16(vtable + 2, true);
    this.check(vtable, vtableBytes);
    this.check(at, this.tableBytes);
    const count = (vtableBytes - HEAD_BYTES) / 2;
    if (!(count >= 0 && count <= FIELDS_MAX && Number.isInteger(count))) throw corrupt('a table of the metadata is damaged');
    this.fields = Uint16Array.from({ length: count }, (_, i) => view.getUint16(vtable + HEAD_BYTES + i * 2, true));
    for (const [i, offset] of this.fields.entries()) {
      if (offset > 0 && this.fields.indexOf(offset) !== i) throw corrupt('two fields of the metadata have one place');
    }
  }

  /** The root table of a buffer. */
  static root(bytes: Uint8Array): FlatTable {
    if (bytes.length < 4) throw corrupt('the metadata is too short');
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    return new FlatTable(view, view.getUint32(0, true));
  }

  uint8(slot: number, absent: number): number {
    const at = this.field(slot, 1);
    return at === 0 ? absent : this.view.getUint8(at);
  }

  /** An absent bool is false. */
  bool(slot: number): boolean {
    const value = this.uint8(slot, 0);
    if (value > 1) throw corrupt('a bool of the metadata is neither true nor false');
    return value === 1;
  }

  int16(slot: number, absent: number): number {
    const at = this.field(slot, 2);
    return at === 0 ? absent : this.view.getInt16(at, true);
  }

  int32(slot: number, absent: number): number {
    const at = this.field(slot, 4);
    return at === 0 ? absent : this.view.getInt32(at, true);
  }

  /** An int64 that a number holds exactly. */
  int64(slot: number): number {
    const at = this.field(slot, 8);
    return at === 0 ? 0 : this.safeInt64(at);
  }

  has(slot: number): boolean {
    return this.field(slot, 1) !== 0;
  }

  string(slot: number): string {
    const at = this.field(slot, 4);
    if (at === 0) return '';
    const start = this.target(at);
    this.check(start, 4);
    const length = this.view.getUint32(start, true);
    if (length > STRING_BYTES_MAX) throw corrupt(`a name has ${length} bytes`);
    this.check(start + 4, length + 1);
    if (this.view.getUint8(start + 4 + length) !== 0) throw corrupt('a name does not end where it says');
    const bytes = new Uint8Array(this.view.buffer, this.view.byteOffset + start + 4, length);
    if (!isUtf8(bytes)) throw corrupt('a name is not valid UTF-8');
    return Buffer.from(bytes).toString();
  }

  table(slot: number): FlatTable | undefined {
    const at = this.field(slot, 4);
    return at === 0 ? undefined : new FlatTable(this.view, this.target(at));
  }

  /** The elements of a vector of tables, one at a time: the same table may stand in it often. */
  *tables(slot: number): Generator<FlatTable> {
    const { start, count } = this.vector(slot, 4);
    for (let i = 0; i < count; i++) yield new FlatTable(this.view, this.target(start + i * 4));
  }

  /** A vector of structs of two int64 (FieldNode, Buffer), flat. */
  int64Pairs(slot: number): Float64Array {
    return this.int64s(slot, 2);
  }

  /** A vector of int64, or of structs of several, flat. */
  int64s(slot: number, perElement = 1): Float64Array {
    const { start, count } = this.vector(slot, 8 * perElement);
    const values = new Float64Array(count * perElement);
    for (let i = 0; i < values.length; i++) values[i] = this.safeInt64(start + i * 8);
    return values;
  }

  private vector(slot: number, elementBytes: number): { start: number; count: number } {
    const at = this.field(slot, 4);
    if (at === 0) return { start: 0, count: 0 };
    const start = this.target(at);
    this.check(start, 4);
    if (start % 4 !== 0) throw corrupt('a list of the metadata is not aligned');
    const count = this.view.getUint32(start, true);
    this.check(start + 4, count * elementBytes);
    return { start: start + 4, count };
  }

  /** Where the offset at `at` points to. */
  private target(at: number): number {
    return at + this.view.getUint32(at, true);
  }

  private safeInt64(at: number): number {
    const value = this.view.getBigInt64(at, true);
    if (BigInt.asIntN(53, value) !== value) throw corrupt('a length is out of range');
    return Number(value);
  }

  /** Position of a field of this table, or 0 when it is absent. */
  private field(slot: number, sizeBytes: number): number {
    const offset = this.fields[slot] ?? 0;
    if (offset === 0) return 0;
    if (offset < HEAD_BYTES || offset + sizeBytes > this.tableBytes)
      throw corrupt('a field of the metadata lies outside of its table');
    if ((this.at + offset) % sizeBytes !== 0) throw corrupt('a field of the metadata is not aligned');
    return this.at + offset;
  }

  private check(at: number, sizeBytes: number): void {
    if (at < 0 || at + sizeBytes > this.view.byteLength) throw corrupt('the metadata points outside of itself');
  }
}
