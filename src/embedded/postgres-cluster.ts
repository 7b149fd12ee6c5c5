/**
 * The first start of the embedded PostgreSQL: makes the cluster beside its final place and renames it, so that a crash in between
 * leaves nothing half-made. Two logins, by SCRAM with random passwords: the superuser, and the owner of the database, which may
 * make databases and logins that read, and nothing beyond.
 */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs/promises';
import * as path from 'node:path';
import type { PostgresBinaries } from './postgres-binaries';
import type { Launcher } from './run-as';

export const DATABASE = 'thermocline';
export const OWNER = 'thermocline';
const SUPERUSER = 'postgres';

/** Passwords by login. */
export type Credentials = Readonly<Record<string, string>>;

export interface ClusterPaths {
  readonly pgdata: string;
  /** Passwords, mode 0600. */
  readonly credentials: string;
}

export const clusterPaths = (dataDir: string): ClusterPaths => ({
  pgdata: path.join(dataDir, 'pgdata'),
  credentials: path.join(dataDir, 'credentials.json'),
});

export async function readCredentials(paths: ClusterPaths): Promise<Credentials> {
  try {
    return JSON.parse(await fs.readFile(paths.credentials, 'utf8')) as Credentials;
  } catch (error) {
    throw new Error(`cannot read the passwords of the embedded PostgreSQL in ${paths.credentials}`, { cause: error });
  }
}

/** Throws an Error with the output of initdb when it fails; nothing is left in place of the cluster then. */
export async function createCluster(paths: ClusterPaths, binaries: PostgresBinaries, launcher: Launcher): Promise<void> {
  const fresh = `${paths.pgdata}.new`;
  const passwordFile = `${paths.pgdata}.password`;
  const credentials = Object.fromEntries([SUPERUSER, OWNER].map((login) => [login, randomBytes(24).toString('hex')]));
  await fs.rm(fresh, { recursive: true, force: true });
  await fs.mkdir(fresh, { mode: 0o700 });
  await writePrivate(passwordFile, `${credentials[SUPERUSER]}\n`);
  if (launcher.user !== undefined) {
    for (const at of [fresh, passwordFile]) await fs.chown(at, launcher.user.uid, launcher.user.gid);
  }
  try {
    await runToEnd(launcher, binaries.initdb, initdbArguments(fresh, passwordFile), '');
    const said = await runToEnd(launcher, binaries.postgres, ['--single', '-D', fresh, 'postgres'], roles(credentials));
    if (/\b(ERROR|FATAL|PANIC):/.test(said)) throw new Error(`making the logins of the embedded PostgreSQL failed: ${said}`);
  } finally {
    await fs.rm(passwordFile, { force: true });
  }
  await writePrivate(paths.credentials, JSON.stringify(credentials));
  await fs.rename(fresh, paths.pgdata);
  await syncDirectory(path.dirname(paths.pgdata));
}

/** The builtin locale provider: UTF-8 by code point, the same on every machine whatever locales it has. */
const initdbArguments = (pgdata: string, passwordFile: string): string[] => [
  `--pgdata=${pgdata}`,
  `--username=${SUPERUSER}`,
  `--pwfile=${passwordFile}`,
  '--auth=scram-sha-256',
  '--encoding=UTF8',
  '--locale=C',
  '--locale-provider=builtin',
  '--builtin-locale=C.UTF-8',
];

/** Input of single-user mode: one statement a line. The passwords are hexadecimal, so that they need no quoting. */
const roles = (credentials: Credentials): string =>
  [
    `CREATE ROLE ${OWNER} LOGIN CREATEDB CREATEROLE PASSWORD '${credentials[OWNER]}';`,
    `GRANT pg_read_all_data TO ${OWNER} WITH ADMIN OPTION;`,
    `CREATE DATABASE ${DATABASE} OWNER ${OWNER};`,
    '',
  ].join('\n');

/** Runs a program to its end and gives what it said; throws when it fails. */
function runToEnd(launcher: Launcher, file: string, args: readonly string[], input: string): Promise<string> {
  const command = launcher.command(file, args);
  return new Promise((resolve, reject) => {
    const child = spawn(command.file, command.args, { ...command.options, stdio: 'pipe' });
    let said = '';
    const listen = (chunk: Buffer): void => {
      said = `${said}${chunk.toString()}`.slice(-16_384);
    };
    child.stdout?.on('data', listen);
    child.stderr?.on('data', listen);
    // The program may end before it has read its input: its exit status tells.
    child.stdin?.on('error', () => undefined);
    child.stdin?.end(input);
    child.on('error', reject);
    child.on('close', (code, signal) => {
      if (code === 0) resolve(said);
      else reject(new Error(`${path.basename(file)} failed (${signal ?? `exit code ${code}`}): ${said.trim()}`));
    });
  });
}

async function writePrivate(file: string, text: string): Promise<void> {
  await fs.rm(file, { force: true });
  const handle = await fs.open(file, 'wx', 0o600);
  try {
    await handle.writeFile(text);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function syncDirectory(directory: string): Promise<void> {
  const handle = await fs.open(directory, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
