/**
 * Payload of an entry frame: the batches of one request.
 *
 *   0  batches       u16          2  version  u16, 1      4  table bytes  u32, length of what follows up to the first ipc
 *   8  per batch:    u8 name bytes, u8 tiers (bit 0 hot, bit 1 cold), u16 zero, u32 schema version, u32 rows, u32 ipc bytes, name
 *   then the note, if there is one: the rest of the table bytes,
 *   then zeros to a multiple of 8, then the Arrow IPC bytes of each batch, each padded with zeros to a multiple of 8.
 *
 * An entry without batches stands in the place of one that was lost in a repair, so that positions have no gaps.
 *
 * So an ipc lies at a multiple of 8 of the frame, the frame at one of the file, and typed arrays can be views of what is read.
 */
import { crc32 } from 'node:zlib';
import { IngestError } from '../core/errors';
import type { TableName } from '../core/ids';
import type { Tier } from '../core/table-schema';
import type { WalBatch } from '../core/wal';
import { align8, encodeFrameHeader, FRAME_ENTRY, FRAME_HEADER_BYTES } from './format';

const ENTRY_VERSION = 1;
const ENTRY_HEAD_BYTES = 8;
const BATCH_HEAD_BYTES = 16;
const U32_MAX = 0xffff_ffff;
const NOTE_BYTES_MAX = 64 * 1024;
const NO_NOTE = Buffer.alloc(0);
const TIER_BITS: Readonly<Record<Tier, number>> = { hot: 1, cold: 2 };
const TIERS_BY_MASK: readonly (readonly Tier[])[] = [[], ['hot'], ['cold'], ['hot', 'cold']];
const ZEROS = Buffer.alloc(8);
/** Pieces below this are copied beside each other: a system call's cost for each piece is above that of the copy. */
const COPY_BELOW_BYTES = 1024;

/** An entry ready to be written: `head` starts with room for the frame header, which depends on where it is written. */
export interface EncodedEntry {
  /** All bytes of the frame, in order; the first begins with 40 bytes for the frame header. */
  readonly pieces: readonly Uint8Array[];
  readonly head: Buffer;
  readonly payloadBytes: number;
  readonly payloadCrc: number;
  readonly frameBytes: number;
}

const bug = (message: string): IngestError => new IngestError('internal', 'internal error', { cause: new Error(message) });

function checkBatch(batch: WalBatch): void {
  const name = Buffer.byteLength(batch.table);
  if (name === 0 || name > 255) throw bug('wal: a table name has 1 to 255 bytes');
  for (const value of [batch.schemaVersion, batch.rows]) {
    if (!Number.isInteger(value) || value < 0 || value > U32_MAX) throw bug('wal: schema version and rows are unsigned 32-bit');
  }
  // Only our own batches, which no sink takes, go nowhere.
  if (batch.tiers.length === 0 && !batch.table.startsWith('_')) throw bug('wal: a batch needs a tier');
}

const ipcBytesOf = (batch: WalBatch): number => batch.ipc.reduce((sum, piece) => sum + piece.length, 0);

/** Lays the pieces end to end without copying the large ones; runs of small ones share one buffer. */
class PieceList {
  readonly pieces: Uint8Array[] = [];
  private small: Uint8Array[] = [];

  add(piece: Uint8Array): void {
    if (piece.length === 0) return;
    if (piece.length < COPY_BELOW_BYTES) {
      this.small.push(piece);
    } else {
      this.flush();
      this.pieces.push(piece);
    }
  }

  flush(): void {
    if (this.small.length === 0) return;
    this.pieces.push(this.small.length === 1 ? this.small[0] : Buffer.concat(this.small));
    this.small = [];
  }
}

/**
 * Encodes the batches of one request. The ipc pieces are kept as views: they must not change until the append has settled.
 * Throws IngestError `payload_too_large` when the frame is above `frameBytesMax`.
 */
export function encodeEntry(batches: readonly WalBatch[], frameBytesMax: number, note: Uint8Array = NO_NOTE): EncodedEntry {
  if (batches.length === 0 || batches.length > 0xffff) throw bug('wal: an entry has 1 to 65535 batches');
  if (note.length > NOTE_BYTES_MAX) throw bug(`wal: a note has at most ${NOTE_BYTES_MAX} bytes`);
  let tableBytes = note.length;
  let payloadBytes = 0;
  const ipcBytes: number[] = [];
  for (const batch of batches) {
    checkBatch(batch);
    tableBytes += BATCH_HEAD_BYTES + Buffer.byteLength(batch.table);
    const bytes = ipcBytesOf(batch);
    ipcBytes.push(bytes);
    payloadBytes += align8(bytes);
  }
  payloadBytes += align8(ENTRY_HEAD_BYTES + tableBytes);
  const frameBytes = FRAME_HEADER_BYTES + payloadBytes;
  if (frameBytes > frameBytesMax) {
    throw new IngestError('payload_too_large', `the request takes ${frameBytes} bytes as columns, more than ${frameBytesMax}`);
  }

  const head = Buffer.alloc(FRAME_HEADER_BYTES + align8(ENTRY_HEAD_BYTES + tableBytes));
  let at = FRAME_HEADER_BYTES;
  head.writeUInt16LE(batches.length, at);
  head.writeUInt16LE(ENTRY_VERSION, at + 2);
  head.writeUInt32LE(tableBytes, at + 4);
  at += ENTRY_HEAD_BYTES;
  const list = new PieceList();
  batches.forEach((batch, index) => {
    const nameBytes = head.write(batch.table, at + BATCH_HEAD_BYTES);
    head[at] = nameBytes;
    head[at + 1] = batch.tiers.reduce((mask, tier) => mask | TIER_BITS[tier], 0);
    head.writeUInt32LE(batch.schemaVersion, at + 4);
    head.writeUInt32LE(batch.rows, at + 8);
    head.writeUInt32LE(ipcBytes[index], at + 12);
    at += BATCH_HEAD_BYTES + nameBytes;
    for (const piece of batch.ipc) list.add(piece);
    list.add(ZEROS.subarray(0, align8(ipcBytes[index]) - ipcBytes[index]));
  });
  head.set(note, at);
  list.flush();
  let payloadCrc = crc32(head.subarray(FRAME_HEADER_BYTES));
  for (const piece of list.pieces) payloadCrc = crc32(piece, payloadCrc);
  return { pieces: [head, ...list.pieces], head, payloadBytes, payloadCrc, frameBytes };
}

/** The frame of an entry in the place of a lost one. */
export function encodeLostEntry(seq: number, lostAtMs: number, seed: number): Buffer {
  const bytes = Buffer.alloc(FRAME_HEADER_BYTES + ENTRY_HEAD_BYTES);
  const payload = bytes.subarray(FRAME_HEADER_BYTES);
  payload.writeUInt16LE(ENTRY_VERSION, 2);
  const frame = { length: payload.length, type: FRAME_ENTRY, seq, durableSeq: seq - 1, appendedAtMs: lostAtMs };
  encodeFrameHeader(bytes, { ...frame, payloadCrc: crc32(payload) }, seed);
  return bytes;
}

export interface DecodedEntry {
  readonly batches: WalBatch[];
  readonly note: Uint8Array | undefined;
}

/** Reads a payload whose checksum holds. The batches are views of `payload`. Gives undefined for bytes we did not write. */
export function decodeEntry(payload: Buffer): DecodedEntry | undefined {
  if (payload.length < ENTRY_HEAD_BYTES || payload.readUInt16LE(2) !== ENTRY_VERSION) return undefined;
  const count = payload.readUInt16LE(0);
  const tableEnd = ENTRY_HEAD_BYTES + payload.readUInt32LE(4);
  if (tableEnd > payload.length) return undefined;
  const batches: WalBatch[] = [];
  let at = ENTRY_HEAD_BYTES;
  let ipcAt = align8(tableEnd);
  for (let index = 0; index < count; index++) {
    if (at + BATCH_HEAD_BYTES > tableEnd) return undefined;
    const nameEnd = at + BATCH_HEAD_BYTES + payload[at];
    const tiers = TIERS_BY_MASK[payload[at + 1]];
    const ipcEnd = ipcAt + payload.readUInt32LE(at + 12);
    if (nameEnd > tableEnd || tiers === undefined || ipcEnd > payload.length) return undefined;
    batches.push({
      table: payload.toString('utf8', at + BATCH_HEAD_BYTES, nameEnd) as TableName,
      schemaVersion: payload.readUInt32LE(at + 4),
      tiers,
      rows: payload.readUInt32LE(at + 8),
      ipc: [payload.subarray(ipcAt, ipcEnd)],
    });
    at = nameEnd;
    ipcAt = align8(ipcEnd);
  }
  return { batches, note: at < tableEnd ? payload.subarray(at, tableEnd) : undefined };
}
