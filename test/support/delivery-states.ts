import type { DeliveryState, DeliveryStateStore } from '../../src/core/wal';

/** A checkpoint in memory that outlives deliveries. */
export class MemoryStates implements DeliveryStateStore {
  /** `step` is called before and after a save takes effect; if it does not resolve, the process has died there. */
  constructor(
    private readonly step: () => Promise<void> = () => Promise.resolve(),
    private readonly file: { text: string | undefined } = { text: undefined },
  ) {}

  /** The same checkpoint for another process. */
  as(step: () => Promise<void>): MemoryStates {
    return new MemoryStates(step, this.file);
  }

  put(state: DeliveryState): void {
    this.file.text = JSON.stringify(state);
  }

  async load(): Promise<DeliveryState | undefined> {
    return this.file.text === undefined ? undefined : ({ plan: undefined, ...JSON.parse(this.file.text) } as DeliveryState);
  }

  async save(_tier: unknown, state: DeliveryState): Promise<void> {
    const text = JSON.stringify(state);
    await this.step();
    this.file.text = text;
    await this.step();
  }
}
