/**
 * Builds what the interop tests run besides Node: the Go Collector, telemetrygen, grpcurl and an arrow-go client, and a Python environment, under
 * .cache/.
 * A toolchain that the machine lacks is announced loudly, and its tests are skipped; to lack both, or a build that fails, is an
 * error.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

const ROOT = resolve(__dirname, '../../..');
const SOURCES = resolve(__dirname, '..');
const CACHE = join(ROOT, '.cache/interop');

export const COLLECTOR = join(CACHE, 'collector');
export const TELEMETRYGEN = join(CACHE, 'telemetrygen');
export const ARROW_GO = join(CACHE, 'arrow-go');
export const GRPCURL = join(CACHE, 'grpcurl');
export const PYTHON = join(CACHE, 'python/bin/python');
export const EXAMPLE_CONFIG = join(ROOT, 'deploy/examples/otel-collector.yaml');
export const PYTHON_SENDER = join(SOURCES, 'python/send.py');
export const PYTHON_FLIGHT = join(SOURCES, 'python/flight.py');

const GRPCURL_PACKAGE = 'github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.3';
const TELEMETRYGEN_PACKAGE = 'github.com/open-telemetry/opentelemetry-collector-contrib/cmd/telemetrygen';

const works = (command: string, ...args: string[]) => spawnSync(command, args, { stdio: 'ignore' }).status === 0;
/** Whether the machine has what the tests of one language need. */
export const hasGo = () => works('go', 'version');
export const hasPython = () => works('python3', '-c', 'import venv, ensurepip');

function run(command: string, args: readonly string[], cwd = ROOT): void {
  execFileSync(command, args, { cwd, stdio: ['ignore', 'inherit', 'inherit'] });
}

function buildGo(): void {
  const cwd = join(SOURCES, 'collector');
  const options = ['build', '-trimpath', '-ldflags=-s -w'];
  run('go', [...options, '-o', COLLECTOR, '.'], cwd);
  run('go', [...options, '-o', TELEMETRYGEN, TELEMETRYGEN_PACKAGE], cwd);
  run('go', [...options, '-o', ARROW_GO, '.'], join(SOURCES, 'arrow-go'));
  if (!existsSync(GRPCURL))
    execFileSync('go', ['install', GRPCURL_PACKAGE], { env: { ...process.env, GOBIN: CACHE }, stdio: 'inherit' });
}

/** Made anew only when the pinned versions change. */
function preparePython(): void {
  const requirements = join(SOURCES, 'python/requirements.txt');
  const stamp = join(CACHE, 'python/requirements.sha256');
  const wanted = createHash('sha256').update(readFileSync(requirements)).digest('hex');
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return;
  rmSync(join(CACHE, 'python'), { recursive: true, force: true });
  run('python3', ['-m', 'venv', join(CACHE, 'python')]);
  run(PYTHON, ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--requirement', requirements]);
  writeFileSync(stamp, wanted);
}

const say = (text: string) => process.stderr.write(`${text}\n`);

// Jest calls the default export once, before all tests.
// oxlint-disable-next-line import/no-default-export
export default function prepare(): void {
  if (!hasGo() && !hasPython()) throw new Error('neither Go nor Python 3 with venv is installed: there is nothing to run');
  mkdirSync(CACHE, { recursive: true });
  for (const [name, present, build] of [
    ['Go', hasGo, buildGo],
    ['Python 3 with venv', hasPython, preparePython],
  ] as const) {
    if (!present()) {
      say(`\n*** SKIPPED: this machine has no ${name}; its interop tests DO NOT RUN ***\n`);
      continue;
    }
    say(`interop: preparing ${name} ...`);
    build();
  }
}
