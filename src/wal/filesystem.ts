/**
 * Which file system a directory is on (R17). The log rests on fsync and on a lock that the kernel gives back: over a network or FUSE
 * neither is certain, so the WAL refuses these. In memory (tmpfs) and in the layer of a container (overlay) both work, but the
 * data goes with the machine or the container: that is said loudly and not refused, since a trial run or a test does just this.
 */
import * as fs from 'node:fs/promises';
import * as path from 'node:path';

export interface Filesystem {
  readonly mountPoint: string;
  /** As the kernel names it: `ext4`, `nfs4`, `fuse.sshfs`. */
  readonly type: string;
  readonly device: string;
}

/** `fleeting`: fsync means what it says, but the data does not outlive the machine or the container. */
export type FilesystemVerdict = 'good' | 'fleeting' | 'refused';

const REFUSED = /^(nfs\d?|cifs|smb\d?|smbfs|9p|afs|ceph|glusterfs|lustre|fuse(\..+)?|virtiofs)$/;
const FLEETING = /^(tmpfs|ramfs|overlay|aufs)$/;

export function verdictOn(type: string): FilesystemVerdict {
  return REFUSED.test(type) ? 'refused' : FLEETING.test(type) ? 'fleeting' : 'good';
}

/**
 * The mount that holds an absolute path without symbolic links, from the text of /proc/self/mountinfo (proc(5)): the one with the
 * longest mount point, of several on one point the last.
 */
export function filesystemOf(mountinfo: string, absolutePath: string): Filesystem | undefined {
  let found: Filesystem | undefined;
  for (const line of mountinfo.split('\n')) {
    const [before, after] = line.split(' - ');
    const mountPoint = unescapeOctal(before.split(' ')[4] ?? '');
    const [type, device] = (after ?? '').split(' ');
    if (mountPoint === '' || type === undefined || type === '') continue;
    const isBelow = absolutePath === mountPoint || absolutePath.startsWith(mountPoint === '/' ? '/' : `${mountPoint}/`);
    if (!isBelow || mountPoint.length < (found?.mountPoint.length ?? 0)) continue;
    found = { mountPoint, type, device: unescapeOctal(device ?? '') };
  }
  return found;
}

const unescapeOctal = (text: string): string =>
  text.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));

/** The file system of a directory that exists; undefined where the kernel does not tell. */
export async function inspectFilesystem(directory: string): Promise<Filesystem | undefined> {
  const mountinfo = await fs.readFile('/proc/self/mountinfo', 'utf8').catch(() => undefined);
  return mountinfo === undefined ? undefined : filesystemOf(mountinfo, await fs.realpath(path.resolve(directory)));
}
