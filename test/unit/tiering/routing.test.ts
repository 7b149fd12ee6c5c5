import * as fc from 'fast-check';
import { recordBatch } from '../../../src/columnar/record-batch';
import { LOGS_EVENTS, METRICS_EVENTS, TRACES_SPANS } from '../../../src/core/builtin-tables';
import type { TableName } from '../../../src/core/ids';
import type { RoutingConfig, RoutingRule } from '../../../src/core/routing';
import type { ColumnSchema, TableSchema } from '../../../src/core/table-schema';
import { Router } from '../../../src/tiering/routing';
import { attributes, dictionary, int32, utf8 } from '../../support/log-batches';

const DEFAULTS: Omit<RoutingConfig, 'rules'> = { metrics: ['hot'], traces: ['hot'], logs: ['cold'] };
const ORDERS: TableSchema = {
  table: 'orders' as TableName,
  version: 1,
  timeColumn: 'time',
  tier: 'cold',
  columns: (['id', 'labels'] as const).map((name): ColumnSchema => ({ name, type: 'json', nullable: true })),
};
const router = (rules: RoutingRule[]): Router =>
  new Router({ ...DEFAULTS, rules }, (table) => (table === ORDERS.table ? ORDERS : undefined));

/** Rows are told apart by `id`. */
interface Row {
  id: string;
  app?: string | null;
  severity?: number | null;
  level?: string | null;
  labels?: Record<string, string>;
  resource?: Record<string, string>;
}

function logs(rows: Row[], table: TableName = LOGS_EVENTS.table) {
  const apps = [...new Set(rows.map(({ app }) => app ?? ''))];
  const batch = recordBatch([
    { name: 'id', data: utf8(rows.map(({ id }) => id)) },
    {
      name: 'app',
      data: dictionary(
        rows.map(({ app }) => (typeof app === 'string' ? apps.indexOf(app) : null)),
        utf8(apps),
      ),
    },
    { name: 'severity_number', data: int32(rows.map(({ severity }) => severity ?? null)) },
    { name: 'level', data: utf8(rows.map(({ level }) => level ?? null)) },
    {
      name: 'resource',
      data: dictionary(
        rows.map((_, i) => i),
        attributes(rows.map(({ resource }) => resource ?? {})),
      ),
    },
    { name: 'labels', data: attributes(rows.map(({ labels }) => labels ?? {})) },
  ]);
  return { table, schemaVersion: 1, batch };
}

/** Ids by tiers. */
const placed = (rules: RoutingRule[], batch: ReturnType<typeof logs>): Record<string, string[]> =>
  Object.fromEntries(
    router(rules)
      .route(batch)
      .map(({ tiers, batch: rows }) => [tiers.join(), [...rows.getChild('id')!].map(String)]),
  );

test('without rules a batch goes as it is to the tiers of its signal, or to the home of its table', () => {
  const batch = logs([{ id: 'a' }]);
  const [routed] = router([]).route(batch);
  expect(routed).toEqual({ ...batch, tiers: ['cold'] });
  expect(routed.batch).toBe(batch.batch);
  expect(router([]).home(METRICS_EVENTS.table)).toEqual(['hot']);
  expect(router([]).home(ORDERS.table)).toEqual(['cold']);
  expect(router([]).home('unknown' as TableName)).toEqual(['hot']);
});

test('a rule for another signal or table leaves the batch whole', () => {
  const rules: RoutingRule[] = [
    { signal: 'traces', tiers: ['cold'] },
    { tables: ['orders'], tiers: ['hot'] },
  ];
  const batch = logs([{ id: 'a' }, { id: 'b' }]);
  expect(router(rules).route(batch)).toEqual([{ ...batch, tiers: ['cold'] }]);
  expect(placed([{ signal: 'logs', tiers: ['hot'] }], batch)).toEqual({ hot: ['a', 'b'] });
});

test('severity is at least that of the rule, by number first and by name without one', () => {
  const batch = logs([
    { id: 'number', severity: 17 },
    { id: 'lower', severity: 16, level: 'ERROR' },
    { id: 'name', level: 'FATAL' },
    { id: 'zero', severity: 0, level: 'err' },
    { id: 'none' },
    { id: 'word', level: 'loud' },
    { id: 'stepped', level: 'Error3' },
  ]);
  expect(placed([{ severity: 'error', tiers: ['hot', 'cold'] }], batch)).toEqual({
    'hot,cold': ['number', 'name', 'zero', 'stepped'],
    cold: ['lower', 'none', 'word'],
  });
});

test('a span with the status error has the severity error, every other span info', () => {
  const batch = {
    table: TRACES_SPANS.table,
    schemaVersion: 1,
    batch: recordBatch([
      { name: 'id', data: utf8(['a', 'b', 'c']) },
      { name: 'status_code', data: utf8(['ok', 'error', 'unset']) },
    ]),
  };
  expect(placed([{ severity: 'warn', tiers: ['cold'] }], batch)).toEqual({ hot: ['a', 'c'], cold: ['b'] });
});

test('a label is a text column, or else an entry of labels, or else of the resource', () => {
  const batch = logs([
    { id: 'column', app: 'pay', labels: { app: 'other' } },
    { id: 'label', labels: { app: 'pay' }, resource: { app: 'other' } },
    { id: 'resource', resource: { app: 'pay' } },
    { id: 'hidden', app: 'other', labels: { app: 'pay' } },
    { id: 'absent', labels: { application: 'pay' } },
  ]);
  expect(placed([{ labels: { app: ['pay'] }, tiers: ['hot'] }], batch)).toEqual({
    hot: ['column', 'label', 'resource'],
    cold: ['hidden', 'absent'],
  });
});

test('a star in a label stands for any characters, and every other sign for itself', () => {
  const values = ['prod', 'prod-eu', 'aprod', 'pr.d', '', 'prod\neu'];
  const batch = logs(values.map((env, i) => ({ id: String(i), labels: { env } })));
  const hot = (...env: string[]) => placed([{ labels: { env }, tiers: ['hot'] }], batch)['hot'] ?? [];
  expect(hot('prod*')).toEqual(['0', '1', '5']);
  expect(hot('pr.d')).toEqual(['3']);
  expect(hot('pr.*')).toEqual(['3']);
  expect(hot('*')).toEqual(values.map((_, i) => String(i)));
  expect(hot('prod', '*eu')).toEqual(['0', '1', '5']);
});

test('labels of a json column are its members', () => {
  const batch = {
    table: ORDERS.table,
    schemaVersion: 1,
    batch: recordBatch([
      { name: 'id', data: utf8(['text', 'number', 'list', 'none', 'inherited']) },
      { name: 'labels', data: utf8(['{"k":"1"}', '{"k":1}', '["k"]', null, '{}']) },
    ]),
  };
  expect(placed([{ labels: { k: ['1'] }, tiers: ['hot'] }], batch)['hot']).toEqual(['text', 'number']);
  expect(placed([{ labels: { constructor: ['*'] }, tiers: ['hot'] }], batch)).toEqual({
    cold: ['text', 'number', 'list', 'none', 'inherited'],
  });
});

test('the first rule that a row fulfils counts, and each row goes exactly once with its values', () => {
  const row = fc.record({
    app: fc.constantFrom('a', 'b', null),
    severity: fc.constantFrom(1, 9, 17, null),
    labels: fc.dictionary(fc.constantFrom('x', 'y'), fc.constantFrom('1', '2')),
    resource: fc.dictionary(fc.constantFrom('x', 'z'), fc.constantFrom('1', '2')),
  });
  const rule = fc.record(
    {
      severity: fc.constantFrom('info' as const, 'error' as const),
      labels: fc.dictionary(fc.constantFrom('app', 'x', 'z'), fc.constantFrom(['a'], ['1'], ['2', 'b']), { maxKeys: 2 }),
      tiers: fc.constantFrom(['hot'], ['cold'], ['hot', 'cold']) as fc.Arbitrary<RoutingRule['tiers']>,
    },
    { requiredKeys: ['tiers'] },
  );
  const least = { info: 9, error: 17 };
  fc.assert(
    fc.property(fc.array(row, { minLength: 1, maxLength: 20 }), fc.array(rule, { maxLength: 4 }), (rows, rules) => {
      const named = rows.map((values, i) => ({ id: String(i), ...values }));
      const expected: Record<string, string[]> = {};
      for (const { id, app, severity, labels, resource } of named) {
        const valueOf = (key: string) => (key === 'app' ? app : undefined) ?? labels[key] ?? resource[key];
        const first = rules.find(
          ({ severity: wanted, labels: conditions = {} }) =>
            (wanted === undefined || (severity ?? 0) >= least[wanted]) &&
            Object.entries(conditions).every(([key, texts]) => (texts as readonly string[]).includes(valueOf(key) ?? '-')),
        );
        (expected[(first?.tiers ?? ['cold']).join()] ??= []).push(id);
      }
      const routed = router(rules).route(logs(named));
      const found = Object.fromEntries(routed.map(({ tiers, batch }) => [tiers.join(), [...batch.getChild('id')!].map(String)]));
      expect(found).toEqual(expected);
      for (const { batch } of routed) {
        for (const [i, id] of [...batch.getChild('id')!].map(String).entries()) {
          expect(batch.getChild('app')!.get(i) as string | null).toBe(named[Number(id)].app);
          expect(batch.getChild('severity_number')!.get(i)).toBe(named[Number(id)].severity);
        }
      }
    }),
  );
});

test('a dry run hears every tier that its rows go to, or the home of a table without rows', () => {
  const rules: RoutingRule[] = [{ severity: 'error', tiers: ['hot', 'cold'] }];
  const batch = logs([{ id: 'a', severity: 17 }, { id: 'b' }]);
  expect(router(rules).tiersOf(LOGS_EVENTS, [batch])).toEqual(['hot', 'cold']);
  expect(router(rules).tiersOf(LOGS_EVENTS, [])).toEqual(['cold']);
});
