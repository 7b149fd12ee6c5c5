/** Composition of the logs: where they lie, what they tell, and the damage that is looked for in them. */
import { join } from 'node:path';
import { type Config, ConfigError } from './config';
import { LIMITS } from './core/limits';
import type { Logger, Telemetry } from './telemetry';
import type { FileStorage } from './wal/file-storage';
import { FileWal } from './wal/file-wal';
import { inspectFilesystem, verdictOn } from './wal/filesystem';

export interface LogOptions {
  readonly config: Config;
  readonly storage: FileStorage;
  readonly telemetry: Telemetry;
  readonly logger: Logger;
  readonly onFatal: (error: Error) => void;
}

/** Opens the log in a folder of the data directory. The reserve of the disk is for all other logs than `wal`. */
export function openLog(name: string, segmentBytes: number, options: LogOptions): Promise<FileWal> {
  const { config, storage, telemetry, logger, onFatal } = options;
  return FileWal.open({
    directory: join(config.data_dir, name),
    segmentBytes,
    frameBytesMax: LIMITS.walFrameBytesMax,
    storage,
    reserveBytes: name === 'wal' ? config.wal.disk_reserve_bytes : 0,
    clock: Date.now,
    logger,
    onFatal,
    onCommit: (commit) => {
      telemetry.walFsyncSeconds.observe(commit.syncMs / 1_000);
      telemetry.walCommitEntries.inc(commit.entries);
    },
    scrubbing: {
      bytesPerSecond: config.wal.scrub_bytes_per_second,
      onRead: (sizeBytes) => telemetry.walScrubbedBytes.inc(sizeBytes),
      onDamage: (_, needed) => telemetry.walDamage.inc({ needed: String(needed) }),
    },
  });
}

/** R17: says where the log lies. Throws ConfigError for a file system that cannot keep the promise of a sync. */
export async function checkFilesystem({ config, storage, logger }: LogOptions): Promise<void> {
  const directory = join(config.data_dir, 'wal');
  await storage.makeDirectory(directory);
  const filesystem = await inspectFilesystem(directory);
  if (filesystem === undefined) {
    logger.warn({ directory }, 'the system does not tell which file system the write-ahead log is on');
    return;
  }
  const { type, device, mountPoint } = filesystem;
  const verdict = verdictOn(type);
  const where = { directory, filesystem: type, device, mountPoint };
  if (verdict === 'refused' && !config.wal.allow_any_filesystem) {
    throw new ConfigError(
      `${directory} is on ${type} (${device}), where a sync or a lock may not be one: use a local disk for data_dir, ` +
        'or set wal.allow_any_filesystem if you know that it keeps both promises',
    );
  }
  if (verdict === 'good') logger.info(where, 'write-ahead log');
  else if (verdict === 'fleeting')
    logger.warn(where, 'write-ahead log on a file system that goes with the machine or the container');
  else logger.warn(where, 'write-ahead log on a file system that may not keep its promises');
}
