/**
 * Roll-ups as ClickHouse tables and views: pure functions from schemas to SQL.
 *
 * The sums of table `t` over a period are `_rollup_t_1m`, an AggregatingMergeTree with one partition for each UTC day, built from the
 * rows of that day. The view `t_1m` finishes the states, and takes days without sums from the rows themselves, so that it is right
 * from the first row on. Buckets are DateTime: years 1970 to 2105.
 *
 * metrics_events: points with a value, by app, host, metric, kind, unit and labels. traces_spans: requests, errors and durations by app,
 * host, name and kind. logs_events: lines by app, host and level. Any other table: rows, and sum, min, max and last of each number, by
 * its columns of few distinct strings (`low_cardinality`).
 */
import { LOGS_EVENTS, METRICS_EVENTS, TRACES_SPANS } from '../../core/builtin-tables';
import { identifier, literal, qualified } from '../../core/clickhouse-sql';
import { countsInCold } from '../../core/demotion';
import type { Rollup } from '../../core/rollup';
import type { ColumnSchema, TableSchema } from '../../core/table-schema';
import { isNumeric } from '../../core/type-lattice';
import { everywhere, localTable, mergeTree, onCluster } from './cluster';
import { columnType, partitionExpression } from './ddl';
import type { DdlOptions } from './ddl-options';

/** Column, type and expression over a row of the source. */
interface Dimension {
  readonly name: string;
  readonly type: string;
  readonly expression: string;
}

interface Measure {
  readonly name: string;
  readonly type: string;
  /** The state of a group of rows. */
  readonly state: string;
  /** Columns of the view, over merged states. */
  readonly shown: readonly (readonly [name: string, expression: string])[];
}

interface Definition {
  /** By these the table is ordered. */
  readonly dimensions: readonly Dimension[];
  /** The one value of a group that cannot be part of a sorting key, with a dimension that stands for it. */
  readonly carried: readonly Dimension[];
  readonly measures: readonly Measure[];
  /** Rows that are summed up; absent: all. */
  readonly where?: string;
}

/** A column of the states that a view merges. */
const merged = (name: string): string => `s.${identifier(name)}`;

/** Which rows of the source have been built into the sums of a day. */
export const ROLLUP_STATE = '_rollups';
const QUANTILES = [0.5, 0.9, 0.95, 0.99];
const BUCKET = '`bucket`';

export const rollupTable = ({ source, period }: Rollup): string => `_rollup_${source.table}_${period.name}`;
export const statesView = (rollup: Rollup): string => `${rollupTable(rollup)}_states`;
export const rollupView = ({ source, period }: Rollup): string => `${source.table}_${period.name}`;

const tags = (...names: string[]): Dimension[] =>
  names.map((name) => ({ name, type: 'LowCardinality(String)', expression: identifier(name) }));

const count = (name: string, state = 'count()'): Measure => ({
  name,
  type: 'SimpleAggregateFunction(sum, UInt64)',
  state,
  shown: [[name, `sum(${merged(name)})`]],
});

const simple = (name: string, aggregate: 'sum' | 'min' | 'max', type: string, state: string): Measure => ({
  name,
  type: `SimpleAggregateFunction(${aggregate}, ${type})`,
  state,
  shown: [[name, `${aggregate}(${merged(name)})`]],
});

/** The value of the latest row; of two at one time the greater. */
const last = (name: string, type: string, value: string, time: string): Measure => ({
  name,
  type: `AggregateFunction(argMax, ${type}, Tuple(DateTime64(9, 'UTC'), ${type}))`,
  state: `argMaxState(${value}, (${time}, ${value}))`,
  shown: [[name, `argMaxMerge(${merged(name)})`]],
});

const quantiles = (name: string, value: string, prefix: string): Measure => {
  const levels = QUANTILES.join(', ');
  return {
    name,
    type: `AggregateFunction(quantilesTDigest(${levels}), Float64)`,
    state: `quantilesTDigestState(${levels})(${value})`,
    shown: QUANTILES.map((level, i) => [
      `${prefix}p${level * 100}`,
      `quantilesTDigestMerge(${levels})(${merged(name)})[${i + 1}]`,
    ]),
  };
};

const METRICS: Definition = {
  dimensions: [
    ...tags('app', 'metric', 'host', 'kind', 'unit'),
    { name: 'series', type: 'UInt128', expression: 'reinterpretAsUInt128(sipHash128(mapSort(`labels`)))' },
  ],
  carried: [
    {
      name: 'labels',
      type: 'SimpleAggregateFunction(any, Map(String, String))',
      expression: "any(CAST(mapSort(`labels`), 'Map(String, String)'))",
    },
  ],
  where: 'isNotNull(`value`)',
  measures: [
    count('count'),
    simple('sum', 'sum', 'Float64', 'sum(assumeNotNull(`value`))'),
    simple('min', 'min', 'Float64', 'min(assumeNotNull(`value`))'),
    simple('max', 'max', 'Float64', 'max(assumeNotNull(`value`))'),
    last('last', 'Float64', 'assumeNotNull(`value`)', '`time`'),
    quantiles('quantiles', 'assumeNotNull(`value`)', ''),
  ],
};

const DURATION = 'ifNull(`duration_ns`, 0)';
const SPANS: Definition = {
  dimensions: tags('app', 'name', 'host', 'kind'),
  carried: [],
  measures: [
    count('requests'),
    count('errors', "countIf(`status_code` = 'error')"),
    simple('duration_ns_sum', 'sum', 'Int64', `sum(${DURATION})`),
    simple('duration_ns_min', 'min', 'Int64', `min(${DURATION})`),
    simple('duration_ns_max', 'max', 'Int64', `max(${DURATION})`),
    quantiles('duration_ns_quantiles', `toFloat64(${DURATION})`, 'duration_ns_'),
  ],
};

const LOGS: Definition = { dimensions: tags('app', 'level', 'host'), carried: [], measures: [count('count')] };

function definitionOf(source: TableSchema): Definition {
  if (source.table === METRICS_EVENTS.table) return METRICS;
  if (source.table === TRACES_SPANS.table) return SPANS;
  if (source.table === LOGS_EVENTS.table) return LOGS;
  const isTag = ({ type, lowCardinality }: ColumnSchema): boolean => type === 'string' && lowCardinality === true;
  const numbers = source.columns.filter(({ type, exactOf }) => isNumeric(type) && exactOf === undefined);
  return {
    dimensions: tags(...source.columns.filter(isTag).map(({ name }) => name)),
    carried: [],
    measures: [count('count'), ...numbers.flatMap((column) => numberMeasures(column, source.timeColumn))],
  };
}

/** Sums of integers are kept as Float64, as those of other numbers: Int64 could overflow. */
function numberMeasures(column: ColumnSchema, timeColumn: string): Measure[] {
  const { name } = column;
  const type = columnType({ ...column, nullable: true }, timeColumn);
  const value = identifier(name);
  return [
    simple(`${name}_sum`, 'sum', 'Float64', `ifNull(sum(toFloat64(${value})), 0)`),
    simple(`${name}_min`, 'min', type, `min(toNullable(${value}))`),
    simple(`${name}_max`, 'max', type, `max(toNullable(${value}))`),
    {
      name: `${name}_last`,
      type: `AggregateFunction(argMax, ${type}, DateTime64(9, 'UTC'))`,
      state: `argMaxState(toNullable(${value}), ${identifier(timeColumn)})`,
      shown: [[`${name}_last`, `argMaxMerge(${merged(`${name}_last`)})`]],
    },
  ];
}

const bucketOf = ({ source, period }: Rollup): string =>
  `toDateTime(toStartOfInterval(${identifier(source.timeColumn)}, INTERVAL ${period.seconds} SECOND, 'UTC'), 'UTC')`;

/** The part of a definition that a table has: one made of a narrower source keeps its sorting key. */
export interface RollupColumns {
  readonly dimensions: readonly string[];
}

function kept(rollup: Rollup, stored: RollupColumns | undefined): Definition {
  const definition = definitionOf(rollup.source);
  if (stored === undefined) return definition;
  const names = new Set(stored.dimensions);
  return { ...definition, dimensions: definition.dimensions.filter(({ name }) => names.has(name)) };
}

/** A day without an end is kept for ever. */
export const rollupTtl = ({ keepDays }: Rollup): string | undefined =>
  keepDays === undefined ? undefined : `${BUCKET} + toIntervalDay(${keepDays})`;

export interface RollupTableOptions {
  /** A table beside the real one, in which a day is built: never replicated, not on the cluster. */
  readonly building?: string;
  readonly stored?: RollupColumns | undefined;
}

/** Throws RangeError when two columns would have one name. */
export function createRollup(rollup: Rollup, options: DdlOptions, { building, stored }: RollupTableOptions = {}): string {
  const { dimensions, carried, measures } = kept(rollup, stored);
  const columns = [{ name: 'bucket', type: "DateTime('UTC')" }, ...dimensions, ...carried, ...measures];
  const names = new Set(columns.map(({ name }) => name));
  if (names.size !== columns.length) throw new RangeError(`the roll-up of ${rollup.source.table} has two columns of one name`);
  const key = [...dimensions.map(({ name }) => identifier(name)), BUCKET].join(', ');
  const ttl = building === undefined ? rollupTtl(rollup) : undefined;
  const target =
    building === undefined
      ? `${qualified(options.database, rollupTable(rollup))}${onCluster(options)}`
      : qualified(options.database, building);
  const engine = mergeTree('AggregatingMergeTree', building === undefined ? options : {});
  return [
    `CREATE TABLE IF NOT EXISTS ${target} (`,
    columns.map(({ name, type }) => `  ${identifier(name)} ${type}`).join(',\n'),
    `) ENGINE = ${engine} PARTITION BY toYYYYMMDD(${BUCKET}) ORDER BY (${key})`,
    ...(ttl === undefined ? [] : [`TTL ${ttl}`]),
    'SETTINGS ttl_only_drop_parts = 1',
  ].join('\n');
}

/** Measures that the table lacks, because the source had fewer columns when it was made. */
export function addMeasures(rollup: Rollup, present: ReadonlySet<string>): string[] {
  return definitionOf(rollup.source)
    .measures.filter(({ name }) => !present.has(name))
    .map(({ name, type }) => `ADD COLUMN IF NOT EXISTS ${identifier(name)} ${type}`);
}

/** States of the rows that `where` names, as rows of the roll-up's table. */
function states(rollup: Rollup, options: DdlOptions, stored: RollupColumns | undefined, where: string): string {
  const { dimensions, carried, measures, where: counted } = kept(rollup, stored);
  const keys = dimensions.map(({ name, expression }) => `${expression} AS ${identifier(`_by_${name}`)}`);
  const values = [
    `${bucketOf(rollup)} AS _by_bucket`,
    ...keys,
    ...carried.map(({ name, expression }) => `${expression} AS ${identifier(`_of_${name}`)}`),
    ...measures.map(({ name, state }) => `${state} AS ${identifier(`_of_${name}`)}`),
  ];
  const groups = ['_by_bucket', ...dimensions.map(({ name }) => identifier(`_by_${name}`))].join(', ');
  const condition = [where, ...(counted === undefined ? [] : [counted])].map((text) => `(${text})`).join(' AND ');
  return (
    `SELECT ${values.join(', ')} FROM ${qualified(options.database, localTable(rollup.source.table, options))} ` +
    `WHERE ${condition} GROUP BY ${groups}`
  );
}

const columnNames = ({ dimensions, carried, measures }: Definition): string[] => [
  'bucket',
  ...dimensions.map(({ name }) => name),
  ...carried.map(({ name }) => name),
  ...measures.map(({ name }) => name),
];

/** Builds the sums of one day in a table made by `createRollup`. */
export function insertDay(
  rollup: Rollup,
  options: DdlOptions,
  { day, building, stored, hidden }: { day: string; building: string; stored: RollupColumns; hidden: readonly string[] },
): string {
  const names = columnNames(kept(rollup, stored)).map(identifier).join(', ');
  const where = `${partitionExpression(rollup.source.timeColumn)} = ${Number(day)} AND ${countsInCold(hidden)}`;
  return `INSERT INTO ${qualified(options.database, building)} (${names}) ${states(rollup, options, stored, where)}`;
}

/**
 * States of every day: days that are in no sum yet are read from the rows. Which days these are is asked of the parts of the table,
 * which costs nothing. With shards, each answers for its own rows.
 */
export function statesSelect(rollup: Rollup, options: DdlOptions, stored: RollupColumns): string {
  const table = qualified(options.database, rollupTable(rollup));
  const built = `SELECT toUInt32(_partition_id) FROM ${table} GROUP BY _partition_id`;
  const open = `${partitionExpression(rollup.source.timeColumn)} NOT IN (${built})`;
  const names = columnNames(kept(rollup, stored)).map(identifier).join(', ');
  return `SELECT ${names} FROM ${table} UNION ALL ${states(rollup, options, stored, open)}`;
}

/** The finished sums over the view of `statesSelect`. */
export function rollupSelect(rollup: Rollup, options: DdlOptions, stored: RollupColumns): string {
  const { dimensions, carried, measures } = kept(rollup, stored);
  const groups = ['bucket', ...dimensions.map(({ name }) => name)].map(identifier);
  const shown = [
    ...groups.filter((name) => name !== '`series`'),
    ...carried.map(({ name }) => `any(${merged(name)}) AS ${identifier(name)}`),
    ...measures.flatMap(({ shown: columns }) => columns.map(([name, expression]) => `${expression} AS ${identifier(name)}`)),
  ];
  return `SELECT ${shown.join(', ')} FROM ${everywhere(statesView(rollup), options)} AS s GROUP BY ${groups.join(', ')}`;
}

/** One row for each day of each roll-up: what of the source its sums were built from. */
export const createRollupState = (options: DdlOptions): string =>
  [
    `CREATE TABLE IF NOT EXISTS ${qualified(options.database, ROLLUP_STATE)}${onCluster(options)} (`,
    "  `rollup` String, `day` String, `block` Int64, `version` Int64, `built_at` DateTime64(3, 'UTC')",
    `) ENGINE = ${mergeTree('ReplacingMergeTree', options, ['`built_at`'])} ORDER BY (\`rollup\`, \`day\`)`,
  ].join('\n');

/**
 * Day, newest block and newest mutation of the source's parts: what changes with an insert or a deletion, and not with a merge. The
 * mutation is the fifth piece of a part's name: day, first and last block, level, mutation.
 */
export const sourceDays = (rollup: Rollup, options: DdlOptions): string =>
  'SELECT partition_id AS day, max(max_block_number) AS block, ' +
  "max(toInt64OrZero(splitByChar('_', name)[5])) AS version FROM system.parts " +
  `WHERE active AND rows > 0 AND database = ${literal(options.database)} AND table = ${literal(localTable(rollup.source.table, options))} ` +
  'GROUP BY partition_id';

export const builtDays = (rollup: Rollup, options: DdlOptions): string =>
  `SELECT day, block, version FROM ${qualified(options.database, ROLLUP_STATE)} FINAL ` +
  `WHERE rollup = ${literal(rollupTable(rollup))}`;
