/** What ClickHouse's answers mean, as data: a closed table of codes. A code that is not in it is `retry`: never skip a row. */
import { SinkError, type SinkFailure } from '../../core/sink';

/** `schema`: table, database or column are missing; creating them may help. */
export type FailureKind = 'content' | 'schema' | 'retry';

/** ClickHouse ErrorCodes.cpp. */
const KINDS: ReadonlyMap<string, FailureKind> = new Map([
  ...kind('content', [
    6, // CANNOT_PARSE_TEXT
    26, // CANNOT_PARSE_QUOTED_STRING
    27, // CANNOT_PARSE_INPUT_ASSERTION_FAILED
    38, // CANNOT_PARSE_DATE
    41, // CANNOT_PARSE_DATETIME
    50, // UNKNOWN_TYPE
    53, // TYPE_MISMATCH
    69, // ARGUMENT_OUT_OF_BOUND
    70, // CANNOT_CONVERT_TYPE
    72, // CANNOT_PARSE_NUMBER
    117, // INCORRECT_DATA
    128, // TOO_LARGE_ARRAY_SIZE
    131, // TOO_LARGE_STRING_SIZE
    321, // VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE
    349, // CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN
    407, // DECIMAL_OVERFLOW
    469, // VIOLATED_CONSTRAINT
  ]),
  ...kind('schema', [
    16, // NO_SUCH_COLUMN_IN_TABLE
    47, // UNKNOWN_IDENTIFIER
    60, // UNKNOWN_TABLE
    81, // UNKNOWN_DATABASE
    218, // TABLE_IS_DROPPED
  ]),
  ...kind('retry', [
    // A body that was cut on its way (we encode it whole): not the fault of the rows.
    32, // ATTEMPT_TO_READ_AFTER_EOF
    33, // CANNOT_READ_ALL_DATA
    76, // CANNOT_OPEN_FILE: another server holds the data directory
    159, // TIMEOUT_EXCEEDED
    164, // READONLY
    192, // UNKNOWN_USER
    202, // TOO_MANY_SIMULTANEOUS_QUERIES
    209, // SOCKET_TIMEOUT
    210, // NETWORK_ERROR
    216, // QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING
    241, // MEMORY_LIMIT_EXCEEDED
    242, // TABLE_IS_READ_ONLY
    243, // NOT_ENOUGH_SPACE
    252, // TOO_MANY_PARTS
    394, // QUERY_WAS_CANCELLED
    395, // FUNCTION_THROW_IF_VALUE_IS_NON_ZERO: a materialized view refused the block
    497, // ACCESS_DENIED
    516, // AUTHENTICATION_FAILED
    1001, // STD_EXCEPTION: an I/O error
  ]),
]);

function kind(name: FailureKind, codes: readonly number[]): [string, FailureKind][] {
  return codes.map((code) => [String(code), name]);
}

/** A request that was not a clean success. */
export class StoreError extends Error {
  /** ClickHouse's error code as digits; '' when the answer had none. */
  readonly code: string;
  /** Did the store itself refuse (an error code came back)? Otherwise nobody knows what it did. */
  get refused(): boolean {
    return this.code !== '';
  }

  constructor(message: string, options: { code?: string; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'StoreError';
    this.code = options.code ?? '';
  }

  get kind(): FailureKind {
    return KINDS.get(this.code) ?? 'retry';
  }
}

/**
 * The code of an exception text. Old servers and proxies give it only here: `Code: 60. DB::Exception: ...`.
 * Anchored, so that a value quoted in a message cannot pass for a code.
 */
export const codeOf = (text: string): string => /^\s*Code: (\d+)\. /.exec(text)?.[1] ?? '';

/** Anything thrown while writing as a SinkError. */
export function toSinkError(error: unknown): SinkError {
  if (error instanceof SinkError) return error;
  if (!(error instanceof StoreError)) return new SinkError('broken', 'unexpected error in the clickhouse sink', { cause: error });
  const failure: SinkFailure = error.kind === 'content' ? 'content' : 'retry';
  return new SinkError(failure, error.message, { cause: error, storeCode: error.code });
}
