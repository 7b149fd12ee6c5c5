import type { RejectionCode } from '../core/errors';

/** Why a value does not fit its column; made only for rows that are refused. */
export interface CellProblem {
  readonly code: RejectionCode;
  readonly message: string;
}

export const mismatch = (wanted: string): CellProblem => ({ code: 'type_mismatch', message: `expected ${wanted}` });
export const outOfRange = (type: string): CellProblem => ({
  code: 'out_of_range',
  message: `the value does not fit into ${type}`,
});

export const timeProblem = (code: 'invalid_time' | 'out_of_range'): CellProblem =>
  code === 'out_of_range'
    ? { code, message: 'the time is before 1900 or after 2262' }
    : { code, message: 'expected an RFC 3339 time or an epoch number of at most nanosecond precision' };
