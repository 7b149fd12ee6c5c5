import type { RecordBatch } from 'apache-arrow';
import type { RejectionCode, RowRejection } from './errors';
import type { TableName } from './ids';
import type { ColumnType } from './table-schema';

/** One Arrow record batch of one table: the only form in which rows travel inside the server. */
export interface TableBatch {
  readonly table: TableName;
  readonly schemaVersion: number;
  /** Columns by name, a subset of the table's columns in any order; a missing column is null in every row. */
  readonly batch: RecordBatch;
}

/** Why one row was parked before any store was asked. `decode`: it could not be read; `schema`: it does not fit its table. */
export interface UnfitReason {
  readonly stage: 'decode' | 'schema';
  /** `unroutable`: a routing rule sends the row to no tier. */
  readonly code: RejectionCode | 'unroutable';
  readonly column?: string;
  readonly message: string;
}

/** Rows that are kept as dead letters instead of being refused to the client, in the types they came with. */
export interface UnfitRows {
  readonly table: TableName;
  /** Of the schema that the rows do not fit; 0 for a table that is not there. */
  readonly schemaVersion: number;
  readonly batch: RecordBatch;
  /** One for each row, in order. */
  readonly reasons: readonly UnfitReason[];
  /** Columns that hold JSON texts, which Arrow does not tell from other texts. */
  readonly jsonColumns: readonly string[];
  /** The only column holds each row as the JSON text that it came as, perhaps not even JSON. */
  readonly wholeRows?: boolean;
}

/** What an adapter's decoder makes of one request. */
export interface DecodedRequest {
  /** At most one batch per table, none of them empty. */
  readonly batches: readonly TableBatch[];
  readonly acceptedRows: number;
  readonly rejectedRows: number;
  /** Rows that become dead letters: they are neither accepted nor rejected. Absent when there is none. */
  readonly parked?: readonly UnfitRows[];
  /** The first `LIMITS.rejectionsListedMax` of the rejected rows. */
  readonly rejections: readonly RowRejection[];
  /** By column, the type that would hold the values for which rows were rejected; absent when there is none. */
  readonly conflicts?: ReadonlyMap<string, ColumnType>;
  /** What was accepted but is worth a word to the client; absent when there is nothing. */
  readonly warnings?: readonly string[];
}

/** How many rows of a request become dead letters. */
export const parkedRowsOf = ({ parked = [] }: Pick<DecodedRequest, 'parked'>): number =>
  parked.reduce((sum, { reasons }) => sum + reasons.length, 0);
