import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { filesystemOf, inspectFilesystem, verdictOn } from '../../../src/wal/filesystem';

const MOUNTINFO = `22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
23 22 0:21 / /proc rw - proc proc rw
40 22 0:50 / /mnt/share rw shared:1 - nfs4 server:/export rw,vers=4.2
41 40 0:51 / /mnt/share/local rw master:3 propagate_from:2 - xfs /dev/vdb rw
42 22 0:52 / /mnt/with\\040blank rw - fuse.sshfs me@host: rw
43 22 0:53 / /tmp rw - tmpfs tmpfs rw
44 43 0:54 / /tmp rw - btrfs /dev/vdc rw
`;

test.each([
  ['/var/lib/data', 'ext4', '/dev/vda'],
  ['/mnt/share', 'nfs4', 'server:/export'],
  ['/mnt/share/local/wal', 'xfs', '/dev/vdb'],
  ['/mnt/shared', 'ext4', '/dev/vda'],
  ['/mnt/with blank/x', 'fuse.sshfs', 'me@host:'],
  ['/tmp/wal', 'btrfs', '/dev/vdc'],
])('%s is on %s', (path, type, device) => {
  expect(filesystemOf(MOUNTINFO, path)).toMatchObject({ type, device });
});

test('a network or FUSE is refused, memory and container layers are fleeting, disks are good', () => {
  const verdicts = (types: string): string[] => [...new Set(types.split(' ').map(verdictOn))];
  expect(verdicts('nfs nfs4 cifs smb3 9p fuse fuse.sshfs virtiofs ceph')).toEqual(['refused']);
  expect(verdicts('tmpfs overlay ramfs')).toEqual(['fleeting']);
  expect(verdicts('ext4 xfs btrfs zfs f2fs fuseblk')).toEqual(['good']);
});

test('a real directory has the file system of its device', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'thermocline-filesystem-'));
  try {
    const found = await inspectFilesystem(directory);
    expect(found?.type).toMatch(/^\w/);
    const [mount, own] = await Promise.all([stat(found?.mountPoint ?? ''), stat(directory)]);
    expect(mount.dev).toBe(own.dev);
  } finally {
    await rm(directory, { recursive: true });
  }
});
