import { parse } from 'protobufjs';

/** google.rpc.Status and its details as published in googleapis, read by protobufjs. */
const { root } = parse(
  `syntax = "proto3"; package google.rpc;
   message Any { string type_url = 1; bytes value = 2; }
   message Status { int32 code = 1; string message = 2; repeated Any details = 3; }
   message Duration { int64 seconds = 1; int32 nanos = 2; }
   message RetryInfo { Duration retry_delay = 1; }
   message FieldViolation { string field = 1; string description = 2; }
   message BadRequest { repeated FieldViolation field_violations = 1; }
   message Violation { string type = 1; string subject = 2; string description = 3; }
   message PreconditionFailure { repeated Violation violations = 1; }`,
);

export interface RpcStatus {
  readonly code: number;
  readonly message: string;
  readonly retryAfterMs: number | undefined;
  readonly violations: readonly { field: string; description: string }[];
  /** Of PreconditionFailure. */
  readonly preconditions: readonly { type: string; subject: string; description: string }[];
  /** Details that are none of google.rpc. */
  readonly others: readonly { typeUrl: string; value: Uint8Array }[];
}

export function decodeRpcStatus(bytes: Uint8Array): RpcStatus {
  const { code, message, details } = root.lookupType('google.rpc.Status').decode(bytes) as unknown as {
    code: number;
    message: string;
    details: { type_url?: string; typeUrl?: string; value: Uint8Array }[];
  };
  let retryAfterMs: number | undefined;
  let violations: RpcStatus['violations'] = [];
  let preconditions: RpcStatus['preconditions'] = [];
  const others: { typeUrl: string; value: Uint8Array }[] = [];
  for (const { type_url, typeUrl = type_url, value } of details) {
    if (typeUrl === 'type.googleapis.com/google.rpc.RetryInfo') {
      const info = root.lookupType('google.rpc.RetryInfo').decode(value) as unknown as {
        retryDelay: { seconds: number | { toNumber(): number }; nanos: number };
      };
      const { seconds, nanos } = info.retryDelay;
      retryAfterMs = (typeof seconds === 'number' ? seconds : seconds.toNumber()) * 1000 + nanos / 1e6;
    } else if (typeUrl === 'type.googleapis.com/google.rpc.BadRequest') {
      const bad = root.lookupType('google.rpc.BadRequest').decode(value) as unknown as {
        fieldViolations: RpcStatus['violations'];
      };
      violations = bad.fieldViolations.map(({ field, description }) => ({ field, description }));
    } else if (typeUrl === 'type.googleapis.com/google.rpc.PreconditionFailure') {
      const failure = root.lookupType('google.rpc.PreconditionFailure').decode(value) as unknown as {
        violations: RpcStatus['preconditions'];
      };
      preconditions = failure.violations.map(({ type, subject, description }) => ({ type, subject, description }));
    } else {
      others.push({ typeUrl: String(typeUrl), value });
    }
  }
  return { code, message, retryAfterMs, violations, preconditions, others };
}
