/** `/api/demotions...`: partitions on their way from PostgreSQL to ClickHouse and back. */
import type { Demotion, HotPartition } from '../core/demotion';
import { chunksOf } from '../core/demotion';
import { durationMs } from '../core/duration';
import { DAY_MS } from '../core/utc-day';
import type { JsonAnswer } from './answer';

/** What one server is doing now. */
export interface Activity {
  readonly id: string;
  readonly step: string;
  readonly rows: number;
  readonly rowsPerSecond: number;
}

/** The runner of demotions, as the admin port sees it. Its methods throw DemotionRequestError. */
export interface DemotionControl {
  readonly active: Activity | undefined;
  candidates(table: string, olderThanMs: number): Promise<readonly HotPartition[]>;
  demote(table: string, olderThanMs: number): Promise<readonly Demotion[]>;
  restore(table: string, fromMs: number, toMs: number): Promise<readonly Demotion[]>;
}

export interface DemotionAdmin {
  readonly runner: DemotionControl;
  readonly list: (table?: string) => Promise<readonly Demotion[]>;
}

const DAY = /^\d{4}-\d\d-\d\d$/;
const TIME_MAX_MS = 8_640_000_000_000_000;

/** `GET /api/demotions?table=`: all of them, the newest last. */
export function listDemotions({ runner, list }: DemotionAdmin, query: URLSearchParams): Promise<JsonAnswer> {
  return answered(async () => {
    const demotions = await list(query.get('table') ?? undefined);
    const { active } = runner;
    return { demotions: demotions.map((demotion) => demotionAnswer(demotion, active)) };
  });
}

/** `GET /api/demotions/plan?table=&older_than=2d`: what a run would move; nothing is changed. */
export function planDemotions({ runner }: DemotionAdmin, query: URLSearchParams): Promise<JsonAnswer> {
  const request = runRequest({ table: query.get('table'), older_than: query.get('older_than') });
  if (typeof request === 'string') return Promise.resolve(invalid(request));
  return answered(async () => {
    const partitions = await runner.candidates(request.table, request.olderThanMs);
    return { partitions: partitions.map(partitionAnswer) };
  });
}

/** `POST /api/demotions/run` `{"table","older_than"}`: begins; the demotions go on in the background. */
export function runDemotions({ runner }: DemotionAdmin, body: string): Promise<JsonAnswer> {
  const request = runRequest(parsed(body));
  if (typeof request === 'string') return Promise.resolve(invalid(request));
  return answered(async () => {
    const demotions = await runner.demote(request.table, request.olderThanMs);
    return { demotions: demotions.map((demotion) => demotionAnswer(demotion, undefined)) };
  });
}

/** `POST /api/demotions/restore` `{"table","from","to"}`, days as YYYY-MM-DD, both inclusive; without them all of the table. */
export function restoreDemotions({ runner }: DemotionAdmin, body: string): Promise<JsonAnswer> {
  const { table, from, to } = parsed(body);
  if (typeof table !== 'string' || table === '') return Promise.resolve(invalid('table must be a name'));
  const fromMs = from === undefined ? -TIME_MAX_MS : dayMs(from);
  const toMs = to === undefined ? TIME_MAX_MS : dayMs(to);
  if (fromMs === undefined || toMs === undefined) return Promise.resolve(invalid('from and to must be days such as 2026-01-31'));
  return answered(async () => {
    const demotions = await runner.restore(table, fromMs, to === undefined ? toMs : toMs + DAY_MS);
    return { demotions: demotions.map((demotion) => demotionAnswer(demotion, undefined)) };
  });
}

function dayMs(text: unknown): number | undefined {
  const ms = typeof text === 'string' && DAY.test(text) ? Date.parse(`${text}T00:00:00Z`) : Number.NaN;
  return Number.isNaN(ms) ? undefined : ms;
}

function parsed(body: string): Record<string, unknown> {
  try {
    const value = JSON.parse(body) as unknown;
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}

/** The request, or what is wrong with it. */
function runRequest({ table, older_than }: Record<string, unknown>): { table: string; olderThanMs: number } | string {
  if (typeof table !== 'string' || table === '') return 'table must be a name';
  const olderThanMs = typeof older_than === 'string' ? (older_than === '0' ? 0 : durationMs(older_than)) : undefined;
  if (olderThanMs === undefined) return 'older_than must be a time such as 2d or 36h';
  return { table, olderThanMs };
}

async function answered(work: () => Promise<object>): Promise<JsonAnswer> {
  try {
    return { status: 200, body: await work() };
  } catch (error) {
    const { name, message } = error as Error;
    if (name === 'DemotionRequestError') return invalid(message);
    return { status: 503, body: { error: { code: 'unavailable', message: `postgresql: ${message}` } } };
  }
}

const invalid = (message: string): JsonAnswer => ({ status: 400, body: { error: { code: 'invalid_argument', message } } });

const isoTime = (ms: number): string => new Date(ms).toISOString();

const partitionAnswer = ({ table, name, fromMs, toMs, rowsEstimate, sizeBytes }: HotPartition) => ({
  table,
  partition: name,
  from: isoTime(fromMs),
  to: isoTime(toMs),
  rows_estimate: rowsEstimate,
  size_bytes: sizeBytes,
});

/** Rows of the present step, of which `rows_total` is an estimate while they are read for the first time. */
function demotionAnswer(demotion: Demotion, active: Activity | undefined) {
  const { id, layout, nextChunk, digest, rowsBack, state, error } = demotion;
  const chunks = layout === undefined ? 0 : chunksOf(layout);
  const isCopying = state === 'planned' || state === 'copying';
  const copied = digest?.count ?? 0;
  const total = isCopying
    ? Math.max(demotion.rowsEstimate, copied, chunks === 0 ? 0 : estimated(copied, nextChunk, chunks))
    : copied;
  const mine = active?.id === id ? active : undefined;
  const done = state === 'restoring' ? rowsBack : isCopying ? copied : state === 'verifying' ? (mine?.rows ?? 0) : total;
  const rate = mine?.rowsPerSecond ?? 0;
  return {
    id,
    ...partitionAnswer({ ...demotion, name: demotion.partition }),
    state,
    step: mine?.step ?? null,
    rows_done: done,
    rows_total: total,
    rows_per_second: rate,
    seconds_left: rate > 0 ? Math.ceil(Math.max(0, total - done) / rate) : null,
    error: error ?? null,
    created_at: isoTime(demotion.createdAtMs),
    updated_at: isoTime(demotion.updatedAtMs),
  };
}

const estimated = (rows: number, chunk: number, chunks: number): number =>
  chunk === 0 ? 0 : Math.round((rows / chunk) * chunks);
