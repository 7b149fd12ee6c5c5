/** Errors of ClickHouse, whose meaning is data in error-rules.ts. */
import { FAILURE_OF, SinkError } from '../../core/sink';
import { clickHouseErrorRule } from './error-rules';

/** `schema`: table, database or column are missing; creating them may help. */
export type FailureKind = 'content' | 'schema' | 'retry';

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
    const { action, repairs } = clickHouseErrorRule(this.code);
    if (repairs === true) return 'schema';
    return FAILURE_OF[action] === 'content' ? 'content' : 'retry';
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
  const { action, scope, fewerInserts = false } = clickHouseErrorRule(error.code);
  return new SinkError(FAILURE_OF[action], error.message, { cause: error, storeCode: error.code, scope, fewerInserts });
}
