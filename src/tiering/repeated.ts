import { setTimeout as sleep } from 'node:timers/promises';

/** Does a pass again and again, with a pause after each, until it is stopped. */
export class Repeated {
  private readonly stopping = new AbortController();
  private running: Promise<void> | undefined;

  /** `pass` must not reject; it may look at `stopped` between its steps. */
  constructor(
    private readonly pass: () => Promise<void>,
    private readonly intervalMs: number,
  ) {}

  get stopped(): boolean {
    return this.stopping.signal.aborted;
  }

  start(): void {
    this.running = this.loop();
  }

  /** Resolves when the pass that is under way has ended. */
  async stop(): Promise<void> {
    this.stopping.abort();
    await this.running;
  }

  /** A pause that ends with `stop`, and does not keep the process. */
  async pause(ms: number): Promise<void> {
    await sleep(ms, undefined, { signal: this.stopping.signal, ref: false }).catch(() => undefined);
  }

  private async loop(): Promise<void> {
    while (!this.stopped) {
      await this.pass();
      await this.pause(this.intervalMs);
    }
  }
}
