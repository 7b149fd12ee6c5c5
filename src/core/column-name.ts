import { createHash } from 'node:crypto';
import { CONFLICTS_COLUMN, NANOS_SUFFIX, OVERFLOW_COLUMN, type TableSchema } from './table-schema';

/** Longest column name. */
const NAME_BYTES_MAX = 1_024;
/** Longest identifier in PostgreSQL, which cuts longer ones silently. */
const STORE_NAME_BYTES_MAX = 63;
const HASH_DIGITS = 10;
/** PostgreSQL gives these to every table. */
const SYSTEM_COLUMNS = new Set(['tableoid', 'xmin', 'cmin', 'xmax', 'cmax', 'ctid']);

/**
 * Why a name from outside cannot be a column in both stores, or undefined when it can: any UTF-8 text of 1 to 1,024 bytes without
 * NUL, not `_batch...` (our own columns, rule C1), not `_overflow` and `_conflicts`, no system column of PostgreSQL.
 */
export function columnNameProblem(name: string): string | undefined {
  const sizeBytes = Buffer.byteLength(name);
  if (sizeBytes === 0) return 'a column name must not be empty';
  if (sizeBytes > NAME_BYTES_MAX) return `a column name has at most ${NAME_BYTES_MAX} bytes`;
  if (name.includes('\0')) return 'a column name must not hold NUL';
  if (name.startsWith('_batch')) return 'column names that start with _batch are reserved';
  if (name === OVERFLOW_COLUMN || name === CONFLICTS_COLUMN) return `${name} is reserved for values that have no column`;
  return SYSTEM_COLUMNS.has(name) ? `${name} is a system column of PostgreSQL` : undefined;
}

/**
 * The name of the column in the stores where its own is too long for PostgreSQL (63 bytes less the suffix of the nanoseconds,
 * should it be a timestamp): the beginning of the name, `_` and 10 hex digits of its SHA-256. Undefined when its own name will
 * do.
 */
export function storeNameOf(name: string): string | undefined {
  const room = STORE_NAME_BYTES_MAX - NANOS_SUFFIX.length;
  if (Buffer.byteLength(name) <= room) return undefined;
  const hash = createHash('sha256').update(name).digest('hex').slice(0, HASH_DIGITS);
  return `${cutUtf8(name, room - HASH_DIGITS - 1)}_${hash}`;
}

/** The schema as the stores have it: columns by their names there. The schema itself when all names are the same. */
export function storeForm(schema: TableSchema): TableSchema {
  if (schema.columns.every(({ storeName }) => storeName === undefined)) return schema;
  const names = new Map(schema.columns.map(({ name, storeName = name }) => [name, storeName]));
  const rename = (name: string): string => names.get(name) ?? name;
  const columns = schema.columns.map(({ storeName, ...column }) => ({
    ...column,
    name: storeName ?? column.name,
    ...(column.exactOf === undefined ? {} : { exactOf: rename(column.exactOf) }),
  }));
  return { ...schema, columns, timeColumn: rename(schema.timeColumn) };
}

/** The beginning of a text, of at most `bytesMax` bytes and of whole characters. */
function cutUtf8(text: string, bytesMax: number): string {
  const bytes = Buffer.from(text);
  let end = bytesMax;
  while (end > 0 && (bytes[end] & 0xc0) === 0x80) end--;
  return bytes.toString('utf8', 0, end);
}

/** The timestamp column whose nanoseconds would be stored under this name, or undefined. */
export function nanosOwner(name: string, isTimestamp: (name: string) => boolean): string | undefined {
  if (!name.endsWith(NANOS_SUFFIX)) return undefined;
  const owner = name.slice(0, -NANOS_SUFFIX.length);
  return isTimestamp(owner) ? owner : undefined;
}
