/**
 * Stops attempts on a store that is out of order as a whole: after `FAILURES_TO_OPEN` failures of the store in a row nothing is
 * written; the store is asked with `ping` at growing, random intervals. Once it answers, one attempt goes ahead ("half open"): its
 * success lets all others follow, its failure goes back to asking. Rows wait meanwhile, none is skipped.
 */
import { setTimeout as sleep } from 'node:timers/promises';

export type BreakerState = 'closed' | 'half_open' | 'open';

export interface BreakerOptions {
  /** Rejects when the store does not answer. */
  readonly ping: () => Promise<void>;
  /** Ends everything; whoever waits gets an error. */
  readonly signal: AbortSignal;
  readonly onChange: (state: BreakerState) => void;
}

const FAILURES_TO_OPEN = 3;
/** Intervals between pings, in which the moment is random ("full jitter"), doubled each time. */
const PROBE_MS = { first: 200, max: 10_000, least: 20 };

/** A random moment of an interval, so that many servers do not come back at the same time. */
export const fullJitter = (intervalMs: number): number => Math.max(PROBE_MS.least, Math.random() * intervalMs);

export class Breaker {
  private current: BreakerState = 'closed';
  private failures = 0;
  private probeMs = PROBE_MS.first;
  private trialUnderWay = false;
  private waiters: (() => void)[] = [];

  constructor(private readonly options: BreakerOptions) {
    options.signal.addEventListener('abort', () => this.wake(), { once: true });
  }

  get state(): BreakerState {
    return this.current;
  }

  /** Resolves when an attempt may be made, whose outcome must then be told. Throws when the signal aborts. */
  async pass(): Promise<void> {
    for (;;) {
      if (this.options.signal.aborted) throw new Error('delivery is stopping');
      if (this.current === 'closed') return;
      if (this.current === 'half_open' && !this.trialUnderWay) {
        this.trialUnderWay = true;
        return;
      }
      await new Promise<void>((resolve) => this.waiters.push(resolve));
    }
  }

  /** The store did what it was asked, or refused it for a reason that is not its own. */
  succeeded(): void {
    this.failures = 0;
    this.trialUnderWay = false;
    if (this.current === 'open') return;
    this.probeMs = PROBE_MS.first;
    this.change('closed');
  }

  /** The store as a whole did not. */
  failed(): void {
    this.failures++;
    const wasTrial = this.trialUnderWay;
    this.trialUnderWay = false;
    if (this.current === 'open' || !(wasTrial || this.failures >= FAILURES_TO_OPEN)) return;
    this.change('open');
    void this.probe();
  }

  private async probe(): Promise<void> {
    const { ping, signal } = this.options;
    while (!signal.aborted) {
      await sleep(fullJitter(this.probeMs), undefined, { signal }).catch(() => undefined);
      this.probeMs = Math.min(this.probeMs * 2, PROBE_MS.max);
      const answers = await ping().then(
        () => true,
        () => false,
      );
      if (!answers || signal.aborted) continue;
      this.change('half_open');
      return;
    }
  }

  private change(state: BreakerState): void {
    if (state === this.current) return;
    this.current = state;
    this.options.onChange(state);
    this.wake();
  }

  private wake(): void {
    for (const resolve of this.waiters.splice(0)) resolve();
  }
}
