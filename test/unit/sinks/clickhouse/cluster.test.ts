import { LOGS_EVENTS } from '../../../../src/core/builtin-tables';
import { lsn, type TableName, type WalId } from '../../../../src/core/ids';
import { createDistributed, everywhere, localTable, mergeTree } from '../../../../src/sinks/clickhouse/cluster';
import { alterTable, createTable, storedForm } from '../../../../src/sinks/clickhouse/ddl';
import type { DdlOptions } from '../../../../src/sinks/clickhouse/ddl-options';
import { createRollup, createRollupState, rollupSelect, statesSelect } from '../../../../src/sinks/clickhouse/rollup-ddl';
import { shardOf } from '../../../../src/sinks/clickhouse/sharded-sink';

const CLUSTER: DdlOptions = {
  database: 'tele',
  cluster: 'main',
  distributed: true,
  replicated: { path: '/clickhouse/tables/{shard}/{database}/{table}', replica: '{replica}' },
};

test('on a cluster rows lie in local tables, which one table of the plain name reads', () => {
  expect(createTable(LOGS_EVENTS, CLUSTER)).toContain(
    'CREATE TABLE IF NOT EXISTS `tele`.`_local_logs_events` ON CLUSTER `main` (',
  );
  expect(createDistributed('logs_events', CLUSTER)).toBe(
    'CREATE OR REPLACE TABLE `tele`.`logs_events` ON CLUSTER `main` AS `tele`.`_local_logs_events` ' +
      'ENGINE = Distributed(`main`, `tele`, `_local_logs_events`, rand())',
  );
  expect(localTable('logs_events', { distributed: false })).toBe('logs_events');
  expect(() => createDistributed('t', { database: 'd', distributed: true })).toThrow('need the name of a cluster');
});

test('engines are replicated with the path and replica of the configuration, before their own parameters', () => {
  expect(mergeTree('ReplacingMergeTree', {}, ['`v`'])).toBe('ReplacingMergeTree(`v`)');
  expect(mergeTree('ReplacingMergeTree', { replicated: { path: '/p', replica: 'r' } }, ['`v`'])).toBe(
    "ReplicatedReplacingMergeTree('/p', 'r', `v`)",
  );
});

test('a table keeps rows and lies on disks as configured; a time limit set by hand stays where none is configured', () => {
  const options: DdlOptions = { database: 'tele', storagePolicy: 'tiered', keepDays: { logs_events: 30 } };
  const sql = createTable(LOGS_EVENTS, options);
  expect(sql).toContain('\nTTL toDateTime(`timestamp`) + toIntervalDay(30)\nSETTINGS ');
  expect(sql).toContain(", storage_policy = 'tiered'");
  const byHand = {
    ...storedForm(LOGS_EVENTS, { database: 'tele' }),
    engine_full: 'MergeTree TTL toDate(timestamp) + toIntervalDay(7) SETTINGS ',
  };
  const settled = storedForm(LOGS_EVENTS, options);
  expect(alterTable(LOGS_EVENTS, settled, options)).toEqual([]);
  expect(alterTable(LOGS_EVENTS, byHand, options)).toContain(
    'ALTER TABLE `tele`.`logs_events` MODIFY TTL toDateTime(`timestamp`) + toIntervalDay(30) SETTINGS materialize_ttl_after_modify = 0',
  );
  expect(alterTable(LOGS_EVENTS, byHand, { database: 'tele' }).join()).not.toContain('TTL');
});

test('roll-ups of a cluster are replicated, read their own shard, and are merged over all of them', () => {
  const rollup = { source: LOGS_EVENTS, period: { name: '1h', seconds: 3_600 }, keepDays: undefined };
  const stored = { dimensions: ['app', 'level', 'host'] };
  expect(createRollup(rollup, CLUSTER)).toContain('`_rollup_logs_events_1h` ON CLUSTER `main`');
  expect(createRollup(rollup, CLUSTER)).toContain('ENGINE = ReplicatedAggregatingMergeTree(');
  const building = createRollup(rollup, CLUSTER, { building: 'b' });
  expect(building).toContain('CREATE TABLE IF NOT EXISTS `tele`.`b` (');
  expect(building).toContain('ENGINE = AggregatingMergeTree PARTITION BY');
  expect(createRollupState(CLUSTER)).toContain('ReplicatedReplacingMergeTree(');
  expect(statesSelect(rollup, CLUSTER, stored)).toContain('FROM `tele`.`_local_logs_events`');
  expect(rollupSelect(rollup, CLUSTER, stored)).toContain("FROM cluster('main', `tele`, `_rollup_logs_events_1h_states`) AS s");
  expect(everywhere('v', { database: 'd' })).toBe('`d`.`v`');
});

test('a write has one shard for ever, and writes are spread evenly', () => {
  const counts = [0, 0, 0];
  const walId = '0123456789abcdef0123456789abcdef' as WalId;
  for (let i = 1; i <= 3_000; i++) {
    const id = { walId, lsn: lsn(i), lastLsn: lsn(i), table: 't' as TableName, partition: '20260101' };
    expect(shardOf(id, 3)).toBe(shardOf({ ...id }, 3));
    counts[shardOf(id, 3)]++;
  }
  for (const count of counts) expect(Math.abs(count - 1_000)).toBeLessThan(150);
});
