import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { checkSample } from '../../../src/cli/config-sample';
import { loadConfig } from '../../../src/config';

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'thermocline-sample-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const RULES =
  '[{signal: logs, severity: error, tiers: "hot,cold"}, {tables: orders, labels: {region: "eu-*"}, tiers: cold}, {tables: orders, labels: {region: none}, tiers: dead_letters}]';

async function check(text: string) {
  const path = join(folder, 'sample.json');
  writeFileSync(path, text);
  return checkSample(path, loadConfig(undefined, { THERMOCLINE_ROUTING_RULES: RULES }).routing);
}

const log = (severityNumber: number) => ({
  resourceLogs: [{ scopeLogs: [{ logRecords: [{ timeUnixNano: '1', severityNumber, body: { stringValue: 'x' } }] }] }],
});

test('each line tells the table, the rows, the tiers and the rule', async () => {
  const both = log(17);
  both.resourceLogs.push(...log(9).resourceLogs);
  const orders = {
    table: 'orders',
    rows: [
      { id: 1, region: 'eu-1' },
      { id: 2, region: 'us' },
    ],
  };
  expect(await check([both, orders].map((sample) => JSON.stringify(sample)).join('\n'))).toEqual({
    lines: [
      'line 1: logs_events: 1 row -> hot, cold (rule 1)',
      'line 1: logs_events: 1 row -> cold (no rule)',
      'line 2: orders: 1 row -> cold (rule 2)',
      'line 2: orders: 1 row -> hot (no rule)',
    ],
    failures: 0,
  });
});

test('a document that is expected elsewhere, or has a row that is rejected, is a failure', async () => {
  const samples = [
    { ...log(17), expect: 'hot,cold' },
    { ...log(9), expect: ['hot'] },
    { table: 'metrics_events', rows: [{ time: 'never', value: 1 }] },
  ];
  const { lines, failures } = await check(samples.map((sample) => JSON.stringify(sample)).join('\n'));
  expect(failures).toBe(2);
  expect(lines).toContain('line 2: expected hot');
  expect(lines.at(-1)).toMatch(/^line 3: row 0, column time: rejected, /);
});

test('rows that a rule sends to the dead letters are told so', async () => {
  const sample = { table: 'orders', rows: [{ id: 1, region: 'none' }], expect: 'dead_letters' };
  expect(await check(JSON.stringify(sample))).toEqual({
    lines: ['document 1: orders: 1 row -> dead_letters (rule 3)'],
    failures: 0,
  });
});

test('one document may be spread over lines', async () => {
  const { lines } = await check(JSON.stringify({ table: 'orders', rows: [{ id: 1 }] }, undefined, 2));
  expect(lines).toEqual(['document 1: orders: 1 row -> hot (no rule)']);
});

test.each([
  ['{"table":"orders","rows":[]}\n{', 'line 2 is not JSON'],
  ['{"rows":[]}', 'a sample has table and rows'],
  ['{"table":"pg_x","rows":[]}', 'a table name is a letter'],
  ['{"table":"t","rows":[{"a":1}],"expect":"warm"}', 'expect must be hot, cold, both or dead_letters'],
  ['7', 'a sample is a JSON object'],
  ['{"resourceLogs":7}', 'document 1'],
])('%s is refused with its place and reason', async (text, reason) => {
  await expect(check(text)).rejects.toThrow(reason);
});
