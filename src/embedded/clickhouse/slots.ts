import { refuse } from './exception';

/** At most `max` at a time; others wait in order, at most `waitingMax` of them. */
export class Slots {
  private readonly max: number;
  private readonly waitingMax: number;
  private used = 0;
  private readonly waiting = new Set<() => void>();

  constructor(max: number, waitingMax: number) {
    this.max = max;
    this.waitingMax = waitingMax;
  }

  /** Answers the function that gives the slot back. Throws ClickHouseException 202 when too many wait, 394 when `signal` fires. */
  async take(signal: AbortSignal): Promise<() => void> {
    if (signal.aborted) throw refuse('QUERY_WAS_CANCELLED', 'Query was cancelled');
    if (this.used < this.max) {
      this.used++;
      return this.release();
    }
    if (this.waiting.size >= this.waitingMax) {
      throw refuse('TOO_MANY_SIMULTANEOUS_QUERIES', `Too many simultaneous queries. Maximum: ${this.max + this.waitingMax}`);
    }
    await new Promise<void>((resolve, reject) => {
      const stop = (): void => {
        this.waiting.delete(go);
        reject(refuse('QUERY_WAS_CANCELLED', 'Query was cancelled'));
      };
      const go = (): void => {
        signal.removeEventListener('abort', stop);
        resolve();
      };
      signal.addEventListener('abort', stop, { once: true });
      this.waiting.add(go);
    });
    return this.release();
  }

  private release(): () => void {
    let given = true;
    return () => {
      if (!given) return;
      given = false;
      const next = this.waiting.values().next().value;
      if (next === undefined) {
        this.used--;
        return;
      }
      // The slot goes to the next one without becoming free in between.
      this.waiting.delete(next);
      next();
    };
  }
}
