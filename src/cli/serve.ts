import { once } from 'node:events';
import { App } from '../app';
import { loadConfig } from '../config';
import { createLogger } from '../telemetry';

/**
 * Runs the server until SIGTERM or SIGINT, then drains. Prints the ready line (JSON, on stdout) when it accepts data, progress and
 * a first request to try on stderr.
 */
export async function runServe(configPath: string | undefined): Promise<void> {
  const config = loadConfig(configPath);
  const logger = createLogger(config.log_level);
  const app = new App(config, logger, (text) => process.stderr.write(`thermocline: ${text}\n`));
  const stopSignal = nextSignal();
  try {
    const ready = await app.start();
    process.stdout.write(`${JSON.stringify({ msg: 'ready', ...ready })}\n`);
    process.stderr.write(welcome(ready));
    const ended = await Promise.race([stopSignal, app.failed]);
    if (ended instanceof Error) throw ended;
    logger.info({ signal: ended }, 'stopping');
  } finally {
    await app.stop();
  }
}

/** The first SIGTERM or SIGINT. A second one, while draining, ends the process at once: the WAL keeps what was acknowledged. */
async function nextSignal(): Promise<string> {
  const signal = await Promise.race(['SIGTERM', 'SIGINT'].map((name) => once(process, name).then(() => name)));
  return signal;
}

function welcome({ grpc, http, admin }: { grpc: string; http: string; admin: string }): string {
  const time = new Date().toISOString();
  return `
  OTLP/gRPC        ${grpc}
  OTLP/HTTP, REST  http://${http}
  console, SQL     http://${admin}

Try:
  curl -s http://${http}/write/logs -H 'content-type: application/json' \\
    -d '{"timestamp":"${time}","app":"demo","level":"INFO","message":"hello"}'
  curl -s http://${admin}/api/sql -H 'content-type: application/json' \\
    -d '{"target":"cold","query":"SELECT timestamp, app, message FROM logs_events"}'

`;
}
