import { AdmissionBudget } from '../../../src/ingest/admission';

test('bytes beyond the budget are refused with a retry hint until others are released', () => {
  const seen: number[] = [];
  const budget = new AdmissionBudget(100, (bytes) => seen.push(bytes));
  const first = budget.admit(60);
  expect(() => budget.admit(41)).toThrow(expect.objectContaining({ code: 'unavailable', retryAfterMs: expect.any(Number) }));
  const second = budget.admit(40);
  first.release();
  first.release();
  budget.admit(60).release();
  second.release();
  expect(seen.at(-1)).toBe(0);
});

test('a server that is draining refuses everything, and opens again', () => {
  const budget = new AdmissionBudget(100, () => undefined);
  budget.refuse('shutting down');
  expect(budget.accepting).toBe(false);
  expect(() => budget.admit(1)).toThrow('shutting down');
  budget.refuse(undefined);
  budget.admit(1).release();
});
