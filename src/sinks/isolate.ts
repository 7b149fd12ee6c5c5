/**
 * Which rows of a refused batch are the bad ones, by trying parts of it. A row is taken for bad only when the store refused it
 * alone, so a wrong hint costs time and never a good row.
 *
 * Cost: a refused part is split, at the row that the store names if it names one (then about 3 attempts a bad row), else in
 * halves (2 log2 of the part's length attempts a bad row). Parts grow while they are taken and shrink to the distance between bad
 * rows, so that good rows are sent about twice, and a batch of nothing but bad rows costs 2 short attempts a row.
 */
import type { RefusedRow } from '../core/sink';

/** The store's answer to a part that it did not take. */
export interface Refusal extends Omit<RefusedRow, 'row'> {
  /** Position in the part that the store named; a hint. */
  readonly suspect?: number;
}

export interface IsolateOptions {
  /** Rows in question, ascending. */
  readonly rows: Int32Array;
  /** Tries a part. Resolves with the refusal, or undefined when the store took it; each row is in at most one part that was taken. */
  readonly attempt: (part: Int32Array) => Promise<Refusal | undefined>;
  /** Told of bad rows, at most `PARKED_AT_ONCE` at a time and in row order; the search goes on when it resolves. */
  readonly onRefused: (rows: readonly RefusedRow[]) => Promise<void>;
}

/** Rows of one attempt while nothing is known. */
const PART_ROWS = { min: 8, first: 2_048, max: 16_384 };
/** Bad rows that are made durable together: what is found stays found when the search is cut off. */
const PARKED_AT_ONCE = 1_000;

/** Resolves with the number of bad rows when each row is in a part that was taken, or was given to `onRefused`. */
export async function isolate({ rows, attempt, onRefused }: IsolateOptions): Promise<number> {
  const found: RefusedRow[] = [];
  let count = 0;
  const flush = async (): Promise<void> => {
    if (found.length > 0) await onRefused(found.splice(0));
  };
  /** Parts that wait, the first rows on top. */
  const open: [start: number, end: number][] = rows.length > 0 ? [[0, rows.length]] : [];
  let partRows = PART_ROWS.first;
  for (let part = open.pop(); part !== undefined; part = open.pop()) {
    const [start] = part;
    const end = Math.min(part[1], start + partRows);
    if (end < part[1]) open.push([end, part[1]]);
    const refusal = await attempt(rows.subarray(start, end));
    if (refusal === undefined) {
      partRows = Math.min(partRows * 2, PART_ROWS.max);
    } else if (end - start === 1) {
      const { stage, code, column, message } = refusal;
      found.push({ row: rows[start], stage, code, ...(column === undefined ? {} : { column }), message });
      count++;
      if (found.length >= PARKED_AT_ONCE) await flush();
    } else {
      const at = start + splitAt(refusal.suspect, end - start);
      for (const piece of pieces(start, at, end, refusal.suspect !== undefined)) open.push(piece);
      partRows = Math.max(PART_ROWS.min, Math.min(partRows, (at - start + 1) * 2));
    }
  }
  await flush();
  return count;
}

/** The named row, or the middle. */
const splitAt = (suspect: number | undefined, length: number): number =>
  suspect !== undefined && suspect >= 0 && suspect < length ? suspect : length >> 1;

/** The parts to try next, the last first: with a named row it stands alone. None is empty and none is the whole. */
function pieces(start: number, at: number, end: number, named: boolean): [number, number][] {
  const split: [number, number][] = named
    ? [
        [at + 1, end],
        [at, at + 1],
        [start, at],
      ]
    : [
        [at, end],
        [start, at],
      ];
  return split.filter(([from, to]) => to > from);
}

/** The rows of a batch that are part of its write. */
export function acceptedRows(numRows: number, refused: ReadonlySet<number>): Int32Array {
  const rows = new Int32Array(numRows);
  let count = 0;
  for (let row = 0; row < numRows; row++) if (!refused.has(row)) rows[count++] = row;
  return rows.subarray(0, count);
}

/** Ascending rows as runs: pairs of start and end. */
export function runsOf(rows: Int32Array): Int32Array {
  const runs: number[] = [];
  for (const row of rows) {
    if (runs.length > 0 && runs.at(-1) === row) runs[runs.length - 1] = row + 1;
    else runs.push(row, row + 1);
  }
  return Int32Array.from(runs);
}
