/** A process that appends, releases and checkpoints kills itself at each named point (test/support/failpoints.ts). */
import { FAILPOINTS } from '../support/failpoints';
import { killAtPoint } from '../support/wal-process';

/** `make soak` does it 20 times. */
const KILLS = 2;

test.each(FAILPOINTS)(
  'kill -9 %s: every acknowledged entry is there once',
  async (point) => {
    expect((await killAtPoint(point, KILLS)).problems).toEqual([]);
  },
  60_000,
);
