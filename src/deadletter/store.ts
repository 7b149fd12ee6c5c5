/**
 * Dead letters in a log of their own (format.ts), with an index of groups in memory.
 *
 * Guarantees: what `park` has resolved survives any crash; a letter is there until it is dropped or replayed, and a replay is one
 * durable step with the end of its letter, so that its rows are delivered exactly once. A letter cannot be taken out while the
 * write that it was cut from may still be repeated: the repetition must leave out the same rows.
 * Bounds: `bytesMax` of letters whose writes are finished, and those of the writes under way; memory holds some hundred bytes a
 * group (rows of one write parked together) and one group's rows at a time.
 */
import { encodeIpc } from '../columnar/ipc';
import type {
  DeadLetter,
  DeadLetterFilter,
  DeadLetterOutcome,
  DeadLetterPage,
  DeadLetterSelection,
  DeadLetterStats,
  DeadLetterStore,
  DeadLetterView,
  DivertedRows,
  ParkedProgress,
  ParkedRows,
} from '../core/dead-letter';
import { type Lsn, lsn, type WalId } from '../core/ids';
import { SinkError, type WriteIdentity } from '../core/sink';
import type { Tier } from '../core/table-schema';
import type { WalBatch } from '../core/wal';
import { Diversions } from './diversions';
import {
  decodeDiverted,
  decodeGone,
  decodeLetters,
  decodeMoved,
  encodeDiverted,
  encodeGone,
  encodeLetters,
  encodeMoved,
  type Gone,
  isDiverted,
  isGone,
  isLetters,
  isMoved,
  type Letters,
} from './format';
import { type Group, Groups, letterId, parseLetterId } from './groups';
import { HEAD_ROW_BYTES, keptRows, letterOf, matches, viewsOf } from './letters';
import { type MovedLetters, MovedRows } from './moved-rows';
import { Outcome } from './outcome';
import { type Replayed, type Route, rowsAgain } from './replay-rows';
import type { LogDeadLetterStoreOptions } from './store-options';

/** Bytes of one answer of `list`, about. */
const PAGE_BYTES_MAX = 8 * 1024 * 1024;
const READ_BYTES = 4 * 1024 * 1024;
/** What one durable step of a replay or drop takes: groups and bytes. */
const STEP = { groups: 256, bytes: 16 * 1024 * 1024 };
const GARBAGE_BYTES = 64 * 1024 * 1024;

export class LogDeadLetterStore implements DeadLetterStore {
  private readonly groups = new Groups();
  /** Groups of writes that may be repeated; pruned when it is looked at. */
  private readonly unsettled = new Set<number>();
  private readonly moved = new MovedRows();
  /** One step at a time: what a step has read stays true until it has written. */
  private queue: Promise<unknown> = Promise.resolve();

  private readonly diversions: Diversions;

  private constructor(private readonly options: LogDeadLetterStoreOptions) {
    this.diversions = new Diversions(options.settled);
  }

  /** Reads the log once. */
  static async open(options: LogDeadLetterStoreOptions): Promise<LogDeadLetterStore> {
    const store = new LogDeadLetterStore(options);
    const { firstLsn, durableLsn } = options.log.stats();
    for (let at = firstLsn; at <= durableLsn; ) {
      const entries = await options.log.read(at, READ_BYTES);
      for (const entry of entries) {
        for (const batch of entry.batches) {
          if (isLetters(batch)) store.index(decodeLetters(batch), entry.lsn);
          if (isDiverted(batch)) store.diversions.add(decodeDiverted(batch), entry.lsn);
          if (isMoved(batch)) store.moved.step(decodeMoved(batch), entry.lsn);
          if (isGone(batch)) for (const gone of decodeGone(batch)) store.groups.remove(gone);
        }
        at = lsn(entry.lsn + 1);
      }
    }
    store.groups.sort();
    return store;
  }

  async park(parked: ParkedRows): Promise<void> {
    const { log, bytesMax, clock } = this.options;
    const { tier, id, rows, batch } = parked;
    const letters: Letters = { head: { tier, id, atMs: clock(), rows }, ipc: encodeIpc(batch) };
    await this.inTurn(async () => {
      if (this.settledBytes() >= bytesMax) {
        throw new SinkError('retry', `the dead letters are full (${bytesMax} bytes): replay or drop some`);
      }
      const at = await log.append([encodeLetters(letters)]).catch((error: unknown) => {
        throw new SinkError('retry', 'cannot write dead letters', { cause: error });
      });
      this.index(letters, at);
    });
  }

  /** How far the parked rows of a WAL have become letters; undefined when none has. */
  parkedProgress(walId: WalId): ParkedProgress | undefined {
    return this.moved.of(walId);
  }

  /** Is there no room for more letters? */
  isFull(reservedBytes: number): boolean {
    return this.settledBytes() + reservedBytes >= this.options.bytesMax;
  }

  /**
   * Makes letters of parked rows, each once: the position behind them is durable with them. They were given room before. `onKept` is
   * called in the moment in which they count as letters.
   */
  async keepParked(walId: WalId, letters: MovedLetters, onKept: () => void): Promise<void> {
    const { log } = this.options;
    const { table, rows, batch, atMs, nextLsn, batchesDone, jsonColumns, wholeRows } = letters;
    const id: WriteIdentity = { walId, lsn: rows[0].lsn, lastLsn: rows[rows.length - 1].lsn, table, partition: '' };
    const kept: Letters = {
      head: { id, atMs, rows, ...(jsonColumns && { jsonColumns }), ...(wholeRows && { wholeRows }) },
      ipc: encodeIpc(batch),
    };
    await this.inTurn(async () => {
      const moved = this.moved.next({ walId, nextLsn, batchesDone, added: { table, rows: rows.length } });
      const at = await log.append([encodeLetters(kept), encodeMoved(moved)]);
      this.moved.step(moved, at);
      this.index(kept, at);
      onKept();
    });
  }

  /** Letters that are kept of rows of one WAL entry; `tiers`: only of those that the stores of these tiers refused. */
  lettersOf(walId: WalId, at: Lsn, tiers?: readonly Tier[]): Promise<number> {
    return this.inTurn(async () => {
      let letters = 0;
      for (const group of this.groups) {
        const { write } = group;
        if (write.walId !== walId || write.lsn > at || write.lastLsn < at) continue;
        if (tiers !== undefined && !tiers.some((tier) => tier === group.tier)) continue;
        const { head } = await this.read(group);
        letters += head.rows.filter((row, i) => row.lsn === at && !group.gone.has(i)).length;
      }
      return letters;
    });
  }

  /** Every group and how many letters it keeps. */
  groupSizes(): ReadonlyMap<number, number> {
    return new Map(Array.from(this.groups, ({ id, rows, gone }) => [id, rows - gone.size]));
  }

  /** The letters of a group for those who only look at them; none when it is gone. */
  viewsOf(id: number): Promise<readonly DeadLetterView[]> {
    return this.inTurn(async () => {
      const group = this.groups.get(id);
      return group === undefined ? [] : viewsOf(group, await this.read(group));
    });
  }

  refusedRows(tier: Tier, id: WriteIdentity): Promise<Set<number>> {
    return this.inTurn(async () => {
      const refused = new Set<number>();
      for (const group of this.groups.ofWrite(tier, id)) {
        const { head } = await this.read(group);
        for (const { row } of head.rows) refused.add(row);
      }
      return refused;
    });
  }

  /** Diverted rows are no letters: nobody has to look after them, and they take no room of theirs. */
  async divert({ tier, id, rows, to, schemaVersion, batch }: DivertedRows): Promise<void> {
    const moved: WalBatch = { table: id.table, schemaVersion, tiers: [to], rows: rows.length, ipc: [encodeIpc(batch)] };
    await this.inTurn(async () => {
      const at = await this.options.log.append([encodeDiverted({ tier, id, rows }), moved]).catch((error: unknown) => {
        throw new SinkError('retry', `cannot send rows to the ${to} tier`, { cause: error });
      });
      this.diversions.add({ tier, id, rows }, at);
      this.options.onReplayed([moved]);
    });
  }

  divertedRows(tier: Tier, id: WriteIdentity): Promise<Set<number>> {
    return this.inTurn(async () => this.diversions.ofWrite(tier, id));
  }

  list({ filter, limit, after }: { filter: DeadLetterFilter; limit: number; after?: string }): Promise<DeadLetterPage> {
    const start = after === undefined ? { group: 0, row: -1 } : parseLetterId(after);
    if (start === undefined) return Promise.reject(new RangeError(`${after} is not the id of a dead letter`));
    return this.inTurn(async () => {
      const letters: DeadLetter[] = [];
      let bytes = 0;
      for (const group of this.groups) {
        if (group.id < start.group || !matches(group, filter)) continue;
        const content = await this.read(group);
        for (const row of keptRows(group, content, filter)) {
          if (group.id === start.group && row <= start.row) continue;
          if (letters.length >= limit || bytes >= PAGE_BYTES_MAX) return { letters, next: letters.at(-1)?.id };
          const letter = letterOf(group, content, row);
          letters.push(letter);
          bytes += letter.json.length + letter.row.length;
        }
      }
      return { letters, next: undefined };
    });
  }

  get(id: string): Promise<DeadLetter | undefined> {
    return this.inTurn(async () => {
      const found = this.find(id);
      return found === undefined ? undefined : letterOf(found.group, await this.read(found.group), found.row);
    });
  }

  drop(selection: DeadLetterSelection): Promise<DeadLetterOutcome> {
    return this.takeOut(selection, async () => undefined);
  }

  async replay(selection: DeadLetterSelection, tiers?: readonly Tier[]): Promise<DeadLetterOutcome> {
    if (tiers?.length === 0) throw new RangeError('a replay needs a tier');
    const { schemaOf, route, refit } = this.options;
    return this.takeOut(selection, async (group, rows) => {
      const { table } = group.write;
      const schema = schemaOf(table);
      if (schema === undefined) return `table ${table} is not registered`;
      const own = tiers ?? (group.tier === undefined ? undefined : [group.tier]);
      const to: Route = own === undefined ? route : (batch) => [{ ...batch, tiers: own }];
      return rowsAgain(await this.read(group), rows, { schema, route: to, refit });
    });
  }

  stats(): DeadLetterStats {
    return { letters: this.groups.letters, sizeBytes: this.groups.sizeBytes, sizeBytesMax: this.options.bytesMax };
  }

  /** Gives back what the log no longer needs. Called when replayed rows were delivered; drops and replays do it themselves. */
  async release(): Promise<void> {
    const { log, logger } = this.options;
    try {
      const needed = await this.inTurn(async () => {
        await this.compact();
        return this.neededFrom();
      });
      await log.release(needed);
    } catch (error) {
      logger.error({ err: error }, 'cannot release segments of the dead letters');
    }
  }

  /**
   * Takes the letters out, in steps of one log entry each. `replacement` gives the rows that are to go on their way in the same
   * entry, or the reason why the letters, or some of them, must stay.
   */
  private async takeOut(
    selection: DeadLetterSelection,
    replacement: (group: Group, rows: readonly number[]) => Promise<Replayed | string | undefined>,
  ): Promise<DeadLetterOutcome> {
    const outcome = new Outcome();
    // Fixed before the first step: rows that are refused again come back as new letters, which are not meant.
    const open = this.select(selection, outcome);
    while (open.length > 0) {
      await this.inTurn(async () => {
        const gone: Gone[] = [];
        const batches: WalBatch[] = [];
        let bytes = 0;
        while (open.length > 0 && gone.length < STEP.groups && bytes < STEP.bytes) {
          const next = open.shift()!;
          const group = this.groups.get(next.group);
          const rows = group === undefined ? [] : await this.stillKept(group, next);
          for (const row of next.rows ?? []) if (!rows.includes(row)) outcome.keep(letterId(next.group, row), 'not found');
          if (group === undefined || rows.length === 0) continue;
          const instead = this.isSettled(group)
            ? await replacement(group, rows)
            : 'the write it was taken from is not finished yet';
          if (typeof instead === 'string') {
            for (const row of rows) outcome.keep(letterId(group.id, row), instead);
            continue;
          }
          for (const [row, reason] of instead?.refused ?? []) outcome.keep(letterId(group.id, row), reason);
          const done = instead === undefined ? rows : rows.filter((row) => !instead.refused.has(row));
          if (done.length === 0) continue;
          for (const batch of instead?.batches ?? []) {
            batches.push(batch);
            bytes += batch.ipc[0].length;
          }
          gone.push({ group: group.id, rows: done.length === group.rows ? 'all' : done });
          outcome.done += done.length;
        }
        if (gone.length === 0) return;
        await this.options.log.append([encodeGone(gone), ...batches]);
        for (const each of gone) {
          this.groups.remove(each);
          this.options.onChange?.(each.group);
        }
        if (batches.length > 0) this.options.onReplayed(batches);
      });
    }
    await this.release();
    return outcome;
  }

  /** Groups to go through; `rows` only when letters were named. */
  private select(selection: DeadLetterSelection, outcome: Outcome): Selected[] {
    if ('filter' in selection) {
      const { filter } = selection;
      return [...this.groups].filter((group) => matches(group, filter)).map((group) => ({ group: group.id, filter }));
    }
    const byGroup = new Map<number, number[]>();
    for (const id of new Set(selection.ids)) {
      const parsed = parseLetterId(id);
      if (parsed === undefined) outcome.keep(id, 'not found');
      else byGroup.set(parsed.group, [...(byGroup.get(parsed.group) ?? []), parsed.row]);
    }
    return [...byGroup].map(([group, rows]) => ({ group, rows: rows.sort((a, b) => a - b), filter: {} }));
  }

  private async stillKept(group: Group, { rows, filter }: Selected): Promise<readonly number[]> {
    if (rows !== undefined) return rows.filter((row) => row < group.rows && !group.gone.has(row));
    return keptRows(group, filter.code !== undefined && group.codes.length > 1 ? await this.read(group) : undefined, filter);
  }

  private find(id: string): { group: Group; row: number } | undefined {
    const parsed = parseLetterId(id);
    const group = parsed === undefined ? undefined : this.groups.get(parsed.group);
    if (parsed === undefined || group === undefined || parsed.row >= group.rows || group.gone.has(parsed.row)) return undefined;
    return { group, row: parsed.row };
  }

  private index(letters: Letters, at: Lsn): void {
    const headBytes = letters.head.rows.reduce((sum, { message }) => sum + message.length + HEAD_ROW_BYTES, 0);
    const group = this.groups.add(letters.head, at, letters.ipc.length + headBytes);
    if (group.tier !== undefined) this.unsettled.add(group.id);
    this.options.onChange?.(group.id);
  }

  private async read(group: Group): Promise<Letters> {
    const [entry] = await this.options.log.read(group.at, 1);
    const batch = entry?.batches.find(isLetters);
    if (entry?.lsn !== group.at || batch === undefined) throw new Error(`dead letters ${group.id} are not at entry ${group.at}`);
    return decodeLetters(batch);
  }

  private isSettled(group: Group): boolean {
    if (group.tier === undefined || !this.unsettled.has(group.id)) return true;
    if (!this.options.settled(group.tier, group.write)) return false;
    this.unsettled.delete(group.id);
    return true;
  }

  /** Writes under way do not count: they could not go on, and nobody could make room by taking out their letters. */
  private settledBytes(): number {
    let bytes = this.groups.sizeBytes;
    for (const id of this.unsettled) {
      const group = this.groups.get(id);
      if (group === undefined) this.unsettled.delete(id);
      else if (!this.isSettled(group)) bytes -= group.sizeBytes;
    }
    return bytes;
  }

  /** Moves old groups to the end of a log that is mostly garbage, so that one old letter does not hold all that came after it. */
  private async compact(): Promise<void> {
    const { log, replayedBelow, garbageBytesMax = GARBAGE_BYTES } = this.options;
    let budget = this.groups.sizeBytes;
    const isGarbage = (): boolean => log.stats().sizeBytes > 2 * this.groups.sizeBytes + garbageBytesMax;
    const progress = this.moved.snapshot();
    if (progress !== undefined && isGarbage()) {
      this.moved.step(progress, await log.append([encodeMoved(progress)]));
      await log.release(this.neededFrom());
    }
    while (budget > 0 && isGarbage()) {
      const group = this.groups.oldest();
      if (group === undefined || group.at >= replayedBelow()) return;
      const { head, ipc } = await this.read(group);
      const copy: Letters = { head: { ...head, copyOf: group.id, gone: [...group.gone] }, ipc };
      const at = await log.append([encodeLetters(copy)]);
      this.groups.move(group, at);
      await log.release(this.neededFrom());
      budget -= group.sizeBytes;
    }
  }

  /** The first entry that holds a letter, a row on its way, what a repeated write must know, or the totals of parked rows. */
  private neededFrom(): Lsn {
    const { log, replayedBelow } = this.options;
    const end = log.stats().durableLsn + 1;
    const kept = this.groups.oldest()?.at ?? end;
    return lsn(Math.min(replayedBelow(), kept, this.diversions.oldest(), this.moved.neededFrom));
  }

  private inTurn<T>(step: () => Promise<T>): Promise<T> {
    const turn = this.queue.then(step);
    this.queue = turn.catch(() => undefined);
    return turn;
  }
}

interface Selected {
  readonly group: number;
  readonly rows?: readonly number[];
  readonly filter: DeadLetterFilter;
}
