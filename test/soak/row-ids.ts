/**
 * What became of the rows of one table, one byte for each: ids are given out from 0 without gaps. The loader says what it sent and
 * what was acknowledged, the check at the end says where it found each.
 */
const ACKED = 1;
const STORED = 2;
const PARKED = 4;
const POISON = 8;

export interface RowCounts {
  readonly sent: number;
  readonly acked: number;
  readonly stored: number;
  readonly parked: number;
  /** Never acknowledged, and there all the same: allowed, once. */
  readonly unacked: number;
  readonly duplicates: number;
  readonly lost: number;
  /** Poison that the store took, and rows that were parked though nothing is wrong with them. */
  readonly misplaced: number;
  /** Found without ever having been sent. */
  readonly foreign: number;
}

export class RowIds {
  private marks = new Uint8Array(1024);
  private count = 0;
  private acks = 0;
  private duplicates = 0;
  private foreign = 0;
  /** The first rows of each kind that must not be, for the report. */
  readonly examples: string[] = [];

  constructor(private readonly poisonEvery: number) {}

  /** The next `rows` ids; the first of them. */
  take(rows: number): number {
    const first = this.count;
    this.count += rows;
    while (this.marks.length < this.count) {
      const larger = new Uint8Array(this.marks.length * 2);
      larger.set(this.marks);
      this.marks = larger;
    }
    for (let id = first; id < this.count; id++) if (this.isPoison(id)) this.marks[id] |= POISON;
    return first;
  }

  /** Rows that their store must refuse. */
  isPoison(id: number): boolean {
    return this.poisonEvery > 0 && id % this.poisonEvery === this.poisonEvery - 1;
  }

  acknowledge(first: number, rows: number): void {
    for (let id = first; id < first + rows; id++) this.marks[id] |= ACKED;
    this.acks += rows;
  }

  foundStored(id: number): void {
    this.found(id, STORED);
  }

  foundParked(id: number): void {
    this.found(id, PARKED);
  }

  get sent(): number {
    return this.count;
  }

  get acknowledged(): number {
    return this.acks;
  }

  /** To be asked once everything was looked for. */
  counts(): RowCounts {
    const counts = { sent: this.count, acked: 0, stored: 0, parked: 0, unacked: 0, lost: 0, misplaced: 0 };
    for (let id = 0; id < this.count; id++) {
      const mark = this.marks[id];
      const there = mark & (STORED | PARKED);
      if (mark & ACKED) counts.acked++;
      if (mark & STORED) counts.stored++;
      if (mark & PARKED) counts.parked++;
      if (there && !(mark & ACKED)) counts.unacked++;
      if (!there && mark & ACKED) {
        counts.lost++;
        this.note(`row ${id} was acknowledged and is nowhere`);
      }
      if (there && there !== (mark & POISON ? PARKED : STORED)) {
        counts.misplaced++;
        this.note(`row ${id} is ${mark & POISON ? 'poison and stored' : 'good and parked'}`);
      }
    }
    return { ...counts, duplicates: this.duplicates, foreign: this.foreign };
  }

  private found(id: number, where: number): void {
    if (!Number.isInteger(id) || id < 0 || id >= this.count) {
      this.foreign++;
      this.note(`row ${id} was never sent`);
      return;
    }
    if (this.marks[id] & (STORED | PARKED)) {
      this.duplicates++;
      this.note(`row ${id} is there twice`);
    }
    this.marks[id] |= where;
  }

  private note(text: string): void {
    if (this.examples.length < 10) this.examples.push(text);
  }
}
