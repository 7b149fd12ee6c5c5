import { Writer } from 'protobufjs/minimal';
import { type RowValue, writeValue } from './encode-value';
import { type Rejection, ThermoclineError } from './errors';

/** A row: values by column name. */
export type Row = Readonly<Record<string, RowValue>>;

/** What became of one `write`. */
export interface WriteResult {
  /** The batches that hold its rows; more than one when it was split. For `ThermoclineClient.batchStatus`. */
  readonly batchIds: readonly string[];
  readonly rows: number;
  /** Rows that were refused. The server lists the first 100 of a request. */
  readonly rejections: readonly Rejection[];
  /** Were more rows of the same requests refused than are listed: then `rejections` may not be all. */
  readonly moreRejected: boolean;
  /** Rows of the same requests that do not fit and are kept as dead letters, as the policy of their column or table says. */
  readonly deadLetterRows: number;
}

/** One call of `write`, whose rows may be spread over several batches. */
export class WriteCall {
  readonly result: Promise<WriteResult>;
  private resolve: (result: WriteResult) => void = () => undefined;
  private reject: (error: Error) => void = () => undefined;
  private openBatches = 0;
  private complete = false;
  private refusedRows = 0;
  private readonly batchIds: string[] = [];
  private readonly rejections: Rejection[] = [];
  private moreRejected = false;
  private deadLetterRows = 0;
  private error: ThermoclineError | undefined;

  constructor(readonly rows: number) {
    this.result = new Promise((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
    });
  }

  /** Some of its rows are in one more batch. */
  join(): void {
    this.openBatches++;
  }

  /** All of its rows are in batches. */
  close(): void {
    this.complete = true;
    this.finish();
  }

  /** A batch with its rows was answered. `refusedRows` may be more than are listed. */
  answered(answer: {
    batchId: string | undefined;
    rejections: Rejection[];
    refusedRows: number;
    moreRejected: boolean;
    deadLetterRows: number;
  }): void {
    if (answer.batchId !== undefined) this.batchIds.push(answer.batchId);
    this.rejections.push(...answer.rejections);
    this.refusedRows += answer.refusedRows;
    this.moreRejected ||= answer.moreRejected;
    this.deadLetterRows += answer.deadLetterRows;
    this.openBatches--;
    this.finish();
  }

  failed(error: ThermoclineError): void {
    this.error ??= error;
    this.openBatches--;
    this.finish();
  }

  private finish(): void {
    if (!this.complete || this.openBatches > 0) return;
    const { error, rejections, rows, batchIds, moreRejected, deadLetterRows } = this;
    if (error !== undefined) {
      const { code, message, retryable } = error;
      this.reject(new ThermoclineError(code, message, { rejections, retryable, cause: error }));
    } else if (rows > 0 && this.refusedRows >= rows) {
      const why = rejections[0] === undefined ? '' : `: ${rejections[0].message}`;
      this.reject(new ThermoclineError('INVALID_ARGUMENT', `no row was accepted${why}`, { rejections }));
    } else this.resolve({ batchIds, rows, rejections, moreRejected, deadLetterRows });
  }
}

/** Rows of one call in a batch. */
interface Segment {
  readonly call: WriteCall;
  /** Position of the first row in the call, and in the batch. */
  readonly callRow: number;
  readonly batchRow: number;
  rows: number;
}

/** The answer to a batch. */
export interface BatchAnswer {
  /** Undefined when every row was refused. */
  readonly batchId: string | undefined;
  readonly rejectedRows: number;
  readonly rejections: readonly Rejection[];
  readonly deadLetterRows: number;
}

/** The server takes 4,096 names; a row that brings more than the rest is refused by it. */
const NAMES_MAX = 4_000;
const ROWS_TAG = 0x22;
const NAME_TAG = 0x0a;
const ROW_TAG = 0x12;

/** Rows for one table that become one request. */
export class RowBatch {
  rows = 0;
  sizeBytes = 0;
  private readonly names = new Map<string, number>();
  private readonly encoded: Uint8Array[] = [];
  private readonly segments: Segment[] = [];

  /** Adds row `callRow` of a call, whose values `checkValue` has passed. */
  add(row: Row, call: WriteCall, callRow: number): void {
    const bytes = this.encode(row);
    this.encoded.push(bytes);
    this.sizeBytes += bytes.length;
    const last = this.segments.at(-1);
    if (last?.call === call) last.rows++;
    else {
      call.join();
      this.segments.push({ call, callRow, batchRow: this.rows, rows: 1 });
    }
    this.rows++;
  }

  get isFull(): boolean {
    return this.names.size > NAMES_MAX;
  }

  /** A `Row` with positional values. */
  private encode(row: Row): Uint8Array {
    const values: RowValue[] = [];
    for (const [name, value] of Object.entries(row)) {
      if (value === null || value === undefined) continue;
      let at = this.names.get(name);
      if (at === undefined) {
        at = this.names.size;
        this.names.set(name, at);
        this.sizeBytes += name.length + 4;
      }
      values[at] = value;
    }
    const out = Writer.create();
    for (let at = 0; at < values.length; at++) {
      out.uint32(ROW_TAG).fork();
      writeValue(values[at], out);
      out.ldelim();
    }
    return out.finish();
  }

  /** The field `rows` of a `WriteRequest`. */
  message(): Uint8Array {
    const out = Writer.create().uint32(ROWS_TAG).fork();
    for (const name of this.names.keys()) out.uint32(NAME_TAG).string(name);
    for (const row of this.encoded) out.uint32(ROW_TAG).bytes(row);
    return out.ldelim().finish();
  }

  answered({ batchId, rejectedRows, rejections, deadLetterRows }: BatchAnswer): void {
    const moreRejected = rejectedRows > rejections.length;
    const allRefused = rejectedRows === this.rows;
    for (const { call, callRow, batchRow, rows } of this.segments) {
      const own = rejections
        .filter(({ row }) => row >= batchRow && row < batchRow + rows)
        .map((rejection) => ({ ...rejection, row: rejection.row - batchRow + callRow }));
      call.answered({ batchId, rejections: own, refusedRows: allRefused ? rows : own.length, moreRejected, deadLetterRows });
    }
  }

  failed(error: ThermoclineError): void {
    for (const { call } of this.segments) call.failed(error);
  }
}
