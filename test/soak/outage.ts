/**
 * Both stores are gone for `minutes` while rows come at full rate: memory of the server, rows taken, and how fast it catches up
 * while the load goes on; then every row is looked for.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { KillOptions } from './kills';
import { SoakRig } from './rig';
import { SOAK_TABLES } from './tables';

const SAMPLE_MS = 5_000;
const CLIENTS_PER_TABLE = 16;
const CATCH_UP_MS_MAX = 600_000;
const MIB = 1024 * 1024;
/** Over the memory of the first minute, which is that of a warm server. */
const GROWTH_BYTES_MAX = 256 * MIB;

export async function soakInOutage(
  { minutes, seed, rowsPerSecond }: KillOptions,
  print: (text: string) => void,
): Promise<boolean> {
  const tables = SOAK_TABLES.filter(({ table }) => ['logs_events', 'metrics_events'].includes(table));
  const rig = await SoakRig.open({
    seed,
    rowsPerSecond,
    clientsPerTable: CLIENTS_PER_TABLE,
    tables: tables.map(({ constraint: _none, ...table }) => ({ ...table, poisonEvery: 0 })),
    settings: { WAL_SEGMENT_BYTES: String(64 * MIB), DELIVERY_INTERVAL_MS: '500' },
  });
  try {
    const acknowledged = (): number => [...rig.load.ids.values()].reduce((sum, ids) => sum + ids.acknowledged, 0);
    for (const tier of ['hot', 'cold'] as const) rig.stores.setDown(tier, true);
    rig.load.start();
    const samples: number[] = [];
    const startMs = performance.now();
    while (performance.now() < startMs + minutes * 60_000) {
      await sleep(SAMPLE_MS);
      samples.push(rig.gateway.memoryBytes);
      const text = `${acknowledged()} rows acknowledged, server has ${Math.round(rig.gateway.memoryBytes / MIB)} MiB`;
      if (samples.length % 6 === 0) print(text);
    }
    const outageRows = acknowledged();
    print(`stores down for ${minutes} minutes: ${Math.round(outageRows / (minutes * 60))} rows/s acknowledged, none delivered`);
    rig.stores.heal();
    const caughtUp = await catchUp(rig, acknowledged, print);
    const warm = samples.slice(0, 60_000 / SAMPLE_MS);
    const growth = Math.max(...samples) - Math.max(...warm);
    print(
      `memory: ${Math.round(Math.max(...warm) / MIB)} MiB at most in the first minute, ${Math.round(growth / MIB)} MiB more later`,
    );
    await rig.finish();
    const { length } = rig.problems();
    print(`${acknowledged()} rows acknowledged, ${rig.load.counts.hints} requests told to retry, problems ${length}`);
    for (const problem of rig.problems()) print(`  ${problem}`);
    return caughtUp && growth < GROWTH_BYTES_MAX && length === 0;
  } finally {
    await rig.close();
  }
}

/** Until the backlog is gone, under load; false when that takes too long. */
async function catchUp(rig: SoakRig, acknowledged: () => number, print: (text: string) => void): Promise<boolean> {
  const startMs = performance.now();
  const startRows = acknowledged();
  const backlog = await pendingRows(rig);
  while (performance.now() < startMs + CATCH_UP_MS_MAX) {
    await sleep(500);
    const left = await pendingRows(rig);
    if (left > LIVE_ROWS_MAX) continue;
    const seconds = (performance.now() - startMs) / 1000;
    const arrived = acknowledged() - startRows;
    const rates = `${Math.round((backlog + arrived - left) / seconds)} rows/s delivered while ${Math.round(arrived / seconds)} rows/s came`;
    print(`caught up ${backlog} rows in ${Math.round(seconds)} s: ${rates}`);
    return true;
  }
  print(`not caught up within ${CATCH_UP_MS_MAX} ms`);
  return false;
}

/** What is always on its way under load. */
const LIVE_ROWS_MAX = 60_000;

async function pendingRows({ gateway }: SoakRig): Promise<number> {
  const answer = await fetch(`http://${gateway.current.admin}/readyz`, { headers: { connection: 'close' } }).catch(
    (error: Error) => {
      throw new Error(`the server does not answer: ${gateway.complaints.join() || 'it runs'}`, { cause: error });
    },
  );
  const { sinks } = (await answer.json()) as { sinks: Record<string, { rows: number }> };
  return Object.values(sinks).reduce((sum, { rows }) => sum + rows, 0);
}
