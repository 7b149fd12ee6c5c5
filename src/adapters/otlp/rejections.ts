import { IngestError, type RejectionCode, type RowRejection } from '../../core/errors';
import type { TableName } from '../../core/ids';
import { LIMITS } from '../../core/limits';

/** Why a row is refused. */
export interface Refusal {
  readonly code: RejectionCode;
  readonly column: string;
  readonly message: string;
}

/** A fixed64 time above the greatest int64. */
export const timeTooLate = (column: string): Refusal => ({
  code: 'out_of_range',
  column,
  message: 'a time is beyond 64-bit signed nanoseconds, which end in the year 2262',
});

/** Counts the rows of a request, accepted and refused, and keeps the first refusals. */
export class RowTally {
  accepted = 0;
  rejected = 0;
  rejections: RowRejection[] = [];

  /** Starts a new request; the list of the last one is no longer touched. */
  reset(): void {
    this.accepted = 0;
    this.rejected = 0;
    this.rejections = [];
  }

  /** Counts one more accepted row; gives its position among them. */
  accept(): number {
    // A row can cost two bytes on the wire and a hundred in memory.
    if (this.accepted === LIMITS.rowsPerWriteMax) {
      throw new IngestError('payload_too_large', `a request holds at most ${LIMITS.rowsPerWriteMax} rows`);
    }
    return this.accepted++;
  }

  /** `table`: for a request whose rows go to several tables. */
  reject({ code, column, message }: Refusal, table?: TableName): void {
    if (this.rejections.length < LIMITS.rejectionsListedMax) {
      const row = this.accepted + this.rejected;
      this.rejections.push({ row, ...(table === undefined ? {} : { table }), code, column, message });
    }
    this.rejected++;
  }
}
