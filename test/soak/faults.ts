/** What happens to the server and its stores while they are under load, in an order that follows from the seed. */
import type { Gateway } from './gateway';
import type { SoakStores } from './stores';

const FAULTS = {
  'kill -9 of the server': 6,
  'kill -9 right after the start': 1,
  'SIGTERM of the server': 3,
  'kill -9 of PostgreSQL': 3,
  'kill -9 of ClickHouse': 3,
  'COMMIT lost': 4,
  'answer to COMMIT lost': 4,
  'all PostgreSQL connections cut': 2,
  'PostgreSQL unreachable for a while': 1,
  'ClickHouse unreachable for a while': 1,
  'server and both stores killed at once': 1,
} as const;
export type Fault = keyof typeof FAULTS;

/** Times between two faults. */
const PAUSE_MS = { min: 500, max: 5_000 };
const DOWN_MS = { min: 2_000, max: 12_000 };

export class Faults {
  readonly counts = new Map<Fault, number>(Object.keys(FAULTS).map((name) => [name as Fault, 0]));
  private readonly recoveries: Promise<void>[] = [];

  constructor(
    private readonly gateway: Gateway,
    private readonly stores: SoakStores,
    private readonly random: () => number,
  ) {}

  async run(untilMs: number): Promise<void> {
    while (performance.now() < untilMs) {
      await pause(this.between(PAUSE_MS));
      const fault = this.choose();
      this.counts.set(fault, (this.counts.get(fault) ?? 0) + 1);
      await this.apply(fault);
    }
    await Promise.all(this.recoveries);
  }

  private choose(): Fault {
    const entries = Object.entries(FAULTS) as [Fault, number][];
    let at = this.random() * entries.reduce((sum, [, weight]) => sum + weight, 0);
    for (const [fault, weight] of entries) {
      at -= weight;
      if (at < 0) return fault;
    }
    return entries[0][0];
  }

  private async apply(fault: Fault): Promise<void> {
    const { gateway, stores } = this;
    switch (fault) {
      case 'kill -9 of the server':
        await gateway.stop('SIGKILL');
        return gateway.start();
      case 'kill -9 right after the start':
        await gateway.stop('SIGKILL');
        await gateway.start();
        await pause(this.random() * 300);
        await gateway.stop('SIGKILL');
        return gateway.start();
      case 'SIGTERM of the server':
        await gateway.stop('SIGTERM');
        return gateway.start();
      case 'kill -9 of PostgreSQL':
        return stores.killPostgres();
      case 'kill -9 of ClickHouse':
        return stores.killClickHouse();
      case 'COMMIT lost':
        return stores.cutCommit('lose request');
      case 'answer to COMMIT lost':
        return stores.cutCommit('lose answer');
      case 'all PostgreSQL connections cut':
        return stores.toPostgres.cutAll();
      case 'PostgreSQL unreachable for a while':
        return this.outage('hot');
      case 'ClickHouse unreachable for a while':
        return this.outage('cold');
      case 'server and both stores killed at once':
        stores.killPostgres();
        stores.killClickHouse();
        await gateway.stop('SIGKILL');
        return gateway.start();
    }
  }

  /** Other faults go on meanwhile. */
  private outage(tier: 'hot' | 'cold'): void {
    this.stores.setDown(tier, true);
    this.recoveries.push(pause(this.between(DOWN_MS)).then(() => this.stores.setDown(tier, false)));
  }

  private between({ min, max }: { min: number; max: number }): number {
    return min + this.random() * (max - min);
  }
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
