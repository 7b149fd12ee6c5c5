import { type Metadata, type ServiceError, status } from '@grpc/grpc-js';
import { Reader } from 'protobufjs/minimal';

/** One row that was refused. `row` is its position in the rows given to `write`, from 0. */
export interface Rejection {
  readonly row: number;
  /** REJECTION_CODE_TYPE_MISMATCH, ...: see proto/thermocline/ingest/v1/ingest.proto. */
  readonly code: string;
  /** '' when the reason is about the whole row. */
  readonly column: string;
  readonly message: string;
}

export type StatusName = keyof typeof status;

/** Why rows were not stored, or a question was not answered. */
export class ThermoclineError extends Error {
  /** Name of the gRPC status: INVALID_ARGUMENT, UNAVAILABLE, ... */
  readonly code: StatusName;
  /** Rows of this write that were refused; the first of them when there are many. */
  readonly rejections: readonly Rejection[];
  /** Sending the same again later may succeed; the client has already tried as often as it may. */
  readonly retryable: boolean;

  constructor(
    code: StatusName,
    message: string,
    options: { rejections?: readonly Rejection[]; retryable?: boolean; cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'ThermoclineError';
    this.code = code;
    this.rejections = options.rejections ?? [];
    this.retryable = options.retryable ?? false;
  }
}

/** What a failed call says. */
export interface CallFailure {
  readonly error: ThermoclineError;
  /** The server's wish; undefined without one. */
  readonly retryAfterMs: number | undefined;
  /** `thermocline.ingest.v1.WriteResponse` of a write of which every row was refused. */
  readonly refusal: Uint8Array | undefined;
}

const DETAILS_KEY = 'grpc-status-details-bin';
const RETRY_INFO = 'type.googleapis.com/google.rpc.RetryInfo';
const WRITE_RESPONSE = 'type.googleapis.com/thermocline.ingest.v1.WriteResponse';

const RETRYABLE: ReadonlySet<number> = new Set([status.UNAVAILABLE, status.DEADLINE_EXCEEDED, status.ABORTED]);
/** What the library says of a connection that broke; the server's own errors of these codes have details. */
const BROKEN: ReadonlySet<number> = new Set([status.INTERNAL, status.UNKNOWN, status.CANCELLED]);

export function callFailure(cause: Partial<ServiceError>): CallFailure {
  const details = detailsOf(cause.metadata);
  const hint = details?.get(RETRY_INFO);
  const retryAfterMs = hint === undefined ? undefined : retryDelayMs(hint);
  const number = cause.code ?? status.UNKNOWN;
  const broken = details === undefined && cause.code !== undefined && BROKEN.has(number);
  const retryable = RETRYABLE.has(number) || retryAfterMs !== undefined || broken;
  const code = (status[number] ?? 'UNKNOWN') as StatusName;
  const error = new ThermoclineError(code, cause.details ?? cause.message ?? '', { retryable, cause });
  return { error, retryAfterMs, refusal: details?.get(WRITE_RESPONSE) };
}

/** Details of `google.rpc.Status` by type URL; undefined when the error has none, or none that can be read. */
function detailsOf(metadata: Metadata | undefined): Map<string, Uint8Array> | undefined {
  const [bytes] = metadata?.get(DETAILS_KEY) ?? [];
  if (!Buffer.isBuffer(bytes)) return undefined;
  const details = new Map<string, Uint8Array>();
  try {
    eachField(bytes, (field, reader) => {
      if (field !== 3) return false;
      let typeUrl = '';
      let value: Uint8Array = new Uint8Array(0);
      eachField(reader.bytes(), (inner, any) => {
        if (inner === 1) typeUrl = any.string();
        else if (inner === 2) value = any.bytes();
        else return false;
        return true;
      });
      details.set(typeUrl, value);
      return true;
    });
  } catch {
    return undefined;
  }
  return details;
}

/** RetryInfo: retry_delay 1; Duration: seconds 1, nanos 2. */
function retryDelayMs(info: Uint8Array): number {
  let delayMs = 0;
  eachField(info, (field, reader) => {
    if (field !== 1) return false;
    eachField(reader.bytes(), (part, duration) => {
      if (part === 1) delayMs += Number(duration.int64()) * 1000;
      else if (part === 2) delayMs += duration.int32() / 1_000_000;
      else return false;
      return true;
    });
    return true;
  });
  return delayMs;
}

/** Calls back for each field; a field that was not read is skipped. */
function eachField(bytes: Uint8Array, read: (field: number, reader: Reader) => boolean): void {
  const reader = Reader.create(bytes);
  while (reader.pos < reader.len) {
    const tag = reader.uint32();
    if (!read(tag >>> 3, reader)) reader.skipType(tag & 7);
  }
}
