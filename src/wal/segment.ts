import { frameSeed, SEGMENT_HEADER_BYTES, type SegmentHeader } from './format';

/** One index entry is kept for about this many bytes of a segment. */
const INDEX_STEP_BYTES = 1024 * 1024;

export interface EntryPosition {
  readonly seq: number;
  readonly offset: number;
}

/** Where some entries of a segment lie: enough to start a read close to any entry, small enough to keep for every segment. */
export class SparseIndex {
  private readonly positions: EntryPosition[] = [];

  /** Entries must be added in order; most are not kept. */
  add(seq: number, offset: number): void {
    const last = this.positions.at(-1);
    if (last === undefined || offset - last.offset >= INDEX_STEP_BYTES) this.positions.push({ seq, offset });
  }

  /** The last kept position at or before `seq`. */
  floor(seq: number): EntryPosition | undefined {
    let low = 0;
    let high = this.positions.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.positions[middle].seq <= seq) low = middle + 1;
      else high = middle;
    }
    return this.positions[low - 1];
  }
}

/** What is known in memory of one segment file. */
export class Segment {
  readonly header: SegmentHeader;
  readonly path: string;
  readonly seed: number;
  readonly index: SparseIndex;
  /** The last durable entry; `base - 1` while there is none. */
  lastSeq: number;
  /** Where the durable entries end. */
  endOffset: number;
  fileBytes: number;
  /** Of the durable entries; what the seal will hold. */
  checksum = 0;
  /** The seal is on disk: the file does not change any more until it is released. */
  sealed = false;

  constructor(options: { header: SegmentHeader; path: string; fileBytes: number; index?: SparseIndex }) {
    this.header = options.header;
    this.path = options.path;
    this.fileBytes = options.fileBytes;
    this.index = options.index ?? new SparseIndex();
    this.seed = frameSeed(options.header);
    this.lastSeq = options.header.base - 1;
    this.endOffset = SEGMENT_HEADER_BYTES;
  }

  get base(): number {
    return this.header.base;
  }

  get empty(): boolean {
    return this.lastSeq < this.base;
  }
}
