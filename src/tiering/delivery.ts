/**
 * One sink's way through the WAL: gather entries, make the plan durable, write its parts, move the cursor.
 *
 * Guarantees: a part is first attempted after its plan is on disk, and repeated with the same rows and the same identity until the
 * sink says it has them; the cursor passes an entry only when all its parts are done; nothing is ever skipped. A row that the
 * store refuses for what it holds is parked as a dead letter, durable before the rest of its part takes effect, and left out of
 * every later attempt. A store that is down, refuses or is misconfigured holds the cursor, and so do dead letters that are full:
 * the WAL grows, clients are not affected.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { widenBatch } from '../columnar/widen';
import type { DeadLetterParking } from '../core/dead-letter';
import { type Lsn, lsn, type TableName } from '../core/ids';
import { type RefusedRow, type Sink, SinkError, type WriteIdentity } from '../core/sink';
import type { TableSchema, Tier } from '../core/table-schema';
import type { DeliveryPlan, DeliveryState, DeliveryStateStore, DeliveryTotals, PlanPart, Wal, WalEntry } from '../core/wal';
import type { Logger, Telemetry } from '../telemetry';
import { Backlog } from './backlog';
import { diversions, type LeftOut, leftOutOf, withPart } from './left-out';
import { batchOf, entriesWithin, type PartRows, partsOf, planFor, planInForce } from './plan';
import { parkedRows, type RowSource, separateUnfit } from './refused-rows';

export interface DeliveryOptions {
  readonly wal: Wal;
  readonly sink: Sink;
  readonly states: DeliveryStateStore;
  readonly deadLetters: DeadLetterParking;
  readonly schemaOf: (table: TableName) => TableSchema | undefined;
  /** Tables to create when the sink is there, before the first write. */
  readonly tables: () => readonly TableSchema[];
  readonly rowsMax: number;
  readonly bytesMax: number;
  readonly intervalMs: number;
  readonly telemetry: Telemetry;
  readonly logger: Logger;
  /** Told when the cursor has moved, so that segments can be released. */
  readonly onAdvance: () => void;
}

export interface DeliveryStatus {
  readonly up: boolean;
  readonly nextLsn: Lsn;
  readonly rows: number;
  readonly bytes: number;
  /** Age of the oldest entry not delivered, seconds; 0 when there is none. */
  readonly ageSeconds: number;
  readonly lastError: string | undefined;
}

const BACKOFF_MS = { first: 100, max: 10_000 };
/** Entries without rows for the tier move the cursor in memory; how often that is made durable. */
const IDLE_SAVE_MS = 1_000;
/** Rows that become durable as dead letters together. */
const PARKED_AT_ONCE = 10_000;
/** Parts of one plan written at the same time. */
const PARTS_AT_ONCE = 2;

export class Delivery {
  readonly backlog: Backlog;
  readonly tier: Tier;
  private state: DeliveryState = { nextLsn: lsn(1), plan: undefined };
  private readonly stopping = new AbortController();
  private running: Promise<void> | undefined;
  private waiters: { at: Lsn; resolve: () => void }[] = [];
  private lastError: string | undefined;
  private oldestAtMs: number | undefined;
  private draining = false;
  private savedAtMs = 0;
  private savedLsn = lsn(1);
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
    this.tier = options.sink.tier;
    this.backlog = new Backlog(this.tier);
  }

  /** Loads the checkpoint and begins to deliver in the background. */
  async start(): Promise<void> {
    const { wal, states, sink } = this.options;
    const first = wal.stats().firstLsn;
    this.state = (await states.load(sink.tier)) ?? { nextLsn: first, plan: undefined };
    if (this.state.nextLsn < first) {
      throw new Error(`the ${sink.tier} sink stands at entry ${this.state.nextLsn}, the WAL begins at ${first}`);
    }
    this.savedLsn = this.state.nextLsn;
    this.running = this.run();
  }

  /** By table, what became of the rows that the cursor has passed. Changes together with the backlog. */
  get totals(): DeliveryTotals {
    return this.state.totals ?? {};
  }

  /** The first entry that a restart may ask for: what is before it can be deleted. */
  get releasableLsn(): Lsn {
    return this.savedLsn;
  }

  status(): DeliveryStatus {
    const pending = this.options.wal.stats().durableLsn >= this.state.nextLsn;
    return {
      up: this.lastError === undefined,
      nextLsn: this.state.nextLsn,
      rows: this.backlog.rows,
      bytes: this.backlog.bytes,
      ageSeconds: pending && this.oldestAtMs !== undefined ? Math.max(0, (Date.now() - this.oldestAtMs) / 1000) : 0,
      lastError: this.lastError,
    };
  }

  /** Resolves when the cursor is past `at`. */
  delivered(at: Lsn, signal: AbortSignal): Promise<void> {
    if (this.state.nextLsn > at) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const waiter = { at, resolve };
      this.waiters.push(waiter);
      signal.addEventListener('abort', () => {
        this.waiters = this.waiters.filter((other) => other !== waiter);
        reject(signal.reason as Error);
      });
    });
  }

  /** Waits until everything durable is delivered or `graceMs` have passed, then stops. What is left stays in the WAL. */
  async stop(graceMs: number): Promise<void> {
    if (this.running === undefined) return;
    this.draining = true;
    const drained = this.delivered(this.options.wal.stats().durableLsn, AbortSignal.timeout(Math.max(1, graceMs)));
    await drained.catch(() => undefined);
    this.stopping.abort();
    await this.running;
    if (this.state.plan === undefined && this.state.nextLsn !== this.savedLsn) {
      await this.options.states.save(this.options.sink.tier, this.state);
    }
  }

  private async run(): Promise<void> {
    const { signal } = this.stopping;
    try {
      await this.countBacklog().finally(this.markCounted);
      await this.untilDone('start', () => this.options.sink.start());
      for (const schema of this.options.tables())
        await this.untilDone(`create ${schema.table}`, () => this.options.sink.ensureTable(schema));
      this.markReady();
      while (!signal.aborted) await this.deliverNext();
    } catch (error) {
      if (signal.aborted) return;
      // A broken invariant or an unreadable WAL: this sink stops, the others and the clients go on, the operator is told.
      this.fail(error);
      this.options.logger.fatal({ err: error, tier: this.options.sink.tier }, 'delivery stopped');
    }
  }

  /** Totals of what an earlier run left behind. */
  private async countBacklog(): Promise<void> {
    const { wal, bytesMax } = this.options;
    const last = wal.stats().durableLsn;
    this.backlog.clear();
    for (let at = this.state.nextLsn; at <= last && !this.stopping.signal.aborted; ) {
      const entries = await wal.read(at, bytesMax);
      if (entries.length === 0) break;
      this.oldestAtMs ??= entries[0].appendedAtMs;
      for (const entry of entries) if (entry.lsn <= last) this.backlog.add(entry.batches);
      at = lsn(entries.at(-1)!.lsn + 1);
    }
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
    const parts = this.partsOf(entries);
    if (parts.length === 0) {
      this.advance(entries);
      if (Date.now() - this.savedAtMs >= IDLE_SAVE_MS) await this.save(this.state);
      return;
    }
    const plan = planFor(entries, parts);
    await this.save({ ...this.state, plan });
    await this.finish(plan, entries, parts, false);
  }

  /** Entries for the next plan: waits a moment for more, so that a stream of small requests becomes inserts of a useful size. */
  private async gather(): Promise<WalEntry[]> {
    const { wal, rowsMax, bytesMax, intervalMs, sink } = this.options;
    const { signal } = this.stopping;
    let entries = await wal.read(this.state.nextLsn, bytesMax);
    const [first] = entries;
    if (first === undefined) return [];
    this.oldestAtMs = first.appendedAtMs;
    const deadline = Math.min(first.appendedAtMs, Date.now()) + intervalMs;
    const full = (): boolean => this.backlog.rows >= rowsMax || this.backlog.bytes >= bytesMax || this.draining;
    if (!full() && Date.now() < deadline) {
      while (!full() && Date.now() < deadline && !signal.aborted) await this.backlog.changed(deadline - Date.now(), signal);
      entries = await wal.read(this.state.nextLsn, bytesMax);
    }
    return entries.slice(0, entriesWithin(entries, sink.tier, { rowsMax, bytesMax }));
  }

  private partsOf(entries: readonly WalEntry[]): PartRows[] {
    const { sink } = this.options;
    return partsOf(entries, sink.tier, {
      partitioning: sink.partitioning,
      timeColumnOf: (table) => this.schema(table).timeColumn,
      formOf: (batch, table, schemaVersion) => {
        const schema = this.schema(table);
        return schemaVersion === schema.version ? batch : widenBatch(batch, schema);
      },
    });
  }

  /** A plan from before the last stop: its unfinished parts may have taken effect already. */
  private async repeatPlan(plan: DeliveryPlan): Promise<void> {
    const entries: WalEntry[] = [];
    for (let at = plan.fromLsn; at <= plan.toLsn; ) {
      const read = await this.options.wal.read(at, this.options.bytesMax);
      if (read.length === 0) throw new Error(`entry ${at} of the durable plan ${plan.fromLsn}-${plan.toLsn} is not in the WAL`);
      entries.push(...read.filter((entry) => entry.lsn <= plan.toLsn));
      at = lsn(read.at(-1)!.lsn + 1);
    }
    const parts = this.partsOf(entries);
    await this.finish(planInForce(plan, entries, parts), entries, parts, true);
  }

  private async finish(
    plan: DeliveryPlan,
    entries: readonly WalEntry[],
    parts: readonly PartRows[],
    repeated: boolean,
  ): Promise<void> {
    const open = plan.parts.map((part, i) => ({ part, rows: parts[i] })).filter(({ part }) => !part.done);
    const totals = new Map(Object.entries(this.totals));
    const count = (part: PlanPart, left: LeftOut): void =>
      void totals.set(part.table, withPart(totals.get(part.table), part, left));
    for (const part of plan.parts) if (part.done) count(part, await this.leftOut(this.identity(plan, part)));
    const worker = async (): Promise<void> => {
      for (let next = open.shift(); next !== undefined; next = open.shift())
        count(next.part, await this.deliverPart(plan, next.part, next.rows, repeated));
    };
    await Promise.all(Array.from({ length: Math.min(PARTS_AT_ONCE, open.length) }, worker));
    this.advance(entries, Object.fromEntries(totals));
    await this.save(this.state);
  }

  private identity({ fromLsn, toLsn }: DeliveryPlan, { table, partition }: PlanPart): WriteIdentity {
    return { walId: this.options.wal.walId, lsn: fromLsn, lastLsn: toLsn, table, partition };
  }

  /** Gives the rows that became dead letters or went to the other tier. */
  private async deliverPart(plan: DeliveryPlan, part: PlanPart, rows: PartRows, repeated: boolean): Promise<LeftOut> {
    const { sink, telemetry } = this.options;
    const { tier } = sink;
    const id = this.identity(plan, part);
    // In a plan that lost entries, earlier positions of rows mean nothing.
    const left: LeftOut =
      repeated && plan.repaired !== true ? await this.leftOut(id) : { refused: new Set(), diverted: new Set() };
    const refused = new Set([...left.refused, ...left.diverted]);
    const park = async (source: RowSource, found: readonly RefusedRow[]): Promise<void> => {
      for (let at = 0; at < found.length; at += PARKED_AT_ONCE) {
        const slice = found.slice(at, at + PARKED_AT_ONCE);
        await this.options.deadLetters.park(parkedRows(tier, id, rows, source, slice));
        for (const { row } of slice) {
          refused.add(row);
          left.refused.add(row);
        }
        this.countRefused(part.table, slice);
      }
    };
    const separated = separateUnfit(rows, this.schema(part.table));
    for (const { source, refused: found } of separated.unfit) {
      await this.untilDone(`park rows of ${part.table}`, () =>
        park(
          source,
          found.filter(({ row }) => !refused.has(row)),
        ),
      );
    }
    const batch = batchOf(separated.part);
    const onRefused = (found: readonly RefusedRow[]): Promise<void> => park({ batch, start: 0 }, found);
    const onDiverted = async (found: readonly number[]): Promise<void> => {
      for (const piece of diversions(tier, { id, batch }, this.schema(part.table), found)) {
        await this.options.deadLetters.divert(piece);
        for (const row of piece.rows) left.diverted.add(row);
        for (const row of piece.rows) refused.add(row);
        telemetry.divertedRows.inc({ table: part.table, tier: piece.to }, piece.rows.length);
      }
    };
    let mayHaveRun = repeated;
    await this.untilDone(`write ${part.table}`, async () => {
      const stop = telemetry.deliverySeconds.startTimer({ tier });
      try {
        const schema = this.schema(part.table);
        await sink.ensureTable(schema);
        const attempt = { id, schema, batch, mayHaveRun, mayHoldMore: plan.repaired === true, refused, onRefused, onDiverted };
        mayHaveRun = true;
        await sink.write(attempt);
      } finally {
        stop();
      }
    });
    part.done = true;
    telemetry.deliveredRows.inc({ table: part.table, tier }, part.rows - refused.size);
    return left;
  }

  /** What an earlier process parked or diverted of this write. */
  private async leftOut(id: WriteIdentity): Promise<LeftOut> {
    const { deadLetters, sink } = this.options;
    let left: LeftOut = { refused: new Set(), diverted: new Set() };
    await this.untilDone('read dead letters', async () => {
      left = await leftOutOf(deadLetters, sink.tier, id);
    });
    return left;
  }

  private countRefused(table: TableName, found: readonly RefusedRow[]): void {
    const { sink, telemetry, logger } = this.options;
    for (const { code } of found) telemetry.deadLetters.inc({ table, tier: sink.tier, code });
    const [{ code, column, message }] = found;
    logger.warn({ table, tier: sink.tier, rows: found.length, code, column, reason: message }, 'rows became dead letters');
  }

  private advance(entries: readonly WalEntry[], totals = this.totals): void {
    const { sink } = this.options;
    for (const entry of entries) {
      for (const batch of entry.batches) {
        if (!batch.tiers.includes(sink.tier)) continue;
        const size = batch.ipc.reduce((sum, piece) => sum + piece.byteLength, 0);
        this.options.telemetry.deliveredBytes.inc({ table: batch.table, tier: sink.tier }, size);
      }
      this.backlog.remove(entry.batches);
    }
    this.state = { nextLsn: lsn(entries.at(-1)!.lsn + 1), plan: undefined, totals };
    const done = this.waiters.filter((waiter) => waiter.at < this.state.nextLsn);
    this.waiters = this.waiters.filter((waiter) => waiter.at >= this.state.nextLsn);
    for (const waiter of done) waiter.resolve();
  }

  private async save(state: DeliveryState): Promise<void> {
    const { states, sink } = this.options;
    await this.untilDone('checkpoint', async () => {
      await states.save(sink.tier, state).catch((error: unknown) => {
        throw new SinkError('retry', 'cannot write the checkpoint', { cause: error });
      });
    });
    this.state = state;
    this.savedAtMs = Date.now();
    if (state.nextLsn === this.savedLsn) return;
    this.savedLsn = state.nextLsn;
    this.options.onAdvance();
  }

  private schema(table: TableName): TableSchema {
    const schema = this.options.schemaOf(table);
    if (schema === undefined) throw new Error(`table ${table} of a WAL entry is not in the registry`);
    return schema;
  }

  /** Repeats with growing pauses until it succeeds. Throws only for what repeating cannot help, and when stopping. */
  private async untilDone(what: string, attempt: () => Promise<void>): Promise<void> {
    const { sink, telemetry, logger } = this.options;
    const { signal } = this.stopping;
    for (let pauseMs = BACKOFF_MS.first; ; pauseMs = Math.min(pauseMs * 2, BACKOFF_MS.max)) {
      try {
        await attempt();
        if (this.lastError !== undefined) logger.info({ tier: sink.tier, what }, 'sink works again');
        this.lastError = undefined;
        telemetry.sinkUp.set({ tier: sink.tier }, 1);
        return;
      } catch (error) {
        const failure = error instanceof SinkError ? error.failure : 'broken';
        telemetry.deliveryFailures.inc({ tier: sink.tier, failure });
        if (failure === 'broken' || signal.aborted) throw error;
        this.fail(error);
        logger.warn({ err: error, tier: sink.tier, what, retryInMs: pauseMs }, 'sink failed, will retry');
      }
      await sleep(pauseMs * (0.5 + Math.random() / 2), undefined, { signal }).catch(() => undefined);
      if (signal.aborted) throw new Error('delivery is stopping');
    }
  }

  private fail(error: unknown): void {
    this.lastError = error instanceof Error ? error.message : String(error);
    this.options.telemetry.sinkUp.set({ tier: this.options.sink.tier }, 0);
  }
}
