import type { TableName } from './ids';

/**
 * The closed table of what can go wrong between a client and the WAL. Whether a code may be retried is data here;
 * how a code looks in HTTP, gRPC and OTLP is decided in one place, `adapters/status.ts`.
 */
export const ERROR_CODES = {
  /** The bytes are not what they claim to be, or a value cannot be accepted. */
  invalid_argument: { retryable: false },
  unsupported_media_type: { retryable: false },
  unsupported_encoding: { retryable: false },
  method_not_allowed: { retryable: false },
  not_found: { retryable: false },
  unimplemented: { retryable: false },
  /** Over a size limit, before or after decompression. */
  payload_too_large: { retryable: false },
  unauthenticated: { retryable: false },
  permission_denied: { retryable: false },
  /** Same idempotency key, other content; or a table that exists already, perhaps with other types. */
  already_exists: { retryable: false },
  /** Overload or shutdown: nothing was stored, try again after `retryAfterMs`. */
  unavailable: { retryable: true },
  deadline_exceeded: { retryable: true },
  /** The client went away. */
  cancelled: { retryable: true },
  /** A bug of ours. Not retryable: clients would repeat it for ever. */
  internal: { retryable: false },
} as const satisfies Record<string, { retryable: boolean }>;

export type ErrorCode = keyof typeof ERROR_CODES;

export interface IngestErrorOptions {
  cause?: unknown;
  /** How long the client should wait, milliseconds. Only for retryable codes. */
  retryAfterMs?: number;
  /** Position in the input, for people: `byte 17`, `resourceLogs[0].scopeLogs`. */
  at?: string;
  /** More for the client, in the form in which it is shown: names in snake_case. */
  details?: Readonly<Record<string, unknown>>;
}

/** The one error class of the ingest path. `message` may be shown to the client; internals stay in `cause`. */
export class IngestError extends Error {
  readonly code: ErrorCode;
  readonly retryAfterMs: number | undefined;
  readonly at: string | undefined;
  readonly details: Readonly<Record<string, unknown>> | undefined;

  constructor(code: ErrorCode, message: string, options: IngestErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'IngestError';
    this.code = code;
    this.retryAfterMs = options.retryAfterMs;
    this.at = options.at;
    this.details = options.details;
  }

  get retryable(): boolean {
    return ERROR_CODES[this.code].retryable;
  }

  /** Anything thrown on the ingest path as an IngestError; what is not ours becomes `internal` without its text. */
  static from(reason: unknown): IngestError {
    if (reason instanceof IngestError) return reason;
    return new IngestError('internal', 'internal error', { cause: reason });
  }
}

/** Why one row was not accepted. The closed list that REST answers, dead letters and metrics share. */
export type RejectionCode =
  | 'type_mismatch'
  | 'missing_column'
  | 'unknown_column'
  | 'out_of_range'
  | 'invalid_time'
  | 'invalid_id'
  | 'invalid_value'
  | 'invalid_name'
  | 'invalid_json'
  | 'not_an_object'
  | 'too_large';

/** One refused row. `row` is its position in the request, from 0. */
export interface RowRejection {
  row: number;
  /** Where it would have gone; only for a request whose rows go to several tables (OTLP metrics). */
  table?: TableName;
  code: RejectionCode;
  column?: string;
  message: string;
}
