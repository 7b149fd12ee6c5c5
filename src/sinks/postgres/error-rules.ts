/**
 * What errors of PostgreSQL mean for an insert, as data: by SQLSTATE (PostgreSQL manual, appendix A), the longest prefix that
 * matches. The whole transaction of an attempt is undone or its outcome is asked for (P1, P3), so that `verify` is part of every
 * retry. An error that is not here is a retry: rows are never skipped. docs/delivery.md shows this table.
 */
import type { ErrorAction, ErrorRule, FailureScope } from '../../core/sink';

const rule = (action: ErrorAction, scope: FailureScope, reason: string): ErrorRule => ({ action, scope, reason });

export const POSTGRES_ERRORS: Readonly<Record<string, ErrorRule>> = {
  '': rule('verify', 'unknown', 'no answer: the connection broke, or the outcome of COMMIT is unknown'),
  '08': rule('verify', 'store', 'connection failure: the outcome is unknown'),
  '0A': rule('retry', 'table', 'the table does not support what an insert needs'),
  '22': rule('dead_letter', 'table', 'a value that PostgreSQL does not take'),
  '22P03': rule('stop', 'table', 'our binary form is not what the column expects: a bug, not a row'),
  '22P04': rule('stop', 'table', 'our COPY stream is not well-formed: a bug, not a row'),
  '23': rule('dead_letter', 'table', 'a constraint that the row violates'),
  '25': rule('retry', 'store', 'transaction state: the connection is replaced'),
  '25006': rule('retry', 'store', 'read-only: a standby, or a failover under way'),
  '28': rule('retry', 'store', 'login refused'),
  '28P01': rule('retry', 'store', 'wrong password'),
  '3D000': rule('retry', 'store', 'the database is missing'),
  '3F000': rule('retry', 'table', 'the schema is missing'),
  '40': rule('verify', 'unknown', 'rolled back because of a conflict'),
  '40001': rule('retry', 'unknown', 'serialization failure'),
  '40003': rule('verify', 'unknown', 'completion unknown'),
  '40P01': rule('retry', 'unknown', 'deadlock'),
  '42': rule('retry', 'table', 'the table is not what it should be: changed or broken by somebody'),
  '42501': rule('retry', 'table', 'a grant on the table is missing'),
  '42703': rule('retry', 'table', 'a column is missing; it is added again'),
  '42P01': rule('retry', 'table', 'the table is missing; it is made again'),
  '44': rule('retry', 'table', 'a view refuses the rows'),
  '53': rule('retry', 'unknown', 'a resource of the server is used up'),
  '53100': rule('retry', 'unknown', 'disk full, of the server or of one tablespace'),
  '53200': rule('retry', 'unknown', 'out of memory'),
  '53300': rule('retry', 'store', 'too many connections'),
  '53400': rule('retry', 'unknown', 'a configured limit is reached'),
  '54': rule('split', 'table', 'over a limit of rows or statements: too large, too deep, too many columns'),
  '55P03': rule('retry', 'unknown', 'a lock is not available'),
  '57': rule('verify', 'store', 'the server or an operator ended it'),
  '57014': rule('retry', 'unknown', 'cancelled: a time limit, often behind a lock of the table'),
  '57P01': rule('verify', 'store', 'the server shuts down'),
  '57P02': rule('verify', 'store', 'the server has crashed'),
  '57P03': rule('retry', 'store', 'the server starts up or recovers'),
  '58': rule('verify', 'unknown', 'an I/O error of the server'),
  P0: rule('retry', 'table', 'a trigger or function of the table raises an error'),
  XX: rule('verify', 'unknown', 'internal error or damaged data of the server'),
};

/** A row that finds no partition is a check violation without a constraint: DEFAULT is missing, no fault of the row. */
const NO_PARTITION = rule('retry', 'table', 'the table has no partition for the row; it is made again');

export function postgresErrorRule(sqlState: string, hasConstraint = true): ErrorRule {
  if (sqlState === '23514' && !hasConstraint) return NO_PARTITION;
  return POSTGRES_ERRORS[sqlState] ?? POSTGRES_ERRORS[sqlState.slice(0, 2)] ?? rule('retry', 'unknown', 'not listed');
}
