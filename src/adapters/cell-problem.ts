import type { RejectionCode } from '../core/errors';
import type { ColumnType } from '../core/table-schema';

/** Why a value does not fit its column; made only for rows that are refused. */
export interface CellProblem {
  readonly code: RejectionCode;
  readonly message: string;
  /** A type that holds the value, when the code alone does not tell. */
  readonly fits?: ColumnType;
}

export const mismatch = (wanted: string): CellProblem => ({ code: 'type_mismatch', message: `expected ${wanted}` });
export const outOfRange = (type: string): CellProblem => ({
  code: 'out_of_range',
  message: `the value does not fit into ${type}`,
});

/** The problem of a number that a column of type `fits` would take. */
export const wouldFit = (problem: CellProblem, fits: ColumnType): CellProblem => ({ ...problem, fits });

/** A number that a decimal column cannot hold exactly; a double would not either. */
export const NOT_A_DECIMAL: CellProblem = {
  code: 'out_of_range',
  message: 'a decimal has at most 38 digits before the point and 38 behind it',
  fits: 'decimal',
};

export const timeProblem = (code: 'invalid_time' | 'out_of_range'): CellProblem =>
  code === 'out_of_range'
    ? { code, message: 'the time is before 1900 or after 2262' }
    : { code, message: 'expected an RFC 3339 time or an epoch number of at most nanosecond precision' };
