/**
 * Requests with an idempotency key: the same key and the same content get the answer of the first time, the same key with other
 * content is an error. By key and content, never by content alone: equal requests without a key are different requests.
 *
 * Durability: the key is a note of the WAL entry of its request, so that both become durable together. Before the entry's segment
 * may be deleted the key is in the key log (a WAL of its own), which keeps keys for the window. At the start both are read.
 * Bounds: keys older than the window are forgotten, and the oldest when there are more than `keysMax`.
 */
import { IngestError } from '../core/errors';
import type { Lsn } from '../core/ids';
import { lsn } from '../core/ids';
import type { Idempotency } from '../core/ingest';
import type { Wal } from '../core/wal';
import type { Logger } from '../telemetry';
import { KeyLog, type StoredKey } from './key-log';

const NOTE_VERSION = 1;
const DIGEST_BYTES = 32;
const FLUSH_MS = 1_000;

export interface IdempotencyOptions {
  /** The log of requests, whose entries carry the keys. */
  readonly wal: Wal;
  /** The log that keeps keys after their entries are gone. */
  readonly keyWal: Wal;
  readonly windowMs: number;
  readonly keysMax: number;
  readonly clock: () => number;
  readonly logger: Logger;
  /** More of the log of requests may be deleted. */
  readonly onRelease: () => void;
}

interface Known {
  /** As text: kept for the window, a small Buffer would keep the 8 KiB that it was cut from. */
  readonly digest: string;
  readonly atMs: number;
  /** Settles with the position of the first request, or rejects when it was not stored. */
  readonly stored: Promise<Lsn>;
}

export class IdempotencyKeys {
  private readonly known = new Map<string, Known>();
  private unflushed: StoredKey[] = [];
  private flushing: Promise<void> = Promise.resolve();
  private timer: NodeJS.Timeout | undefined;

  private constructor(
    private readonly options: IdempotencyOptions,
    private readonly log: KeyLog,
  ) {}

  /** Reads the keys of the window from the key log and from the entries that the log of requests still has. */
  static async open(options: IdempotencyOptions): Promise<IdempotencyKeys> {
    const log = new KeyLog(options.keyWal);
    const keys = new IdempotencyKeys(options, log);
    const since = options.clock() - options.windowMs;
    for await (const stored of log.read()) if (stored.atMs >= since) keys.remember(stored);
    const { firstLsn, durableLsn } = options.wal.stats();
    for (let at = firstLsn; at <= durableLsn; ) {
      const entries = await options.wal.read(at, READ_BYTES);
      if (entries.length === 0) break;
      for (const entry of entries) {
        const note = entry.note === undefined ? undefined : decodeNote(entry.note);
        if (note === undefined || keys.known.has(note.key)) continue;
        const stored = { ...note, lsn: entry.lsn, atMs: entry.appendedAtMs };
        keys.remember(stored);
        keys.unflushed.push(stored);
      }
      at = lsn(entries.at(-1)!.lsn + 1);
    }
    keys.scheduleFlush();
    return keys;
  }

  /** Entries of the log of requests below this one are no longer needed for their keys. */
  get releasableLsn(): number {
    return this.unflushed[0]?.lsn ?? Number.MAX_SAFE_INTEGER;
  }

  /**
   * The position of the request under this key: of the first one when it was stored before, else of this one, which `append`
   * stores together with the note. Throws IngestError `already_exists` when the key came with other content.
   */
  async once(idempotency: Idempotency, append: (note: Uint8Array) => Promise<Lsn>): Promise<Lsn> {
    this.forget();
    const { key } = idempotency;
    const digest = Buffer.from(idempotency.digest);
    const text = digestText(digest);
    for (let earlier = this.known.get(key); earlier !== undefined; earlier = this.known.get(key)) {
      if (earlier.digest !== text) throw new IngestError('already_exists', 'the idempotency key was used for another request');
      const at = await earlier.stored.catch(() => undefined);
      if (at !== undefined) return at;
      // It was not stored; whoever comes first now is the first.
      if (this.known.get(key) === earlier) this.known.delete(key);
    }
    const atMs = this.options.clock();
    const stored = append(encodeNote(key, digest));
    const claim: Known = { digest: text, atMs, stored };
    this.known.set(key, claim);
    try {
      const at = await stored;
      this.unflushed.push({ key, digest, lsn: at, atMs });
      this.scheduleFlush();
      return at;
    } catch (error) {
      if (this.known.get(key) === claim) this.known.delete(key);
      throw error;
    }
  }

  /** Makes every key durable in the key log. */
  async close(): Promise<void> {
    clearTimeout(this.timer);
    await this.flush();
  }

  private remember({ key, digest, atMs, lsn: at }: StoredKey): void {
    this.known.delete(key);
    this.known.set(key, { digest: digestText(digest), atMs, stored: Promise.resolve(at) });
  }

  /** The map is in the order of time, so what is too old or too much is at its front. */
  private forget(): void {
    const since = this.options.clock() - this.options.windowMs;
    for (const [key, { atMs }] of this.known) {
      if (atMs >= since && this.known.size <= this.options.keysMax) return;
      this.known.delete(key);
    }
  }

  private scheduleFlush(): void {
    if (this.timer !== undefined || this.unflushed.length === 0) return;
    this.timer = setTimeout(() => {
      this.timer = undefined;
      this.flush().catch((error: unknown) => {
        this.options.logger.warn({ err: error }, 'idempotency keys stay in the write-ahead log for now');
        this.scheduleFlush();
      });
    }, FLUSH_MS);
    this.timer.unref();
  }

  private flush(): Promise<void> {
    const turn = this.flushing.then(async () => {
      const keys = this.unflushed.slice();
      if (keys.length === 0) return;
      await this.log.append(keys);
      this.unflushed.splice(0, keys.length);
      await this.log.releaseBefore(this.options.clock() - this.options.windowMs);
      this.options.onRelease();
    });
    this.flushing = turn.catch(() => undefined);
    return turn;
  }
}

/** One character a byte. */
const digestText = (digest: Buffer): string => digest.toString('latin1');

/** Bytes of the log of requests read at once at the start. */
const READ_BYTES = 16 * 1024 * 1024;

/** The note of an entry: version u8, SHA-256 digest, key as UTF-8. */
function encodeNote(key: string, digest: Buffer): Uint8Array {
  return Buffer.concat([Buffer.of(NOTE_VERSION), digest, Buffer.from(key)]);
}

function decodeNote(note: Uint8Array): { key: string; digest: Buffer } | undefined {
  const bytes = Buffer.from(note);
  if (bytes[0] !== NOTE_VERSION || bytes.length <= 1 + DIGEST_BYTES) return undefined;
  return { digest: bytes.subarray(1, 1 + DIGEST_BYTES), key: bytes.toString('utf8', 1 + DIGEST_BYTES) };
}
