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
