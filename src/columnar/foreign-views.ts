/**
 * Columns whose values may lie anywhere (Arrow columnar format, "Variable-size Binary View Layout" and "ListView Layout"), made
 * into columns whose values lie one after the other. Every view that is not null is checked; what lies under a null is not read.
 */
import type { Data } from 'apache-arrow';
import { concatRows } from './concat';
import { type BatchCursor, isValid, LENGTH_MAX, type Node } from './foreign-buffers';
import { corrupt } from './foreign-error';
import { recordBatch } from './record-batch';

/** A view: its length, then the value with zeros behind it or, if it is longer: 4 bytes of it, a buffer, a position in that. */
const VIEW_BYTES = 16;
const INLINE_BYTES_MAX = 12;
const PREFIX_BYTES = 4;

/** The values of Utf8View or BinaryView as offsets and bytes. Throws IngestError. */
export function readViews(cursor: BatchCursor, path: string, node: Node): { valueOffsets: Int32Array; data: Uint8Array } {
  const bytes = cursor.nextArray(path, Uint8Array, node.length, VIEW_BYTES);
  const views = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const buffers = cursor.nextVariadic(path);
  const valueOffsets = new Int32Array(node.length + 1);
  let total = 0;
  for (let row = 0; row < node.length; row++) {
    if (isValid(node, row)) total += viewedBytes(views, row * VIEW_BYTES, buffers, path);
    if (total > LENGTH_MAX) throw corrupt(`column ${path} has too many bytes`);
    valueOffsets[row + 1] = total;
  }
  // Views may share their bytes.
  cursor.takeBytes(total);
  const data = new Uint8Array(total);
  for (let row = 0; row < node.length; row++) {
    const length = valueOffsets[row + 1] - valueOffsets[row];
    if (length > 0) data.set(viewed(bytes, views, row * VIEW_BYTES, buffers, length), valueOffsets[row]);
  }
  return { valueOffsets, data };
}

/** The checked length of the view at `at`. */
function viewedBytes(views: DataView, at: number, buffers: readonly Uint8Array[], path: string): number {
  const length = views.getInt32(at, true);
  if (length < 0) throw corrupt(`column ${path} has a value of a negative length`);
  if (length <= INLINE_BYTES_MAX) {
    for (let i = at + 4 + length; i < at + VIEW_BYTES; i++) {
      if (views.getUint8(i) !== 0) throw corrupt(`column ${path} has something behind the end of a value`);
    }
    return length;
  }
  const buffer = buffers[views.getInt32(at + 8, true)] as Uint8Array | undefined;
  const position = views.getInt32(at + 12, true);
  if (buffer === undefined || position < 0 || position + length > buffer.length) {
    throw corrupt(`column ${path} has a value outside of its buffers`);
  }
  for (let i = 0; i < PREFIX_BYTES; i++) {
    if (buffer[position + i] !== views.getUint8(at + 4 + i)) throw corrupt(`column ${path} has a prefix that is not its value's`);
  }
  return length;
}

function viewed(bytes: Uint8Array, views: DataView, at: number, buffers: readonly Uint8Array[], length: number): Uint8Array {
  if (length <= INLINE_BYTES_MAX) return bytes.subarray(at + 4, at + 4 + length);
  const position = views.getInt32(at + 12, true);
  return buffers[views.getInt32(at + 8, true)].subarray(position, position + length);
}

/** Where the lists of a ListView begin in their items, and how many items each has; 0 for nulls. */
export interface ListViews {
  readonly positions: Int32Array;
  readonly sizes: Int32Array;
}

export function readListViews(cursor: BatchCursor, path: string, isLarge: boolean, node: Node): ListViews {
  const positions = cursor.nextPositions(path, isLarge, node.length);
  const sizes = Int32Array.from(cursor.nextPositions(path, isLarge, node.length));
  for (let row = 0; row < node.length; row++) if (!isValid(node, row)) sizes[row] = 0;
  return { positions, sizes };
}

/** The lists one after the other. Lists that share items are refused: a small body could mean endless items. Throws IngestError. */
export function gatherLists(
  { positions, sizes }: ListViews,
  items: Data,
  path: string,
): { valueOffsets: Int32Array; child: Data } {
  const valueOffsets = new Int32Array(sizes.length + 1);
  const runs = new Int32Array(sizes.length * 2);
  const isTaken = new Uint8Array(items.length);
  for (let row = 0; row < sizes.length; row++) {
    const start = sizes[row] === 0 ? 0 : positions[row];
    const end = start + sizes[row];
    if (sizes[row] < 0 || start < 0 || end > items.length) throw corrupt(`column ${path} has a list outside of its items`);
    for (let item = start; item < end; item++) {
      if (isTaken[item] === 1) throw corrupt(`column ${path} has lists that share items, which is not supported`);
      isTaken[item] = 1;
    }
    runs.set([start, end], row * 2);
    valueOffsets[row + 1] = valueOffsets[row] + end - start;
  }
  const [child] = concatRows([{ batch: recordBatch([{ name: 'item', data: items }]), runs }]).data.children;
  return { valueOffsets, child };
}
