import { LOGS_EVENTS } from '../../../../src/core/builtin-tables';
import { identifier, literal } from '../../../../src/core/clickhouse-sql';
import type { TableName } from '../../../../src/core/ids';
import { lsn, type WalId } from '../../../../src/core/ids';
import type { ColumnSchema, ColumnType, TableSchema } from '../../../../src/core/table-schema';
import { attemptToken, batchKey } from '../../../../src/sinks/clickhouse/batch-key';
import { alterTable, columnType, createTable, objection, type StoredTable } from '../../../../src/sinks/clickhouse/ddl';

const PLANTS: TableSchema = {
  table: 'plants' as TableName,
  version: 1,
  timeColumn: 'at',
  tier: 'cold',
  columns: [
    { name: 'at', type: 'timestamp', nullable: true },
    { name: 'we`ird', type: 'int64', nullable: true },
    { name: 'seen', type: 'date', nullable: false },
  ],
};

const options = { database: 'tele' };

type Column = StoredTable['columns'][number];
const AT: Column = ['at', "DateTime64(9, 'UTC')"];
const WEIRD: Column = ['we`ird', 'Nullable(Int64)'];
const SEEN: Column = ['seen', 'Date32'];
const BATCH: Column[] = [
  ['_batch_hi', 'UInt64'],
  ['_batch_lo', 'UInt64'],
];

const stored = (change: Partial<StoredTable>): StoredTable => ({
  engine: 'MergeTree',
  engine_full:
    'MergeTree PARTITION BY toYYYYMMDD(at) ORDER BY at SETTINGS index_granularity = 8192, fsync_after_insert = 1, ' +
    'fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1',
  partition_key: 'toYYYYMMDD(at)',
  comment: '',
  columns: [AT, WEIRD, SEEN, ...BATCH],
  ...change,
});

const type = (of: ColumnType, lowCardinality = false): string =>
  columnType({ name: 'c', type: of, nullable: true, lowCardinality }, 'at');

describe('ClickHouse tables', () => {
  it('writes a table with its batch columns, day partitions and settings of rule C1', () => {
    expect(createTable(PLANTS, options)).toBe(
      [
        'CREATE TABLE IF NOT EXISTS `tele`.`plants` (',
        "  `at` DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),",
        '  `we\\`ird` Nullable(Int64) CODEC(ZSTD(1)),',
        '  `seen` Date32 CODEC(ZSTD(1)),',
        '  `_batch_hi` UInt64 CODEC(ZSTD(1)),',
        '  `_batch_lo` UInt64 CODEC(ZSTD(1)),',
        '  INDEX idx_batch (`_batch_hi`, `_batch_lo`) TYPE minmax GRANULARITY 1',
        ') ENGINE = MergeTree',
        'PARTITION BY toYYYYMMDD(`at`)',
        'ORDER BY (`at`)',
        'SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1, ' +
          'min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1',
      ].join('\n'),
    );
  });

  it('orders tables of applications by application and indexes trace ids', () => {
    const sql = createTable(LOGS_EVENTS, options);
    expect(sql).toContain('ORDER BY (`app`, `timestamp`)');
    expect(sql).toContain('INDEX idx_trace_id `trace_id` TYPE bloom_filter(0.001)');
  });

  it('replicates where it is told to', () => {
    const sql = createTable(PLANTS, {
      ...options,
      cluster: 'c',
      replicated: { path: '/t/{shard}/plants', replica: '{replica}' },
    });
    expect(sql).toContain('`plants` ON CLUSTER `c` (');
    expect(sql).toContain("ENGINE = ReplicatedMergeTree('/t/{shard}/plants', '{replica}')");
    expect(sql).toContain('SETTINGS replicated_deduplication_window = 10000');
  });

  it('keeps presence of numbers and not of strings', () => {
    expect(type('int64')).toBe('Nullable(Int64)');
    expect(type('string')).toBe('String');
    expect(type('string', true)).toBe('LowCardinality(String)');
    expect(type('attributes')).toBe('Map(LowCardinality(String), String)');
    expect(type('list<string>')).toBe('Array(String)');
  });

  it('refuses a schema that hides our columns or has no time', () => {
    const own = { ...PLANTS, columns: [...PLANTS.columns, { name: '_batch_lo', type: 'int64' as const, nullable: true }] };
    expect(() => createTable(own, options)).toThrow('column name _batch_lo is reserved');
    expect(() => createTable({ ...PLANTS, timeColumn: 'seen' }, options)).toThrow('time column seen must be a timestamp');
  });

  it('adds only what a table lacks', () => {
    expect(alterTable(PLANTS, stored({}), options)).toEqual([]);
    expect(alterTable(PLANTS, stored({ columns: [AT, ...BATCH] }), options)).toEqual([
      'ALTER TABLE `tele`.`plants` ADD COLUMN IF NOT EXISTS `we\\`ird` Nullable(Int64) CODEC(ZSTD(1)), ' +
        'ADD COLUMN IF NOT EXISTS `seen` Date32 CODEC(ZSTD(1))',
    ]);
  });

  it('makes a table of somebody else fit for exactly-once', () => {
    const [columns, settings] = alterTable(PLANTS, stored({ columns: [AT, WEIRD, SEEN], engine_full: 'MergeTree' }), options);
    expect(columns).toContain('ADD COLUMN IF NOT EXISTS `_batch_hi` UInt64');
    expect(columns).toContain('ADD INDEX IF NOT EXISTS idx_batch');
    expect(settings).toContain('MODIFY SETTING non_replicated_deduplication_window = 10000');
  });

  it('renames integers that became doubles and lets the new column read them', () => {
    const columns: ColumnSchema[] = [
      { name: 'at', type: 'timestamp', nullable: true },
      { name: 'v', type: 'float64', nullable: true },
      { name: 'v_int', type: 'int64', nullable: true, exactOf: 'v' },
      { name: 'n', type: 'int64', nullable: true },
    ];
    const before: Column[] = [AT, ['v', 'Nullable(Int64)'], ['n', 'Nullable(Int32)'], ...BATCH];
    const schema = { ...PLANTS, columns };
    expect(alterTable(schema, stored({ columns: before }), options)).toEqual([
      'ALTER TABLE `tele`.`plants` RENAME COLUMN `v` TO `v_int`',
      'ALTER TABLE `tele`.`plants` MODIFY COLUMN `n` Nullable(Int64) CODEC(ZSTD(1))',
      'ALTER TABLE `tele`.`plants` ADD COLUMN IF NOT EXISTS `v` Nullable(Float64) DEFAULT `v_int` CODEC(ZSTD(1))',
    ]);
    // After a crash between the two statements.
    const renamed: Column[] = [AT, ['v_int', 'Nullable(Int64)'], ['n', 'Nullable(Int64)'], ...BATCH];
    expect(alterTable(schema, stored({ columns: renamed }), options)).toEqual([
      'ALTER TABLE `tele`.`plants` ADD COLUMN IF NOT EXISTS `v` Nullable(Float64) DEFAULT `v_int` CODEC(ZSTD(1))',
    ]);
  });

  it('objects to tables in which an insert could be more than one part', () => {
    expect(objection(PLANTS, stored({}))).toBeUndefined();
    expect(objection(PLANTS, stored({ partition_key: '' }))).toContain('partitioned by nothing');
    expect(objection(PLANTS, stored({ partition_key: 'toHour(at)' }))).toContain('toYYYYMMDD(at) is needed');
    expect(objection(PLANTS, stored({ engine: 'Memory' }))).toContain('engine Memory');
  });

  it('quotes names and strings', () => {
    expect(identifier('a`b\\c\0')).toBe('`a\\`b\\\\c\\0`');
    expect(literal("it's \\ \0")).toBe("'it\\'s \\\\ \\0'");
  });

  it('names a batch by the first half of the WAL id and its first entry', () => {
    const id = {
      walId: `${'f'.repeat(16)}${'0'.repeat(16)}` as WalId,
      lsn: lsn(7),
      lastLsn: lsn(9),
      table: LOGS_EVENTS.table,
      partition: '20260101',
    };
    expect(batchKey(id)).toEqual({ hi: 2n ** 64n - 1n, lo: 7n });
    expect(attemptToken(id, 2)).toBe(`${id.walId}/7/logs_events/20260101/2`);
  });
});
