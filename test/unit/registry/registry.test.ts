import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LOGS_EVENTS } from '../../../src/core/builtin-tables';
import type { TableName } from '../../../src/core/ids';
import type { ColumnSchema } from '../../../src/core/table-schema';
import { FileRegistry } from '../../../src/registry/registry';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'thermocline-registry-'));
});
afterEach(() => rm(directory, { recursive: true }));

const orders = 'orders' as TableName;
const time: ColumnSchema = { name: 'time', type: 'timestamp', nullable: false };
const price: ColumnSchema = { name: 'price', type: 'float64', nullable: true };

test('a new table is there after a restart, with its version', async () => {
  const registry = await FileRegistry.open(directory);
  expect(registry.get(orders)).toBeUndefined();
  const first = await registry.evolve(orders, [time], { timeColumn: 'time' });
  const second = await registry.evolve(orders, [time, price], { timeColumn: 'time' });
  expect([first.version, second.version, second.tier]).toEqual([1, 2, 'hot']);
  expect((await FileRegistry.open(directory)).get(orders)).toEqual(second);
});

test('asking for what is there changes nothing', async () => {
  const registry = await FileRegistry.open(directory);
  const schema = await registry.evolve(orders, [time, price], { timeColumn: 'time' });
  expect(await registry.evolve(orders, [price], { timeColumn: 'other' })).toBe(schema);
});

test('a column that exists keeps its type', async () => {
  const registry = await FileRegistry.open(directory);
  await registry.evolve(orders, [time, price], { timeColumn: 'time' });
  const schema = await registry.evolve(orders, [{ ...price, type: 'string' }], { timeColumn: 'time' });
  expect(schema.columns.find((column) => column.name === 'price')?.type).toBe('float64');
});

test('changes of many clients at once are all kept, one version each', async () => {
  const registry = await FileRegistry.open(directory);
  const names = Array.from({ length: 20 }, (_, i) => `c${i}`);
  await Promise.all(names.map((name) => registry.evolve(orders, [time, { ...price, name }], { timeColumn: 'time' })));
  const schema = (await FileRegistry.open(directory)).get(orders);
  expect(schema?.columns.map((column) => column.name)).toEqual(['time', ...names]);
  expect(schema?.version).toBe(20);
});

test.each([
  ['a reserved name', [time, { ...price, name: '_batch_lo' }], /reserved/],
  ['the nanoseconds of a timestamp', [time, { ...price, name: 'time_ns' }], /reserved for the nanoseconds/],
  ['a time column that is no timestamp', [{ ...time, type: 'string' as const }], /must be a timestamp/],
  ['too many columns', [time, ...Array.from({ length: 1_500 }, (_, i) => ({ ...price, name: `c${i}` }))], /at most/],
])('%s is refused and leaves no table behind', async (_what, columns, message) => {
  const registry = await FileRegistry.open(directory);
  await expect(registry.evolve(orders, columns, { timeColumn: 'time' })).rejects.toThrow(message);
  expect(registry.get(orders)).toBeUndefined();
  await expect(registry.evolve(orders, [time], { timeColumn: 'time' })).resolves.toMatchObject({ version: 1 });
});

test('built-in tables do not change', async () => {
  const registry = await FileRegistry.open(directory);
  expect(await registry.evolve(LOGS_EVENTS.table, [price], { timeColumn: 'timestamp' })).toBe(LOGS_EVENTS);
});

test('a damaged registry file stops the start', async () => {
  const registry = await FileRegistry.open(directory);
  await registry.evolve(orders, [time], { timeColumn: 'time' });
  const path = join(directory, 'registry.json');
  await writeFile(path, (await readFile(path, 'utf8')).slice(0, 20));
  await expect(FileRegistry.open(directory)).rejects.toThrow(/JSON/);
});

describe('policies', () => {
  const count: ColumnSchema = { name: 'count', type: 'int32', nullable: true };

  test.each([
    ['widen', 'int64', 'int64'],
    ['widen', 'float64', 'float64'],
    ['widen', 'string', 'int32'],
    ['coerce', 'int64', 'int64'],
    ['coerce', 'bool', 'string'],
    ['side_column', 'float64', 'int32'],
    ['dead_letter', 'float64', 'int32'],
  ] as const)('a column with the policy %s that is asked to hold %s becomes %s', async (conflict, asked, type) => {
    const registry = await FileRegistry.open(directory);
    await registry.evolve(orders, [time, { ...count, conflict }], { timeColumn: 'time' });
    const schema = await registry.evolve(orders, [{ ...count, type: asked }], { timeColumn: 'time' });
    expect(schema.columns.find(({ name }) => name === 'count')).toMatchObject({ type, conflict });
  });

  test('the time column is never widened', async () => {
    const registry = await FileRegistry.open(directory);
    await registry.evolve(orders, [{ ...time, conflict: 'coerce' }], { timeColumn: 'time' });
    const schema = await registry.evolve(orders, [{ ...time, type: 'string' }], { timeColumn: 'time' });
    expect(schema).toMatchObject({ version: 1, columns: [{ type: 'timestamp' }] });
  });

  test('rows do not change a strict table, registrations do; a frozen one takes neither until it is freed', async () => {
    const registry = await FileRegistry.open(directory);
    const definition = { table: orders, columns: [time], timeColumn: 'time' };
    await registry.register({ ...definition, policy: 'strict' });
    expect(await registry.evolve(orders, [price], { timeColumn: 'time' })).toMatchObject({ version: 1 });
    expect(await registry.register({ ...definition, columns: [time, price] })).toMatchObject({ version: 2 });
    await registry.register({ ...definition, policy: 'freeze' });
    await expect(registry.register({ ...definition, columns: [time, count] })).rejects.toMatchObject({
      code: 'already_exists',
      details: { diff: [{ column: 'count', property: 'missing' }] },
    });
    const freed = await registry.register({ ...definition, columns: [time, count], policy: 'evolve' });
    expect(freed).toMatchObject({ version: 4, policy: 'evolve' });
    expect(freed.columns).toHaveLength(3);
  });

  test('a widened column may be registered with the type that it had at first', async () => {
    const registry = await FileRegistry.open(directory);
    const definition = { table: orders, columns: [time, count], timeColumn: 'time' };
    await registry.register(definition);
    const widened = await registry.evolve(orders, [{ ...count, type: 'float64' }], { timeColumn: 'time' });
    expect(await registry.register(definition)).toBe(widened);
  });

  test('a side column is made with the first column that needs it, and does not take room', async () => {
    const registry = await FileRegistry.open(directory);
    const many = Array.from({ length: 1_498 }, (_, i): ColumnSchema => ({ ...price, name: `c${i}` }));
    const columns: ColumnSchema[] = [time, ...many, { ...count, conflict: 'side_column' }];
    const schema = await registry.register({ table: orders, columns, timeColumn: 'time' });
    expect(schema.columns.at(-1)).toEqual({ name: '_conflicts', type: 'json', nullable: true });
  });

  test('a full table keeps a column that would need a companion', async () => {
    const registry = await FileRegistry.open(directory);
    const many = Array.from({ length: 1_498 }, (_, i): ColumnSchema => ({ ...price, name: `c${i}` }));
    const full = await registry.evolve(orders, [time, count, ...many], { timeColumn: 'time' });
    expect(await registry.evolve(orders, [{ ...count, type: 'float64' }], { timeColumn: 'time' })).toBe(full);
  });
});

test('what another server has registered is taken over, durably, and listeners are told', async () => {
  const registry = await FileRegistry.open(directory);
  const ours = await registry.evolve(orders, [time, price], { timeColumn: 'time' });
  const told: number[] = [];
  registry.watch(({ version }) => told.push(version));
  const theirs = { ...ours, columns: [time, { ...price, name: 'theirs' }] };
  const merged = await registry.adopt(theirs);
  expect(merged).toMatchObject({ version: 2, columns: [{ name: 'time' }, { name: 'theirs' }, { name: 'price' }] });
  expect(await registry.adopt(merged)).toBe(merged);
  expect(told).toEqual([2]);
  expect((await FileRegistry.open(directory)).get(orders)).toEqual(merged);
});
