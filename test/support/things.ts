import type { TableName } from '../../src/core/ids';
import type { TableSchema } from '../../src/core/table-schema';

/** A small hot table whose rows are told apart by `id`. */
export const thingsSchema = (table = 'things'): TableSchema => ({
  table: table as TableName,
  version: 1,
  columns: [
    { name: 'time', type: 'timestamp', nullable: false },
    { name: 'id', type: 'float64', nullable: true },
  ],
  timeColumn: 'time',
  tier: 'hot',
});
