/** Names and values that want out of their place: into paths, into the log, into other objects. */
import { readdir } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { createInterface } from 'node:readline';
import { send } from '../support/http-client';
import { TestServer, temporaryDirectory } from '../support/server';

let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
let server: TestServer;
const logged: string[] = [];
beforeAll(async () => {
  directory = await temporaryDirectory();
  server = await TestServer.start({ dataDir: directory.path, settings: { SINKS: 'none', LOG_LEVEL: 'trace' } });
  if (server.child.stdout !== null) createInterface({ input: server.child.stdout }).on('line', (line) => logged.push(line));
}, 60_000);
afterAll(async () => {
  await server?.stop();
  await directory.remove();
});

const JSON_HEADERS = { 'content-type': 'application/json' };
const TRICKS = [
  '..',
  '../../escape',
  '/etc/passwd',
  '..\\escape',
  'a/b',
  'a\0b',
  '.',
  'CON',
  'wal/0000000000000001.wal',
  '%2e%2e%2fescape',
];

test('row 32: names that are paths are refused or are only names: nothing is made outside the data directory, or in it under them', async () => {
  const around = async (): Promise<string[]> =>
    (await readdir(dirname(directory.path))).filter((name) => /escape|^CON$/.test(name));
  const before = await around();
  const own = await readdir(directory.path, { recursive: true });
  for (const name of TRICKS) {
    for (const path of [`/write/${encodeURIComponent(name)}`, `/write/${name.replaceAll('\0', '%00')}`]) {
      const { status } = await send(server.http, path, { headers: JSON_HEADERS, body: '{"x":1}' });
      expect([path, [200, 400, 404].includes(status)]).toEqual([path, true]);
    }
    const body = JSON.stringify({ table_name: name, columns: [{ name: 'x', type: 'bigint' }] });
    expect((await send(server.http, '/schema/register', { headers: JSON_HEADERS, body })).status).toBeLessThan(500);
  }
  expect(await around()).toEqual(before);
  const made = (await readdir(directory.path, { recursive: true })).filter((name) => !own.includes(name));
  expect(made.filter((name) => !/\.(wal|tmp|json|state)$/.test(basename(name)))).toEqual([]);
});

test('row 35: line breaks, escapes and a megabyte in names and values leave the log one JSON object a line, each of them short', async () => {
  const nasty = 'x\r\n{"level":60,"msg":"forged"}\r\n\u001b[2Jy';
  for (const [path, body] of [
    [`/write/${encodeURIComponent(nasty)}`, '{"x":1}'],
    ['/write/logs', JSON.stringify({ [nasty]: nasty, message: nasty, timestamp: nasty })],
    ['/write/logs', JSON.stringify({ timestamp: 'x'.repeat(1_000_000) })],
    ['/schema/register', JSON.stringify({ table_name: nasty, columns: [{ name: nasty, type: nasty }] })],
    [`/${encodeURIComponent(nasty)}`, '{}'],
  ]) {
    const answer = await send(server.http, path, { headers: JSON_HEADERS, body });
    expect(answer.status).toBeLessThan(500);
    expect(answer.body.length).toBeLessThan(20_000);
  }
  const { status } = await send(server.http, '/v1/logs', {
    headers: { 'content-type': 'application/x-protobuf', 'user-agent': 'a'.repeat(4_000) },
    body: Buffer.alloc(1_000_000, 0xff),
  });
  expect(status).toBe(400);
  for (const line of logged) {
    expect(JSON.parse(line)).toBeInstanceOf(Object);
    expect(line).not.toContain('\u001b');
    expect(line.length).toBeLessThan(20_000);
  }
  expect(logged.map((line) => (JSON.parse(line) as { msg?: string }).msg)).not.toContain('forged');
});
