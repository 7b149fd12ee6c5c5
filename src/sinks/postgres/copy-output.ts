import type { ByteSource } from '../../columnar/byte-source';

/** Up to this length a loop of 32-bit words beats `set(subarray)` and a loop of bytes (measured). */
const COPY_LOOP_MAX = 96;
/** Room behind the chunk size for the row that makes the chunk full, so that few chunks have to grow. */
const LAST_ROW_BYTES = 64 * 1024;
const TWO_32 = 4_294_967_296;

/**
 * The growing chunk into which fields are written. Positions are passed in and given back, so that the writers keep them in
 * locals: every `put...` takes the position to write at and gives the position after it. Numbers are big endian.
 * Only `reserve` checks room: whoever writes must have reserved before.
 */
export class CopyOutput {
  bytes: Uint8Array<ArrayBuffer>;
  view: DataView;
  /** Values changed because PostgreSQL cannot hold them. */
  sanitizedValues = 0;
  /** NUL bytes left out of JSON strings. */
  droppedBytes = 0;

  /** `slackBytes` stay free after every reservation: room for the fields of a row that have a fixed greatest size. */
  constructor(
    private readonly chunkBytes: number,
    readonly slackBytes: number,
  ) {
    this.bytes = this.allocate(chunkBytes + LAST_ROW_BYTES + slackBytes);
    this.view = new DataView(this.bytes.buffer);
  }

  /** Makes room for `count` bytes at `at`, and for the slack behind them. */
  reserve(at: number, count: number): void {
    const needed = at + count + this.slackBytes;
    if (needed > this.bytes.length) this.grow(at, needed);
  }

  /** Gives the first `end` bytes away and goes on with a chunk of its own: the socket may still read the old one. */
  take(end: number): Uint8Array {
    const chunk = this.bytes.subarray(0, end);
    this.bytes = this.allocate(this.chunkBytes + LAST_ROW_BYTES + this.slackBytes);
    this.view = new DataView(this.bytes.buffer);
    return chunk;
  }

  /** A field of 64 bits from its halves. */
  putLong(high: number, low: number, at: number): number {
    this.view.setInt32(at, 8);
    this.view.setInt32(at + 4, high);
    this.view.setInt32(at + 8, low);
    return at + 12;
  }

  /** A field of 64 bits from a whole number within 2^53. */
  putSafeInteger(value: number, at: number): number {
    const high = Math.floor(value / TWO_32);
    return this.putLong(high, value - high * TWO_32, at);
  }

  putInt(value: number, at: number): number {
    this.view.setInt32(at, 4);
    this.view.setInt32(at + 4, value);
    return at + 8;
  }

  putShort(value: number, at: number): number {
    this.view.setInt32(at, 2);
    this.view.setInt16(at + 4, value);
    return at + 6;
  }

  /** Bytes without a length before them. */
  putBytes(source: ByteSource, start: number, end: number, at: number): number {
    if (end - start > COPY_LOOP_MAX) {
      this.bytes.set(source.bytes.subarray(start, end), at);
      return at + end - start;
    }
    const { view, bytes } = this;
    const from = source.view;
    let to = at;
    let i = start;
    for (; i + 4 <= end; i += 4, to += 4) view.setInt32(to, from.getInt32(i, true), true);
    for (; i < end; i++) bytes[to++] = source.bytes[i]!;
    return to;
  }

  private allocate(bytes: number): Uint8Array<ArrayBuffer> {
    return new Uint8Array(Buffer.allocUnsafeSlow(bytes).buffer);
  }

  private grow(at: number, needed: number): void {
    const grown = this.allocate(Math.max(needed, this.bytes.length * 2));
    grown.set(this.bytes.subarray(0, at));
    this.bytes = grown;
    this.view = new DataView(grown.buffer);
  }
}
