import type { Admission, Ingest, Room } from '../core/ingest';

/**
 * Room for one request whose size becomes known bit by bit: as declared, as received, after decompression.
 * What was reserved stays reserved until `release`, which may be called more than once.
 */
export class GrowingAdmission implements Room {
  private admission: Admission | undefined;
  private reservedBytes = 0;

  /** `client`: the remote address, for fair shares. */
  constructor(
    private readonly ingest: Ingest,
    private readonly client: string | undefined,
  ) {}

  /** Makes sure that `totalBytes` are reserved in all. Throws IngestError `unavailable` when there is no room. */
  reserve(totalBytes: number): void {
    if (this.admission === undefined) this.admission = this.ingest.admit(totalBytes, this.client);
    else if (totalBytes > this.reservedBytes) this.admission.grow(totalBytes - this.reservedBytes);
    this.reservedBytes = Math.max(this.reservedBytes, totalBytes);
  }

  release(): void {
    const { admission } = this;
    this.admission = undefined;
    this.reservedBytes = 0;
    admission?.release();
  }
}
