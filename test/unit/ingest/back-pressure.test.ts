import type { WalLoad } from '../../../src/core/wal';
import { BackPressure } from '../../../src/ingest/back-pressure';

const MIB = 1024 * 1024;

class Log implements WalLoad {
  retainedBytes = 0;
  pendingBytes = 0;
  appendedBytes = 0;
  nextSegmentReady = true;
}

function pressureOf(random = 0.5) {
  const log = new Log();
  const pressure = new BackPressure({
    walBytesMax: 1_000 * MIB,
    reserveBytes: 100 * MIB,
    segmentBytes: 10 * MIB,
    log,
    random: () => random,
  });
  return { log, pressure };
}

test('nothing is held back below the soft mark, more and more above it, everything refused at the hard one', () => {
  const { log, pressure } = pressureOf();
  log.retainedBytes = 750 * MIB;
  expect([pressure.pressure.level, pressure.delayMs, pressure.refusal()]).toEqual(['open', 0, undefined]);
  const delays = [800, 900, 999].map((mib) => {
    log.retainedBytes = mib * MIB;
    expect([pressure.pressure.level, pressure.refusal()]).toEqual(['slow', undefined]);
    return pressure.delayMs;
  });
  expect(delays).toEqual([...delays].sort((a, b) => a - b));
  expect(delays[0]).toBeGreaterThan(1);
  expect(delays[2]).toBeLessThanOrEqual(1_000);
  log.retainedBytes = 1_000 * MIB;
  expect(pressure.refusal()).toMatchObject({ code: 'unavailable', message: expect.stringContaining('log is full') });
  log.retainedBytes = 700 * MIB;
  expect(pressure.refusal()).toBeUndefined();
});

test('the hint is the time the stores need for the excess at their average rate, between 1 and 60 seconds, spread', () => {
  const { log, pressure } = pressureOf();
  log.retainedBytes = 1_100 * MIB;
  log.appendedBytes = 1_100 * MIB;
  log.pendingBytes = 1_100 * MIB;
  pressure.sample(0, 1_000 * MIB);
  // 20 MiB beyond the hard mark would be let in again; nothing is known of the rate.
  expect(pressure.refusal()?.retryAfterMs).toBe(60_000);
  for (let second = 1; second <= 100; second++) {
    log.appendedBytes += 3 * MIB;
    log.pendingBytes -= 5 * MIB;
    pressure.sample(second * 1_000, 1_000 * MIB);
  }
  expect(pressure.drainBytesPerSecond / MIB).toBeCloseTo(8, 1);
  expect(pressure.refusal()?.retryAfterMs).toBeCloseTo((120 / 8) * 1_000, -2);
  log.retainedBytes = 1_000 * MIB;
  expect(pressure.refusal()?.retryAfterMs).toBeCloseTo((20 / 8) * 1_000, -2);
  // The stores stop: the hint grows.
  const hints = [10, 20, 40, 80].map((seconds) => {
    pressure.sample(100_000 + seconds * 1_000, 1_000 * MIB);
    return pressure.refusal()?.retryAfterMs ?? 0;
  });
  expect(hints).toEqual([...hints].sort((a, b) => a - b));
  expect(hints.at(-1)).toBe(60_000);
  const early = pressureOf(0);
  early.log.retainedBytes = 2_000 * MIB;
  expect(early.pressure.refusal()?.retryAfterMs).toBe(48_000);
});

test('the disk must hold the next segment and the reserve; a segment that is made ready counts as held', () => {
  const { log, pressure } = pressureOf();
  pressure.sample(0, 141 * MIB);
  expect(pressure.pressure.level).toBe('open');
  pressure.sample(1_000, 120 * MIB);
  expect(pressure.pressure).toMatchObject({ level: 'slow', cause: 'disk', part: 0.5 });
  pressure.sample(2_000, 105 * MIB);
  expect(pressure.refusal()).toBeUndefined();
  log.nextSegmentReady = false;
  expect(pressure.refusal()).toMatchObject({ code: 'unavailable', message: expect.stringContaining('disk') });
  pressure.sample(3_000, 160 * MIB);
  expect(pressure.refusal()).toBeUndefined();
});

test('of two causes the nearer one counts', () => {
  const { log, pressure } = pressureOf();
  log.retainedBytes = 800 * MIB;
  pressure.sample(0, 110 * MIB);
  expect(pressure.pressure.cause).toBe('disk');
  log.retainedBytes = 1_000 * MIB;
  expect(pressure.pressure).toMatchObject({ level: 'full', cause: 'wal' });
  pressure.sample(1_000, 99 * MIB);
  expect(pressure.pressure.cause).toBe('disk');
  expect([pressure.partOf('wal'), pressure.partOf('disk')]).toEqual([1, 1]);
});
