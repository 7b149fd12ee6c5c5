/** Runs the health check of an image or a container as it stands in its file. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

async function run(command: readonly string[], environment: Readonly<Record<string, string>>): Promise<number> {
  const child = spawn(process.execPath, command.slice(1), { env: environment, stdio: 'ignore' });
  const [code] = (await once(child, 'exit')) as [number];
  return code;
}

/** Exit codes of a health check that works: the server answers 200, then 503, then is gone. */
export const HEALTHY_THEN_NOT = [0, 1, 1];

/**
 * The exit codes of a `node -e` command while a server answers 200 on the path, then 503, then is gone. Any other path
 * answers 404. `point` says how the command learns the port.
 */
export async function healthCheckCodes(
  command: readonly string[],
  path: string,
  point: (port: number) => Readonly<Record<string, string>>,
): Promise<number[]> {
  let status = 200;
  const server = createServer((request, response) => {
    response.writeHead(request.url === path ? status : 404).end();
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const environment = point((server.address() as AddressInfo).port);
  const codes: number[] = [];
  try {
    codes.push(await run(command, environment));
    status = 503;
    codes.push(await run(command, environment));
  } finally {
    server.close();
    server.closeAllConnections();
    await once(server, 'close');
  }
  return [...codes, await run(command, environment)];
}
