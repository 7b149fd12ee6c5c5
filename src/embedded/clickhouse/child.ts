/**
 * Entry of the child process: one engine, one HTTP server. It ends itself when its parent is gone (the IPC channel closes),
 * however the parent died, so that no orphan holds the data directory.
 */
import { closeSync, ftruncateSync, mkdirSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { tryLock } from 'fs-native-extensions';
import type { ChildMessage, ChildOptions } from './child-protocol';
import { ClickHouseServer, QUERIES_MAX } from './server';

/** Besides the queries: reading and writing files, and KILL QUERY with all query threads busy. */
const SPARE_THREADS = 12;
const FATAL_EXIT_MS = 200;
// libuv reads it when the pool is first used, which is after this line.
process.env['UV_THREADPOOL_SIZE'] = String(QUERIES_MAX + SPARE_THREADS);

function send(message: ChildMessage): Promise<void> {
  return new Promise((resolve) => {
    if (process.send === undefined || !process.connected) resolve();
    else process.send(message, () => resolve());
  });
}

/** Held until the process ends, and set free by the system however it ends. */
function lockDirectory(dataDir: string): void {
  mkdirSync(dataDir, { recursive: true });
  const file = openSync(join(dataDir, 'lock'), 'a+');
  if (!tryLock(file)) {
    closeSync(file);
    throw new Error(`the ClickHouse data directory ${dataDir} is in use by another process (code 76)`);
  }
  ftruncateSync(file, 0);
  writeSync(file, `${process.pid}\n`);
}

async function main(): Promise<void> {
  const options = JSON.parse(process.argv[2] ?? '{}') as ChildOptions;
  let server: ClickHouseServer | undefined;
  let ending: Promise<void> | undefined;
  const end = (): void => {
    ending ??= (server?.stop() ?? Promise.resolve()).then(
      () => process.exit(0),
      () => process.exit(1),
    );
  };
  for (const signal of ['SIGTERM', 'SIGINT']) {
    process.on(signal, () => {
      // Ctrl-C reaches the whole group and systemd the whole unit: the parent still delivers to us and decides when we stop.
    });
  }
  process.on('disconnect', end);
  process.on('message', (message) => {
    if (message === 'stop') end();
  });
  try {
    lockDirectory(options.dataDir);
    server = await ClickHouseServer.start(options);
    // The answer that tells of it gets its time; the parent starts a new child.
    server.onFatal(() => setTimeout(() => process.exit(1), FATAL_EXIT_MS));
  } catch (error) {
    const cause = error instanceof Error && error.cause instanceof Error ? `: ${error.cause.message}` : '';
    await send({ type: 'failed', message: `${error instanceof Error ? error.message : String(error)}${cause}` });
    process.exit(1);
  }
  await send({ type: 'ready', port: server.port });
}

void main();
