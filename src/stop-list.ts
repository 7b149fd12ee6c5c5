import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from './telemetry';

/** A part gets this much even when those before it have used up the time. */
const STEP_MS_MIN = 2_000;

/**
 * What was started, to be stopped from the last to the first. A part that does not stop in time is left behind and named in
 * the log: the end of the process must not depend on it, and what was acknowledged is in the WAL.
 */
export class StopList {
  private readonly parts: { name: string; stop: () => Promise<void> }[] = [];

  add(name: string, stop: () => Promise<void>): void {
    this.parts.push({ name, stop });
  }

  /** Tries every part, within about `graceMs` in all; the first error is thrown at the end. */
  async run(graceMs: number, logger: Logger): Promise<void> {
    const deadline = performance.now() + graceMs;
    let failure: unknown;
    for (const { name, stop } of this.parts.splice(0).reverse()) {
      const timer = new AbortController();
      const late = sleep(Math.max(STEP_MS_MIN, deadline - performance.now()), 'late' as const, { signal: timer.signal });
      try {
        const outcome = await Promise.race([stop(), late.catch(() => undefined)]);
        if (outcome === 'late') logger.error({ part: name }, 'a part did not stop in time and is left behind');
      } catch (error) {
        logger.error({ err: error, part: name }, 'a part did not stop cleanly');
        failure ??= error;
      }
      timer.abort();
    }
    if (failure !== undefined) throw failure;
  }
}

/** Waits until something has stopped; after `graceMs` calls `cut`, which must make it stop. */
export async function cutWhenLate(stopped: Promise<unknown>, graceMs: number, cut: () => Promise<unknown>): Promise<void> {
  const timer = new AbortController();
  const late = sleep(graceMs, true, { signal: timer.signal }).catch(() => false);
  const isLate = await Promise.race([stopped.then(() => false), late]);
  timer.abort();
  if (isLate) await cut();
  await stopped;
}
