/** Errors as the ClickHouse HTTP interface words them: `Code: 60. DB::Exception: text. (UNKNOWN_TABLE) (version 26.7.2.1)`. */

/** What the interface itself refuses; all other codes come from the engine. */
const OWN_CODES = {
  BAD_ARGUMENTS: 36,
  NOT_IMPLEMENTED: 48,
  SYNTAX_ERROR: 62,
  UNKNOWN_TYPE_OF_QUERY: 78,
  READONLY: 164,
  TOO_MANY_SIMULTANEOUS_QUERIES: 202,
  NETWORK_ERROR: 210,
  QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING: 216,
  ABORTED: 236,
  CANNOT_DECOMPRESS: 271,
  DATABASE_ACCESS_DENIED: 291,
  INTO_OUTFILE_NOT_ALLOWED: 358,
  SESSION_NOT_FOUND: 372,
  SESSION_IS_LOCKED: 373,
  INVALID_SESSION_TIMEOUT: 374,
  QUERY_WAS_CANCELLED: 394,
  AUTHENTICATION_FAILED: 516,
  STD_EXCEPTION: 1001,
} as const;

export class ClickHouseException extends Error {
  readonly code: number;
  /** Name of the code, such as UNKNOWN_TABLE. */
  readonly codeName: string;

  constructor(code: number, codeName: string, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'ClickHouseException';
    this.code = code;
    this.codeName = codeName;
  }
}

export function refuse(codeName: keyof typeof OWN_CODES, message: string, cause?: unknown): ClickHouseException {
  return new ClickHouseException(OWN_CODES[codeName], codeName, message, cause === undefined ? undefined : { cause });
}

const PREFIX = /^Code: (\d+)\. DB::Exception: /;
const SUFFIX = / \(([A-Z0-9_]+)\)(?: \(version [^)]*\))?\.?\s*$/;

/** Anything thrown by the engine. It nests its own text when the failure came from inside a file read or write. */
export function toException(thrown: unknown): ClickHouseException {
  if (thrown instanceof ClickHouseException) return thrown;
  let text = thrown instanceof Error ? thrown.message : String(thrown);
  let code: number | undefined;
  let codeName: string | undefined;
  for (let prefix = PREFIX.exec(text); prefix !== null; prefix = PREFIX.exec(text)) {
    code = Number(prefix[1]);
    text = text.slice(prefix[0].length);
    const suffix = SUFFIX.exec(text);
    if (suffix === null) continue;
    codeName = suffix[1];
    text = text.slice(0, suffix.index);
  }
  if (code === undefined) return new ClickHouseException(OWN_CODES.STD_EXCEPTION, 'STD_EXCEPTION', text, { cause: thrown });
  return new ClickHouseException(code, codeName ?? 'UNKNOWN_EXCEPTION', text, { cause: thrown });
}

/** Body of an error answer. */
export function exceptionText(exception: ClickHouseException, version: string): string {
  const text = /[.!?]$/.test(exception.message) ? exception.message : `${exception.message}.`;
  return `Code: ${exception.code}. DB::Exception: ${text} (${exception.codeName}) (version ${version})\n`;
}

/** HTTP status by the name of the code, as the server's own table has it; 500 for all others. */
const STATUS_NAMES: Readonly<Record<number, readonly string[]>> = {
  400: [
    'BAD_ARGUMENTS',
    'CANNOT_COMPILE_REGEXP',
    'CANNOT_PARSE_TEXT',
    'CANNOT_PARSE_ESCAPE_SEQUENCE',
    'CANNOT_PARSE_QUOTED_STRING',
    'CANNOT_PARSE_DATE',
    'CANNOT_PARSE_DATETIME',
    'CANNOT_PARSE_NUMBER',
    'CANNOT_PARSE_DOMAIN_VALUE_FROM_STRING',
    'CANNOT_PARSE_IPV4',
    'CANNOT_PARSE_IPV6',
    'CANNOT_PARSE_UUID',
    'CANNOT_PARSE_INPUT_ASSERTION_FAILED',
    'DUPLICATE_COLUMN',
    'ILLEGAL_COLUMN',
    'UNKNOWN_ELEMENT_IN_AST',
    'UNKNOWN_TYPE_OF_AST_NODE',
    'THERE_IS_NO_COLUMN',
    'TOO_DEEP_AST',
    'TOO_BIG_AST',
    'UNEXPECTED_AST_STRUCTURE',
    'SYNTAX_ERROR',
    'INCORRECT_DATA',
    'TYPE_MISMATCH',
    'VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE',
  ],
  401: ['REQUIRED_PASSWORD'],
  403: ['UNKNOWN_USER', 'WRONG_PASSWORD', 'AUTHENTICATION_FAILED', 'SET_NON_GRANTED_ROLE', 'ACCESS_DENIED'],
  404: [
    'UNKNOWN_TABLE',
    'UNKNOWN_FUNCTION',
    'UNKNOWN_IDENTIFIER',
    'UNKNOWN_TYPE',
    'UNKNOWN_STORAGE',
    'UNKNOWN_DATABASE',
    'UNKNOWN_SETTING',
    'UNKNOWN_DIRECTION_OF_SORTING',
    'UNKNOWN_AGGREGATE_FUNCTION',
    'UNKNOWN_FORMAT',
    'UNKNOWN_DATABASE_ENGINE',
    'UNKNOWN_TYPE_OF_QUERY',
    'UNKNOWN_ROLE',
  ],
  408: ['TIMEOUT_EXCEEDED'],
  411: ['HTTP_LENGTH_REQUIRED'],
  413: ['QUERY_IS_TOO_LARGE'],
  415: ['UNSUPPORTED_MEDIA_TYPE'],
  501: ['NOT_IMPLEMENTED'],
  503: ['SOCKET_TIMEOUT', 'CANNOT_OPEN_FILE', 'CANNOT_SCHEDULE_TASK'],
};

const STATUS = new Map(Object.entries(STATUS_NAMES).flatMap(([status, names]) => names.map((name) => [name, Number(status)])));

export function httpStatus(exception: ClickHouseException): number {
  return STATUS.get(exception.codeName) ?? 500;
}
