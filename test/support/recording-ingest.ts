import type { DecodedRequest } from '../../src/core/batch';
import { BUILTIN_TABLES } from '../../src/core/builtin-tables';
import { IngestError } from '../../src/core/errors';
import { type BatchId, lsn, type TableName } from '../../src/core/ids';
import type { Admission, Ingest, Registry, WriteReceipt, WriteRequest } from '../../src/core/ingest';
import type { ColumnSchema, TableSchema, Tier } from '../../src/core/table-schema';

/** The port of the adapters, in memory: keeps what was written, and can be full, slow or broken. */
export class RecordingIngest implements Ingest {
  readonly writes: WriteRequest[] = [];
  /** Called by every write before it is answered. */
  beforeAnswer: () => Promise<void> = () => Promise.resolve();
  /** Thrown by `admit`. */
  refusal: IngestError | undefined;
  inFlightBytes = 0;
  peakInFlightBytes = 0;

  constructor(private readonly bytesMax = Number.POSITIVE_INFINITY) {}

  admit(bytes: number): Admission {
    if (this.refusal !== undefined) throw this.refusal;
    if (this.inFlightBytes + bytes > this.bytesMax) {
      throw new IngestError('unavailable', 'too many bytes in flight', { retryAfterMs: 1500 });
    }
    this.inFlightBytes += bytes;
    this.peakInFlightBytes = Math.max(this.peakInFlightBytes, this.inFlightBytes);
    let released = false;
    return {
      release: () => {
        if (released) throw new Error('released twice');
        released = true;
        this.inFlightBytes -= bytes;
      },
    };
  }

  async write(request: WriteRequest): Promise<WriteReceipt> {
    await this.beforeAnswer();
    if (request.batches.length > 0) this.writes.push(request);
    return { batch: `batch-${this.writes.length}` as BatchId, lsn: lsn(this.writes.length) };
  }

  /** Rows written so far, by table. */
  rows(): Record<string, number> {
    const rows: Record<string, number> = {};
    for (const { table, batch } of this.writes.flatMap((write) => write.batches))
      rows[table] = (rows[table] ?? 0) + batch.numRows;
    return rows;
  }
}

/** A registry in memory. */
export class MemoryRegistry implements Registry {
  private readonly tables = new Map<TableName, TableSchema>(BUILTIN_TABLES.map((schema) => [schema.table, schema]));

  get(table: TableName): TableSchema | undefined {
    return this.tables.get(table);
  }

  list(): readonly TableSchema[] {
    return [...this.tables.values()];
  }

  async evolve(
    table: TableName,
    columns: readonly ColumnSchema[],
    options: { timeColumn: string; tier?: Tier },
  ): Promise<TableSchema> {
    const known = this.tables.get(table);
    const names = new Set(known?.columns.map(({ name }) => name));
    const schema: TableSchema = {
      table,
      version: (known?.version ?? 0) + 1,
      columns: [...(known?.columns ?? []), ...columns.filter(({ name }) => !names.has(name))],
      timeColumn: known?.timeColumn ?? options.timeColumn,
      tier: known?.tier ?? options.tier ?? 'hot',
    };
    this.tables.set(table, schema);
    return schema;
  }
}

export const decoded = (parts: Partial<DecodedRequest>): DecodedRequest => ({
  batches: [],
  acceptedRows: 0,
  rejectedRows: 0,
  rejections: [],
  ...parts,
});
