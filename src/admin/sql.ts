/** `POST /api/sql`: read-only SQL on one store, or on the rows of both tiers. */
import type { AskedTime, BothTiersSql } from '../query/all';
import { SqlError, type SqlFormat, type SqlResult, type SqlStore } from '../query/answer';
import { type Answer, failure } from './answer';

export interface SqlTargets {
  readonly hot: SqlStore | undefined;
  readonly cold: SqlStore | undefined;
  readonly all: BothTiersSql | undefined;
}

interface SqlRequest extends AskedTime {
  readonly target: keyof SqlTargets;
  readonly query: string;
  readonly format: SqlFormat;
}

const STATUS_OF = { invalid: 400, timeout: 504, unavailable: 503 } as const;

/** `body`: JSON text of `{target, query, format?}`; with target `all` also `from` and `to`. */
export async function sqlAnswer(targets: SqlTargets, body: string): Promise<Answer> {
  const parsed = parseRequest(body);
  if (typeof parsed === 'string') return failure(400, 'invalid_argument', parsed);
  const { target } = parsed;
  try {
    const result = await answerOf(targets, parsed);
    if (result !== undefined) return { status: 200, ...result };
  } catch (error) {
    if (!(error instanceof SqlError)) throw error;
    return failure(STATUS_OF[error.kind], error.kind, error.message, { store_code: error.storeCode });
  }
  const what = target === 'all' ? 'no pair of stores' : `no ${target} store`;
  return failure(503, 'unavailable', `there is ${what}`);
}

/** Undefined: there is no such store. */
async function answerOf(targets: SqlTargets, { target, query, format, from, to }: SqlRequest): Promise<SqlResult | undefined> {
  return target === 'all' ? targets.all?.query(query, format, { from, to }) : targets[target]?.query(query, format);
}

/** The request, or what is wrong with it. */
function parseRequest(body: string): SqlRequest | string {
  let parsed: unknown;
  try {
    parsed = JSON.parse(body);
  } catch {
    return 'the body is not JSON';
  }
  if (typeof parsed !== 'object' || parsed === null) return 'the body must be an object';
  const { target, query, format = 'json', from, to } = parsed as Record<string, unknown>;
  if (target !== 'hot' && target !== 'cold' && target !== 'all') return 'target must be hot, cold or all';
  if (typeof query !== 'string' || query.trim() === '') return 'query must be a text';
  if (format !== 'json' && format !== 'arrow' && format !== 'csv') return 'format must be json, arrow or csv';
  if (!isText(from) || !isText(to)) return 'from and to must be texts';
  if (target !== 'all' && (from !== undefined || to !== undefined)) return 'from and to are for target all';
  return { target, query, format, from, to };
}

const isText = (value: unknown): value is string | undefined => value === undefined || typeof value === 'string';
