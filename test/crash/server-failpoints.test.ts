/** The whole server, with both stores and rows by every protocol, dies at each named point; then every row is looked for. */
import { killServerAt, SERVER_POINTS } from '../soak/points';
import { SoakRig } from '../soak/rig';

/** `make soak` does it 20 times. */
const KILLS = 1;

test(`kill -9 of the server at ${SERVER_POINTS.length} points: every acknowledged row is there once`, async () => {
  const rig = await SoakRig.open({ seed: 4, rowsPerSecond: 2_000, clientsPerTable: 2 });
  try {
    rig.load.start();
    const missed: string[] = [];
    for (const point of SERVER_POINTS) if ((await killServerAt(rig, point, KILLS)) < KILLS) missed.push(point);
    await rig.gateway.start();
    await rig.finish();
    expect(rig.problems()).toEqual([]);
    expect(missed).toEqual([]);
    for (const { table, acked } of rig.results) expect([table, acked > 100]).toEqual([table, true]);
  } finally {
    await rig.close();
  }
}, 180_000);
