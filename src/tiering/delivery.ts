/**
 * One sink's way through the WAL: gather entries, make the plan durable, write its parts, move the cursor.
 *
 * Guarantees: a part is first attempted after its plan is on disk, and repeated with the same rows and the same identity until the
 * sink says it has them; nothing is ever skipped. A row that the store refuses for what it holds is parked as a dead letter
 * (part-write.ts). A table that the store refuses as a whole is held: its rows wait beside the cursor, in the checkpoint, and the
 * other tables go on (held-tables.ts). A store that is down or refuses everything holds the cursor: the WAL grows, clients are not
 * affected.
 */
import { type Lsn, lsn, type TableName } from '../core/ids';
import { LIMITS } from '../core/limits';
import { SinkError } from '../core/sink';
import type { TableSchema, Tier } from '../core/table-schema';
import type { DeliveryPlan, DeliveryState, DeliveryTotals, HeldTable, PlanPart, WalBatch, WalEntry } from '../core/wal';
import { Backlog } from './backlog';
import { countBacklog } from './backlog-count';
import { Checkpoint } from './checkpoint';
import type { DeliveryOptions, DeliveryStatus } from './delivery-options';
import { forgetNowAndThen } from './forget';
import { HeldTables, reasonOf } from './held-tables';
import { addToTotals, batchesOf, Inserts, type PlanRows, rowsByPart } from './inserts';
import type { LeftOut } from './left-out';
import { Pace } from './pace';
import { type PartWrite, unregistered } from './part-write';
import { entriesWithin, planFor } from './plan';
import { recallDelivery } from './recall';
import { SinkRetry } from './sink-retry';

/** Entries without rows for the tier move the cursor in memory; how often that is made durable. */
const IDLE_SAVE_MS = 1_000;
/** Parts of one plan written at the same time. */
const PARTS_AT_ONCE = 2;
const HOLD_AFTER_MS = 10_000;
const HELD_PAUSE_MAX_MS = 60_000;

/** Tables that fail, and with what. */
type Holding = Map<TableName, unknown>;

export class Delivery {
  readonly backlog: Backlog;
  readonly tier: Tier;
  private readonly stopping = new AbortController();
  private readonly checkpoint: Checkpoint;
  private readonly retry: SinkRetry;
  private readonly inserts: Inserts;
  private readonly held: HeldTables;
  private readonly pace: Pace;
  private running: Promise<void> | undefined;
  private oldestAtMs: number | undefined;
  private draining = false;
  private markReady: () => void = () => undefined;
  private markCounted: () => void = () => undefined;
  /** Resolves when the backlog of an earlier run is counted, or will not be because the WAL cannot be read. */
  readonly counted = new Promise<void>((resolve) => {
    this.markCounted = resolve;
  });
  /** Resolves when the store was reached for the first time and has its tables. */
  readonly firstReady = new Promise<void>((resolve) => {
    this.markReady = resolve;
  });

  constructor(private readonly options: DeliveryOptions) {
    const { sink, states, telemetry, logger, onAdvance } = options;
    const { signal } = this.stopping;
    this.tier = sink.tier;
    this.backlog = new Backlog(this.tier);
    this.pace = new Pace(options.intervalMs);
    this.checkpoint = new Checkpoint({ states, tier: sink.tier, onAdvance });
    this.retry = new SinkRetry({ sink, signal, telemetry, logger, holdAfterMs: options.holdAfterMs ?? HOLD_AFTER_MS });
    this.inserts = new Inserts(options);
    this.held = new HeldTables({
      ...options,
      inserts: this.inserts,
      checkpoint: this.checkpoint,
      retry: this.retry,
      backlog: this.backlog,
      signal,
      pauseMaxMs: options.heldPauseMaxMs ?? HELD_PAUSE_MAX_MS,
      save: () => this.save(),
      onFinished: (batches) => this.countFinished(batches),
    });
  }

  /** Loads the checkpoint and begins to deliver in the background. */
  async start(): Promise<void> {
    await this.checkpoint.load(this.options.wal.stats().firstLsn);
    this.running = this.run();
  }

  private get heldTablesMax(): number {
    return this.options.heldTablesMax ?? LIMITS.heldTablesMax;
  }

  private get state(): DeliveryState {
    return this.checkpoint.state;
  }

  /** By table, what became of the rows that are done with. Changes together with the backlog. */
  get totals(): DeliveryTotals {
    return this.state.totals ?? {};
  }

  /** The first entry that a restart may ask for: what is before it can be deleted. */
  get releasableLsn(): Lsn {
    return this.checkpoint.releasableLsn;
  }

  /** Is the write of this table that begins with entry `at` done with for good? */
  isSettled(table: TableName, at: Lsn): boolean {
    return this.checkpoint.isSettled(table, at);
  }

  status(): DeliveryStatus {
    const { held } = this.checkpoint;
    const pending = this.options.wal.stats().durableLsn >= this.state.nextLsn;
    const since = [...(pending && this.oldestAtMs !== undefined ? [this.oldestAtMs] : []), ...held.map(({ sinceMs }) => sinceMs)];
    return {
      up: this.retry.lastError === undefined && this.retry.breaker.state !== 'open',
      nextLsn: this.state.nextLsn,
      rows: this.backlog.rows,
      bytes: this.backlog.bytes,
      ageSeconds: since.length > 0 ? Math.max(0, (Date.now() - Math.min(...since)) / 1000) : 0,
      lastError: this.retry.lastError,
      breaker: this.retry.breaker.state,
      held,
    };
  }

  /** Is every row of these tables (default: of all) in entries up to `at` in the store or a dead letter? */
  isDelivered(at: Lsn, tables?: readonly TableName[]): boolean {
    return this.checkpoint.isDone(at, tables);
  }

  /** Resolves when `isDelivered`. */
  delivered(at: Lsn, signal: AbortSignal, tables?: readonly TableName[]): Promise<void> {
    return this.checkpoint.done(at, signal, tables);
  }

  /**
   * Waits until everything durable that is not held is delivered or `graceMs` have passed, then stops. What is left stays in the WAL.
   */
  async stop(graceMs: number): Promise<void> {
    if (this.running === undefined) return;
    this.draining = true;
    const drained = this.delivered(this.options.wal.stats().durableLsn, AbortSignal.timeout(Math.max(1, graceMs)), []);
    await drained.catch(() => undefined);
    this.stopping.abort();
    await this.running;
    await this.held.stopped();
    if (!this.checkpoint.isSaved) await this.checkpoint.save();
  }

  private async run(): Promise<void> {
    const { signal } = this.stopping;
    const { sink, logger } = this.options;
    try {
      const last = this.options.wal.stats().durableLsn;
      const counting = countBacklog(this.options, this.checkpoint, this.backlog, signal);
      this.oldestAtMs = await counting.finally(this.markCounted);
      await this.retry.untilDone('start', () => sink.start(), { ofStore: true });
      for (const schema of this.options.tables()) await this.createTable(schema);
      await this.recall(last);
      this.markReady();
      this.held.start();
      forgetNowAndThen(this.options, () => this.releasableLsn, signal);
      while (!signal.aborted) await this.deliverNext();
    } catch (error) {
      if (signal.aborted) return;
      // A broken invariant or an unreadable WAL: this sink stops, the others and the clients go on, the operator is told.
      this.retry.report(error, 'delivery');
      logger.fatal({ err: error, tier: sink.tier }, 'delivery stopped');
    }
  }

  private async recall(last: Lsn): Promise<void> {
    const { options, inserts, checkpoint, backlog } = this;
    const attempt = async (): Promise<void> => {
      if (await recallDelivery({ ...options, inserts, checkpoint, backlog }, last)) await this.save();
    };
    await this.retry.untilDone('recall', attempt, { ofStore: true });
  }

  /** A table that cannot be made must not keep the others waiting: its first write will say so again. */
  private async createTable(schema: TableSchema): Promise<void> {
    const { sink, logger } = this.options;
    await this.retry.untilDone(
      `create ${schema.table}`,
      async () => {
        try {
          await sink.ensureTable(schema);
        } catch (error) {
          const isOfStore = error instanceof SinkError && error.scope === 'store';
          if (
            isOfStore ||
            !(await sink.ping().then(
              () => true,
              () => false,
            ))
          )
            throw error;
          logger.error({ err: error, tier: sink.tier, table: schema.table }, 'a table cannot be made ready, its rows will wait');
        }
      },
      { ofStore: true },
    );
  }

  private async deliverNext(): Promise<void> {
    const { signal } = this.stopping;
    if (this.state.plan !== undefined) {
      await this.repeatPlan(this.state.plan);
      return;
    }
    await this.options.wal.waitFor(this.state.nextLsn, signal);
    if (signal.aborted) return;
    const entries = await this.gather();
    if (entries.length === 0) return;
    const tables = new Set(
      batchesOf(entries, () => true)
        .filter(({ tiers }) => tiers.includes(this.tier))
        .map(({ table }) => table),
    );
    await this.placeFor([...tables]);
    // No pause from here to the update: whether a table is held must stay as it is.
    const leftOut = this.waiting(tables);
    const parts = this.inserts.partsOf(entries, (table) => !leftOut.has(table));
    const held = this.heldWith(entries, leftOut);
    this.backlog.hold(batchesOf(entries, (table) => leftOut.has(table)));
    if (parts.length === 0) {
      this.checkpoint.update({ nextLsn: lsn(entries.at(-1)!.lsn + 1), held });
      this.held.start();
      if (Date.now() - this.checkpoint.savedAtMs >= IDLE_SAVE_MS) await this.save();
      return;
    }
    const plan = planFor(entries, parts);
    this.checkpoint.update({ plan, held });
    await this.save();
    this.held.start();
    await this.finish({ plan, rows: rowsByPart(plan, parts) }, entries, { repeated: false, holding: new Map() });
  }

  /** Waits while a table is unknown to the registry and as many are held as may be. */
  private async placeFor(tables: readonly TableName[]): Promise<void> {
    const { checkpoint } = this;
    const find = async (): Promise<void> => {
      const unknown = tables.filter((table) => !checkpoint.heldTable(table) && this.options.schemaOf(table) === undefined);
      if (unknown.length > 0 && checkpoint.held.length + unknown.length > this.heldTablesMax) throw unregistered(unknown[0]);
    };
    await this.retry.untilDone('find a table', find, { ofStore: false });
  }

  /** Those of the tables whose rows wait untried. */
  private waiting(tables: ReadonlySet<TableName>): ReadonlySet<TableName> {
    return new Set(
      [...tables].filter((table) => this.checkpoint.heldTable(table) !== undefined || this.options.schemaOf(table) === undefined),
    );
  }

  /** What is held once the rows that these tables have in the entries wait too. */
  private heldWith(entries: readonly WalEntry[], tables: ReadonlySet<TableName>): readonly HeldTable[] {
    const [fromLsn, toLsn] = [entries[0].lsn, entries.at(-1)!.lsn];
    const others = this.checkpoint.held.filter(({ table }) => !tables.has(table));
    const waiting = [...tables].map((table): HeldTable => {
      const held = this.checkpoint.heldTable(table) ?? heldFor(table, unregistered(table));
      return { ...held, range: { fromLsn: held.range?.fromLsn ?? fromLsn, toLsn } };
    });
    return [...others, ...waiting];
  }

  /** Entries for the next plan: waits a moment for more, so that a stream of small requests becomes inserts of a useful size. */
  private async gather(): Promise<WalEntry[]> {
    const { wal, rowsMax, bytesMax, sink } = this.options;
    const { signal } = this.stopping;
    const { backlog } = this;
    let entries = await wal.read(this.state.nextLsn, bytesMax);
    const [first] = entries;
    if (first === undefined) return [];
    this.oldestAtMs = first.appendedAtMs;
    const deadline = Math.min(first.appendedAtMs, Date.now()) + this.pace.intervalMs;
    const full = (): boolean =>
      backlog.rows - backlog.heldRows >= rowsMax || backlog.bytes - backlog.heldBytes >= bytesMax || this.draining;
    if (!full() && Date.now() < deadline) {
      while (!full() && Date.now() < deadline && !signal.aborted) await backlog.changed(deadline - Date.now(), signal);
      entries = await wal.read(this.state.nextLsn, bytesMax);
    }
    return entries.slice(0, entriesWithin(entries, sink.tier, { rowsMax, bytesMax }));
  }

  /** A plan from before the last stop: its unfinished parts may have taken effect already. */
  private async repeatPlan(plan: DeliveryPlan): Promise<void> {
    const { schemaOf } = this.options;
    const entries = await this.inserts.entriesOf(plan);
    await this.placeFor(plan.parts.map(({ table }) => table));
    const isKnown = ({ table }: PlanPart): boolean => schemaOf(table) !== undefined;
    const known = this.inserts.inForce({ ...plan, parts: plan.parts.filter(isKnown) }, entries);
    const lost = plan.parts.filter((part) => !isKnown(part));
    const holding: Holding = new Map(lost.map(({ table }) => [table, unregistered(table)]));
    const inForce = { ...known.plan, parts: [...known.plan.parts, ...lost] };
    await this.finish({ plan: inForce, rows: known.rows }, entries, { repeated: true, holding });
  }

  /** Delivers the parts of a plan, or holds their tables, and moves the cursor. */
  private async finish(
    { plan, rows }: PlanRows,
    entries: readonly WalEntry[],
    { repeated, holding }: { repeated: boolean; holding: Holding },
  ): Promise<void> {
    const left = new Map<PlanPart, LeftOut>();
    const earlier = plan.parts.filter(({ done }) => done);
    const open = plan.parts.filter(({ done, table }) => !done && !holding.has(table));
    const worker = async (): Promise<void> => {
      for (let part = open.shift(); part !== undefined; part = open.shift()) {
        const found = await this.deliverPart(this.inserts.write(plan, part, rows.get(part)!, repeated), part.table, holding);
        if (found !== undefined) left.set(part, found);
      }
    };
    await Promise.all(Array.from({ length: Math.min(PARTS_AT_ONCE, open.length) }, worker));
    for (const part of earlier) {
      const read = async (): Promise<void> => void left.set(part, await this.inserts.leftOut(plan, part));
      await this.retry.untilDone('read dead letters', read, { ofStore: false });
    }
    this.passOver(plan, entries, left, holding);
    this.pace.relax();
    await this.save();
    this.held.start();
  }

  /** In one step: the cursor, what is counted as done, and the tables that wait from now on. */
  private passOver(
    plan: DeliveryPlan,
    entries: readonly WalEntry[],
    left: ReadonlyMap<PlanPart, LeftOut>,
    holding: Holding,
  ): void {
    const tables = new Set(plan.parts.map(({ table }) => table));
    let { totals } = this;
    for (const part of plan.parts) if (!holding.has(part.table)) totals = addToTotals(totals, part, left.get(part)!);
    const newlyHeld = [...holding].map(([table, error]): HeldTable => {
      const parts = plan.parts.filter((part) => part.table === table);
      return { ...heldFor(table, error), plan: { ...plan, parts } };
    });
    const done = batchesOf(entries, (table) => tables.has(table) && !holding.has(table));
    this.backlog.remove(done);
    this.backlog.hold(batchesOf(entries, (table) => holding.has(table)));
    this.countFinished(done);
    const held = [...this.checkpoint.held, ...newlyHeld];
    this.checkpoint.update({ nextLsn: lsn(plan.toLsn + 1), plan: undefined, totals, held });
    for (const [table, error] of holding) this.retry.reportHeld(table, error);
  }

  /** Gives the rows that are no part of the insert; undefined when the table is to be held. */
  private async deliverPart(write: PartWrite, table: TableName, holding: Holding): Promise<LeftOut | undefined> {
    const { retry } = this;
    const failing = retry.failing();
    while (!holding.has(table)) {
      await retry.breaker.pass();
      try {
        const left = await write.attempt();
        retry.succeeded();
        retry.clear();
        return left;
      } catch (error) {
        failing.attempts++;
        retry.report(error, `write ${table}`);
        if (error instanceof SinkError && error.fewerInserts) this.pace.slowDown();
        const scope = await retry.failed(error);
        const isRoom = this.checkpoint.held.length + holding.size < this.heldTablesMax;
        if (isRoom && retry.shouldHold(scope, failing)) {
          holding.set(table, error);
          retry.clear();
          return undefined;
        }
      }
      await retry.pause(failing.attempts);
    }
    return undefined;
  }

  private countFinished(batches: readonly WalBatch[]): void {
    const { tier } = this;
    for (const { table, tiers, ipc } of batches) {
      if (!tiers.includes(tier)) continue;
      const size = ipc.reduce((sum, piece) => sum + piece.byteLength, 0);
      this.options.telemetry.deliveredBytes.inc({ table, tier }, size);
    }
  }

  private save(): Promise<void> {
    const attempt = async (): Promise<void> => {
      await this.checkpoint.save().catch((error: unknown) => {
        throw new SinkError('retry', 'cannot write the checkpoint', { cause: error });
      });
    };
    return this.retry.untilDone('checkpoint', attempt, { ofStore: false });
  }
}

const heldFor = (table: TableName, error: unknown): HeldTable => ({ table, ...reasonOf(error), sinceMs: Date.now() });
