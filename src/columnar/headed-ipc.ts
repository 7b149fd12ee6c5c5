/**
 * An Arrow IPC stream with a JSON head before it: u32 length of the head (little endian), the head, zeros to a multiple of 8, the
 * stream.
 */
const LENGTH_BYTES = 4;

/** The pieces, to be laid end to end. */
export function withHead(head: object, ipc: Uint8Array): readonly Uint8Array[] {
  const json = Buffer.from(JSON.stringify(head));
  const headBytes = LENGTH_BYTES + json.length;
  const front = Buffer.alloc(headBytes + (-headBytes & 7));
  front.writeUInt32LE(json.length);
  front.set(json, LENGTH_BYTES);
  return [front, ipc];
}

/** The IPC bytes are a view of the piece when there is only one. */
export function splitHead(pieces: readonly Uint8Array[]): { head: unknown; ipc: Uint8Array } {
  const [first] = pieces;
  const bytes = pieces.length === 1 ? Buffer.from(first.buffer, first.byteOffset, first.byteLength) : Buffer.concat(pieces);
  const headBytes = LENGTH_BYTES + bytes.readUInt32LE();
  const head = JSON.parse(bytes.toString('utf8', LENGTH_BYTES, headBytes)) as unknown;
  return { head, ipc: bytes.subarray(headBytes + (-headBytes & 7)) };
}
