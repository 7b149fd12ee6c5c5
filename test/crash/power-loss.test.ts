import { losePower } from '../support/power-loss';

/** `make soak` loses it 50 times. */
const ROUNDS = 4;

test(`after ${ROUNDS} power losses of a real file system the log has every acknowledged entry`, async () => {
  const result = await losePower(ROUNDS);
  if (typeof result === 'string') {
    console.warn(`skipped: ${result}`);
    return;
  }
  expect(result.problems).toEqual([]);
  expect(result.acked).toBeGreaterThan(ROUNDS * 30);
}, 120_000);
