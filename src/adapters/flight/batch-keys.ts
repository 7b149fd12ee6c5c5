/**
 * Idempotency keys of the batches of one stream. A client names a batch by itself, with app_metadata that is a JSON object with an
 * `idempotency_key`; or it names the stream, by the header or in the descriptor, and a batch is known by that and its app_metadata,
 * or else its position. So a client that repeats a stream, or in a new stream only what was not acknowledged, stores nothing twice.
 */
import { createHash } from 'node:crypto';
import { idempotencyOf } from '../idempotency-key';
import { malformed } from './wire';

const PATH_PREFIX = 'idempotency-key=';
const MEMBER = 'idempotency_key';
/** Longer app_metadata is not looked into. */
const METADATA_BYTES_MAX = 4_096;
const OPEN_BRACE = 0x7b;

/** The key in a path that has one behind the name of the table. Throws IngestError `invalid_argument` for anything else there. */
export function keyOfPath(path: readonly string[]): string | undefined {
  if (path.length < 2) return undefined;
  const [, item] = path;
  if (path.length === 2 && item.startsWith(PATH_PREFIX)) return checked(item.slice(PATH_PREFIX.length));
  throw malformed(`the path of the descriptor must be the name of the table, and perhaps ${PATH_PREFIX}<key>`);
}

/** The key that a batch carries itself. Throws IngestError `invalid_argument` for one that cannot be a key. */
function ownKey(appMetadata: Buffer): string | undefined {
  if (appMetadata[0] !== OPEN_BRACE || appMetadata.length > METADATA_BYTES_MAX) return undefined;
  let found: unknown;
  try {
    found = (JSON.parse(appMetadata.toString()) as Record<string, unknown>)[MEMBER];
  } catch {
    return undefined;
  }
  if (found === undefined) return undefined;
  if (typeof found !== 'string') throw malformed(`${MEMBER} in app_metadata must be a text`);
  return checked(found);
}

function checked(key: string): string {
  idempotencyOf(key, []);
  return key;
}

const sha256 = (...parts: (string | Buffer)[]): string => {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest('base64url');
};

export class BatchKeys {
  private position = 0;

  /** `callKey`: of the header. */
  constructor(private readonly callKey: string | undefined) {}

  /** The key of the next batch; undefined when it has none. Throws IngestError `invalid_argument`. */
  next(appMetadata: Buffer, pathKey: string | undefined): string | undefined {
    const position = this.position++;
    const own = ownKey(appMetadata);
    if (own !== undefined) return `flight-batch:${sha256(own)}`;
    const key = this.callKey ?? pathKey;
    if (key === undefined) return undefined;
    const name = appMetadata.length === 0 ? `#${position}` : sha256(appMetadata);
    return `flight:${sha256(key, ':', name)}`;
  }
}
