import type { Admission, Ingest } from '../core/ingest';

/**
 * Room for one request whose size becomes known bit by bit: as declared, as received, after decompression.
 * What was reserved stays reserved until `release`, which may be called more than once.
 */
export class GrowingAdmission implements Admission {
  private readonly ingest: Ingest;
  private parts: Admission[] = [];
  private reservedBytes = 0;

  constructor(ingest: Ingest) {
    this.ingest = ingest;
  }

  /** Makes sure that `totalBytes` are reserved in all. Throws IngestError `unavailable` when there is no room. */
  reserve(totalBytes: number): void {
    if (this.parts.length > 0 && totalBytes <= this.reservedBytes) return;
    this.parts.push(this.ingest.admit(totalBytes - this.reservedBytes));
    this.reservedBytes = totalBytes;
  }

  release(): void {
    const parts = this.parts;
    this.parts = [];
    this.reservedBytes = 0;
    for (const part of parts) part.release();
  }
}
