import { IngestError } from '../core/errors';

/** Arrow bytes from outside that are not what they claim to be. */
export const corrupt = (problem: string, cause?: unknown): IngestError =>
  new IngestError('invalid_argument', `arrow: ${problem}`, { cause });
