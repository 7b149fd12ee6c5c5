/**
 * Runs demotions in the background, one at a time on all servers of the same stores: those that the policy or an operator asks for, and
 * those that a server which is gone has left unfinished.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import {
  type ColdDemotions,
  type Demotion,
  DemotionConflictError,
  DemotionRefusedError,
  type HotDemotions,
  type HotPartition,
} from '../../core/demotion';
import type { TableName } from '../../core/ids';
import { SinkError } from '../../core/sink';
import type { TableSchema } from '../../core/table-schema';
import type { Logger, Telemetry } from '../../telemetry';
import { canAbort, nextStep, type Step } from './machine';
import { Pace } from './pace';
import { STEPS } from './steps';

export interface DemotionRunnerOptions {
  readonly hot: HotDemotions;
  readonly cold: ColdDemotions;
  readonly schemaOf: (table: TableName) => TableSchema | undefined;
  readonly tables: () => readonly TableSchema[];
  /** Brings the table in PostgreSQL to its schema. */
  readonly ensureHot: (schema: TableSchema) => Promise<void>;
  /** Partitions older than this are demoted; undefined: never. */
  readonly retentionMs: (table: TableName) => number | undefined;
  /** Can rows of the table be in both tiers already? */
  readonly isInBoth: (table: TableName) => boolean;
  readonly rowsPerSecond: number | undefined;
  readonly intervalMs: number;
  readonly clock: () => number;
  readonly logger: Logger;
  readonly telemetry: Telemetry;
}

/** What is going on with one demotion in this server. */
export interface DemotionActivity {
  readonly id: string;
  readonly step: Step;
  /** Rows of the step so far, and a second. */
  readonly rows: number;
  readonly rowsPerSecond: number;
}

/** The request cannot be fulfilled as it is; the text says why. */
export class DemotionRequestError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'DemotionRequestError';
  }
}

const LOCK_PAUSE_MS = { first: 50, max: 2_000 };
const BUSY_PAUSE_MS = 1_000;
const FAILURE_PAUSE_MS = 5_000;
/** Copies that were deleted stay hidden for this time: a request that was lost on its way can still bring rows. */
const HIDDEN_MS = 3_600_000;
/** The policy does not try a partition again for this time after it had to be given up. */
const RETRY_AFTER_MS = 3_600_000;

export class DemotionRunner {
  private readonly stopping = new AbortController();
  private running: Promise<void> | undefined;
  private wake: () => void = () => undefined;
  private kicked = false;
  private lastFailure: string | undefined;
  private activity: { id: string; step: Step; rows: number; pace: Pace } | undefined;

  constructor(private readonly options: DemotionRunnerOptions) {}

  start(): void {
    this.running = this.loop();
  }

  async stop(): Promise<void> {
    this.stopping.abort(new Error('the server is stopping'));
    this.wake();
    await this.running;
  }

  /** What this server is doing; undefined when nothing, or another server does it. */
  get active(): DemotionActivity | undefined {
    const { activity } = this;
    if (activity === undefined) return undefined;
    return { id: activity.id, step: activity.step, rows: activity.rows, rowsPerSecond: Math.round(activity.pace.rate) };
  }

  /** Partitions that are older and still hot. Throws DemotionRequestError. */
  async candidates(table: string, olderThanMs: number): Promise<readonly HotPartition[]> {
    const { hot, clock } = this.options;
    const schema = this.demotable(table);
    const [partitions, unfinished] = await Promise.all([
      hot.partitions(schema, clock() - olderThanMs),
      hot.list({ table, unfinished: true }),
    ]);
    return partitions.filter(({ fromMs, toMs }) => !unfinished.some((each) => each.fromMs < toMs && each.toMs > fromMs));
  }

  /** Writes down demotions of all candidates and begins with them. Throws DemotionRequestError. */
  async demote(table: string, olderThanMs: number): Promise<readonly Demotion[]> {
    const { hot, clock } = this.options;
    await hot.adoptStrays(this.demotable(table), clock() - olderThanMs);
    const planned = await hot.plan(await this.candidates(table, olderThanMs));
    this.kick();
    return planned;
  }

  /**
   * Turns back the demotions of a table that meet [fromMs, toMs): those in ClickHouse are restored, those on their way are aborted.
   * Gives what it has turned.
   */
  async restore(table: string, fromMs: number, toMs: number): Promise<readonly Demotion[]> {
    const { hot } = this.options;
    this.demotable(table);
    const turned: Demotion[] = [];
    for (const found of await hot.list({ table })) {
      if (found.fromMs >= toMs || found.toMs <= fromMs) continue;
      const after = await this.turnBack(found);
      if (after !== undefined) turned.push(after);
    }
    this.kick();
    return turned;
  }

  /** The step that runs may be about to write its own change: then it is tried again. */
  private async turnBack(found: Demotion): Promise<Demotion | undefined> {
    const { hot } = this.options;
    const { signal } = this.stopping;
    for (let pauseMs = LOCK_PAUSE_MS.first; !signal.aborted; pauseMs = Math.min(pauseMs * 2, LOCK_PAUSE_MS.max)) {
      const latest = (await hot.list({ table: found.table })).find(({ id }) => id === found.id);
      if (latest === undefined) return undefined;
      try {
        if (latest.state === 'demoted') return await hot.update(latest, { state: 'restoring' });
        if (!canAbort(latest)) return undefined;
        const aborting = await hot.reopen(latest);
        if (aborting !== undefined) return aborting;
      } catch (error) {
        if (!(error instanceof DemotionConflictError)) throw error;
      }
      await sleep(pauseMs, undefined, { signal }).catch(() => undefined);
    }
    return undefined;
  }

  private demotable(table: string): TableSchema {
    const schema = this.options.schemaOf(table as TableName);
    if (schema === undefined) throw new DemotionRequestError(`there is no table ${table}`);
    if (this.options.isInBoth(schema.table)) {
      throw new DemotionRequestError(`${table} is routed to both tiers: its rows are in clickhouse already`);
    }
    return schema;
  }

  /** Looks for work now. */
  kick(): void {
    this.kicked = true;
    this.wake();
  }

  private async loop(): Promise<void> {
    const { intervalMs } = this.options;
    const { signal } = this.stopping;
    while (!signal.aborted) {
      this.kicked = false;
      let pauseMs = intervalMs;
      try {
        if (!(await this.pass())) pauseMs = Math.min(intervalMs, BUSY_PAUSE_MS);
      } catch (error) {
        if (signal.aborted) return;
        this.reportFailure(error);
        pauseMs = Math.min(intervalMs, FAILURE_PAUSE_MS);
      }
      if (!this.kicked && !signal.aborted) await this.pause(pauseMs);
    }
  }

  /** The same again and again is told once. */
  private reportFailure(error: unknown): void {
    const { logger, telemetry } = this.options;
    telemetry.demotionFailures.inc();
    const text = error instanceof Error ? error.message : String(error);
    if (text !== this.lastFailure) logger.warn({ err: error }, 'demotions wait for a store');
    this.lastFailure = text;
  }

  private pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.wake = () => {
        clearTimeout(timer);
        resolve();
      };
      if (this.kicked || this.stopping.signal.aborted) this.wake();
    });
  }

  /** Does everything that there is to do, under the lock; false when another server has it. */
  private async pass(): Promise<boolean> {
    const { hot } = this.options;
    const lock = await hot.lock();
    if (lock === undefined) return false;
    try {
      const signal = AbortSignal.any([this.stopping.signal, lock.lost]);
      await hot.forgetHidden(HIDDEN_MS);
      await this.planByPolicy();
      // One that cannot go on now does not hold up the others.
      const failures: unknown[] = [];
      for (const demotion of await hot.list({ unfinished: true })) {
        if (signal.aborted) break;
        await this.drive(demotion, signal).catch((error: unknown) => failures.push(error));
      }
      if (failures.length > 0) throw failures[0];
      this.lastFailure = undefined;
      return true;
    } finally {
      this.activity = undefined;
      await lock.release();
    }
  }

  private async planByPolicy(): Promise<void> {
    const { hot, tables, retentionMs, isInBoth, clock } = this.options;
    for (const { table } of tables()) {
      const olderThanMs = retentionMs(table);
      if (olderThanMs === undefined || isInBoth(table)) continue;
      await hot.adoptStrays(this.demotable(table), clock() - olderThanMs);
      const candidates = await this.candidates(table, olderThanMs);
      if (candidates.length === 0) continue;
      const before = await hot.list({ table });
      await hot.plan(candidates.filter((partition) => !isLeftAlone(partition, before, clock())));
    }
  }

  /** From where it stands to its end. Throws what is worth another try later. */
  private async drive(found: Demotion, signal: AbortSignal): Promise<void> {
    const { logger, telemetry, schemaOf } = this.options;
    const schema = schemaOf(found.table);
    if (schema === undefined) return;
    await this.options.ensureHot(schema);
    let demotion = found;
    let mayHaveRun = true;
    let pauseMs = LOCK_PAUSE_MS.first;
    for (let step = nextStep(demotion); step !== 'none'; step = nextStep(demotion)) {
      signal.throwIfAborted();
      if (this.activity?.id !== found.id || this.activity.step !== step) this.begin(found.id, step);
      try {
        const after = await STEPS[step](demotion, this.context(schema, signal), mayHaveRun);
        if (after === undefined) {
          await sleep(pauseMs, undefined, { signal }).catch(() => undefined);
          pauseMs = Math.min(pauseMs * 2, LOCK_PAUSE_MS.max);
          continue;
        }
        if (after.state !== demotion.state) logger.info({ demotion: summary(after) }, `demotion is ${after.state}`);
        demotion = after;
        mayHaveRun = false;
        pauseMs = LOCK_PAUSE_MS.first;
      } catch (error) {
        // Somebody asked for it to be turned back: the next pass goes on from there.
        if (error instanceof DemotionConflictError) return this.kick();
        if (!isRefusal(error)) throw error;
        telemetry.demotionFailures.inc();
        logger.error({ err: error, demotion: summary(demotion) }, 'a partition cannot be moved');
        const given = await this.giveUp(demotion, (error as Error).message, signal);
        if (given === undefined) return;
        demotion = given;
      }
    }
  }

  /** Undefined: nothing more can be done now. */
  private async giveUp(demotion: Demotion, reason: string, signal: AbortSignal): Promise<Demotion | undefined> {
    const { hot } = this.options;
    if (!canAbort(demotion)) {
      await hot.update(demotion, { error: reason });
      return undefined;
    }
    for (;;) {
      signal.throwIfAborted();
      const aborting = await hot.reopen(demotion, reason);
      if (aborting !== undefined) return aborting;
      await sleep(LOCK_PAUSE_MS.max, undefined, { signal }).catch(() => undefined);
    }
  }

  private begin(id: string, step: Step): void {
    this.activity = { id, step, rows: 0, pace: new Pace(this.options.rowsPerSecond) };
  }

  private context(schema: TableSchema, signal: AbortSignal) {
    const { hot, cold, telemetry } = this.options;
    const onRows = async (step: Step, rows: number): Promise<void> => {
      telemetry.demotionRows.inc({ table: schema.table, step }, rows);
      if (this.activity === undefined) return;
      this.activity.rows += rows;
      await this.activity.pace.take(rows, signal);
    };
    return { hot, cold, schema, signal, onRows };
  }
}

/** What an operator took back stays hot until an operator says otherwise; what had to be given up is not tried again at once. */
function isLeftAlone({ fromMs, toMs }: HotPartition, before: readonly Demotion[], nowMs: number): boolean {
  const last = before.filter((each) => each.fromMs < toMs && each.toMs > fromMs).at(-1);
  if (last === undefined || last.state === 'demoted') return false;
  return last.error === undefined || nowMs - last.updatedAtMs < RETRY_AFTER_MS;
}

/** Not a store that is down: repeating it would end in the same way. */
const isRefusal = (error: unknown): boolean =>
  error instanceof DemotionRefusedError || (error instanceof SinkError && error.failure !== 'retry');

const summary = ({ id, table, partition, state, digest }: Demotion) => ({ id, table, partition, state, rows: digest?.count });
