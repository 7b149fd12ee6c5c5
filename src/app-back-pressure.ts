/** Composition of the back-pressure: looks at the log and its disk once a second. */
import { join } from 'node:path';
import type { Config } from './config';
import { BackPressure } from './ingest/back-pressure';
import type { Logger, Telemetry } from './telemetry';
import type { FileStorage } from './wal/file-storage';
import type { FileWal } from './wal/file-wal';

const SAMPLE_MS = 1_000;

export interface WatchedPressure {
  readonly pressure: BackPressure;
  refreshGauges(): void;
  stop(): void;
}

/** Resolves after the first look. */
export async function watchPressure(options: {
  readonly config: Config;
  readonly wal: FileWal;
  readonly storage: FileStorage;
  readonly telemetry: Telemetry;
  readonly logger: Logger;
}): Promise<WatchedPressure> {
  const { config, wal, storage, telemetry, logger } = options;
  const pressure = new BackPressure({
    walBytesMax: config.wal.bytes_max,
    reserveBytes: config.wal.disk_reserve_bytes,
    segmentBytes: config.wal.segment_bytes,
    log: wal,
    random: Math.random,
  });
  telemetry.walLimitBytes.set(config.wal.bytes_max);
  let level = 'open';
  const sample = async (): Promise<void> => {
    const freeBytes = await storage.freeBytes(join(config.data_dir, 'wal'));
    telemetry.walDiskFreeBytes.set(freeBytes);
    pressure.sample(performance.now(), freeBytes);
    const now = pressure.pressure;
    if (now.level === level) return;
    level = now.level;
    if (level === 'open') logger.info('the write-ahead log has room again');
    else logger.warn({ level, cause: now.cause, retainedBytes: wal.retainedBytes, freeBytes }, 'the write-ahead log fills up');
  };
  await sample();
  let isBusy = false;
  const timer = setInterval(() => {
    // A device that hangs must not pile up questions.
    if (isBusy) return;
    isBusy = true;
    sample()
      .catch((error: unknown) => logger.error({ err: error }, 'cannot ask for the free space of the disk'))
      .finally(() => (isBusy = false));
  }, SAMPLE_MS);
  timer.unref();
  return {
    pressure,
    refreshGauges: () => {
      for (const cause of ['wal', 'disk'] as const) telemetry.backPressure.set({ cause }, pressure.partOf(cause));
      telemetry.walRetainedBytes.set(wal.retainedBytes);
      telemetry.drainRate.set(pressure.drainBytesPerSecond);
    },
    stop: () => clearInterval(timer),
  };
}
