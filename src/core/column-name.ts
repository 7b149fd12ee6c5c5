import { NANOS_SUFFIX } from './table-schema';

const NAME_BYTES_MAX = 63;
/** PostgreSQL gives these to every table. */
const SYSTEM_COLUMNS = new Set(['tableoid', 'xmin', 'cmin', 'xmax', 'cmax', 'ctid']);

/**
 * Why a name from outside cannot be a column in both stores, or undefined when it can: any UTF-8 text of 1 to 63 bytes
 * (PostgreSQL's limit) without NUL, not `_batch...` (our own columns, rule C1) and no system column of PostgreSQL.
 */
export function columnNameProblem(name: string): string | undefined {
  const sizeBytes = Buffer.byteLength(name);
  if (sizeBytes === 0) return 'a column name must not be empty';
  if (sizeBytes > NAME_BYTES_MAX) return `a column name has at most ${NAME_BYTES_MAX} bytes`;
  if (name.includes('\0')) return 'a column name must not hold NUL';
  if (name.startsWith('_batch')) return 'column names that start with _batch are reserved';
  return SYSTEM_COLUMNS.has(name) ? `${name} is a system column of PostgreSQL` : undefined;
}

/** The timestamp column whose nanoseconds would be stored under this name, or undefined. */
export function nanosOwner(name: string, isTimestamp: (name: string) => boolean): string | undefined {
  if (!name.endsWith(NANOS_SUFFIX)) return undefined;
  const owner = name.slice(0, -NANOS_SUFFIX.length);
  return isTimestamp(owner) ? owner : undefined;
}
