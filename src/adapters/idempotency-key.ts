import { createHash } from 'node:crypto';
import { IngestError } from '../core/errors';
import type { Idempotency } from '../core/ingest';
import { LIMITS } from '../core/limits';

/** HTTP header and gRPC metadata key of an idempotency key. */
export const IDEMPOTENCY_HEADER = 'idempotency-key';

/**
 * The key of a request with the digest of what it says (`content`: what it is for, and its bytes before compression);
 * empty without a key. To be spread into a write request. Throws IngestError `invalid_argument` for one that is empty or too long.
 */
export function idempotencyOf(key: string | undefined, content: readonly (string | Uint8Array)[]): { idempotency?: Idempotency } {
  if (key === undefined) return {};
  const bytes = Buffer.byteLength(key);
  if (bytes === 0 || bytes > LIMITS.idempotencyKeyBytesMax) {
    throw new IngestError('invalid_argument', `an idempotency key has 1 to ${LIMITS.idempotencyKeyBytesMax} bytes`, {
      at: IDEMPOTENCY_HEADER,
    });
  }
  const hash = createHash('sha256');
  for (const part of content) hash.update(part).update('\0');
  return { idempotency: { key, digest: hash.digest() } };
}
