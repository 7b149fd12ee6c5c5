import type { DemotionState } from '../../../src/core/demotion';
import { mayDrop } from '../../../src/core/retention';

test.each<[string, DemotionState[], boolean, boolean]>([
  ['never moved, no policy', [], false, true],
  ['never moved, a policy will move it', [], true, false],
  ['on its way', ['copying'], false, false],
  ['on its way after an earlier attempt', ['aborted', 'planned'], true, false],
  ['given up', ['aborted'], true, true],
  ['given up, no policy', ['aborted'], false, true],
  ['taken back', ['restored'], false, false],
  ['taken back after an attempt that was given up', ['aborted', 'restored'], true, false],
  ['coming back', ['restoring'], false, false],
  ['moved, and rows of somebody else since', ['demoted'], false, true],
  ['moved, and the policy moves what came since', ['demoted'], true, false],
])('a partition that was %s', (_, states, isDemoted, expected) => {
  expect(mayDrop(states, isDemoted)).toBe(expected);
});
