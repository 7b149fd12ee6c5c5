/**
 * Back-pressure of the log: how full it is and how much room its device has decide how clients are treated. Under the soft mark nothing
 * happens; above it acknowledgements are held back, the longer the nearer the hard mark; at the hard mark requests are refused
 * with a hint when to come back, worked out from how fast the stores take the log in. What was accepted goes on to the stores in
 * any case, and that is what makes room.
 */
import { IngestError } from '../core/errors';
import type { WalLoad } from '../core/wal';

export interface BackPressureOptions {
  /** Bytes of the log that wait for the stores: the hard mark. */
  readonly walBytesMax: number;
  /** Bytes of the device that stay free for checkpoints, keys and dead letters (R11). */
  readonly reserveBytes: number;
  readonly segmentBytes: number;
  readonly log: WalLoad;
  /** Between 0 and 1; spreads the hints so that clients do not come back together. */
  readonly random: () => number;
}

export type PressureCause = 'wal' | 'disk';

/** `open`: nothing is held back. */
export interface Pressure {
  readonly level: 'open' | 'slow' | 'full';
  readonly cause: PressureCause;
  /** How far between the soft mark (0) and the hard mark (1); at most 1. */
  readonly part: number;
  /** Bytes that must go before requests are let in again. */
  readonly excessBytes: number;
}

/** The soft mark as a part of the hard one. */
const SOFT_PART = 0.75;
/** Requests are let in again when the log is this far below the hard mark. */
const ROOM_PART = 0.02;
/** Segments of free space beside what is needed, where clients begin to be slowed. */
const SOFT_SEGMENTS = 4;
const DELAY_MS_MAX = 1_000;
const HINT_MS = { min: 1_000, max: 60_000 };
/** Seconds over which the rate of the stores is averaged. */
const RATE_SECONDS = 10;
const OPEN: Pressure = { level: 'open', cause: 'wal', part: 0, excessBytes: 0 };

export class BackPressure {
  private freeBytes = Number.POSITIVE_INFINITY;
  private sampled: { atMs: number; drainedBytes: number } | undefined;
  private bytesPerSecond = 0;

  constructor(private readonly options: BackPressureOptions) {}

  /** To be called about once a second; `nowMs` is of a clock that never goes back. */
  sample(nowMs: number, freeBytes: number): void {
    this.freeBytes = freeBytes;
    const { appendedBytes, pendingBytes } = this.options.log;
    const drainedBytes = appendedBytes - pendingBytes;
    const before = this.sampled;
    this.sampled = { atMs: nowMs, drainedBytes };
    if (before === undefined || nowMs <= before.atMs) return;
    const seconds = (nowMs - before.atMs) / 1_000;
    const rate = Math.max(0, drainedBytes - before.drainedBytes) / seconds;
    this.bytesPerSecond += (rate - this.bytesPerSecond) * (1 - Math.exp(-seconds / RATE_SECONDS));
  }

  /** How fast the stores take the log in, averaged. */
  get drainBytesPerSecond(): number {
    return this.bytesPerSecond;
  }

  /** 0 when open, to 1 at the hard mark. */
  partOf(cause: PressureCause): number {
    return (cause === 'wal' ? this.walPressure() : this.diskPressure()).part;
  }

  get pressure(): Pressure {
    const wal = this.walPressure();
    const disk = this.diskPressure();
    if (disk.level === 'full' || (disk.part > wal.part && wal.level !== 'full')) return disk;
    return wal;
  }

  /** How long an acknowledgement is held back now, milliseconds. */
  get delayMs(): number {
    const { level, part } = this.pressure;
    return level === 'open' ? 0 : DELAY_MS_MAX * part * part;
  }

  /** The error for a request that is not let in; undefined while requests are. */
  refusal(): IngestError | undefined {
    const { pressure } = this;
    if (pressure.level !== 'full') return undefined;
    return new IngestError('unavailable', FULL_TEXT[pressure.cause], { retryAfterMs: this.hintMs(pressure.excessBytes) });
  }

  private hintMs(excessBytes: number): number {
    const seconds = this.bytesPerSecond > 0 ? excessBytes / this.bytesPerSecond : Number.POSITIVE_INFINITY;
    const jitter = 0.8 + 0.4 * this.options.random();
    return Math.min(HINT_MS.max, Math.max(HINT_MS.min, Math.min(seconds * 1_000, HINT_MS.max) * jitter));
  }

  private walPressure(): Pressure {
    const { walBytesMax } = this.options;
    const { retainedBytes } = this.options.log;
    const part = (retainedBytes / walBytesMax - SOFT_PART) / (1 - SOFT_PART);
    return pressureOf('wal', part, retainedBytes - walBytesMax * (1 - ROOM_PART));
  }

  private diskPressure(): Pressure {
    const { reserveBytes, segmentBytes } = this.options;
    const neededBytes = reserveBytes + (this.options.log.nextSegmentReady ? 0 : segmentBytes);
    const roomBytes = this.freeBytes - neededBytes;
    return pressureOf('disk', 1 - roomBytes / (SOFT_SEGMENTS * segmentBytes), segmentBytes - roomBytes);
  }
}

const FULL_TEXT: Readonly<Record<PressureCause, string>> = {
  wal: 'the write-ahead log is full: the stores do not keep up',
  disk: 'the disk of the write-ahead log is full',
};

function pressureOf(cause: PressureCause, part: number, excessBytes: number): Pressure {
  if (part <= 0) return { ...OPEN, cause };
  return { level: part >= 1 ? 'full' : 'slow', cause, part: Math.min(1, part), excessBytes: Math.max(0, excessBytes) };
}
