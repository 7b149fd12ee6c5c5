/** `GET /api/traces/{traceId}`: the spans of a trace with the log records that carry its id, from both stores. */
import { LOGS_EVENTS, TRACES_SPANS } from '../core/builtin-tables';
import { type BothTiers, countsInCold } from '../core/demotion';
import { type ColumnSchema, type ColumnType, NANOS_SUFFIX, type TableSchema, type Tier } from '../core/table-schema';
import { SqlError, type SqlStore } from '../query/answer';
import { type Answer, failure } from './answer';

/** `snapshot`: reads both stores as of one moment; without it rows that are on their way between them may be told twice. */
export interface TraceStores {
  readonly hot: (SqlStore & Partial<BothTiers<{ readonly query: Query }>>) | undefined;
  readonly cold: SqlStore | undefined;
}

type Query = SqlStore['query'];

/** How each store is asked, and the condition for rows of ClickHouse. */
interface Readers {
  readonly hot: Query | undefined;
  readonly cold: Query | undefined;
  readonly counts: string;
}

interface Row {
  /** ISO 8601 with nine digits: texts are in the order of time. */
  readonly time: string;
  /** Equal for the same row in two stores. */
  readonly identity: string;
  readonly text: string;
}

interface Found {
  readonly rows: readonly Row[];
  readonly answered: boolean;
  readonly warning?: string;
}

const TRACE_ID = /^[0-9a-f]{32}$/i;
/** Names that need no escape and are the same in both stores. */
const PLAIN_NAME = /^[A-Za-z_][A-Za-z0-9_]{0,58}$/;
const TIERS: readonly Tier[] = ['hot', 'cold'];
const IDENTITY = {
  spans: ['start_time', 'end_time', 'span_id', 'name', 'kind', 'app', 'host'],
  logs: ['timestamp', 'observed_timestamp', 'span_id', 'app', 'host', 'severity_text', 'message'],
};
/** The table is not in this store: no row of the trace is either. */
const MISSING_TABLE: ReadonlySet<string> = new Set(['42P01', '60']);
const SMALL_INTEGERS: ReadonlySet<ColumnType> = new Set<ColumnType>(['int16', 'int32', 'uint8', 'uint32']);

/**
 * Rows of both stores in the order of their time; a row that is in both is told once. A store that is missing or fails is a warning
 * as long as the other one answers. `tables`: the schemas in force.
 */
export async function traceAnswer(stores: TraceStores, tables: readonly TableSchema[], id: string): Promise<Answer> {
  if (!TRACE_ID.test(id)) return failure(400, 'invalid_argument', 'a trace id is 32 hex digits');
  const inForce = (builtin: TableSchema): TableSchema => tables.find(({ table }) => table === builtin.table) ?? builtin;
  const [spans, logs] = await inSnapshot(stores, (readers) =>
    Promise.all([
      fromBoth(readers, inForce(TRACES_SPANS), IDENTITY.spans, id),
      fromBoth(readers, inForce(LOGS_EVENTS), IDENTITY.logs, id),
    ]),
  );
  const warnings = [...new Set([...spans.warnings, ...logs.warnings])];
  if (!spans.answered && !logs.answered) return failure(503, 'unavailable', warnings.join('; '));
  const listed = ({ rows }: { rows: readonly Row[] }): string => `[${rows.map(({ text }) => text).join(',')}]`;
  const told = warnings.length === 0 ? '' : `,"warnings":${JSON.stringify(warnings)}`;
  const text = `{"trace_id":"${id.toLowerCase()}","spans":${listed(spans)},"logs":${listed(logs)}${told}}`;
  // JSON text already: integers of any size in attributes stay as they are stored.
  return { status: 200, contentType: 'application/json', body: text };
}

/** When PostgreSQL does not answer, ClickHouse alone is asked, for all it has. */
async function inSnapshot<T>({ hot, cold }: TraceStores, work: (readers: Readers) => Promise<T>): Promise<T> {
  const askCold: Query | undefined = cold === undefined ? undefined : (sql, format) => cold.query(sql, format);
  const alone: Readers = {
    hot: hot === undefined ? undefined : (sql, format) => hot.query(sql, format),
    cold: askCold,
    counts: countsInCold([]),
  };
  if (hot?.snapshot === undefined) return work(alone);
  let begun = false;
  try {
    return await hot.snapshot([TRACES_SPANS.table, LOGS_EVENTS.table], (snapshot) => {
      begun = true;
      return work({ hot: snapshot.hot.query, cold: askCold, counts: countsInCold(snapshot.hidden) });
    });
  } catch (error) {
    if (begun || !(error instanceof SqlError)) throw error;
    return work(alone);
  }
}

async function fromBoth(readers: Readers, schema: TableSchema, identity: readonly string[], id: string) {
  const found = await Promise.all(TIERS.map((tier) => fromStore(readers, tier, schema, identity, id)));
  const [hot, cold] = found.map(({ rows }) => rows);
  return {
    rows: merged(hot, cold),
    answered: found.some(({ answered }) => answered),
    warnings: found.flatMap(({ warning }) => (warning === undefined ? [] : [warning])),
  };
}

/** As often as the store that has it more often: rows that a client sent twice are two. */
function merged(hot: readonly Row[], cold: readonly Row[]): Row[] {
  const counts = new Map<string, number>();
  for (const { identity } of hot) counts.set(identity, (counts.get(identity) ?? 0) + 1);
  const onlyCold = cold.filter(({ identity }) => {
    const count = counts.get(identity) ?? 0;
    counts.set(identity, count - 1);
    return count <= 0;
  });
  return [...hot, ...onlyCold].sort((a, b) => (a.time < b.time ? -1 : a.time > b.time ? 1 : 0));
}

async function fromStore(
  readers: Readers,
  tier: Tier,
  schema: TableSchema,
  identity: readonly string[],
  id: string,
): Promise<Found> {
  const { [tier]: query, counts } = readers;
  if (query === undefined) return { rows: [], answered: false, warning: `there is no ${tier} store` };
  try {
    const { body } = await query(selectRows(schema, tier, id, counts), 'json');
    const { columns, rows, truncated } = JSON.parse(body.toString()) as {
      columns: { name: string }[];
      rows: unknown[][];
      truncated?: boolean;
    };
    const names = columns.map(({ name }) => name);
    return {
      rows: rows.map((values) => toRow(schema, tier, identity, new Map(names.map((name, i) => [name, values[i]])))),
      answered: true,
      ...(truncated === true ? { warning: `${schema.table} has more rows in the ${tier} store than one answer takes` } : {}),
    };
  } catch (error) {
    if (!(error instanceof SqlError)) throw error;
    if (MISSING_TABLE.has(error.storeCode)) return { rows: [], answered: true };
    return { rows: [], answered: false, warning: `${tier} store: ${error.message}` };
  }
}

const columnsOf = (schema: TableSchema): ColumnSchema[] => schema.columns.filter(({ name }) => PLAIN_NAME.test(name));

/** Nothing but checked names and checked hex digits goes into the text. A client of REST may have sent the id in either case. */
function selectRows(schema: TableSchema, tier: Tier, id: string, counts: string): string {
  const selected = columnsOf(schema).flatMap(({ name, type }) => {
    if (tier === 'cold') return [`"${name}"`];
    if (type === 'timestamp') return [`"${name}"`, `"${name}${NANOS_SUFFIX}"`];
    // As text, so that no number in it goes through a double.
    return [type === 'json' || type === 'attributes' ? `"${name}"::text AS "${name}"` : `"${name}"`];
  });
  const ids = [...new Set([id.toLowerCase(), id.toUpperCase(), id])].map((text) => `'${text}'`).join(', ');
  const also = tier === 'cold' && counts !== '' ? ` AND ${counts}` : '';
  return `SELECT ${selected.join(', ')} FROM "${schema.table}" WHERE trace_id IN (${ids})${also} ORDER BY "${schema.timeColumn}"`;
}

function toRow(schema: TableSchema, tier: Tier, identity: readonly string[], values: ReadonlyMap<string, unknown>): Row {
  const texts = new Map(
    columnsOf(schema).map(({ name, type }) => [
      name,
      valueText(values.get(name), type, tier, values.get(`${name}${NANOS_SUFFIX}`)),
    ]),
  );
  const fields = [...texts].map(([name, text]) => `${JSON.stringify(name)}:${text}`);
  return {
    time: texts.get(schema.timeColumn) ?? '',
    identity: identity.map((name) => texts.get(name)).join('\n'),
    text: `{${fields.join(',')},"tier":"${tier}"}`,
  };
}

/** A value as JSON text, alike from both stores; ClickHouse has an empty text where a row has none. */
function valueText(value: unknown, type: ColumnType, tier: Tier, nanos: unknown): string {
  if (value === null || value === undefined || value === '') return 'null';
  if (typeof value !== 'string') return JSON.stringify(value);
  if (type === 'timestamp') return JSON.stringify(isoNanos(value, nanos));
  const isJson = type === 'json' || (type === 'attributes' && tier === 'hot');
  if ((isJson && parses(value)) || (SMALL_INTEGERS.has(type) && /^-?\d+$/.test(value))) return value;
  return JSON.stringify(value);
}

/** ClickHouse keeps a json column as any text. */
function parses(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/** `2026-01-02T03:04:05.12Z` and the nanoseconds below its microsecond -> nine digits; what is no date stays as it is. */
function isoNanos(text: string, nanos: unknown): string {
  const [, seconds, fraction = ''] = /^([^.]+?)(?:\.(\d+))?Z$/.exec(text) ?? [];
  if (seconds === undefined) return text;
  const digits = typeof nanos === 'number' ? fraction.padEnd(6, '0') + String(nanos).padStart(3, '0') : fraction.padEnd(9, '0');
  return `${seconds}.${digits}Z`;
}
