/** How fast a demotion goes: a bound on its rows per second, and what can be said of the time left. */
import { setTimeout as timeout } from 'node:timers/promises';

export interface PaceClock {
  /** Milliseconds, from any beginning. */
  now(): number;
  sleep(ms: number, signal: AbortSignal): Promise<void>;
}

const REAL_CLOCK: PaceClock = {
  now: () => performance.now(),
  sleep: (ms, signal) => timeout(ms, undefined, { signal }).catch(() => undefined),
};

export class Pace {
  private rows = 0;
  private readonly startedAtMs: number;

  /** `rowsPerSecond`: undefined for no bound. */
  constructor(
    private readonly rowsPerSecond: number | undefined,
    private readonly clock: PaceClock = REAL_CLOCK,
  ) {
    this.startedAtMs = clock.now();
  }

  /** Resolves when so many rows more keep the bound; at once when the signal aborts. */
  async take(rows: number, signal: AbortSignal): Promise<void> {
    this.rows += rows;
    if (this.rowsPerSecond === undefined) return;
    const pauseMs = this.startedAtMs + (this.rows / this.rowsPerSecond) * 1000 - this.clock.now();
    if (pauseMs > 0) await this.clock.sleep(pauseMs, signal);
  }

  /** Rows per second so far; 0 before the first. */
  get rate(): number {
    const seconds = (this.clock.now() - this.startedAtMs) / 1000;
    return seconds > 0 ? this.rows / seconds : 0;
  }
}
