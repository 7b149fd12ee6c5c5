import * as fc from 'fast-check';
import { COLUMN_TYPES } from '../../../src/columnar/arrow-type';
import { storeForm, storeNameOf } from '../../../src/core/column-name';
import type { TableName } from '../../../src/core/ids';
import { covers, mergeSchemas, type StoredSchema, sameContent, schemaOfRow, schemaToJson } from '../../../src/core/merge-schema';
import { CONFLICT_POLICIES, type ColumnSchema, TABLE_POLICIES, type TableSchema } from '../../../src/core/table-schema';
import { holds, joinTypes } from '../../../src/core/type-lattice';

const anyType = fc.constantFrom(...COLUMN_TYPES);

const anyColumn = fc.record(
  {
    name: fc.constantFrom('a', 'b', 'c', 'd', 'e'),
    type: anyType,
    nullable: fc.boolean(),
    lowCardinality: fc.constant(true as const),
    conflict: fc.constantFrom(...CONFLICT_POLICIES),
  },
  { requiredKeys: ['name', 'type', 'nullable'] },
);

const schema: fc.Arbitrary<TableSchema> = fc.record(
  {
    table: fc.constant('t' as TableName),
    version: fc.integer({ min: 1, max: 9 }),
    columns: fc
      .uniqueArray(anyColumn, { selector: ({ name }) => name })
      .map((columns): ColumnSchema[] => [{ name: 'time', type: 'timestamp', nullable: false }, ...columns]),
    timeColumn: fc.constant('time'),
    tier: fc.constant('hot' as const),
    policy: fc.constantFrom(...TABLE_POLICIES),
  },
  { requiredKeys: ['table', 'version', 'columns', 'timeColumn', 'tier'] },
);

/** Without policies, which are those of the latest version. */
function withoutPolicies({ table, version, timeColumn, tier, columns }: TableSchema): TableSchema {
  const plain = columns.map(({ name, type, nullable, lowCardinality = false, exactOf }): ColumnSchema => {
    return { name, type, nullable, lowCardinality, ...(exactOf === undefined ? {} : { exactOf }) };
  });
  return { table, version, timeColumn, tier, columns: plain };
}

/** Without companions of columns that are doubles no more: they stay where they were made, and nobody reads them as such. */
function settled(merged: TableSchema): TableSchema {
  const types = new Map(merged.columns.map((column) => [column.name, column.type]));
  return {
    ...merged,
    columns: merged.columns.filter(({ exactOf }) => exactOf === undefined || types.get(exactOf) === 'float64'),
  };
}

const expectSame = (a: TableSchema, b: TableSchema): void => {
  expect(sameContent(settled(a), settled(b)) || [a, b]).toBe(true);
};

test('two types have one least type that holds both, in whatever order they meet', () => {
  fc.assert(
    fc.property(anyType, anyType, anyType, (a, b, c) => {
      const joined = joinTypes(a, b);
      expect(joinTypes(b, a)).toBe(joined);
      expect(joinTypes(a, a)).toBe(a);
      expect(joinTypes(joinTypes(a, b), c)).toBe(joinTypes(a, joinTypes(b, c)));
      expect([holds(joined, a), holds(joined, b)]).toEqual([true, true]);
    }),
  );
});

test('servers that merge one table agree on it, whoever is first', () => {
  fc.assert(
    fc.property(schema, schema, schema, (a, b, c) => {
      expectSame(mergeSchemas(a, b), mergeSchemas(b, a));
      const [leftFirst, rightFirst] = [mergeSchemas(mergeSchemas(a, b), c), mergeSchemas(a, mergeSchemas(b, c))];
      expectSame(withoutPolicies(leftFirst), withoutPolicies(rightFirst));
      expect(mergeSchemas(a, a)).toEqual({ ...a, columns: mergeSchemas(a, a).columns });
      expect(sameContent(mergeSchemas(a, a), a)).toBe(true);
    }),
  );
});

test('no column and no value is lost by merging, and merging again changes nothing', () => {
  fc.assert(
    fc.property(schema, schema, (a, b) => {
      const merged = mergeSchemas(a, b);
      expect([covers(merged, a), covers(merged, b)]).toEqual([true, true]);
      expect(mergeSchemas(merged, b)).toEqual(merged);
      expect(mergeSchemas(merged, a)).toEqual(merged);
      expect(merged.version).toBeGreaterThanOrEqual(sameContent(merged, a) ? a.version : a.version + 1);
      expect(merged.version).toBeGreaterThanOrEqual(sameContent(merged, b) ? b.version : b.version + 1);
    }),
  );
});

test('integers that meet doubles get a column that keeps them exactly', () => {
  const of = (kind: 'int64' | 'float64'): TableSchema => ({
    table: 't' as TableName,
    version: 1,
    columns: [
      { name: 'time', type: 'timestamp', nullable: false },
      { name: 'v', type: kind, nullable: true },
    ],
    timeColumn: 'time',
    tier: 'hot',
  });
  expect(mergeSchemas(of('int64'), of('float64'))).toMatchObject({
    version: 2,
    columns: [{ name: 'time' }, { name: 'v', type: 'float64' }, { name: 'v_int', type: 'int64', exactOf: 'v' }],
  });
});

test('a policy that was registered later stands, whichever is stricter', () => {
  const base: TableSchema = { table: 't' as TableName, version: 1, columns: [], timeColumn: 'time', tier: 'hot' };
  const frozen = { ...base, version: 2, policy: 'freeze' as const };
  const freed = { ...base, version: 3, policy: 'evolve' as const };
  expect(mergeSchemas(frozen, freed)).toMatchObject({ version: 3, policy: 'evolve' });
  expect(mergeSchemas(freed, frozen)).toMatchObject({ version: 3, policy: 'evolve' });
  // A server that has only seen rows has no say.
  expect(mergeSchemas(frozen, { ...base, version: 9 })).toMatchObject({ policy: 'freeze' });
});

test('the shared registry keeps everything that a schema says', () => {
  fc.assert(
    fc.property(schema, (known) => {
      const text = JSON.stringify(schemaToJson(known));
      const { table, version, tier, policy = null } = known;
      const stored = JSON.parse(text) as StoredSchema['schema'];
      expect(schemaOfRow({ table_name: table, schema: stored, version, tier, policy })).toEqual(known);
    }),
  );
});

test('a long name becomes a short one that PostgreSQL keeps, always the same and another for each name', () => {
  expect(storeNameOf('a'.repeat(60))).toBeUndefined();
  const shortened = storeNameOf('a'.repeat(61));
  expect(shortened).toMatch(/^a{49}_[0-9a-f]{10}$/);
  expect(storeNameOf('a'.repeat(61))).toBe(shortened);
  fc.assert(
    fc.property(fc.string({ minLength: 70, maxLength: 300, unit: 'grapheme' }), (name) => {
      const stored = storeNameOf(name) ?? '';
      expect(Buffer.byteLength(`${stored}_ns`)).toBeLessThanOrEqual(63);
      expect(Buffer.from(stored).toString()).toBe(stored);
      expect(storeNameOf(`${name}x`)).not.toBe(stored);
    }),
  );
});

test('the stores see a schema under the names that they can have', () => {
  const name = 'n'.repeat(100);
  const storeName = storeNameOf(name);
  const columns: ColumnSchema[] = [
    { name, type: 'timestamp', nullable: false, ...(storeName === undefined ? {} : { storeName }) },
    { name: 'v', type: 'int64', nullable: true },
  ];
  const known: TableSchema = { table: 't' as TableName, version: 1, columns, timeColumn: name, tier: 'hot' };
  expect(storeForm(known)).toMatchObject({ timeColumn: storeName, columns: [{ name: storeName }, { name: 'v' }] });
});
