import { type DecodedRequest, parkedRowsOf, type TableBatch, type UnfitReason, type UnfitRows } from '../core/batch';
import { IngestError, type RowRejection } from '../core/errors';
import type { WriteReceipt } from '../core/ingest';
import { LIMITS } from '../core/limits';
import type { ColumnSchema, ColumnType, TableSchema } from '../core/table-schema';
import { widestType } from '../core/type-lattice';
import type { CellProblem } from './cell-problem';

const NAME_SHOWN_MAX = 80;

/** A name from a request as it may be shown in an answer. */
export const shownName = (name: string): string => (name.length > NAME_SHOWN_MAX ? `${name.slice(0, NAME_SHOWN_MAX)}...` : name);

/**
 * Which rows that cannot be stored become dead letters: none, those refused for a column whose policy says so, these and those whose
 * labels are of the wrong type, or all.
 */
export type Parking = 'none' | 'columns' | 'labels' | 'all';

/** Does a row that is refused, for this column if for any, become a dead letter? */
export function isParked(schema: TableSchema, parking: Parking, column: string | undefined): boolean {
  if (parking === 'none' || parking === 'all') return parking === 'all';
  const refused = column === undefined ? undefined : schema.columns.find(({ name }) => name === column);
  if (refused === undefined) return false;
  return refused.conflict === 'dead_letter' || (parking === 'labels' && refused.type === 'attributes');
}

/** The reason in a dead letter. What is no row at all was not even decoded. */
export function unfitReason({ code, message }: CellProblem, column?: string): UnfitReason {
  const stage = code === 'invalid_json' || code === 'not_an_object' ? 'decode' : 'schema';
  return column === undefined ? { stage, code, message } : { stage, code, column: shownName(column), message };
}

/** What the request has come to: rows may have been parked for their labels. */
export function settled(decoded: DecodedRequest, { parkedRows = 0 }: WriteReceipt): Settled {
  const { acceptedRows, rejectedRows, rejections } = decoded;
  return { acceptedRows: acceptedRows - parkedRows, parkedRows: parkedRowsOf(decoded) + parkedRows, rejectedRows, rejections };
}

export interface Settled extends Pick<DecodedRequest, 'acceptedRows' | 'rejectedRows' | 'rejections'> {
  /** Rows that became dead letters. */
  readonly parkedRows: number;
}

/** Was nothing of the request taken, and something refused? */
export const nothingTaken = (decoded: DecodedRequest): boolean =>
  decoded.acceptedRows === 0 && decoded.rejectedRows > 0 && parkedRowsOf(decoded) === 0;

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

  /** A type that would hold a value of the column, which may change. */
  conflict(column: ColumnSchema, type: ColumnType): void {
    const wider = widestType(column, this.conflicts.get(column.name), type);
    if (wider !== undefined) this.conflicts.set(column.name, wider);
  }

  decoded(batch: TableBatch | undefined, parked: readonly UnfitRows[] = []): DecodedRequest {
    return {
      batches: batch === undefined ? [] : [batch],
      acceptedRows: batch?.batch.numRows ?? 0,
      rejectedRows: this.count,
      rejections: this.listed,
      ...(parked.length === 0 ? {} : { parked }),
      ...(this.conflicts.size === 0 ? {} : { conflicts: this.conflicts }),
    };
  }
}

export const tooManyRows = (): IngestError =>
  new IngestError('payload_too_large', `a request has at most ${LIMITS.rowsPerRequestMax} rows`);
