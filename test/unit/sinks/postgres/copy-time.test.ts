import * as fc from 'fast-check';
import { CopyOutput } from '../../../../src/sinks/postgres/copy-output';
import { nanosBelow, putMicros } from '../../../../src/sinks/postgres/copy-time';

const EPOCH_2000_US = 946_684_800_000_000n;
const edges = [0n, -1n, 2n ** 63n - 1n, -(2n ** 63n), 1_870_000_000n << 32n, -1_870_000_001n << 32n, (1n << 32n) - 1n];
const anyNs = fc.oneof(
  fc.constantFrom(...edges).chain((edge) => fc.bigInt({ min: -2_000n, max: 2_000n }).map((by) => BigInt.asIntN(64, edge + by))),
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
);

test('microseconds since 2000 and nanoseconds below are the floor division of any int64', () => {
  const out = new CopyOutput(64, 64);
  fc.assert(
    fc.property(anyNs, (ns) => {
      const low = Number(BigInt.asUintN(32, ns));
      const high = Number(BigInt.asIntN(32, ns >> 32n));
      const rest = ((ns % 1000n) + 1000n) % 1000n;
      expect(putMicros(out, low, high, 0)).toBe(12);
      expect(out.view.getInt32(0)).toBe(8);
      expect(out.view.getBigInt64(4)).toBe((ns - rest) / 1000n - EPOCH_2000_US);
      expect(nanosBelow(low, high)).toBe(Number(rest));
    }),
    { numRuns: 5_000 },
  );
});
