import { IngestError } from '../core/errors';
import type { Admission } from '../core/ingest';

/**
 * The budget of bytes between socket and WAL. It never waits: a full budget is told to the client at once, in the
 * words of its protocol, so that nothing piles up in memory.
 */
export class AdmissionBudget {
  private usedBytes = 0;
  private refusal: string | undefined;

  constructor(
    private readonly bytesMax: number,
    private readonly onChange: (usedBytes: number) => void,
  ) {}

  /** From now on every request is refused with this reason (draining, WAL broken); `undefined` opens again. */
  refuse(reason: string | undefined): void {
    this.refusal = reason;
  }

  get accepting(): boolean {
    return this.refusal === undefined;
  }

  admit(bytes: number): Admission {
    if (this.refusal !== undefined) throw new IngestError('unavailable', this.refusal, { retryAfterMs: RETRY_AFTER_MS });
    if (this.usedBytes + bytes > this.bytesMax) {
      throw new IngestError('unavailable', 'too many bytes in flight', { retryAfterMs: RETRY_AFTER_MS });
    }
    this.change(bytes);
    let open = true;
    return {
      release: () => {
        if (!open) return;
        open = false;
        this.change(-bytes);
      },
    };
  }

  private change(bytes: number): void {
    this.usedBytes += bytes;
    this.onChange(this.usedBytes);
  }
}

const RETRY_AFTER_MS = 1_000;
