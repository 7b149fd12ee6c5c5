/** How fast a demotion goes: a bound on its rows per second, and what can be said of the time left. */
import { setTimeout as sleep } from 'node:timers/promises';

export class Pace {
  private rows = 0;
  private startedAtMs: number;

  /** `rowsPerSecond`: undefined for no bound. */
  constructor(
    private readonly rowsPerSecond: number | undefined,
    private readonly now: () => number = () => performance.now(),
  ) {
    this.startedAtMs = this.now();
  }

  /** Resolves when so many rows more keep the bound; at once when the signal aborts. */
  async take(rows: number, signal: AbortSignal): Promise<void> {
    this.rows += rows;
    if (this.rowsPerSecond === undefined) return;
    const pauseMs = this.startedAtMs + (this.rows / this.rowsPerSecond) * 1000 - this.now();
    if (pauseMs > 0) await sleep(pauseMs, undefined, { signal }).catch(() => undefined);
  }

  /** Rows per second so far; 0 before the first. */
  get rate(): number {
    const seconds = (this.now() - this.startedAtMs) / 1000;
    return seconds > 0 ? this.rows / seconds : 0;
  }
}
