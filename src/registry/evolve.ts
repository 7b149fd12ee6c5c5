import { columnNameProblem, nanosOwner } from '../core/column-name';
import { IngestError } from '../core/errors';
import type { TableName } from '../core/ids';
import { LIMITS } from '../core/limits';
import type { ColumnSchema, TableSchema, Tier } from '../core/table-schema';

/**
 * The schema after the columns are added: the known one itself when nothing is new, otherwise the next version.
 * Additive only: a column that exists keeps its type, whatever is asked.
 */
export function evolveSchema(
  known: TableSchema | undefined,
  table: TableName,
  columns: readonly ColumnSchema[],
  options: { timeColumn: string; tier?: Tier },
): TableSchema {
  const present = new Set(known?.columns.map((column) => column.name));
  const added = columns.filter((column) => !present.has(column.name));
  if (known !== undefined && added.length === 0) return known;
  const all = [...(known?.columns ?? []), ...added];
  checkColumns(all);
  const timeColumn = known?.timeColumn ?? options.timeColumn;
  const time = all.find((column) => column.name === timeColumn);
  if (time?.type !== 'timestamp') throw new IngestError('invalid_argument', `the time column ${timeColumn} must be a timestamp`);
  return { table, version: (known?.version ?? 0) + 1, columns: all, timeColumn, tier: known?.tier ?? options.tier ?? 'hot' };
}

function checkColumns(columns: readonly ColumnSchema[]): void {
  if (columns.length > LIMITS.columnsMax) {
    throw new IngestError('invalid_argument', `a table has at most ${LIMITS.columnsMax} columns`);
  }
  const types = new Map(columns.map(({ name, type }) => [name, type]));
  if (types.size < columns.length) throw new IngestError('invalid_argument', 'a column is there twice');
  for (const { name } of columns) {
    const owner = nanosOwner(name, (other) => types.get(other) === 'timestamp');
    const problem =
      columnNameProblem(name) ?? (owner === undefined ? undefined : `${name} is reserved for the nanoseconds of ${owner}`);
    if (problem !== undefined) throw new IngestError('invalid_argument', problem);
  }
}
