/** The view `observability_events (event_time, node, raw)`: metrics, traces and logs of this database as one stream of events. */
import { quoteIdentifier, quoteLiteral } from './ddl';

/** Tables that the view shows, with their time column and the `source` that their rows carry. */
const SOURCES = [
  { table: 'metrics_events', time: 'time', source: 'metrics' },
  { table: 'traces_spans', time: 'start_time', source: 'traces' },
  { table: 'logs_events', time: 'timestamp', source: 'logs' },
] as const;

export const EVENTS_VIEW = 'observability_events';
export const EVENTS_TABLES: readonly string[] = SOURCES.map(({ table }) => table);

/** Undefined when none of the tables exists. */
export function createEventsView(existing: ReadonlySet<string>): string | undefined {
  const selects = SOURCES.filter(({ table }) => existing.has(table)).map(
    ({ table, time, source }) => `SELECT t.${quoteIdentifier(time)} AS event_time, t.host AS node,
  to_jsonb(t) || jsonb_build_object('source', ${quoteLiteral(source)}) AS raw FROM ${quoteIdentifier(table)} t`,
  );
  if (selects.length === 0) return undefined;
  return `CREATE OR REPLACE VIEW ${EVENTS_VIEW} AS\n${selects.join('\nUNION ALL\n')}`;
}
