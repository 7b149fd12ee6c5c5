import { LIMITS } from './limits';
import { CONFLICTS_COLUMN, type ColumnSchema, OVERFLOW_COLUMN } from './table-schema';

type Column = Pick<ColumnSchema, 'name' | 'type'>;

/** Our own columns for values that have none: they do not count, there is always room for them. */
export const isSideColumn = (name: string): boolean => name === OVERFLOW_COLUMN || name === CONFLICTS_COLUMN;

/** Can one table have all of these? Side columns do not count; a timestamp is two columns in PostgreSQL. */
export function haveRoom(columns: readonly Column[]): boolean {
  const own = columns.filter(({ name }) => !isSideColumn(name));
  const stored = own.length + own.filter(({ type }) => type === 'timestamp').length;
  return own.length <= LIMITS.columnsMax && stored <= LIMITS.storeColumnsMax;
}

/** As many of the new columns, from the first, as there is room for beside those of the table. */
export function withinRoom<T extends Column>(taken: readonly Column[], added: readonly T[]): readonly T[] {
  if (haveRoom([...taken, ...added])) return added;
  let from = 0;
  let to = added.length - 1;
  while (from < to) {
    const middle = (from + to + 1) >> 1;
    if (haveRoom([...taken, ...added.slice(0, middle)])) from = middle;
    else to = middle - 1;
  }
  return added.slice(0, from);
}
