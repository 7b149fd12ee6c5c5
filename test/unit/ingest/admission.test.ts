import { strict as assert } from 'node:assert';
import * as fc from 'fast-check';
import type { Admission } from '../../../src/core/ingest';
import { AdmissionBudget, type RefusalReason } from '../../../src/ingest/admission';

function budgetOf(bytesMax: number) {
  const seen: number[] = [];
  const refused: RefusalReason[] = [];
  const budget = new AdmissionBudget({
    bytesMax,
    onChange: (bytes) => seen.push(bytes),
    onRefused: (reason) => refused.push(reason),
  });
  return { budget, seen, refused };
}

const unavailable = expect.objectContaining({ code: 'unavailable', retryAfterMs: expect.any(Number) });

test('bytes beyond the budget are refused with a retry hint until others are released', () => {
  const { budget, seen, refused } = budgetOf(100);
  const first = budget.admit(60, 'a');
  expect(() => budget.admit(41, 'b')).toThrow(unavailable);
  const second = budget.admit(40, 'b');
  first.release();
  first.release();
  budget.admit(60, 'a').release();
  second.release();
  expect([seen.at(-1), refused]).toEqual([0, ['in_flight']]);
});

test('a server that is draining refuses everything, and opens again', () => {
  const { budget, refused } = budgetOf(100);
  budget.refuse('shutting down');
  expect(budget.refused).toBe('shutting down');
  expect(() => budget.admit(1, 'a')).toThrow('shutting down');
  budget.refuse(undefined);
  budget.admit(1, 'a').release();
  expect(refused).toEqual(['stopping']);
});

test('one client holds half of the budget at most, so that another always finds room', () => {
  const { budget, refused } = budgetOf(1_000);
  const flood: Admission[] = [];
  expect(() => {
    for (;;) flood.push(budget.admit(10, 'flood'));
  }).toThrow(unavailable);
  expect([flood.length, refused]).toEqual([50, ['share']]);
  const small = budget.admit(400, 'small');
  expect(() => small.grow(101)).toThrow(unavailable);
  small.grow(100);
  small.release();
  flood.pop()?.release();
  budget.admit(10, 'flood').release();
});

test('a single request may be as large as the budget, and grow to it', () => {
  const { budget, seen } = budgetOf(100);
  const large = budget.admit(10, 'a');
  large.grow(90);
  expect(() => large.grow(1)).toThrow(unavailable);
  expect(() => budget.admit(1, 'a')).toThrow(unavailable);
  large.release();
  expect(seen.at(-1)).toBe(0);
  budget.admit(100, 'b').release();
});

test('whatever clients do: the budget holds, nothing leaks, and with one flooding client any other is let in up to its share', () => {
  const step = fc.record({
    client: fc.integer({ min: 1, max: 4 }),
    act: fc.constantFrom('admit' as const, 'grow' as const, 'release' as const),
    bytes: fc.integer({ min: 1, max: 60 }),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      let used = 0;
      const budget = new AdmissionBudget({ bytesMax: 200, onChange: (bytes) => (used = bytes), onRefused: () => undefined });
      const open: { client: number; admission: Admission }[] = [];
      for (const { client, act, bytes } of steps) {
        const mine = open.findIndex((each) => each.client === client);
        try {
          if (act === 'admit') open.push({ client, admission: budget.admit(bytes, String(client)) });
          else if (act === 'grow' && mine !== -1) open[mine].admission.grow(bytes);
          else if (mine !== -1) open.splice(mine, 1)[0].admission.release();
        } catch (error) {
          assert.equal((error as { code?: string }).code, 'unavailable');
        }
        expect(used).toBeLessThanOrEqual(200);
      }
      for (const { admission } of open) admission.release();
      expect(used).toBe(0);
      for (let count = 0; count < 300; count++) {
        try {
          budget.admit(1 + (count % 7), 'flood');
        } catch {
          break;
        }
      }
      budget.admit(200 - used > 60 ? 60 : 1, 'other').release();
    }),
  );
});
