/**
 * Keeps three things alike: this server's registry, the shared one in PostgreSQL, and the tables in the stores.
 *
 * - A schema that has become durable here is made in the stores at once, the hot store first: it merges the schema with the
 *   shared registry under a lock, so that the cold store gets what has come of it. What fails is made later, by delivery before
 *   the first row.
 * - What other servers have registered is taken over on the first connect and every few seconds.
 */
import type { TableName } from '../core/ids';
import { sameContent } from '../core/merge-schema';
import type { SchemaRegistry, SharedRegistry } from '../core/schema-registry';
import type { Sink } from '../core/sink';
import type { TableSchema, Tier } from '../core/table-schema';
import type { Logger } from '../telemetry';

export interface ReconcilerOptions {
  readonly registry: SchemaRegistry & { watch(listener: (schema: TableSchema) => void): void };
  readonly shared: SharedRegistry;
  /** In the order in which tables are made. */
  readonly sinks: readonly Pick<Sink, 'tier' | 'ensureTable'>[];
  readonly logger: Logger;
  readonly intervalMs?: number;
}

export type StoreStates = Partial<Record<Tier, 'ready' | 'pending'>>;

const INTERVAL_MS = 5_000;
/** How long a registration waits for its tables. */
const ENSURE_TIMEOUT_MS = 5_000;

export class SchemaReconciler {
  /** One run a table at a time. */
  private readonly runs = new Map<TableName, Promise<StoreStates>>();
  private timer: NodeJS.Timeout | undefined;
  private pulling: Promise<void> | undefined;
  private stopped = false;
  private failing = false;

  constructor(private readonly options: ReconcilerOptions) {}

  start(): void {
    this.options.registry.watch((schema) => {
      if (!this.stopped) void this.make(schema.table);
    });
    this.schedule(0);
  }

  /** Ends the look at the shared registry that is under way; tables that are being made are finished by their sinks. */
  async stop(): Promise<void> {
    this.stopped = true;
    clearTimeout(this.timer);
    await this.pulling;
    await Promise.all(this.runs.values());
  }

  /** Makes the table in the stores; resolves with where it is ready after a few seconds at the most. Never rejects. */
  async ensureTable(schema: TableSchema): Promise<StoreStates> {
    const pending: StoreStates = Object.fromEntries(this.options.sinks.map(({ tier }) => [tier, 'pending']));
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<StoreStates>((resolve) => {
      timer = setTimeout(() => resolve(pending), ENSURE_TIMEOUT_MS);
    });
    const states = await Promise.race([this.make(schema.table), late]);
    clearTimeout(timer);
    return states;
  }

  private make(table: TableName): Promise<StoreStates> {
    const before = this.runs.get(table) ?? Promise.resolve();
    const run = before.then(() => this.makeIn(table));
    this.runs.set(table, run);
    void run.then(() => {
      if (this.runs.get(table) === run) this.runs.delete(table);
    });
    return run;
  }

  private async makeIn(table: TableName): Promise<StoreStates> {
    const { registry, sinks, logger } = this.options;
    const states: StoreStates = {};
    for (const sink of sinks) {
      // Read anew for each: the first store may have merged more into it.
      const schema = registry.get(table);
      if (schema === undefined) continue;
      try {
        await sink.ensureTable(schema);
        states[sink.tier] = 'ready';
      } catch (error) {
        states[sink.tier] = 'pending';
        logger.info({ err: error, tier: sink.tier, table }, 'a table cannot be made yet, delivery will try again');
      }
    }
    return states;
  }

  private schedule(delayMs: number): void {
    this.timer = setTimeout(() => {
      this.pulling = this.pull().finally(() => {
        if (!this.stopped) this.schedule(this.options.intervalMs ?? INTERVAL_MS);
      });
    }, delayMs);
  }

  /** Takes over what is in the shared registry, and puts there what only this server has. Never rejects. */
  private async pull(): Promise<void> {
    const { registry, shared, logger } = this.options;
    try {
      for (const theirs of await shared.schemas()) {
        if (this.stopped) return;
        const ours = registry.get(theirs.table);
        if (ours?.version === theirs.version && sameContent(ours, theirs)) continue;
        const merged = await registry.adopt(theirs);
        if (!sameContent(merged, theirs) && merged === ours) await this.make(merged.table);
      }
      this.failing = false;
    } catch (error) {
      // A store that is down is told of by its sink; here once is enough.
      if (!this.failing) logger.info({ err: error }, 'the shared registry cannot be read, will try again');
      this.failing = true;
    }
  }
}
