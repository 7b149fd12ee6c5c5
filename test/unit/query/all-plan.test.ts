import { LOGS_EVENTS, METRICS_EVENTS, TRACES_SPANS } from '../../../src/core/builtin-tables';
import { tablesOf } from '../../../src/query/all-plan';

const TABLES = [METRICS_EVENTS, TRACES_SPANS, LOGS_EVENTS];
const every = METRICS_EVENTS.columns.map(({ name }) => name);
const use = (query: string) => tablesOf(query, TABLES)[0];
const columns = (query: string): readonly string[] => use(query).columns;
const bounds = (query: string): string[] =>
  use(query).bounds.map(({ kind, column, expression }) => `${kind} ${column} ${expression}`);

test('the tables are those that the query names, quoted or not, and not in texts or comments', () => {
  const names = (query: string): string[] => tablesOf(query, TABLES).map(({ schema }) => schema.table);
  expect(
    names('SELECT \'logs_events\' FROM `metrics_events` -- traces_spans\n JOIN "traces_spans" /* logs_events */ USING app'),
  ).toEqual(['metrics_events', 'traces_spans']);
  expect(names('SELECT 1')).toEqual([]);
  expect(() => names('SELECT count() FROM default.metrics_events')).toThrow('name metrics_events without a database');
});

test.each([
  ['SELECT app, max(value) FROM metrics_events GROUP BY app', ['time', 'app', 'value']],
  ['SELECT count(*) FROM metrics_events', ['time']],
  ['SELECT value * 2 FROM metrics_events', ['time', 'value']],
  ['SELECT (value) * 2, 3 * 2 FROM metrics_events', ['time', 'value']],
  ['SELECT * FROM metrics_events', every],
  ['SELECT m.* FROM metrics_events AS m', every],
  ['SELECT DISTINCT * FROM metrics_events', every],
  ["SELECT COLUMNS('^a') FROM metrics_events", every],
  ['SELECT sum(`value_int`) FROM metrics_events', ['time', 'value_int']],
])('%s reads only some columns', (query, expected) => {
  expect(columns(query)).toEqual(expected);
});

test('bounds are constants that each row is compared with', () => {
  const from = 'SELECT count() FROM metrics_events WHERE ';
  expect(bounds(`${from} time >= now() - INTERVAL 1 HOUR AND time < '2026-01-02' AND app = 'a' || 'b' GROUP BY app`)).toEqual([
    'from time now() - INTERVAL 1 HOUR',
    "to time '2026-01-02'",
    "equal app 'a' || 'b'",
  ]);
  expect(bounds(`${from} time BETWEEN toDate('2026-01-01') AND now() AND (value > 1 OR value < 0) LIMIT 3`)).toEqual([
    "from time toDate('2026-01-01')",
    'to time now()',
  ]);
  expect(bounds(`SELECT count() FROM metrics_events PREWHERE time > 5 WHERE \`time\` == 7`)).toEqual([
    'from time 5',
    'from time 7',
    'to time 7',
  ]);
});

test.each([
  ['SELECT 1 FROM metrics_events WHERE time > 1 OR time < 5', 'OR'],
  ['SELECT 1 FROM metrics_events WHERE NOT time > 1', 'NOT'],
  ['SELECT 1 FROM metrics_events WHERE time > start_time', 'another column'],
  ['SELECT toStartOfHour(time) AS time FROM metrics_events WHERE time > 1', 'an alias'],
  ['SELECT 1 FROM metrics_events HAVING time > 1', 'HAVING'],
  ['SELECT 1 FROM metrics_events WHERE time > 5 = 0', 'a comparison of a comparison'],
  ['SELECT 1 FROM metrics_events WHERE app = (1) IN (0)', 'IN'],
  ['SELECT 1 FROM metrics_events WHERE 1 < time', 'the other way round'],
  ['SELECT 1 FROM metrics_events WHERE time <> 1', 'unequal'],
  ['SELECT 1 FROM metrics_events WHERE time > 1 UNION ALL SELECT 1 FROM metrics_events', 'UNION'],
  ['SELECT 1 FROM (SELECT 1 FROM metrics_events) WHERE time > 1', 'a subquery'],
  ['SELECT 1 FROM metrics_events AS a LEFT JOIN numbers(3) AS b ON 1 WHERE time > 1', 'JOIN'],
  ['SELECT 1 FROM metrics_events, logs_events WHERE time > 1', 'two tables'],
  ['SELECT 1 FROM metrics_events WHERE value > 1 AND metric != 3', 'no time'],
])('%s bounds nothing (%s)', (query) => {
  expect(bounds(query)).toEqual([]);
});
