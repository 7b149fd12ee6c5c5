import type { Lsn } from '../core/ids';
import type { Sink } from '../core/sink';
import type { Wal } from '../core/wal';
import type { Logger } from '../telemetry';

const INTERVAL_MS = 600_000;

/** Tells the sink from time to time what it need not remember any more. A failure costs nothing: the next time will do. */
export function forgetNowAndThen(
  { sink, wal, logger }: { readonly sink: Sink; readonly wal: Wal; readonly logger: Logger },
  below: () => Lsn,
  signal: AbortSignal,
): void {
  if (sink.forget === undefined) return;
  const timer = setInterval(() => {
    sink.forget?.(wal.walId, below()).catch((error: unknown) => logger.debug({ err: error }, 'cannot prune batch rows now'));
  }, INTERVAL_MS);
  timer.unref();
  signal.addEventListener('abort', () => clearInterval(timer), { once: true });
}
