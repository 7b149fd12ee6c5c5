/**
 * What an error of PostgreSQL means for a write, by its SQLSTATE (PostgreSQL manual, appendix A). The longest prefix that matches
 * decides; what is not listed is `retry`: the rows stay in the WAL until the cause is gone.
 */
import { SinkError, type SinkFailure } from '../../core/sink';

const FAILURES: Readonly<Record<string, SinkFailure>> = {
  // Data exceptions: a value that PostgreSQL does not take.
  '22': 'content',
  // Our bytes are not what the column expects: an invariant of the encoder, not a fault of one row.
  '22P03': 'broken',
  '22P04': 'broken',
  // Integrity constraints.
  '23': 'content',
  // Limits of a row: too many columns, too complex, JSON too deep.
  '54': 'content',
};

/** The table or a column is not as we last saw it. */
const SCHEMA_CHANGED = new Set(['42P01', '42703', '3F000', '42P10']);

export function failureOf(sqlState: string, hasConstraint = true): SinkFailure {
  // A row that finds no partition is a check violation without a constraint: DEFAULT is missing, no fault of the row.
  if (sqlState === '23514' && !hasConstraint) return 'retry';
  return FAILURES[sqlState] ?? FAILURES[sqlState.slice(0, 2)] ?? 'retry';
}

export const sqlStateOf = (error: unknown): string => {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === 'string' && /^[0-9A-Z]{5}$/.test(code) ? code : '';
};

/** Another server has changed the types of a table's columns since we looked at them. */
export class SchemaMovedError extends SinkError {
  constructor(table: string) {
    super('retry', `the columns of ${table} were changed by another server, looking at them again`);
  }
}

export const isSchemaChange = (error: unknown): boolean => {
  if (error instanceof SchemaMovedError) return true;
  const sqlState = sqlStateOf(error);
  return SCHEMA_CHANGED.has(sqlState) || sqlState === '23514';
};

/** Any error of a write as a SinkError. */
export function sinkError(error: unknown, what: string): SinkError {
  if (error instanceof SinkError) return error;
  const storeCode = sqlStateOf(error);
  const text = error instanceof Error ? error.message || (error as { code?: string }).code || error.name : String(error);
  const failure = failureOf(storeCode, (error as { constraint?: string } | null)?.constraint !== undefined);
  return new SinkError(failure, `${what}: ${text}`, { cause: error, storeCode });
}

/** Any error of what is done before rows are sent: never the rows' fault. */
export function retryError(error: unknown, what: string): SinkError {
  if (error instanceof SinkError) return error;
  const { message, storeCode, cause } = sinkError(error, what);
  return new SinkError('retry', message, { cause, storeCode });
}
