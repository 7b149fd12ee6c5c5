import { BUILTIN_TABLES, METRICS_EVENTS, TRACES_SPANS } from '../../../../src/core/builtin-tables';
import type { TableName } from '../../../../src/core/ids';
import type { TableSchema } from '../../../../src/core/table-schema';
import {
  addColumns,
  createIndexes,
  createTable,
  derivedName,
  pgColumns,
  typeConflicts,
} from '../../../../src/sinks/postgres/ddl';
import { createEventsView } from '../../../../src/sinks/postgres/events-view';
import { createPartition } from '../../../../src/sinks/postgres/partitions';
import { compress, createHypertable } from '../../../../src/sinks/postgres/timescale';

const ORDERS: TableSchema = {
  table: 'orders' as TableName,
  version: 1,
  timeColumn: 'at',
  tier: 'hot',
  columns: [
    { name: 'at', type: 'timestamp', nullable: false },
    { name: 'sel"ect', type: 'list<uint64>', nullable: true },
    { name: 'due', type: 'timestamp', nullable: true },
  ],
};

test('a table has its columns in order, then the nanoseconds of its timestamps; names are quoted', () => {
  expect(createTable(ORDERS, true)).toBe(`CREATE TABLE IF NOT EXISTS "orders" (
  "at" timestamp with time zone NOT NULL,
  "sel""ect" numeric(20,0)[],
  "due" timestamp with time zone,
  "at_ns" smallint,
  "due_ns" smallint
) PARTITION BY RANGE ("at")`);
});

test('a hypertable is cut by its chunk interval on the time column', () => {
  expect(createHypertable(ORDERS, { chunkHours: 24 })).toBe(
    `SELECT create_hypertable('"orders"', by_range('at', INTERVAL '24 hours'), create_default_indexes => false, if_not_exists => true)`,
  );
});

test('a hypertable is compressed by application and time', () => {
  expect(compress(METRICS_EVENTS, 7)[0]).toBe(
    `ALTER TABLE "metrics_events" SET (timescaledb.compress, timescaledb.compress_orderby = '"time" DESC', timescaledb.compress_segmentby = 'app')`,
  );
});

test('only missing columns are added, and none that is there is named a second time', () => {
  const existing = new Map(pgColumns(ORDERS).map(({ name, type }) => [name, type]));
  expect(addColumns(ORDERS, existing)).toBeUndefined();
  existing.delete('due_ns');
  existing.delete('sel"ect');
  expect(addColumns(ORDERS, existing)).toBe(
    'ALTER TABLE "orders" ADD COLUMN IF NOT EXISTS "sel""ect" numeric(20,0)[], ADD COLUMN IF NOT EXISTS "due_ns" smallint',
  );
});

test.each([
  ['text', 'character varying(20)', false],
  ['text', 'text', false],
  ['text', 'json', true],
  ['numeric(20,0)', 'numeric', false],
  ['numeric(20,0)', 'numeric(5,2)', true],
  ['numeric(20,0)[]', 'numeric[]', false],
  ['double precision', 'real', true],
  ['timestamp with time zone', 'timestamp without time zone', true],
])('values for a column of type %s do not go into one of type %s: %s', (wanted, found, conflicts) => {
  const { type } = { type: Object.entries(TYPE_OF).find(([, pg]) => pg === wanted)![0] as 'string' };
  const schema: TableSchema = { ...ORDERS, columns: [...ORDERS.columns, { name: 'c', type, nullable: true }] };
  expect(typeConflicts(schema, new Map([['c', found]])).length > 0).toBe(conflicts);
});

const TYPE_OF = {
  string: 'text',
  uint64: 'numeric(20,0)',
  'list<uint64>': 'numeric(20,0)[]',
  float64: 'double precision',
  timestamp: 'timestamp with time zone',
};

test('two columns of one name are refused: one would be lost', () => {
  const schema: TableSchema = { ...ORDERS, columns: [...ORDERS.columns, { name: 'at_ns', type: 'int64', nullable: true }] };
  expect(() => pgColumns(schema)).toThrow('two columns named at_ns');
});

test('a column name that PostgreSQL would cut is refused', () => {
  const schema: TableSchema = {
    ...ORDERS,
    columns: [...ORDERS.columns, { name: 'é'.repeat(32), type: 'int64', nullable: true }],
  };
  expect(() => pgColumns(schema)).toThrow('too long');
});

test('metrics are indexed by metric and time, spans by trace id, everything by time', () => {
  expect(createIndexes(METRICS_EVENTS).map((sql) => sql.replace(/.* ON /, ''))).toEqual([
    '"metrics_events" USING brin ("time") WITH (pages_per_range = 32, autosummarize = on)',
    '"metrics_events" (metric, "time")',
  ]);
  expect(createIndexes(TRACES_SPANS).map((sql) => sql.replace(/.* ON /, ''))).toEqual([
    '"traces_spans" USING brin ("start_time") WITH (pages_per_range = 32, autosummarize = on)',
    '"traces_spans" USING hash (trace_id)',
  ]);
});

test('derived names fit into 63 bytes and stay different', () => {
  const long = 'a'.repeat(63);
  const names = [
    derivedName('_p20260115_', long),
    derivedName('_p20260115_', `${long.slice(1)}b`),
    derivedName('_p20260115_', 'short'),
  ];
  expect(names.map((name) => name.length)).toEqual([63, 63, 16]);
  expect(new Set(names).size).toBe(3);
});

test('a partition is made beside the table, takes the rows of its day out of the default partition, and is attached', () => {
  const [create, move, attach] = createPartition(ORDERS, 20_468, '_default_orders');
  expect(create).toContain('CREATE TABLE "_p20260115_orders" (LIKE "orders"');
  expect(move).toContain(
    `DELETE FROM ONLY "_default_orders" WHERE "at" >= '2026-01-15T00:00:00.000Z' AND "at" < '2026-01-16T00:00:00.000Z'`,
  );
  expect(attach).toBe(
    `ALTER TABLE "orders" ATTACH PARTITION "_p20260115_orders" FOR VALUES FROM ('2026-01-15T00:00:00.000Z') TO ('2026-01-16T00:00:00.000Z')`,
  );
});

test('the events view shows the tables that are there', () => {
  expect(createEventsView(new Set())).toBeUndefined();
  const both = createEventsView(new Set(['metrics_events', 'traces_spans', 'orders']))!;
  expect([...new Set(both.match(/'\w+'::text AS source/g))]).toEqual([`'metrics'::text AS source`, `'traces'::text AS source`]);
});

test('every built-in table has a form in PostgreSQL', () => {
  for (const schema of BUILTIN_TABLES) expect(createTable(schema, true)).toContain(`"${schema.table}"`);
});
