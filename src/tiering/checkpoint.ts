/** Where a sink stands, in memory and on disk, and who waits for it. */
import { neededFrom, pendingFrom } from '../core/delivery-state';
import { type Lsn, lsn, type TableName } from '../core/ids';
import type { Tier } from '../core/table-schema';
import type { DeliveryState, DeliveryStateStore, HeldTable } from '../core/wal';

interface Waiter {
  readonly at: Lsn;
  readonly tables: readonly TableName[] | undefined;
  readonly resolve: () => void;
}

/**
 * The state changes at once and is made durable by `save`, which always writes the whole of what is in force: the cursor and each
 * held table move on their own, and none may take back what another has made durable.
 */
export class Checkpoint {
  private current: DeliveryState = { nextLsn: lsn(1), plan: undefined };
  private durable: DeliveryState = this.current;
  private saves = 0;
  private durableSave = 0;
  private waiters = new Set<Waiter>();
  /** There was no state to load. */
  isFirst = false;
  /** When the last save began, milliseconds since 1970. */
  savedAtMs = 0;

  constructor(
    private readonly options: { readonly states: DeliveryStateStore; readonly tier: Tier; readonly onAdvance: () => void },
  ) {}

  /** `first`: where a sink begins that never saved a state. Throws when the WAL does not reach back to where the sink stands. */
  async load(first: Lsn): Promise<void> {
    const { states, tier } = this.options;
    const loaded = await states.load(tier);
    this.isFirst = loaded === undefined;
    this.current = loaded ?? { nextLsn: first, plan: undefined };
    const needed = neededFrom(this.current);
    if (needed < first) throw new Error(`the ${tier} sink stands at entry ${needed}, the WAL begins at ${first}`);
    this.durable = this.current;
  }

  get state(): DeliveryState {
    return this.current;
  }

  get held(): readonly HeldTable[] {
    return this.current.held ?? [];
  }

  heldTable(table: TableName): HeldTable | undefined {
    return this.held.find((each) => each.table === table);
  }

  /** The first entry that a restart may ask for: what is before it can be deleted. */
  get releasableLsn(): Lsn {
    return neededFrom(this.durable);
  }

  /** Is a write of the table that begins with this entry behind what is durable, so that it is never repeated? */
  isSettled(table: TableName, at: Lsn): boolean {
    return pendingFrom(this.durable, table) > at;
  }

  get isSaved(): boolean {
    return this.durable === this.current;
  }

  /** Changes the state in force; `save` makes it durable. */
  update(change: Partial<DeliveryState>): void {
    this.current = { ...this.current, ...change };
    for (const waiter of this.waiters) {
      if (!this.isDone(waiter.at, waiter.tables)) continue;
      this.waiters.delete(waiter);
      waiter.resolve();
    }
  }

  /** Replaces what is held of the table; undefined: it is held no more. */
  updateHeld(table: TableName, held: HeldTable | undefined, change: Partial<DeliveryState> = {}): void {
    const others = this.held.filter((each) => each.table !== table);
    this.update({ ...change, held: held === undefined ? others : [...others, held] });
  }

  /** One attempt to make the state in force durable. */
  async save(): Promise<void> {
    const { states, tier, onAdvance } = this.options;
    const snapshot = this.current;
    const number = ++this.saves;
    const before = this.releasableLsn;
    this.savedAtMs = Date.now();
    await states.save(tier, snapshot);
    if (number < this.durableSave) return;
    this.durableSave = number;
    this.durable = snapshot;
    if (this.releasableLsn !== before) onAdvance();
  }

  /** Is every row of these tables (default: of all) in entries up to `at` in the store or a dead letter? */
  isDone(at: Lsn, tables?: readonly TableName[]): boolean {
    const { nextLsn } = this.current;
    if (nextLsn <= at) return false;
    const among = tables ?? this.held.map(({ table }) => table);
    return among.every((table) => pendingFrom(this.current, table) > at);
  }

  /** Resolves when `isDone`. */
  done(at: Lsn, signal: AbortSignal, tables?: readonly TableName[]): Promise<void> {
    if (this.isDone(at, tables)) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const stop = (): void => {
        this.waiters.delete(waiter);
        reject(signal.reason as Error);
      };
      const waiter: Waiter = {
        at,
        tables,
        resolve: () => {
          signal.removeEventListener('abort', stop);
          resolve();
        },
      };
      if (signal.aborted) return stop();
      this.waiters.add(waiter);
      signal.addEventListener('abort', stop, { once: true });
    });
  }
}
