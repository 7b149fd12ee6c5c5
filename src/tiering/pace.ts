import { LIMITS } from '../core/limits';

const GROWTH = 2;
/** What is left of the slowing after each plan that went well. */
const RELAXED = 0.9;
const FASTEST = 1.5;

/** How long delivery gathers rows: longer while the store says that inserts are too many (ClickHouse error 252). */
export class Pace {
  private factor = 1;

  constructor(private readonly baseMs: number) {}

  get intervalMs(): number {
    return this.factor === 1
      ? this.baseMs
      : Math.min(this.baseMs * this.factor, Math.max(this.baseMs, LIMITS.deliveryIntervalMsMax));
  }

  slowDown(): void {
    const factorMax = Math.max(GROWTH, LIMITS.deliveryIntervalMsMax / Math.max(1, this.baseMs));
    this.factor = Math.min(this.factor * GROWTH, factorMax);
  }

  relax(): void {
    const factor = this.factor * RELAXED;
    this.factor = factor < FASTEST ? 1 : factor;
  }
}
