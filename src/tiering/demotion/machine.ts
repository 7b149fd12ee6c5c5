/** Which step comes next, by the state alone: whoever goes on after a crash does what the one before would have done. */
import { chunksOf, type Demotion } from '../../core/demotion';

/**
 * - close: refuse writes to the partition, fix its chunks
 * - copy: bring chunk `nextChunk` to ClickHouse; count: the last chunk is there
 * - verify, flip: see core/demotion.ts
 * - erase: delete the copy in ClickHouse (after aborting, and after the rows are back)
 * - bring_back: copy rows back and make them the partition again
 */
export type Step = 'close' | 'copy' | 'count' | 'verify' | 'flip' | 'erase' | 'bring_back' | 'none';

export function nextStep({ state, layout, nextChunk }: Demotion): Step {
  switch (state) {
    case 'planned':
      return 'close';
    case 'copying':
      return layout !== undefined && nextChunk < chunksOf(layout) ? 'copy' : 'count';
    case 'verifying':
      return 'verify';
    case 'flipping':
      return 'flip';
    case 'aborting':
    case 'returning':
      return 'erase';
    case 'restoring':
      return 'bring_back';
    case 'demoted':
    case 'aborted':
    case 'restored':
      return 'none';
  }
}

/** May the demotion still be given up, because PostgreSQL has its rows? */
export const canAbort = ({ state }: Demotion): boolean =>
  state === 'planned' || state === 'copying' || state === 'verifying' || state === 'flipping';
