/** The dead-letter routes of the admin port: bodies and query strings to calls of the store, answers to JSON. */
import type { DeadLetter, DeadLetterFilter, DeadLetterOutcome, DeadLetterSelection, DeadLetterStore } from '../core/dead-letter';
import type { Tier } from '../core/table-schema';
import type { JsonAnswer } from './answer';

const LIMIT = { fallback: 100, max: 1_000 };
/** A longer row is left out of a list; `GET /api/dead-letters/{id}` gives it. */
const LISTED_ROW_LENGTH_MAX = 16 * 1024;
const TIERS = ['hot', 'cold'] as const;

const invalid = (message: string): JsonAnswer => ({ status: 400, body: { error: { code: 'invalid_argument', message } } });
const isTier = (value: unknown): value is Tier => value === 'hot' || value === 'cold';

/** `GET /api/dead-letters?table=&tier=&code=&limit=&after=` */
export async function listDeadLetters(store: DeadLetterStore, query: URLSearchParams): Promise<JsonAnswer> {
  for (const name of query.keys()) {
    if (!['table', 'tier', 'code', 'limit', 'after'].includes(name)) return invalid(`unknown parameter ${name}`);
  }
  const filter = readFilter(Object.fromEntries(['table', 'tier', 'code'].flatMap((key) => pairOf(query, key))));
  if (typeof filter === 'string') return invalid(filter);
  const limit = query.has('limit') ? Number(query.get('limit')) : LIMIT.fallback;
  if (!Number.isInteger(limit) || limit < 1 || limit > LIMIT.max) return invalid(`limit must be 1 to ${LIMIT.max}`);
  const after = query.get('after') ?? undefined;
  if (after !== undefined && !/^\d{1,15}-\d{1,9}$/.test(after)) return invalid('after must be the id of a dead letter');
  const { letters, next } = await store.list({ filter, limit, ...(after === undefined ? {} : { after }) });
  const dead_letters = letters.map((letter) => letterAnswer(letter, LISTED_ROW_LENGTH_MAX));
  const { letters: kept, sizeBytes, sizeBytesMax } = store.stats();
  return { status: 200, body: { dead_letters, next: next ?? null, kept, size_bytes: sizeBytes, size_bytes_max: sizeBytesMax } };
}

/** `GET /api/dead-letters/{id}`; `row_arrow` is an Arrow IPC stream of the row, base64. */
export async function showDeadLetter(store: DeadLetterStore, id: string): Promise<JsonAnswer> {
  const letter = await store.get(id);
  if (letter === undefined) return { status: 404, body: { error: { code: 'not_found', message: 'no such dead letter' } } };
  const row_arrow = Buffer.from(letter.row).toString('base64');
  return { status: 200, body: { ...letterAnswer(letter, Number.POSITIVE_INFINITY), row_arrow } };
}

/** `POST /api/dead-letters/replay` `{"ids":[...]}` or `{"filter":{...}}`, `"tier":"hot"|"cold"|"all"` (default: the tier that refused, or today's routing). */
export async function replayDeadLetters(store: DeadLetterStore, body: string): Promise<JsonAnswer> {
  const request = readRequest(body, ['tier']);
  if (typeof request === 'string') return invalid(request);
  const { tier } = request.fields;
  if (tier !== undefined && tier !== 'all' && !isTier(tier)) return invalid('tier must be hot, cold or all');
  const tiers = tier === undefined ? undefined : tier === 'all' ? TIERS : [tier];
  return outcomeAnswer('replayed', await store.replay(request.selection, tiers));
}

/** `POST /api/dead-letters/drop` `{"ids":[...]}` or `{"filter":{...}}` */
export async function dropDeadLetters(store: DeadLetterStore, body: string): Promise<JsonAnswer> {
  const request = readRequest(body, []);
  if (typeof request === 'string') return invalid(request);
  return outcomeAnswer('dropped', await store.drop(request.selection));
}

interface SelectionRequest {
  readonly selection: DeadLetterSelection;
  readonly fields: Readonly<Record<string, unknown>>;
}

/** The request, or what is wrong with it. */
function readRequest(body: string, extra: readonly string[]): SelectionRequest | string {
  let parsed: unknown;
  try {
    parsed = JSON.parse(body);
  } catch {
    return 'the body is not JSON';
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) return 'the body must be an object';
  const fields = parsed as Record<string, unknown>;
  const unknown = Object.keys(fields).find((key) => !['ids', 'filter', ...extra].includes(key));
  if (unknown !== undefined) return `unknown field ${unknown}`;
  const { ids, filter } = fields;
  if ((ids === undefined) === (filter === undefined)) return 'give either ids or a filter; an empty filter means all';
  if (ids !== undefined) {
    if (!Array.isArray(ids) || !ids.every((id) => typeof id === 'string')) return 'ids must be a list of texts';
    return { selection: { ids }, fields };
  }
  if (typeof filter !== 'object' || filter === null || Array.isArray(filter)) return 'filter must be an object';
  const read = readFilter(filter as Record<string, unknown>);
  return typeof read === 'string' ? read : { selection: { filter: read }, fields };
}

function readFilter(fields: Readonly<Record<string, unknown>>): DeadLetterFilter | string {
  const unknown = Object.keys(fields).find((key) => !['table', 'tier', 'code'].includes(key));
  if (unknown !== undefined) return `unknown filter ${unknown}`;
  const { table, tier, code } = fields;
  if (table !== undefined && typeof table !== 'string') return 'table must be a text';
  if (code !== undefined && typeof code !== 'string') return 'code must be a text';
  if (tier !== undefined && tier !== 'none' && !isTier(tier)) return 'tier must be hot, cold or none';
  return {
    ...(table === undefined ? {} : { table }),
    ...(tier === undefined ? {} : { tier }),
    ...(code === undefined ? {} : { code }),
  };
}

function pairOf(query: URLSearchParams, key: string): [string, string][] {
  const value = query.get(key);
  return value === null || value === '' ? [] : [[key, value]];
}

function letterAnswer(letter: DeadLetter, rowLengthMax: number) {
  const { id, table, tier, stage, code, column, message, schemaVersion, lsn, atMs, json } = letter;
  return {
    id,
    table,
    tier: tier ?? null,
    stage,
    code,
    column: column ?? null,
    message,
    schema_version: schemaVersion,
    lsn,
    at: new Date(atMs).toISOString(),
    row: json.length > rowLengthMax ? null : (JSON.parse(json) as unknown),
  };
}

const outcomeAnswer = (verb: 'replayed' | 'dropped', { done, kept, keptCount }: DeadLetterOutcome): JsonAnswer => ({
  status: 200,
  body: { [verb]: done, kept: keptCount, reasons: kept },
});
