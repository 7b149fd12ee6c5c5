/** The whole server, with both stores and rows by every protocol, dies at named points; then every row is looked for. */
import { killServerAt, OUTSIDE } from '../soak/points';
import { SoakRig } from '../soak/rig';

/**
 * Around the stores, and one point of each kind in the logs; `make soak` does all of them 20 times, and wal-failpoints.test.ts each
 * point of a log.
 */
const POINTS = [...OUTSIDE, 'during write', 'after sync', 'before checkpoint'] as const;
const KILLS = 1;

test(`kill -9 of the server at ${POINTS.length} points: every acknowledged row is there once`, async () => {
  const rig = await SoakRig.open({ seed: 4, rowsPerSecond: 2_000, clientsPerTable: 2 });
  try {
    rig.load.start();
    const missed: string[] = [];
    for (const point of POINTS) if ((await killServerAt(rig, point, KILLS)) < KILLS) missed.push(point);
    await rig.gateway.start();
    await rig.finish();
    expect(rig.problems()).toEqual([]);
    expect(missed).toEqual([]);
    for (const { table, acked } of rig.results) expect([table, acked > 100]).toEqual([table, true]);
  } finally {
    await rig.close();
  }
}, 300_000);
