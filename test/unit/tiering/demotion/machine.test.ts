import * as fc from 'fast-check';
import type { Demotion, DemotionState } from '../../../../src/core/demotion';
import { isUnfinished } from '../../../../src/core/demotion';
import type { TableName } from '../../../../src/core/ids';
import { canAbort, nextStep, type Step } from '../../../../src/tiering/demotion/machine';
import { Pace } from '../../../../src/tiering/demotion/pace';

const STATES: readonly DemotionState[] = [
  'planned',
  'copying',
  'verifying',
  'flipping',
  'demoted',
  'aborting',
  'aborted',
  'restoring',
  'returning',
  'restored',
];

const demotion = (state: DemotionState, chunks = 3, nextChunk = 0): Demotion => ({
  id: '0'.repeat(16),
  table: 'things' as TableName,
  partition: 'p',
  fromMs: 0,
  toMs: 1,
  state,
  layout: { fingerprint: '', columns: [], blocks: chunks * 10 - 3, chunkBlocks: 10 },
  nextChunk,
  rowsEstimate: 0,
  sizeBytes: 0,
  rowsBack: 0,
  createdAtMs: 0,
  updatedAtMs: 0,
  revision: 0,
});

/** What a step that takes effect makes of a demotion. */
function after(before: Demotion, step: Step): Demotion {
  const states: Record<Step, DemotionState> = {
    close: 'copying',
    copy: 'copying',
    count: 'verifying',
    verify: 'flipping',
    flip: 'demoted',
    erase: before.state === 'returning' ? 'restored' : 'aborted',
    bring_back: 'returning',
    none: before.state,
  };
  return { ...before, state: states[step], nextChunk: before.nextChunk + (step === 'copy' ? 1 : 0) };
}

test('a step that is cut off is asked for again, and in the end every chunk was copied once', () => {
  fc.assert(
    fc.property(fc.nat({ max: 6 }), fc.array(fc.boolean(), { maxLength: 40 }), (chunks, cuts) => {
      const copied: number[] = [];
      let now = demotion('planned', chunks);
      if (chunks === 0) now = { ...now, layout: { ...now.layout!, blocks: 0 } };
      for (let i = 0; nextStep(now) !== 'none'; i++) {
        const step = nextStep(now);
        if (cuts[i]) continue;
        if (step === 'copy') copied.push(now.nextChunk);
        now = after(now, step);
        expect(i).toBeLessThan(60);
      }
      expect(now.state).toBe('demoted');
      expect(copied).toEqual(Array.from({ length: chunks }, (_, i) => i));
    }),
  );
});

test('whatever is turned back comes to an end, with its rows in one tier', () => {
  for (const state of STATES) {
    let now = demotion(state);
    if (canAbort(now)) now = { ...now, state: 'aborting' };
    else if (state === 'demoted') now = { ...now, state: 'restoring' };
    while (nextStep(now) !== 'none') now = after(now, nextStep(now));
    expect(['aborted', 'restored']).toContain(now.state);
  }
});

test('unfinished is what has a next step, and nothing can be aborted once PostgreSQL may lack its rows', () => {
  expect(STATES.filter((state) => canAbort(demotion(state)))).toEqual(['planned', 'copying', 'verifying', 'flipping']);
  for (const state of STATES) {
    expect(isUnfinished({ state })).toBe(nextStep(demotion(state)) !== 'none');
  }
});

test('the pace keeps its bound and tells its rate', async () => {
  let nowMs = 0;
  const clock = {
    now: () => nowMs,
    sleep: async (ms: number) => {
      nowMs += ms;
    },
  };
  const { signal } = new AbortController();
  const pace = new Pace(1_000, clock);
  expect(pace.rate).toBe(0);
  await pace.take(500, signal);
  await pace.take(1_500, signal);
  expect([nowMs, pace.rate]).toEqual([2_000, 1_000]);
  nowMs = 10_000;
  await pace.take(1_000, signal);
  expect([nowMs, pace.rate]).toEqual([10_000, 300]);
  await new Pace(undefined, clock).take(1e9, signal);
  expect(nowMs).toBe(10_000);
});
