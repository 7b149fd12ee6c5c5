import type { RecordBatch } from 'apache-arrow';
import type { RowRejection } from './errors';
import type { TableName } from './ids';
import type { ColumnType } from './table-schema';

/** One Arrow record batch of one table: the only form in which rows travel inside the server. */
export interface TableBatch {
  readonly table: TableName;
  readonly schemaVersion: number;
  /** Columns by name, a subset of the table's columns in any order; a missing column is null in every row. */
  readonly batch: RecordBatch;
}

/** What an adapter's decoder makes of one request. */
export interface DecodedRequest {
  /** At most one batch per table, none of them empty. */
  readonly batches: readonly TableBatch[];
  readonly acceptedRows: number;
  readonly rejectedRows: number;
  /** The first `LIMITS.rejectionsListedMax` of the rejected rows. */
  readonly rejections: readonly RowRejection[];
  /** By column, the type that would hold the values for which rows were rejected; absent when there is none. */
  readonly conflicts?: ReadonlyMap<string, ColumnType>;
  /** What was accepted but is worth a word to the client; absent when there is nothing. */
  readonly warnings?: readonly string[];
}
