/**
 * What errors of ClickHouse mean for an insert, as data: codes of ErrorCodes.cpp. A code that is not here is `verify`: rows are never
 * skipped, and any doubt about an attempt is settled by counting its rows (recipe.ts, C5). docs/delivery.md shows this table.
 */
import type { ErrorAction, ErrorRule, FailureScope } from '../../core/sink';

const rule = (action: ErrorAction, scope: FailureScope, reason: string): ErrorRule => ({ action, scope, reason });

/** `repairs`: table, database or column are missing; creating them may help. */
export interface ClickHouseErrorRule extends ErrorRule {
  readonly repairs?: boolean;
}

const missing = (reason: string): ClickHouseErrorRule => ({ ...rule('verify', 'table', reason), repairs: true });

export const CLICKHOUSE_ERRORS: Readonly<Record<string, ClickHouseErrorRule>> = {
  '': rule('verify', 'unknown', 'no answer, or one without a code: the outcome is unknown'),
  6: rule('dead_letter', 'table', 'CANNOT_PARSE_TEXT'),
  16: missing('NO_SUCH_COLUMN_IN_TABLE: it is added again'),
  26: rule('dead_letter', 'table', 'CANNOT_PARSE_QUOTED_STRING'),
  27: rule('dead_letter', 'table', 'CANNOT_PARSE_INPUT_ASSERTION_FAILED'),
  32: rule('verify', 'unknown', 'ATTEMPT_TO_READ_AFTER_EOF: the body was cut on its way, not the fault of rows'),
  33: rule('verify', 'unknown', 'CANNOT_READ_ALL_DATA: the body was cut on its way, not the fault of rows'),
  38: rule('dead_letter', 'table', 'CANNOT_PARSE_DATE'),
  41: rule('dead_letter', 'table', 'CANNOT_PARSE_DATETIME'),
  47: missing('UNKNOWN_IDENTIFIER: the column is added again'),
  50: rule('split', 'table', 'UNKNOWN_TYPE'),
  53: rule('split', 'table', 'TYPE_MISMATCH'),
  60: missing('UNKNOWN_TABLE: it is made again'),
  69: rule('dead_letter', 'table', 'ARGUMENT_OUT_OF_BOUND'),
  70: rule('split', 'table', 'CANNOT_CONVERT_TYPE'),
  72: rule('dead_letter', 'table', 'CANNOT_PARSE_NUMBER'),
  76: rule('retry', 'store', 'CANNOT_OPEN_FILE: another server holds the data directory'),
  81: missing('UNKNOWN_DATABASE: it is made again'),
  117: rule('split', 'table', 'INCORRECT_DATA'),
  128: rule('split', 'table', 'TOO_LARGE_ARRAY_SIZE'),
  131: rule('split', 'table', 'TOO_LARGE_STRING_SIZE'),
  159: rule('verify', 'unknown', 'TIMEOUT_EXCEEDED'),
  164: rule('retry', 'store', 'READONLY: the user may only read'),
  192: rule('retry', 'store', 'UNKNOWN_USER'),
  202: rule('retry', 'store', 'TOO_MANY_SIMULTANEOUS_QUERIES'),
  209: rule('verify', 'store', 'SOCKET_TIMEOUT'),
  210: rule('verify', 'store', 'NETWORK_ERROR'),
  216: rule('verify', 'unknown', 'QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING: an earlier attempt is not over'),
  218: missing('TABLE_IS_DROPPED: it is made again'),
  241: rule('retry', 'unknown', 'MEMORY_LIMIT_EXCEEDED'),
  242: rule('retry', 'table', 'TABLE_IS_READ_ONLY: the replica has lost its Keeper'),
  243: rule('retry', 'unknown', 'NOT_ENOUGH_SPACE'),
  252: { ...rule('retry', 'table', 'TOO_MANY_PARTS: fewer, larger inserts'), fewerInserts: true },
  319: rule('verify', 'unknown', 'UNKNOWN_STATUS_OF_INSERT'),
  321: rule('dead_letter', 'table', 'VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE'),
  349: rule('dead_letter', 'table', 'CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN'),
  394: rule('verify', 'unknown', 'QUERY_WAS_CANCELLED'),
  395: rule('retry', 'table', 'FUNCTION_THROW_IF_VALUE_IS_NON_ZERO: a materialized view refuses the block'),
  396: rule('retry', 'table', 'TOO_MANY_ROWS_OR_BYTES: over a limit or quota'),
  407: rule('dead_letter', 'table', 'DECIMAL_OVERFLOW'),
  469: rule('dead_letter', 'table', 'VIOLATED_CONSTRAINT'),
  497: rule('retry', 'table', 'ACCESS_DENIED: a grant is missing'),
  516: rule('retry', 'store', 'AUTHENTICATION_FAILED'),
  999: rule('verify', 'unknown', 'KEEPER_EXCEPTION'),
  1001: rule('verify', 'unknown', 'STD_EXCEPTION: an I/O error of the server'),
};

const UNLISTED = rule('verify', 'unknown', 'not listed');

export const clickHouseErrorRule = (code: string): ClickHouseErrorRule => CLICKHOUSE_ERRORS[code] ?? UNLISTED;
