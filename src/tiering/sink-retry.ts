/**
 * What is done about failed attempts of one sink: pauses that grow, the breaker when the store as a whole is out of order, and the
 * decision to hold a table that the store refuses while it does its work otherwise. Says how the sink is.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { TableName } from '../core/ids';
import { type FailureScope, type Sink, SinkError } from '../core/sink';
import type { Logger, Telemetry } from '../telemetry';
import { Breaker, type BreakerState, fullJitter } from './breaker';

const BACKOFF_MS = { first: 100, max: 10_000 };
/** Attempts before a table is held. */
const ATTEMPTS_TO_HOLD = 3;
const BREAKER_LEVELS: Readonly<Record<BreakerState, number>> = { closed: 0, half_open: 1, open: 2 };

/** Attempts of one insert that failed in a row. */
export interface Failing {
  readonly sinceMs: number;
  readonly successesBefore: number;
  attempts: number;
}

export class SinkRetry {
  readonly breaker: Breaker;
  lastError: string | undefined;
  /** Inserts that were taken. */
  private successes = 0;
  /** `successes` when a table was last held for an error that did not say whose fault it is. */
  private heldOnTrial = -1;

  constructor(
    private readonly options: {
      readonly sink: Sink;
      readonly signal: AbortSignal;
      readonly telemetry: Telemetry;
      readonly logger: Logger;
      /** How long a table fails before it is held for an error that does not say whose fault it is. */
      readonly holdAfterMs: number;
    },
  ) {
    const { sink, signal, telemetry, logger } = options;
    const { tier } = sink;
    telemetry.sinkBreaker.set({ tier }, BREAKER_LEVELS.closed);
    this.breaker = new Breaker({
      ping: () => sink.ping(),
      signal,
      onChange: (state) => {
        telemetry.sinkBreaker.set({ tier }, BREAKER_LEVELS[state]);
        logger.warn({ tier, state }, 'the breaker of a sink has changed');
      },
    });
  }

  failing(): Failing {
    return { sinceMs: performance.now(), successesBefore: this.successes, attempts: 0 };
  }

  /** Told of an insert that was taken. */
  succeeded(): void {
    this.successes++;
    this.breaker.succeeded();
  }

  /** Told of a failed insert. Gives what it is about. Throws when delivery is stopping. */
  async failed(error: unknown): Promise<FailureScope> {
    const { sink, telemetry, signal } = this.options;
    telemetry.deliveryFailures.inc({ tier: sink.tier, failure: error instanceof SinkError ? error.failure : 'broken' });
    if (signal.aborted) throw new Error('delivery is stopping');
    const scope = await this.scopeOf(error);
    if (scope === 'store') this.breaker.failed();
    else this.breaker.succeeded();
    return scope;
  }

  /** An error that does not tell is the store's when the store does not answer. */
  private async scopeOf(error: unknown): Promise<FailureScope> {
    if (!(error instanceof SinkError) || error.failure !== 'retry') return 'table';
    if (error.scope !== 'unknown') return error.scope;
    return this.options.sink.ping().then(
      () => 'unknown' as const,
      () => 'store' as const,
    );
  }

  /**
   * Should the table be held? Yes for an error that is about a table; for one that does not tell only after a while, and only while
   * other inserts succeed: of a store that answers and takes nothing, one table is held to see how the others fare, no second one.
   */
  shouldHold(scope: FailureScope, failing: Failing): boolean {
    if (scope === 'store' || failing.attempts < ATTEMPTS_TO_HOLD) return false;
    if (scope === 'table') return true;
    if (performance.now() - failing.sinceMs < this.options.holdAfterMs) return false;
    if (this.successes === failing.successesBefore && this.heldOnTrial === this.successes) return false;
    this.heldOnTrial = this.successes;
    return true;
  }

  /** Shows the error as that of the sink. */
  report(error: unknown, what: string): void {
    const { sink, telemetry, logger } = this.options;
    this.lastError = error instanceof Error ? error.message : String(error);
    telemetry.sinkUp.set({ tier: sink.tier }, 0);
    logger.warn({ err: error, tier: sink.tier, what }, 'sink failed, will retry');
  }

  /** The cursor goes on. */
  clear(): void {
    const { sink, telemetry, logger } = this.options;
    if (this.lastError !== undefined) logger.info({ tier: sink.tier }, 'sink works again');
    this.lastError = undefined;
    telemetry.sinkUp.set({ tier: sink.tier }, 1);
  }

  reportHeld(table: TableName, error: unknown): void {
    const { sink, logger } = this.options;
    logger.error({ err: error, tier: sink.tier, table }, 'a table is held: its rows wait, the others go on');
  }

  /** The pause after so many failed attempts, cut short when delivery stops; then it throws. */
  async pause(attempts: number, maxMs: number = BACKOFF_MS.max): Promise<void> {
    const { signal } = this.options;
    const intervalMs = Math.min(BACKOFF_MS.first * 2 ** Math.min(attempts - 1, 20), maxMs);
    await sleep(fullJitter(intervalMs), undefined, { signal }).catch(() => undefined);
    if (signal.aborted) throw new Error('delivery is stopping');
  }

  /** Repeats with growing pauses until it succeeds. Throws only for what repeating cannot help, and when stopping. */
  async untilDone(what: string, attempt: () => Promise<void>, options: { ofStore: boolean }): Promise<void> {
    for (let attempts = 1; ; attempts++) {
      if (options.ofStore) await this.breaker.pass();
      try {
        await attempt();
        if (options.ofStore) this.breaker.succeeded();
        if (attempts > 1) this.clear();
        return;
      } catch (error) {
        const failure = error instanceof SinkError ? error.failure : 'broken';
        this.options.telemetry.deliveryFailures.inc({ tier: this.options.sink.tier, failure });
        if (options.ofStore) this.breaker.failed();
        if (failure === 'broken' || this.options.signal.aborted) throw error;
        this.report(error, what);
      }
      await this.pause(attempts);
    }
  }
}
