import type { TableName } from './ids';
import type { Tier } from './table-schema';

/** Takes all rows out of one table of one store. The one way in which rows that were delivered go away again on a client's wish. */
export interface RowEraser {
  readonly tier: Tier;
  /** A table that is not there is empty. Throws SinkError `retry` when the store cannot do it now. */
  erase(table: TableName): Promise<void>;
}
