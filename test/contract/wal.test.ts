import * as fs from 'node:fs/promises';
import * as os from 'node:os';
import * as path from 'node:path';
import { FileStorage } from '../../src/wal/file-storage';
import { SimulatedDisk } from '../support/simulated-disk';
import { openWal } from '../support/wal-fixtures';
import { registerWalContractTests } from './wal';

registerWalContractTests('FileWal on files', async () => {
  const directory = await fs.mkdtemp(path.join(os.tmpdir(), 'thermocline-wal-'));
  const open = () => openWal(new FileStorage(), path.join(directory, 'wal'));
  return { open, reopen: open, dispose: () => fs.rm(directory, { recursive: true }) };
});

registerWalContractTests('FileWal on the simulated disk', async () => {
  const disk = new SimulatedDisk();
  const open = () => openWal(disk.mount(), '/wal');
  return { open, reopen: open, dispose: async () => undefined };
});
