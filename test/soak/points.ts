/**
 * kill -9 of the whole server at named points under load: at operations of its logs and checkpoints (the server kills itself, see
 * test/support/failpoints.ts), right behind an acknowledgement, and around the moment at which a store takes rows (the proxies in
 * front of the stores do it).
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { FAILPOINTS, type Failpoint } from '../support/failpoints';
import type { SoakRig } from './rig';

export const OUTSIDE = [
  'after ack',
  'before deliver hot',
  'after deliver hot',
  'before deliver cold',
  'after deliver cold',
] as const;
type Outside = (typeof OUTSIDE)[number];
export const SERVER_POINTS: readonly (Failpoint | Outside)[] = [...FAILPOINTS, ...OUTSIDE];
/** A server that does not reach its point by then is killed all the same. */
const LIFE_MS_MAX = 20_000;
/** Nothing waits for such a timer when the server is dead before. */
const UNHELD = { ref: false };

/** Kills the server at the point `rounds` times; gives how often it got there. The server does not run then. */
export async function killServerAt(rig: SoakRig, point: Failpoint | Outside, rounds: number): Promise<number> {
  let hits = 0;
  for (let round = 0; round < rounds; round++) {
    await rig.gateway.stop('SIGKILL');
    const hit = isOutside(point)
      ? await killFromOutside(rig, point)
      : await rig.gateway.startDoomed(point, passesOf(point, round), () => sleep(LIFE_MS_MAX, undefined, UNHELD));
    if (hit) hits++;
  }
  return hits;
}

/** Names and checkpoints change seldom, so there the server dies early; otherwise from within the start to well behind it. */
const passesOf = (point: Failpoint, round: number): number =>
  /rename|unlink|checkpoint/.test(point) ? round % 5 : (round * 13 + 5) % 40;

const isOutside = (point: string): point is Outside => (OUTSIDE as readonly string[]).includes(point);

async function killFromOutside({ gateway, stores, load }: SoakRig, point: Outside): Promise<boolean> {
  await gateway.start();
  const dead = gateway.ended().then(() => true);
  const shoot = (): void => gateway.shoot();
  if (point === 'after ack') load.onAck = shoot;
  else if (point === 'before deliver cold') stores.breakInsert('cut before', shoot);
  else if (point === 'after deliver cold') stores.breakInsert('cut before answer', shoot);
  else {
    stores.toPostgres.onCut = shoot;
    stores.cutCommit(point === 'before deliver hot' ? 'lose request' : 'lose answer');
  }
  const hit = await Promise.race([dead, sleep(LIFE_MS_MAX, false, UNHELD)]);
  load.onAck = stores.toPostgres.onCut = () => undefined;
  stores.heal();
  await gateway.stop('SIGKILL');
  return hit;
}
