/**
 * Dead letters in a log of their own (format.ts), with an index of groups in memory.
 *
 * Guarantees: what `park` has resolved survives any crash; a letter is there until it is dropped or replayed, and a replay is one
 * durable step with the end of its letter, so that its rows are delivered exactly once. A letter cannot be taken out while the
 * write that it was cut from may still be repeated: the repetition must leave out the same rows.
 * Bounds: `bytesMax` of letters whose writes are finished, and those of the writes under way; memory holds some hundred bytes a
 * group (rows of one write parked together) and one group's rows at a time.
 */
import type { RecordBatch } from 'apache-arrow';
import { cutRows } from '../columnar/cut';
import { decodeIpc, encodeIpc } from '../columnar/ipc';
import type {
  DeadLetter,
  DeadLetterFilter,
  DeadLetterOutcome,
  DeadLetterPage,
  DeadLetterSelection,
  DeadLetterStats,
  DeadLetterStore,
  DivertedRows,
  ParkedRows,
} from '../core/dead-letter';
import { type Lsn, lsn, type TableName } from '../core/ids';
import { SinkError, type WriteIdentity } from '../core/sink';
import type { TableSchema, Tier } from '../core/table-schema';
import type { Wal, WalBatch } from '../core/wal';
import type { Logger } from '../telemetry';
import { Diversions } from './diversions';
import {
  decodeDiverted,
  decodeGone,
  decodeLetters,
  encodeDiverted,
  encodeGone,
  encodeLetters,
  type Gone,
  isDiverted,
  isGone,
  isLetters,
  type Letters,
} from './format';
import { type Group, Groups, letterId, parseLetterId } from './groups';
import { Outcome } from './outcome';
import { rowJson } from './row-json';

export interface LogDeadLetterStoreOptions {
  /** A log of its own, held open by the caller. */
  readonly log: Wal;
  readonly bytesMax: number;
  /** Is the write behind the sink's durable cursor, so that it is never repeated? */
  readonly settled: (tier: Tier, id: WriteIdentity) => boolean;
  readonly schemaOf: (table: TableName) => TableSchema | undefined;
  /** Told of rows that are to be delivered again. */
  readonly onReplayed: (batches: readonly WalBatch[]) => void;
  /** Entries before this one hold no replayed row that is still to be delivered. */
  readonly replayedBelow: () => Lsn;
  readonly clock: () => number;
  readonly logger: Logger;
  /** Log beyond twice the letters that is left alone; default 64 MiB. */
  readonly garbageBytesMax?: number;
}

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
    return this.takeOut(selection, async (group, rows) => {
      const { table } = group.write;
      const schema = this.options.schemaOf(table);
      if (schema === undefined) return `table ${table} is not registered`;
      const { ipc } = await this.read(group);
      const batch = cutRows(decodeIpc(ipc), rows);
      const known = new Set(schema.columns.map(({ name }) => name));
      const unknown = batch.schema.fields.find(({ name }) => !known.has(name));
      if (unknown !== undefined) return `column ${unknown.name} is not in version ${schema.version} of ${table}`;
      const bytes = encodeIpc(batch);
      return { table, schemaVersion: schema.version, tiers: tiers ?? [group.tier], rows: rows.length, ipc: [bytes] };
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
        return this.neededFrom(log.stats().durableLsn + 1);
      });
      await log.release(lsn(needed));
    } catch (error) {
      logger.error({ err: error }, 'cannot release segments of the dead letters');
    }
  }

  /**
   * Takes the letters out, in steps of one log entry each. `replacement` gives the rows that are to go on their way in the same
   * entry, or the reason why the letters must stay.
   */
  private async takeOut(
    selection: DeadLetterSelection,
    replacement: (group: Group, rows: readonly number[]) => Promise<WalBatch | string | undefined>,
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
          if (instead !== undefined) batches.push(instead);
          bytes += instead?.ipc[0]?.length ?? 0;
          gone.push({ group: group.id, rows: rows.length === group.rows ? 'all' : rows });
          outcome.done += rows.length;
        }
        if (gone.length === 0) return;
        await this.options.log.append([encodeGone(gone), ...batches]);
        for (const each of gone) this.groups.remove(each);
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
    this.unsettled.add(group.id);
  }

  private async read(group: Group): Promise<Letters> {
    const [entry] = await this.options.log.read(group.at, 1);
    const batch = entry?.batches.find(isLetters);
    if (entry?.lsn !== group.at || batch === undefined) throw new Error(`dead letters ${group.id} are not at entry ${group.at}`);
    return decodeLetters(batch);
  }

  private isSettled(group: Group): boolean {
    if (!this.unsettled.has(group.id)) return true;
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

  /** The first entry that holds a letter, a row on its way, or what a repeated write must know; `end` when there is none. */
  private neededFrom(end: number): number {
    return Math.min(this.options.replayedBelow(), this.groups.oldest()?.at ?? end, this.diversions.oldest());
  }

  /** Moves old groups to the end of a log that is mostly garbage, so that one old letter does not hold all that came after it. */
  private async compact(): Promise<void> {
    const { log, replayedBelow, garbageBytesMax = GARBAGE_BYTES } = this.options;
    let budget = this.groups.sizeBytes;
    while (budget > 0 && log.stats().sizeBytes > 2 * this.groups.sizeBytes + garbageBytesMax) {
      const group = this.groups.oldest();
      if (group === undefined || group.at >= replayedBelow()) return;
      const { head, ipc } = await this.read(group);
      const copy: Letters = { head: { ...head, copyOf: group.id, gone: [...group.gone] }, ipc };
      const at = await log.append([encodeLetters(copy)]);
      this.groups.move(group, at);
      await log.release(lsn(this.neededFrom(this.groups.oldest()!.at)));
      budget -= group.sizeBytes;
    }
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

/** What the head of a row takes besides its message, about. */
const HEAD_ROW_BYTES = 120;

const matches = ({ tier, write, codes }: Group, filter: DeadLetterFilter): boolean =>
  (filter.tier === undefined || filter.tier === tier) &&
  (filter.table === undefined || filter.table === write.table) &&
  (filter.code === undefined || codes.includes(filter.code));

/** Rows of the group that are kept and have the code of the filter; `content` may be missing when all have it. */
function keptRows(group: Group, content: Letters | undefined, { code }: DeadLetterFilter): number[] {
  const rows: number[] = [];
  for (let row = 0; row < group.rows; row++) {
    if (group.gone.has(row)) continue;
    if (code === undefined || content === undefined || content.head.rows[row].code === code) rows.push(row);
  }
  return rows;
}

function letterOf(group: Group, { head, ipc }: Letters, row: number): DeadLetter {
  const batch: RecordBatch = cutRows(decodeIpc(ipc), [row]);
  const { row: _position, ...reason } = head.rows[row];
  const { table } = group.write;
  const id = letterId(group.id, row);
  return { id, table, tier: head.tier, atMs: head.atMs, ...reason, row: encodeIpc(batch), json: rowJson(batch, 0) };
}
