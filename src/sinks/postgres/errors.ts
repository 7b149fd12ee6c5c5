/** Errors of PostgreSQL, whose meaning is data in error-rules.ts. */
import { FAILURE_OF, SinkError } from '../../core/sink';
import { postgresErrorRule } from './error-rules';

/** The table or a column is not as we last saw it. */
const SCHEMA_CHANGED = new Set(['42P01', '42703', '3F000', '42P10']);

export const sqlStateOf = (error: unknown): string => {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === 'string' && /^[0-9A-Z]{5}$/.test(code) ? code : '';
};

/** Another server has changed the types of a table's columns since we looked at them. */
export class SchemaMovedError extends SinkError {
  constructor(table: string) {
    super('retry', `the columns of ${table} were changed by another server, looking at them again`, { scope: 'table' });
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
  const hasConstraint = (error as { constraint?: string } | null)?.constraint !== undefined;
  const { action, scope } = postgresErrorRule(storeCode, hasConstraint);
  return new SinkError(FAILURE_OF[action], `${what}: ${text}`, { cause: error, storeCode, scope });
}

/** Any error of what is done before rows are sent: never the rows' fault. */
export function retryError(error: unknown, what: string): SinkError {
  if (error instanceof SinkError) return error;
  const { message, storeCode, scope, cause } = sinkError(error, what);
  return new SinkError('retry', message, { cause, storeCode, scope });
}

/** Lock timeout, deadlock. */
export const LOCK_FAILURES: ReadonlySet<string> = new Set(['55P03', '40P01']);
