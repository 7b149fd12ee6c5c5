import { IngestError } from '../core/errors';

/** A switch in a query or in metadata: `1` or `true`, `0` or `false`. Throws IngestError `invalid_argument` for anything else. */
export function isSet(value: string | null | undefined, name: string): boolean {
  if (value === null || value === undefined || value === '0' || value === 'false') return false;
  if (value === '1' || value === 'true') return true;
  throw new IngestError('invalid_argument', `${name} must be 1 or 0`, { at: name });
}
