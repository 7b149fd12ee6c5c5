/**
 * The view `observability_events (event_time, node, raw, source)`: metrics, traces and logs of this database as one stream of events.
 * A condition on `raw` builds the JSON of every row that it is asked of; `source` says the same as `raw->>'source'` and is a constant of
 * each table, so that PostgreSQL leaves out the other tables.
 */
import { quoteIdentifier, quoteLiteral } from '../../core/postgres-sql';

/** Tables that the view shows, with their time column and the `source` that their rows carry. */
const SOURCES = [
  { table: 'metrics_events', time: 'time', source: 'metrics' },
  { table: 'traces_spans', time: 'start_time', source: 'traces' },
  { table: 'logs_events', time: 'timestamp', source: 'logs' },
] as const;

export const EVENTS_VIEW = 'observability_events';
export const EVENTS_TABLES: readonly string[] = SOURCES.map(({ table }) => table);

/**
 * Undefined when none of the tables exists. To be made again when a table grows: `t.*` is what the table has now. The source is a
 * column of the row that becomes JSON, because adding it to finished JSON would cost as much again.
 */
export function createEventsView(existing: ReadonlySet<string>): string | undefined {
  const selects = SOURCES.filter(({ table }) => existing.has(table)).map(
    ({
      table,
      time,
      source,
    }) => `SELECT r.${quoteIdentifier(time)} AS event_time, r.host AS node, to_jsonb(r) AS raw, ${quoteLiteral(source)}::text AS source
FROM (SELECT t.*, ${quoteLiteral(source)}::text AS source FROM ${quoteIdentifier(table)} t) r`,
  );
  if (selects.length === 0) return undefined;
  return `CREATE OR REPLACE VIEW ${EVENTS_VIEW} AS\n${selects.join('\nUNION ALL\n')}`;
}
