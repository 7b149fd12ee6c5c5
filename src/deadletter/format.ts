/**
 * What the dead-letter log holds. The log is a WAL (durability rule R16); the batches of its entries are of four kinds:
 *
 * - `_letters`: rows of one write that were parked together. Bytes: u32 length of the head (little endian), the head as JSON, zeros
 *   to a multiple of 8, then the rows as an Arrow IPC stream. A group is named by the position of the entry that it came with; a
 *   copy, made so that the segment of the first one can be released, carries that name and the rows that are gone.
 * - `_gone`: letters that were dropped or replayed, as JSON.
 * - `_diverted`: which rows of a write go to another tier, as JSON. They stand in one entry with the rows themselves, and it is kept as
 *   long as the write may be repeated.
 * - any other name is a table: rows to be delivered again. They stand in one entry with the `_gone` of their letters, so that a
 *   letter is either kept or on its way, never both and never neither.
 *
 * No table from outside can have a name with `_` in front (core/ids.ts).
 */
import type { ParkedRow } from '../core/dead-letter';
import type { TableName } from '../core/ids';
import type { WriteIdentity } from '../core/sink';
import type { Tier } from '../core/table-schema';
import type { WalBatch } from '../core/wal';

const LETTERS = '_letters' as TableName;
const GONE = '_gone' as TableName;
const DIVERTED = '_diverted' as TableName;
const FORMAT = 1;
const LENGTH_BYTES = 4;

export interface LettersHead {
  readonly tier: Tier;
  readonly id: WriteIdentity;
  readonly atMs: number;
  readonly rows: readonly ParkedRow[];
  /** Only of a copy: the name of the group, and its rows that are gone by now. */
  readonly copyOf?: number;
  readonly gone?: readonly number[];
}

export interface Letters {
  readonly head: LettersHead;
  /** An Arrow IPC stream of the rows, in the order of `head.rows`. */
  readonly ipc: Uint8Array;
}

/** Letters that are no longer kept: all of a group, or some of its rows by position in the group. */
export interface Gone {
  readonly group: number;
  readonly rows: readonly number[] | 'all';
}

export const isLetters = ({ table }: WalBatch): boolean => table === LETTERS;
export const isGone = ({ table }: WalBatch): boolean => table === GONE;
export const isDiverted = ({ table }: WalBatch): boolean => table === DIVERTED;
/** Rows to be delivered again, or to another tier. */
export const isReplay = ({ table }: WalBatch): boolean => !table.startsWith('_');

export function encodeLetters({ head, ipc }: Letters): WalBatch {
  const json = Buffer.from(JSON.stringify({ format: FORMAT, ...head }));
  const headBytes = LENGTH_BYTES + json.length;
  const front = Buffer.alloc(headBytes + (-headBytes & 7));
  front.writeUInt32LE(json.length);
  front.set(json, LENGTH_BYTES);
  return { table: LETTERS, schemaVersion: FORMAT, tiers: [head.tier], rows: head.rows.length, ipc: [front, ipc] };
}

/** The IPC bytes are a view of the batch's. Throws for another format. */
export function decodeLetters(batch: WalBatch): Letters {
  const bytes =
    batch.ipc.length === 1
      ? Buffer.from(batch.ipc[0].buffer, batch.ipc[0].byteOffset, batch.ipc[0].byteLength)
      : Buffer.concat(batch.ipc);
  const headBytes = LENGTH_BYTES + bytes.readUInt32LE();
  const { format, ...head } = JSON.parse(bytes.toString('utf8', LENGTH_BYTES, headBytes)) as LettersHead & { format: number };
  checkFormat(format);
  return { head, ipc: bytes.subarray(headBytes + (-headBytes & 7)) };
}

export function encodeGone(gone: readonly Gone[]): WalBatch {
  const json = Buffer.from(JSON.stringify({ format: FORMAT, gone }));
  return { table: GONE, schemaVersion: FORMAT, tiers: ['hot'], rows: 0, ipc: [json] };
}

export function decodeGone(batch: WalBatch): readonly Gone[] {
  const { format, gone } = JSON.parse(Buffer.concat(batch.ipc).toString('utf8')) as { format: number; gone: readonly Gone[] };
  checkFormat(format);
  return gone;
}

/** Which rows of a write are left out of it because they go to another tier. */
export interface Diverted {
  readonly tier: Tier;
  readonly id: WriteIdentity;
  readonly rows: readonly number[];
}

export function encodeDiverted({ tier, id, rows }: Diverted): WalBatch {
  const json = Buffer.from(JSON.stringify({ format: FORMAT, tier, id, rows }));
  return { table: DIVERTED, schemaVersion: FORMAT, tiers: [tier], rows: 0, ipc: [json] };
}

export function decodeDiverted(batch: WalBatch): Diverted {
  const { format, ...diverted } = JSON.parse(Buffer.concat(batch.ipc).toString('utf8')) as Diverted & { format: number };
  checkFormat(format);
  return diverted;
}

function checkFormat(format: number): void {
  if (format !== FORMAT) throw new Error(`the dead letters have format ${format}, this version reads ${FORMAT}`);
}
