import { IngestError } from '../core/errors';
import type { AckLevel } from '../core/ingest';

const LEVELS: ReadonlySet<string> = new Set<AckLevel>(['wal', 'hot', 'cold', 'all']);

/** The ack level a header or metadata value asks for; `wal` without one. Throws IngestError `invalid_argument`. */
export function parseAck(value: string | undefined): AckLevel {
  if (value === undefined) return 'wal';
  if (!LEVELS.has(value)) throw new IngestError('invalid_argument', 'x-ack must be one of wal, hot, cold, all', { at: 'x-ack' });
  return value as AckLevel;
}
