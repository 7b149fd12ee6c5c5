import { LIMITS } from '../../../src/core/limits';
import { Pace } from '../../../src/tiering/pace';

test('too many inserts make the interval grow up to its bound, and what goes well brings it back', () => {
  const pace = new Pace(200);
  pace.slowDown();
  expect(pace.intervalMs).toBe(400);
  for (let i = 0; i < 20; i++) pace.slowDown();
  expect(pace.intervalMs).toBe(LIMITS.deliveryIntervalMsMax);
  for (let i = 0; i < 100; i++) pace.relax();
  expect(pace.intervalMs).toBe(200);
});
