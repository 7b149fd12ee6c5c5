/**
 * The built server on a storage that kills the process at a failpoint: `doomed-server.ts <failpoint> <passes>`. Settings come from the
 * environment as for the command; it prints the same ready line and never drains.
 */
import type * as AppModule from '../../src/app';
import type * as ConfigModule from '../../src/config';
import type * as TelemetryModule from '../../src/telemetry';
import { isFailpoint, KillingStorage } from './failpoints';

async function main(): Promise<void> {
  const { App } = require('../../dist/app') as typeof AppModule;
  const { loadConfig } = require('../../dist/config') as typeof ConfigModule;
  const { createLogger } = require('../../dist/telemetry') as typeof TelemetryModule;
  const [point, passes] = process.argv.slice(2);
  if (!isFailpoint(point)) throw new Error(`${point} is no failpoint`);
  const config = loadConfig();
  const app = new App(config, createLogger(config.log_level), () => undefined, new KillingStorage(point, Number(passes)));
  const ready = await app.start();
  process.stdout.write(`${JSON.stringify({ msg: 'ready', ...ready })}\n`);
  throw await app.failed;
}

main().catch((error: unknown) => {
  process.stderr.write(`${String(error)}\n`);
  process.exit(1);
});
