/**
 * The nodes and buffers of a foreign record batch, one after the other in the order of the flattened schema (Arrow columnar
 * format, "Recordbatch message"). Checked: buffers lie inside the body in their order, end to end but for padding; null
 * counts are those of the bitmaps; offsets are in order.
 */
import type { RequestBudget } from './foreign-budget';
import { corrupt } from './foreign-error';

/** Nodes and buffers of a batch, in the order of the flattened schema. */
export interface BatchSource {
  readonly body: Uint8Array;
  /** Pairs of length and null count. */
  readonly nodes: Float64Array;
  /** Pairs of offset and length. */
  readonly buffers: Float64Array;
  /** How many data buffers each view column has. */
  readonly variadic: Float64Array;
}

/** Where a batch without values comes from. */
export const EMPTY_SOURCE: BatchSource = {
  body: new Uint8Array(0),
  nodes: new Float64Array(0),
  buffers: new Float64Array(0),
  variadic: new Float64Array(0),
};

/** Leaves room for rounding up to bytes in 32 bits. */
export const LENGTH_MAX = 0x7ffffff0;

/** Buffers start at a multiple of 8; writers pad to a power of two up to this. */
const PADDING_MAX = 64;

/** Length and validity of one field. */
export interface Node {
  readonly length: number;
  readonly nullCount: number;
  /** Present only when there is a null. */
  readonly nullBitmap: Uint8Array | undefined;
}

export type FixedArray =
  | Int8Array
  | Int16Array
  | Int32Array
  | BigInt64Array
  | Uint8Array
  | Uint16Array
  | Uint32Array
  | BigUint64Array;
export type AnyArray = FixedArray | Float32Array | Float64Array;
export interface ArrayType<A> {
  readonly BYTES_PER_ELEMENT: number;
  new (buffer: ArrayBufferLike, byteOffset: number, length: number): A;
}

/** What `makeData` takes of a node. */
export const validity = ({ nullCount, nullBitmap }: Node): { nullCount: number; nullBitmap?: Uint8Array } =>
  nullBitmap === undefined ? { nullCount: 0 } : { nullCount, nullBitmap };

export const isValid = ({ nullBitmap }: Node, row: number): boolean =>
  nullBitmap === undefined || ((nullBitmap[row >> 3] >> (row & 7)) & 1) === 1;

/**
 * Do the buffers lie in the body as a writer puts them: in order, end to end, with padding between them? Buffers that share
 * bytes would make small bodies large. Throws IngestError `invalid_argument`.
 */
export function checkLayout({ body, buffers }: Pick<BatchSource, 'body' | 'buffers'>): void {
  let end = 0;
  for (let i = 0; i < buffers.length; i += 2) {
    const offset = buffers[i];
    const length = buffers[i + 1];
    if (offset < 0 || length < 0 || offset + length > body.length) throw corrupt('a buffer lies outside of the body');
    // Where nothing is has no place.
    if (length === 0) continue;
    if (offset < end) throw corrupt('the buffers overlap');
    if (offset % 8 !== 0 || offset - end >= PADDING_MAX) throw corrupt('the buffers are not laid end to end');
    end = offset + length;
  }
  if (body.length - end >= PADDING_MAX) throw corrupt('the body is longer than its buffers');
}

/** Takes the nodes and buffers of one batch, in order. Throws IngestError. */
export class BatchCursor {
  private node = 0;
  private buffer = 0;
  private variadic = 0;

  constructor(
    private readonly source: BatchSource,
    private readonly budget: RequestBudget,
  ) {}

  /** The batch must not hold more than the schema says. */
  finish(): void {
    const { nodes, buffers, variadic } = this.source;
    if (this.source === EMPTY_SOURCE) return;
    if (this.node * 2 !== nodes.length || this.buffer * 2 !== buffers.length || this.variadic !== variadic.length) {
      throw corrupt('the batch does not have the nodes and buffers of its schema');
    }
  }

  nextNode(path: string): Node {
    const { length, nullCount } = this.nextLength(path);
    if (this.source === EMPTY_SOURCE) return { length, nullCount, nullBitmap: undefined };
    const bitmap = this.nextBuffer(path, 0);
    if (bitmap.length === 0) {
      if (nullCount > 0) throw corrupt(`column ${path} has nulls but no validity bitmap`);
      return { length, nullCount: 0, nullBitmap: undefined };
    }
    if (bitmap.length < (length + 7) >> 3) throw corrupt(`the validity bitmap of column ${path} is too short`);
    if (length - countBits(bitmap, length) !== nullCount)
      throw corrupt(`the null count of column ${path} is not that of its bitmap`);
    return { length, nullCount, nullBitmap: nullCount > 0 ? bitmap.subarray(0, (length + 7) >> 3) : undefined };
  }

  /** Length and null count of a field, without a bitmap. */
  nextLength(path: string): { length: number; nullCount: number } {
    if (this.source === EMPTY_SOURCE) return { length: 0, nullCount: 0 };
    const { nodes } = this.source;
    const at = this.node++ * 2;
    if (at >= nodes.length) throw corrupt(`the batch has no data for column ${path}`);
    const length = nodes[at];
    const nullCount = nodes[at + 1];
    if (length < 0 || length > LENGTH_MAX || nullCount < 0 || nullCount > length)
      throw corrupt(`column ${path} has a wrong length`);
    return { length, nullCount };
  }

  /** To be asked before bytes are made that are not in the body. */
  takeBytes(count: number): void {
    this.budget.takeBytes(count);
  }

  /** See RequestBudget. */
  takeExpanded(count: number): void {
    this.budget.takeExpanded(count);
  }

  nextBuffer(path: string, bytesMin: number): Uint8Array {
    if (this.source === EMPTY_SOURCE) return EMPTY_SOURCE.body;
    const { body, buffers } = this.source;
    const at = this.buffer++ * 2;
    if (at >= buffers.length) throw corrupt(`the batch has no data for column ${path}`);
    const offset = buffers[at];
    if (buffers[at + 1] < bytesMin) throw corrupt(`a buffer of column ${path} is too short`);
    return body.subarray(offset, offset + buffers[at + 1]);
  }

  /** The data buffers of a view column. */
  nextVariadic(path: string): Uint8Array[] {
    if (this.source === EMPTY_SOURCE) return [];
    const { variadic, buffers } = this.source;
    const count = variadic[this.variadic++] ?? -1;
    if (count < 0 || count > buffers.length / 2 - this.buffer) throw corrupt(`column ${path} has a wrong number of data buffers`);
    return Array.from({ length: count }, () => this.nextBuffer(path, 0));
  }

  /** `length` values of `stride` elements. */
  nextArray<A extends AnyArray>(path: string, array: ArrayType<A>, length: number, stride = 1): A {
    const width = array.BYTES_PER_ELEMENT;
    const elements = length * stride;
    const bytes = this.nextBuffer(path, elements * width);
    if (length > 0 && bytes.length >= elements * width + PADDING_MAX) throw corrupt(`a buffer of column ${path} is too long`);
    // A Buffer's own slice would not copy.
    const aligned = bytes.byteOffset % width === 0 ? bytes : Uint8Array.prototype.slice.call(bytes, 0, elements * width);
    return new array(aligned.buffer, aligned.byteOffset, elements);
  }

  /** Offsets as int32, in order; their last is checked by the caller against what they point into. */
  nextOffsets(path: string, isLarge: boolean, length: number): Int32Array {
    // A column without rows may leave them out.
    if (length === 0) {
      this.nextBuffer(path, 0);
      return new Int32Array(1);
    }
    const offsets = this.nextPositions(path, isLarge, length + 1);
    let previous = 0;
    for (let i = 0; i <= length; i++) {
      if (offsets[i] < previous) throw corrupt(`the offsets of column ${path} are not in order`);
      previous = offsets[i];
    }
    return offsets;
  }

  /** Positions or sizes of 32 or 64 bits as int32; what does not fit is -1. */
  nextPositions(path: string, isLarge: boolean, length: number): Int32Array {
    if (!isLarge) return this.nextArray(path, Int32Array, length);
    const raw = this.nextArray(path, BigInt64Array, length);
    return Int32Array.from(raw, (position) => (position > LENGTH_MAX || position < 0 ? -1 : Number(position)));
  }
}

function countBits(bitmap: Uint8Array, length: number): number {
  let count = 0;
  for (let row = 0; row < length; row++) count += (bitmap[row >> 3] >> (row & 7)) & 1;
  return count;
}
