import type { Demotion, DemotionState } from '../../../../src/core/demotion';
import type { TableName } from '../../../../src/core/ids';
import { movedDaysOf } from '../../../../src/tiering/demotion/moved-days';

const HOUR_MS = 3_600_000;
const FIRST_MS = Date.UTC(2026, 0, 5);

const demotion = (id: number, state: DemotionState, fromHour: number, toHour: number): Demotion => ({
  id: id.toString(16).padStart(16, '0'),
  table: 't' as TableName,
  partition: 'p',
  fromMs: FIRST_MS + fromHour * HOUR_MS,
  toMs: FIRST_MS + toHour * HOUR_MS,
  state,
  nextChunk: 0,
  rowsEstimate: 0,
  sizeBytes: 0,
  rowsBack: 0,
  createdAtMs: 0,
  updatedAtMs: 0,
  revision: 0,
});

test('days are busy while rows are on their way, also those that a range only meets', () => {
  const { busy } = movedDaysOf([
    demotion(1, 'planned', 0, 24),
    demotion(2, 'copying', 36, 60),
    demotion(3, 'demoted', 96, 120),
    demotion(4, 'returning', 120, 144),
  ]);
  expect([...busy].sort()).toEqual(['20260106', '20260107', '20260110']);
});

test('a day went back when it has been restored and nothing of it was moved again', () => {
  const { returned } = movedDaysOf([
    demotion(1, 'restored', 0, 24),
    demotion(2, 'restored', 24, 48),
    demotion(3, 'demoted', 24, 48),
    demotion(4, 'restored', 48, 60),
    demotion(5, 'demoted', 60, 72),
    demotion(6, 'aborted', 72, 96),
  ]);
  expect([...returned]).toEqual(['20260105']);
});

test('rows count in the cold tier from the flip to the flip back', () => {
  const { hidden } = movedDaysOf([
    demotion(10, 'aborted', 0, 24),
    demotion(11, 'demoted', 0, 24),
    demotion(12, 'restoring', 24, 48),
    demotion(13, 'returning', 24, 48),
  ]);
  expect([...hidden]).toEqual([
    ['20260105', ['10']],
    ['20260106', ['13']],
  ]);
});
