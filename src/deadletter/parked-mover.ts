/**
 * Moves parked rows from the WAL of the requests to the dead letters.
 *
 * Guarantees: each parked row becomes one letter, whatever crashes: the position behind the rows is durable in the dead-letter log
 * together with them (format.ts, `_moved`). The WAL keeps an entry until its parked rows are letters (`releasableLsn`).
 * Bounds: some bytes for each entry with parked rows that is not moved yet; what they take counts against the dead letters from the
 * moment that they are given room, so that letters never wait for room. One step moves at most STEP rows and bytes.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { concatRows, wholeBatch } from '../columnar/concat';
import { decodeIpc } from '../columnar/ipc';
import { decodeParked, parkedTable, type StoredUnfitRows } from '../columnar/parked-ipc';
import type { ParkedRow, ParkingRoom } from '../core/dead-letter';
import { IngestError } from '../core/errors';
import { type Lsn, lsn } from '../core/ids';
import type { Room } from '../core/ingest';
import type { Wal, WalBatch } from '../core/wal';
import type { Logger } from '../telemetry';
import type { MovedLetters } from './moved-rows';
import type { LogDeadLetterStore } from './store';

export interface ParkedMoverOptions {
  /** The log of requests. */
  readonly wal: Wal;
  readonly store: LogDeadLetterStore;
  /** Told when `releasableLsn` has moved. */
  readonly onRelease: () => void;
  readonly logger: Logger;
}

interface Waiting {
  readonly lsn: Lsn;
  readonly bytes: number;
  readonly rows: number;
}

/** Parked rows of one batch of an entry. */
interface Piece extends StoredUnfitRows {
  readonly lsn: Lsn;
  readonly atMs: number;
  readonly nextLsn: Lsn;
  readonly batchesDone: number;
}

const READ_BYTES = 4 * 1024 * 1024;
const STEP = { rows: 10_000, bytes: 8 * 1024 * 1024 };
/** Rows that were parked within this time may share a group. */
const TOGETHER_MS = 1_000;
const RETRY_AFTER_MS = 5_000;
const BACKOFF_MS = { first: 100, max: 10_000 };

export class ParkedMover implements ParkingRoom {
  /** Entries with rows to be moved, ascending. */
  private readonly waiting: Waiting[] = [];
  private waitingBytes = 0;
  private readonly rows = new Map<string, number>();
  /** Appends under way: the first position that each of them may get. */
  private readonly open = new Set<{ readonly from: number; readonly bytes: number }>();
  private readonly stopping = new AbortController();
  private running: Promise<void> = Promise.resolve();
  private isRunning = false;

  private constructor(private readonly options: ParkedMoverOptions) {}

  /** Finds what an earlier run has left to do. Call it while nothing is appended. */
  static async open(options: ParkedMoverOptions): Promise<ParkedMover> {
    const mover = new ParkedMover(options);
    const { wal, store } = options;
    const { firstLsn, durableLsn } = wal.stats();
    const done = store.parkedProgress(wal.walId);
    for (let at = lsn(Math.max(firstLsn, done?.nextLsn ?? 1)); at <= durableLsn; ) {
      const entries = await wal.read(at, READ_BYTES);
      if (entries.length === 0) break;
      for (const { lsn: position, batches } of entries) {
        const skip = position === done?.nextLsn ? done.batchesDone : 0;
        mover.note(position, batches.filter(isParked).slice(skip));
      }
      at = lsn(entries.at(-1)!.lsn + 1);
    }
    return mover;
  }

  reserve(bytes: number): Room {
    if (this.options.store.isFull(this.waitingBytes + this.openBytes())) {
      throw new IngestError('unavailable', 'the dead letters are full: rows that do not fit their table cannot be parked', {
        retryAfterMs: RETRY_AFTER_MS,
      });
    }
    const mark = { from: this.options.wal.stats().durableLsn + 1, bytes };
    this.open.add(mark);
    return {
      release: () => {
        if (this.open.delete(mark)) this.wake();
      },
    };
  }

  /** Told of every durable entry. */
  add(at: Lsn, batches: readonly WalBatch[]): void {
    this.note(at, batches.filter(isParked));
  }

  /** The first entry that is still needed. */
  get releasableLsn(): number {
    return Math.min(this.waiting[0]?.lsn ?? Number.POSITIVE_INFINITY, this.openFrom());
  }

  /** Rows of an entry that are not letters yet. */
  rowsOf(at: Lsn): number {
    return this.waiting.find((entry) => entry.lsn === at)?.rows ?? 0;
  }

  /** By table, rows that are not letters yet. */
  get pending(): ReadonlyMap<string, number> {
    return this.rows;
  }

  start(): void {
    this.wake();
  }

  async stop(): Promise<void> {
    this.stopping.abort();
    await this.running;
  }

  private note(at: Lsn, parked: readonly WalBatch[]): void {
    if (parked.length === 0) return;
    const bytes = parked.reduce((sum, { ipc }) => sum + ipc.reduce((all, piece) => all + piece.byteLength, 0), 0);
    const index = this.waiting.findLastIndex((entry) => entry.lsn < at);
    this.waiting.splice(index + 1, 0, { lsn: at, bytes, rows: parked.reduce((sum, batch) => sum + batch.rows, 0) });
    this.waitingBytes += bytes;
    for (const batch of parked) this.count(parkedTable(batch)!, batch.rows);
  }

  private count(table: string, rows: number): void {
    const left = (this.rows.get(table) ?? 0) + rows;
    if (left === 0) this.rows.delete(table);
    else this.rows.set(table, left);
  }

  private openBytes(): number {
    let sum = 0;
    for (const { bytes } of this.open) sum += bytes;
    return sum;
  }

  private openFrom(): number {
    let first = Number.POSITIVE_INFINITY;
    for (const { from } of this.open) first = Math.min(first, from);
    return first;
  }

  /** Entries are moved in their order: one whose append is not told yet may come before others that are. */
  private ready(): Waiting | undefined {
    const [first] = this.waiting;
    return first !== undefined && first.lsn < this.openFrom() ? first : undefined;
  }

  private wake(): void {
    if (this.isRunning || this.stopping.signal.aborted || this.ready() === undefined) return;
    this.isRunning = true;
    this.running = this.run().finally(() => {
      this.isRunning = false;
      this.wake();
    });
  }

  /** Until nothing is ready. Never rejects: what cannot be written waits in the WAL. */
  private async run(): Promise<void> {
    const { signal } = this.stopping;
    for (let pauseMs = BACKOFF_MS.first; !signal.aborted && this.ready() !== undefined; ) {
      try {
        await this.step();
        pauseMs = BACKOFF_MS.first;
      } catch (error) {
        this.options.logger.warn({ err: error, retryInMs: pauseMs }, 'parked rows stay in the write-ahead log for now');
        await sleep(pauseMs, undefined, { signal }).catch(() => undefined);
        pauseMs = Math.min(pauseMs * 2, BACKOFF_MS.max);
      }
    }
  }

  private async step(): Promise<void> {
    const { wal, store, onRelease } = this.options;
    for (const run of runsOf(await this.pieces())) {
      const [first] = run;
      const rows = run.flatMap((piece) => parkedRowsOf(piece));
      const { table, atMs, jsonColumns, wholeRows } = first;
      const last = run[run.length - 1];
      const letters: MovedLetters = {
        table,
        rows: rows.map((row, i) => ({ ...row, row: i })),
        batch: concatRows(run.map(({ ipc }) => wholeBatch(decodeIpc(ipc)))),
        atMs,
        nextLsn: last.nextLsn,
        batchesDone: last.batchesDone,
        jsonColumns,
        ...(wholeRows === true ? { wholeRows } : {}),
      };
      await store.keepParked(wal.walId, letters, () => this.count(table, -rows.length));
      while (this.waiting.length > 0 && this.waiting[0].lsn < last.nextLsn) this.waitingBytes -= this.waiting.shift()!.bytes;
    }
    onRelease();
  }

  /** The next batches of parked rows, about as many as one step may take. */
  private async pieces(): Promise<Piece[]> {
    const { wal, store } = this.options;
    const pieces: Piece[] = [];
    let rows = 0;
    let bytes = 0;
    for (const { lsn: at, bytes: own } of this.waiting) {
      if (at >= this.openFrom() || (pieces.length > 0 && (rows >= STEP.rows || bytes >= STEP.bytes))) break;
      const [entry] = await wal.read(at, 1);
      if (entry?.lsn !== at) throw new Error(`entry ${at} with parked rows is not in the WAL`);
      const done = store.parkedProgress(wal.walId);
      const skip = done?.nextLsn === at ? done.batchesDone : 0;
      const parked = entry.batches.filter(isParked);
      for (const [i, batch] of parked.entries()) {
        if (i < skip) continue;
        const isLast = i + 1 === parked.length;
        const position = isLast ? { nextLsn: lsn(at + 1), batchesDone: 0 } : { nextLsn: at, batchesDone: i + 1 };
        pieces.push({ ...decodeParked(batch), lsn: at, atMs: entry.appendedAtMs, ...position });
        rows += batch.rows;
      }
      bytes += own;
    }
    return pieces;
  }
}

const isParked = (batch: WalBatch): boolean => parkedTable(batch) !== undefined;

const parkedRowsOf = ({ reasons, lsn: at, schemaVersion }: Piece): ParkedRow[] =>
  reasons.map((reason, row) => ({ row, lsn: at, schemaVersion, ...reason }));

/** Neighbours of one form can be one group. */
function runsOf(pieces: readonly Piece[]): Piece[][] {
  const runs: Piece[][] = [];
  let form = '';
  for (const piece of pieces) {
    const run = runs.at(-1);
    const own = formOf(piece);
    if (run !== undefined && own === form && Math.abs(piece.atMs - run[0].atMs) <= TOGETHER_MS) run.push(piece);
    else runs.push([piece]);
    form = own;
  }
  return runs;
}

function formOf({ table, jsonColumns, wholeRows, ipc }: Piece): string {
  const fields = decodeIpc(ipc).schema.fields.map(({ name, type }) => [name, String(type)]);
  return JSON.stringify([table, jsonColumns, wholeRows === true, fields]);
}
