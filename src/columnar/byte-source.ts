/**
 * Bytes that are read both one by one and four at a time. Copies and comparisons of the short values that telemetry is made of
 * are twice as fast in steps of four bytes through a DataView as byte by byte, and four times as fast as `set(subarray)`
 * (12 to 40 bytes, measured); `set` wins from about 150 bytes on.
 */
export interface ByteSource {
  readonly bytes: Uint8Array;
  /** Over the same memory as `bytes`. */
  readonly view: DataView;
}

export const byteSource = (bytes: Uint8Array): ByteSource => ({
  bytes,
  view: new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength),
});

const SET_MIN = 160;

/** Copies source[start, end) to `to[at, ...)`, which has room for it. */
export function copyBytes(source: ByteSource, start: number, end: number, to: ByteSource, at: number): void {
  const count = end - start;
  if (count < 4) {
    for (let i = 0; i < count; i++) to.bytes[at + i] = source.bytes[start + i];
    return;
  }
  if (count >= SET_MIN) return to.bytes.set(source.bytes.subarray(start, end), at);
  const from = source.view;
  const { view } = to;
  const last = count - 4;
  for (let i = 0; i < last; i += 4) view.setInt32(at + i, from.getInt32(start + i));
  // The last step overlaps the one before it instead of going over the end.
  view.setInt32(at + last, from.getInt32(end - 4));
}

/** Are source[start, start + count) and other[from, from + count) equal? */
export function sameBytes(source: ByteSource, start: number, other: ByteSource, from: number, count: number): boolean {
  if (count < 4) {
    for (let i = 0; i < count; i++) if (source.bytes[start + i] !== other.bytes[from + i]) return false;
    return true;
  }
  const a = source.view;
  const b = other.view;
  const last = count - 4;
  for (let i = 0; i < last; i += 4) if (a.getInt32(start + i) !== b.getInt32(from + i)) return false;
  return a.getInt32(start + last) === b.getInt32(from + last);
}
