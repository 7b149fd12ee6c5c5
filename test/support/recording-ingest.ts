import type { DecodedRequest } from '../../src/core/batch';
import { BUILTIN_TABLES } from '../../src/core/builtin-tables';
import { IngestError } from '../../src/core/errors';
import { type BatchId, lsn, type TableName } from '../../src/core/ids';
import type { Admission, Ingest, WriteReceipt, WriteRequest } from '../../src/core/ingest';
import { mergeSchemas } from '../../src/core/merge-schema';
import type { SchemaRegistry, TableDefinition } from '../../src/core/schema-registry';
import type { ColumnSchema, TableSchema, Tier } from '../../src/core/table-schema';
import { evolveSchema, registerSchema } from '../../src/registry/evolve';

/** The port of the adapters, in memory: keeps what was written, and can be full, slow or broken. */
export class RecordingIngest implements Ingest {
  readonly writes: WriteRequest[] = [];
  /** Called by every write before it is answered. */
  beforeAnswer: () => Promise<void> = () => Promise.resolve();
  /** Thrown by `admit`. */
  refusal: IngestError | undefined;
  inFlightBytes = 0;
  peakInFlightBytes = 0;

  constructor(public bytesMax = Number.POSITIVE_INFINITY) {}

  /** The clients that asked for room, in order. */
  readonly clients: (string | undefined)[] = [];

  admit(bytes: number, client?: string): Admission {
    this.clients.push(client);
    let heldBytes = 0;
    const take = (more: number): void => {
      if (this.refusal !== undefined) throw this.refusal;
      if (this.inFlightBytes + more > this.bytesMax) {
        throw new IngestError('unavailable', 'too many bytes in flight', { retryAfterMs: 1500 });
      }
      heldBytes += more;
      this.inFlightBytes += more;
      this.peakInFlightBytes = Math.max(this.peakInFlightBytes, this.inFlightBytes);
    };
    take(bytes);
    let released = false;
    return {
      grow: take,
      release: () => {
        if (released) throw new Error('released twice');
        released = true;
        this.inFlightBytes -= heldBytes;
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
export class MemoryRegistry implements SchemaRegistry {
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
    const schema = this.preview(table, columns, options);
    this.tables.set(table, schema);
    return schema;
  }

  preview(table: TableName, columns: readonly ColumnSchema[], options: { timeColumn: string; tier?: Tier }): TableSchema {
    return evolveSchema(this.tables.get(table), table, columns, options);
  }

  async register(definition: TableDefinition): Promise<TableSchema> {
    const schema = this.previewRegistration(definition);
    this.tables.set(definition.table, schema);
    return schema;
  }

  previewRegistration(definition: TableDefinition): TableSchema {
    return registerSchema(this.tables.get(definition.table), definition);
  }

  async adopt(shared: TableSchema): Promise<TableSchema> {
    const known = this.tables.get(shared.table);
    const schema = known === undefined ? shared : mergeSchemas(shared, known);
    this.tables.set(shared.table, schema);
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
