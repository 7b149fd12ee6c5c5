import { IngestError } from '../core/errors';
import { LIMITS } from '../core/limits';

/** A fraction of a second of copying. */
const JOINED_BYTES_MAX = LIMITS.requestBytesMax;

/**
 * What one request may make of the bytes it sent: rows, and bytes that are not in its body as they are (decompressed
 * buffers, values that several views share, offsets of lists that need none). A small body must not become a large batch.
 */
export class RequestBudget {
  private rows = 0;
  private bytes = 0;
  private joinedBytes = 0;
  private expandedBytes = 0;

  /** `reserve` is told of each total before it is allocated, and may refuse it by throwing. */
  constructor(private readonly reserve: (totalBytes: number) => void = () => undefined) {}

  /** Bytes made so far that are not in the body. */
  get unpackedBytes(): number {
    return this.bytes;
  }

  /** A new request begins. */
  reset(): void {
    this.rows = 0;
    this.bytes = 0;
    this.joinedBytes = 0;
    this.expandedBytes = 0;
  }

  /** Throws IngestError `payload_too_large`. */
  takeRows(count: number): void {
    this.rows += count;
    if (this.rows > LIMITS.rowsPerRequestMax) {
      throw new IngestError('payload_too_large', `a request has at most ${LIMITS.rowsPerRequestMax} rows`);
    }
  }

  /** To be asked before the bytes are allocated. Throws IngestError `payload_too_large`. */
  takeBytes(count: number): void {
    this.bytes += count;
    if (this.bytes > LIMITS.requestBytesMax) {
      throw new IngestError('payload_too_large', `arrow: a request unpacks to at most ${LIMITS.requestBytesMax} bytes`);
    }
    if (count > 0) this.reserve(this.bytes);
  }

  /** Stores take values, not indexes: one long value under many of them is many long values. Throws IngestError `payload_too_large`. */
  takeExpanded(bytes: number): void {
    this.expandedBytes += bytes;
    if (this.expandedBytes > LIMITS.walFrameBytesMax) {
      throw new IngestError(
        'payload_too_large',
        `arrow: the rows take more than ${LIMITS.walFrameBytesMax} bytes without dictionaries`,
      );
    }
  }

  /** Dictionaries that grow are joined anew for each batch: many small steps are much work. Throws IngestError `payload_too_large`. */
  takeJoined(bytes: number): void {
    this.joinedBytes += bytes;
    if (this.joinedBytes > JOINED_BYTES_MAX) {
      throw new IngestError('payload_too_large', 'arrow: the dictionaries of a request grow in too many steps');
    }
  }
}
