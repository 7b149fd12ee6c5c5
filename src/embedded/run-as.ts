/**
 * PostgreSQL refuses to run as root. Started by root, we run it as the user `postgres` (made if missing). That user often cannot
 * get to our folders (a clone below /root, a temporary folder of mode 0700); then it keeps one capability, to pass directories,
 * instead of our changing the modes of folders that are not ours.
 */
import { execFile, type SpawnOptions } from 'node:child_process';
import * as fs from 'node:fs/promises';
import * as path from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

export interface User {
  readonly uid: number;
  readonly gid: number;
}

/** How to start a program as the chosen user. */
export interface Launcher {
  /** Owner of the data; undefined: ourselves. */
  readonly user: User | undefined;
  command(file: string, args: readonly string[]): { file: string; args: string[]; options: SpawnOptions };
}

/** Nothing of our own environment reaches PostgreSQL: PGPORT, PGDATA and the like would change what it does. */
export const ENVIRONMENT = { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C', TZ: 'UTC' };

/**
 * `paths`: files that the program must be able to read and folders that it must be able to pass.
 * `owner`: owner of the data that is there already; the program then runs as that user.
 */
export async function chooseLauncher(paths: readonly string[], owner?: User): Promise<Launcher> {
  const self = process.getuid?.();
  if (self !== 0) {
    if (owner !== undefined && self !== undefined && owner.uid !== self) {
      throw new Error(
        `${paths[0]} belongs to user id ${owner.uid}, and this process runs as ${self}; start it as the same user as before`,
      );
    }
    return { user: undefined, command: (file, args) => ({ file, args: [...args], options: { env: ENVIRONMENT } }) };
  }
  const user = owner ?? (await findUser('postgres')) ?? (await createUser('postgres'));
  if (await canReadAll(user, paths)) {
    return { user, command: (file, args) => ({ file, args: [...args], options: { ...user, env: ENVIRONMENT } }) };
  }
  const keep = await withCapability(user, paths);
  return { user, command: (file, args) => ({ file: 'setpriv', args: [...keep, file, ...args], options: { env: ENVIRONMENT } }) };
}

async function findUser(name: string): Promise<User | undefined> {
  const line = (await fs.readFile('/etc/passwd', 'utf8')).split('\n').find((entry) => entry.startsWith(`${name}:`));
  const [, , uid, gid] = line?.split(':') ?? [];
  return uid === undefined || gid === undefined ? undefined : { uid: Number(uid), gid: Number(gid) };
}

async function createUser(name: string): Promise<User> {
  let cause: unknown;
  try {
    await run(
      'useradd',
      ['--system', '--user-group', '--no-create-home', '--home-dir', '/nonexistent', '--shell', '/bin/false', name],
      {
        env: ENVIRONMENT,
      },
    );
  } catch (error) {
    cause = error;
  }
  // Another process may have made it in the meantime.
  const user = (await findUser(name)) ?? (await findUser('nobody'));
  if (user !== undefined && user.uid !== 0) return user;
  throw new Error(
    `PostgreSQL does not run as root and the user ${name} could not be made; make it, or start Thermocline as another user`,
    { cause },
  );
}

async function canReadAll(user: User, paths: readonly string[]): Promise<boolean> {
  for (const file of paths) {
    for (let at = file; ; at = path.dirname(at)) {
      const stat = await fs.stat(at);
      const { mode } = stat;
      const shift = stat.uid === user.uid ? 6 : stat.gid === user.gid ? 3 : 0;
      const needed = stat.isDirectory() ? 1 : 4;
      if (((mode >> shift) & needed) !== needed) return false;
      if (at === path.dirname(at)) break;
    }
  }
  return true;
}

async function withCapability(user: User, paths: readonly string[]): Promise<string[]> {
  const keep = [
    `--reuid=${user.uid}`,
    `--regid=${user.gid}`,
    '--clear-groups',
    '--inh-caps=+dac_override',
    '--ambient-caps=+dac_override',
    '--',
  ];
  try {
    await run('setpriv', [...keep, 'true'], { env: ENVIRONMENT });
  } catch (error) {
    throw new Error(
      `PostgreSQL does not run as root, and its user (uid ${user.uid}) cannot read ${paths.join(' and ')}; ` +
        'move them to a folder open to other users, or start Thermocline as another user',
      { cause: error },
    );
  }
  return keep;
}
