/**
 * The one table from error codes to HTTP and gRPC, and the `google.rpc.Status` that OTLP answers carry in both encodings
 * (OTLP specification, "Failures"; rules OH8, OH9, OH12, OG3-OG6).
 */
import { Writer } from 'protobufjs/minimal';
import { ERROR_CODES, type ErrorCode, type IngestError, type RowRejection } from '../core/errors';
import type { DefinitionDifference } from '../core/schema-registry';

interface CodeMapping {
  readonly http: number;
  readonly grpc: number;
}

/**
 * OTLP clients retry 429, 502, 503, 504 and CANCELLED, DEADLINE_EXCEEDED, ABORTED, OUT_OF_RANGE, UNAVAILABLE, DATA_LOSS, and
 * RESOURCE_EXHAUSTED with RetryInfo only. A retryable code must be among these, any other must not.
 */
export const STATUS: Readonly<Record<ErrorCode, CodeMapping>> = {
  invalid_argument: { http: 400, grpc: 3 },
  unsupported_media_type: { http: 415, grpc: 3 },
  unsupported_encoding: { http: 415, grpc: 12 },
  method_not_allowed: { http: 405, grpc: 12 },
  not_found: { http: 404, grpc: 5 },
  unimplemented: { http: 501, grpc: 12 },
  payload_too_large: { http: 413, grpc: 8 },
  unauthenticated: { http: 401, grpc: 16 },
  permission_denied: { http: 403, grpc: 7 },
  already_exists: { http: 409, grpc: 6 },
  unavailable: { http: 503, grpc: 14 },
  deadline_exceeded: { http: 504, grpc: 4 },
  cancelled: { http: 503, grpc: 1 },
  internal: { http: 500, grpc: 13 },
};

/** Longest error text in a status, UTF-16 units: it also has to fit into a header (`grpc-message`). */
const MESSAGE_LENGTH_MAX = 1024;
const BAD_REQUEST = 'type.googleapis.com/google.rpc.BadRequest';
const PRECONDITION_FAILURE = 'type.googleapis.com/google.rpc.PreconditionFailure';
const RETRY_INFO = 'type.googleapis.com/google.rpc.RetryInfo';

/** What an error says to a client, each part of bounded length and well-formed (a lone surrogate cannot be encoded). */
export function statusText(error: IngestError): { message: string; at: string | undefined } {
  return { message: bounded(error.message), at: error.at === undefined ? undefined : bounded(error.at) };
}

/** The same as one text. */
export function statusMessage(error: IngestError): string {
  return bounded(error.at === undefined ? error.message : `${error.message} (at ${error.at})`);
}

function bounded(text: string): string {
  const cut = text.length > MESSAGE_LENGTH_MAX ? `${text.slice(0, MESSAGE_LENGTH_MAX - 3)}...` : text;
  return Buffer.from(cut).toString();
}

/** Value of Retry-After, seconds rounded up; undefined when the error says nothing of it. */
export function retryAfterSeconds(error: IngestError): string | undefined {
  const waitMs = retryAfterMs(error);
  return waitMs === undefined ? undefined : String(Math.max(1, Math.ceil(waitMs / 1000)));
}

/** `google.rpc.BadRequest.FieldViolation`. */
export interface FieldViolation {
  readonly field: string;
  readonly description: string;
}

/** What a protocol adds to the details of its statuses. */
export interface StatusDetails {
  /** In place of the one violation that an `invalid_argument` has. */
  readonly violations: readonly FieldViolation[];
  /** A message of the protocol's own. */
  readonly own?: { readonly typeUrl: string; readonly value: Uint8Array };
}

/**
 * Bytes of a list in the details of a status. Details travel in a trailer as base64, and clients commonly take 8 KiB of trailers.
 */
const DETAIL_BYTES_MAX = 2_400;

/** The first items that take no more than `bytesMax` together; at least one. */
export function fitting<T>(items: readonly T[], bytesOf: (item: T) => number, bytesMax = DETAIL_BYTES_MAX): T[] {
  let bytes = 0;
  return items.filter((item, i) => {
    bytes += bytesOf(item);
    return i === 0 || bytes <= bytesMax;
  });
}

/** Refused rows as violations, one for each row and column, as many as fit. */
export function rowViolations(rejections: readonly RowRejection[], bytesMax?: number): FieldViolation[] {
  const violations = rejections.map(({ row, code, column, message }) => ({
    field: column === undefined ? `rows[${row}]` : `rows[${row}].${column}`,
    description: `${message} (${code})`,
  }));
  return fitting(violations, ({ field, description }) => Buffer.byteLength(field + description) + 10, bytesMax);
}

/** `google.rpc.Status` as protobuf: code 1, message 2, details 3 (Any: type_url 1, value 2). */
export function encodeStatus(error: IngestError, more?: StatusDetails): Buffer {
  const message = statusMessage(error);
  const status = Writer.create().uint32(0x08).int32(STATUS[error.code].grpc).uint32(0x12).string(message);
  const waitMs = retryAfterMs(error);
  if (waitMs !== undefined) {
    const delay = Writer.create()
      .uint32(0x08)
      .int64(Math.floor(waitMs / 1000))
      .uint32(0x10)
      .int32(nanosOf(waitMs));
    appendDetail(status, RETRY_INFO, Writer.create().uint32(0x0a).bytes(delay.finish()).finish());
  }
  if (error.code === 'invalid_argument') {
    const badRequest = Writer.create();
    for (const { field, description } of more?.violations ?? [{ field: fieldOf(error), description: message }]) {
      const violation = Writer.create().uint32(0x0a).string(field).uint32(0x12).string(description);
      badRequest.uint32(0x0a).bytes(violation.finish());
    }
    appendDetail(status, BAD_REQUEST, badRequest.finish());
  }
  const differences = (error.details?.['diff'] ?? []) as readonly DefinitionDifference[];
  if (differences.length > 0) appendDetail(status, PRECONDITION_FAILURE, preconditionFailure(differences));
  if (more?.own !== undefined) appendDetail(status, more.own.typeUrl, more.own.value);
  return Buffer.from(status.finish());
}

/** `google.rpc.PreconditionFailure`: in what a table is not as it was asked for. */
function preconditionFailure(differences: readonly DefinitionDifference[]): Uint8Array {
  const violations = differences.map(({ column, property, registered, requested }) => {
    const violation = Writer.create().uint32(0x0a).string(property);
    if (column !== undefined) violation.uint32(0x12).string(bounded(column));
    return violation
      .uint32(0x1a)
      .string(bounded(`is ${registered}, not ${requested}`))
      .finish();
  });
  const failure = Writer.create();
  for (const violation of fitting(violations, ({ length }) => length + 4)) failure.uint32(0x0a).bytes(violation);
  return failure.finish();
}

/** `google.rpc.Status` in the ProtoJSON mapping. */
export function encodeStatusJson(error: IngestError): Buffer {
  const message = statusMessage(error);
  const details: object[] = [];
  const waitMs = retryAfterMs(error);
  if (waitMs !== undefined) details.push({ '@type': RETRY_INFO, retryDelay: `${(waitMs / 1000).toFixed(3)}s` });
  if (error.code === 'invalid_argument') {
    details.push({ '@type': BAD_REQUEST, fieldViolations: [{ field: fieldOf(error), description: message }] });
  }
  const status = { code: STATUS[error.code].grpc, message };
  return Buffer.from(JSON.stringify(details.length === 0 ? status : { ...status, details }));
}

function appendDetail(status: Writer, typeUrl: string, value: Uint8Array): void {
  const any = Writer.create().uint32(0x0a).string(typeUrl).uint32(0x12).bytes(value);
  status.uint32(0x1a).bytes(any.finish());
}

/** Only a retryable error may carry a hint: with one, clients would repeat what can never succeed (OG3). */
export function retryAfterMs(error: IngestError): number | undefined {
  if (!ERROR_CODES[error.code].retryable || error.retryAfterMs === undefined) return undefined;
  return Math.max(0, Math.ceil(error.retryAfterMs));
}

function nanosOf(waitMs: number): number {
  return (waitMs % 1000) * 1_000_000;
}

function fieldOf(error: IngestError): string {
  return bounded(error.at ?? 'body');
}
