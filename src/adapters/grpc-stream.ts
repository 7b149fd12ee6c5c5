import type { Readable } from 'node:stream';

/**
 * Lets a call's request stream read one message ahead instead of sixteen, each of which may have the full size. Node has no public
 * setter for it; where the field is missing the default stays.
 */
export function readOneAhead(call: Readable): void {
  const { _readableState: state } = call as unknown as { _readableState?: { highWaterMark?: number } };
  if (state?.highWaterMark !== undefined) state.highWaterMark = 1;
}
