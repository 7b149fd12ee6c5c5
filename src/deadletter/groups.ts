import type { Lsn } from '../core/ids';
import { lsn } from '../core/ids';
import type { WriteIdentity } from '../core/sink';
import type { Tier } from '../core/table-schema';
import type { Gone, LettersHead } from './format';

/** What is known in memory of letters that were parked together; the rows themselves stay on disk. */
export interface Group {
  /** Its name: the position of the entry that it first came with. */
  readonly id: number;
  /** Where it lies now. */
  at: Lsn;
  /** Undefined for rows that no store has seen. */
  readonly tier: Tier | undefined;
  readonly write: WriteIdentity;
  readonly codes: readonly string[];
  readonly rows: number;
  readonly sizeBytes: number;
  /** Positions of the rows that are no longer kept. */
  readonly gone: Set<number>;
}

/** Every letter that is kept, by group, in the order in which the groups were parked. */
export class Groups {
  private byId = new Map<number, Group>();
  private readonly byWrite = new Map<string, Set<number>>();
  letters = 0;
  sizeBytes = 0;

  [Symbol.iterator](): IterableIterator<Group> {
    return this.byId.values();
  }

  get(id: number): Group | undefined {
    return this.byId.get(id);
  }

  /** Adds letters that lie at `at`; a copy takes the place of its original. */
  add(head: LettersHead, at: Lsn, sizeBytes: number): Group {
    const id = head.copyOf ?? at;
    const before = this.byId.get(id);
    if (before !== undefined) this.forget(before);
    const codes = [...new Set(head.rows.map(({ code }) => code))];
    const group: Group = {
      id,
      at,
      tier: head.tier,
      write: head.id,
      codes,
      rows: head.rows.length,
      sizeBytes,
      gone: new Set(head.gone),
    };
    this.byId.set(id, group);
    const key = writeKey(head.tier, head.id);
    const same = this.byWrite.get(key) ?? new Set();
    this.byWrite.set(key, same.add(id));
    this.letters += group.rows - group.gone.size;
    this.sizeBytes += sizeBytes;
    return group;
  }

  /** A copy of the group lies at `at`. */
  move(group: Group, at: Lsn): void {
    group.at = at;
  }

  /** Takes letters out; what is gone already is no error. */
  remove({ group: id, rows }: Gone): void {
    const group = this.byId.get(id);
    if (group === undefined) return;
    for (const row of rows === 'all' ? Array.from({ length: group.rows }, (_, i) => i) : rows) {
      if (row >= group.rows || group.gone.has(row)) continue;
      group.gone.add(row);
      this.letters--;
    }
    if (group.gone.size === group.rows) this.forget(group);
  }

  private forget(group: Group): void {
    this.byId.delete(group.id);
    this.letters -= group.rows - group.gone.size;
    this.sizeBytes -= group.sizeBytes;
    const key = writeKey(group.tier, group.write);
    const same = this.byWrite.get(key);
    same?.delete(group.id);
    if (same?.size === 0) this.byWrite.delete(key);
  }

  /** Groups of one write. */
  ofWrite(tier: Tier, write: WriteIdentity): Group[] {
    return [...(this.byWrite.get(writeKey(tier, write)) ?? [])].map((id) => this.byId.get(id)!);
  }

  /** Brings the groups into the order of their names, after copies were read behind younger groups. */
  sort(): void {
    this.byId = new Map([...this.byId].sort(([a], [b]) => a - b));
  }

  /** Where the oldest bytes lie that are still needed; undefined when nothing is kept. */
  oldest(): Group | undefined {
    let oldest: Group | undefined;
    for (const group of this) if (oldest === undefined || group.at < oldest.at) oldest = group;
    return oldest;
  }
}

export const writeKey = (tier: Tier | undefined, { walId, lsn: at, table, partition }: WriteIdentity): string =>
  `${tier}/${walId}/${at}/${table}/${partition}`;

const LETTER_ID = /^(\d{1,15})-(\d{1,9})$/;

export const letterId = (group: number, row: number): string => `${group}-${row}`;

export function parseLetterId(text: string): { group: Lsn; row: number } | undefined {
  const [, group, row] = LETTER_ID.exec(text) ?? [];
  return group === undefined ? undefined : { group: lsn(Number(group)), row: Number(row) };
}
