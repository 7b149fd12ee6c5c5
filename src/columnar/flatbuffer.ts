/**
 * Bounds-checked reading of flatbuffers from outside (FlatBuffers "Internals"; only what Arrow metadata uses).
 * Every position is checked before it is read, so that broken bytes are refused instead of being read as zeros.
 */
import { isUtf8 } from 'node:buffer';
import { corrupt } from './foreign-error';

const STRING_BYTES_MAX = 1024;

export class FlatTable {
  private readonly vtable: number;
  private readonly vtableBytes: number;

  private constructor(
    private readonly view: DataView,
    private readonly at: number,
  ) {
    this.check(at, 4);
    this.vtable = at - view.getInt32(at, true);
    this.check(this.vtable, 4);
    this.vtableBytes = view.getUint16(this.vtable, true);
    this.check(this.vtable, this.vtableBytes);
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
    this.check(start + 4, length);
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
    const entry = 4 + slot * 2;
    if (entry + 2 > this.vtableBytes) return 0;
    const offset = this.view.getUint16(this.vtable + entry, true);
    if (offset === 0) return 0;
    this.check(this.at + offset, sizeBytes);
    return this.at + offset;
  }

  private check(at: number, sizeBytes: number): void {
    if (at < 0 || at + sizeBytes > this.view.byteLength) throw corrupt('the metadata points outside of itself');
  }
}
