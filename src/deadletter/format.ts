/**
 * What the dead-letter log holds. The log is a WAL (durability rule R16); the batches of its entries are of four kinds:
 *
 * - `_letters`: rows of one write that were parked together, or rows that no tier has seen. Bytes: a head and the rows as an Arrow
 *   IPC stream (columnar/headed-ipc.ts). A group is named by the position of the entry that it came with; a copy, made so that the
 *   segment of the first one can be released, carries that name and the rows that are gone. Routed to the tier that refused the
 *   rows, or to none.
 * - `_moved`: how far the parked rows of a WAL have become letters, in one entry with the last of these, so that each becomes one
 *   letter. With `totals` it says all that was counted so far, otherwise what is added; it is routed to no tier.
 * - `_gone`: letters that were dropped or replayed, as JSON.
 * - `_diverted`: which rows of a write go to another tier, as JSON. They stand in one entry with the rows themselves, and it is kept as
 *   long as the write may be repeated.
 * - any other name is a table: rows to be delivered again. They stand in one entry with the `_gone` of their letters, so that a
 *   letter is either kept or on its way, never both and never neither.
 *
 * No table from outside can have a name with `_` in front (core/ids.ts).
 */
import { splitHead, withHead } from '../columnar/headed-ipc';
import type { ParkedProgress, ParkedRow } from '../core/dead-letter';
import type { TableName } from '../core/ids';
import type { WriteIdentity } from '../core/sink';
import type { Tier } from '../core/table-schema';
import type { WalBatch } from '../core/wal';

const LETTERS = '_letters' as TableName;
const GONE = '_gone' as TableName;
const DIVERTED = '_diverted' as TableName;
const MOVED = '_moved' as TableName;
const FORMAT = 1;

export interface LettersHead {
  /** Undefined for rows that were parked before they were routed. */
  readonly tier?: Tier;
  readonly id: WriteIdentity;
  readonly atMs: number;
  readonly rows: readonly ParkedRow[];
  /** Only of a copy: the name of the group, and its rows that are gone by now. */
  readonly copyOf?: number;
  readonly gone?: readonly number[];
  /** Columns that hold JSON texts, and whether the only column is the whole row as it came (core/batch.ts). */
  readonly jsonColumns?: readonly string[];
  readonly wholeRows?: boolean;
}

/** A step on: the position after it, and what it adds to the totals or all of them. */
export interface Moved extends Omit<ParkedProgress, 'totals'> {
  readonly added?: { readonly table: TableName; readonly rows: number };
  readonly totals?: Readonly<Record<string, number>>;
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
export const isMoved = ({ table }: WalBatch): boolean => table === MOVED;
/** Rows to be delivered again, or to another tier. */
export const isReplay = ({ table }: WalBatch): boolean => !table.startsWith('_');

export function encodeLetters({ head, ipc }: Letters): WalBatch {
  const tiers = head.tier === undefined ? [] : [head.tier];
  return {
    table: LETTERS,
    schemaVersion: FORMAT,
    tiers,
    rows: head.rows.length,
    ipc: withHead({ format: FORMAT, ...head }, ipc),
  };
}

/** The IPC bytes are a view of the batch's. Throws for another format. */
export function decodeLetters(batch: WalBatch): Letters {
  const { head: read, ipc } = splitHead(batch.ipc);
  const { format, ...head } = read as LettersHead & { format: number };
  checkFormat(format);
  return { head, ipc };
}

export function encodeMoved(moved: Moved): WalBatch {
  const json = Buffer.from(JSON.stringify({ format: FORMAT, ...moved }));
  return { table: MOVED, schemaVersion: FORMAT, tiers: [], rows: 0, ipc: [json] };
}

export function decodeMoved(batch: WalBatch): Moved {
  const { format, ...moved } = JSON.parse(Buffer.concat(batch.ipc).toString('utf8')) as Moved & { format: number };
  checkFormat(format);
  return moved;
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
