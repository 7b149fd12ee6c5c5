import type { DecodedRequest, TableBatch } from '../core/batch';
import { IngestError, type RowRejection } from '../core/errors';
import { LIMITS } from '../core/limits';
import type { ColumnType } from '../core/table-schema';
import { joinTypes } from '../core/type-lattice';
import type { CellProblem } from './cell-problem';

const NAME_SHOWN_MAX = 80;

/** A name from a request as it may be shown in an answer. */
export const shownName = (name: string): string => (name.length > NAME_SHOWN_MAX ? `${name.slice(0, NAME_SHOWN_MAX)}...` : name);

/** Counts the refused rows of a request and keeps the first of them. */
export class Rejections {
  count = 0;
  private readonly conflicts = new Map<string, ColumnType>();
  private readonly listed: RowRejection[] = [];

  add(row: number, problem: CellProblem, column?: string): void {
    this.count++;
    if (this.listed.length >= LIMITS.rejectionsListedMax) return;
    const { code, message } = problem;
    this.listed.push(column === undefined ? { row, code, message } : { row, code, column: shownName(column), message });
  }

  /** The column would hold the value if it had this type. */
  conflict(column: string, type: ColumnType): void {
    const before = this.conflicts.get(column);
    this.conflicts.set(column, before === undefined ? type : joinTypes(before, type));
  }

  decoded(batch: TableBatch | undefined): DecodedRequest {
    return {
      batches: batch === undefined ? [] : [batch],
      acceptedRows: batch?.batch.numRows ?? 0,
      rejectedRows: this.count,
      rejections: this.listed,
      ...(this.conflicts.size === 0 ? {} : { conflicts: this.conflicts }),
    };
  }
}

export const tooManyRows = (): IngestError =>
  new IngestError('payload_too_large', `a request has at most ${LIMITS.rowsPerRequestMax} rows`);
