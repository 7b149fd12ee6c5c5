/**
 * A dry run of DoPut or DoExchange (header `thermocline-dry-run: 1`): the stream is read and answered as any other, but its table is
 * only thought of and nothing goes to the log. One more result comes at the end: the report in JSON.
 */
import { type DecodedRequest, parkedRowsOf } from '../../core/batch';
import { type BatchId, lsn, type TableName } from '../../core/ids';
import type { Admission, Ingest, Registry, WriteReceipt, WriteRequest } from '../../core/ingest';
import type { Tier } from '../../core/table-schema';
import { type DryRunStores, dryRunJson, dryRunOf } from '../dry-run';
import { PreviewRegistry } from '../preview-registry';

const NOTHING_STORED: WriteReceipt = { batch: '' as BatchId, lsn: lsn(0) };

/** Stands in for the log and the registry of one stream. */
export class StreamDryRun implements Ingest {
  readonly registry: PreviewRegistry;
  private readonly tiers = new Set<Tier>();
  private parkedRows = 0;

  constructor(
    private readonly real: { readonly ingest: Ingest; readonly registry: Registry },
    private readonly stores: DryRunStores,
  ) {
    this.registry = new PreviewRegistry(real.registry);
  }

  admit(bytes: number, client?: string): Admission {
    return this.real.ingest.admit(bytes, client);
  }

  async write({ batches, parked = [] }: WriteRequest): Promise<WriteReceipt> {
    this.parkedRows += parkedRowsOf({ parked });
    for (const batch of batches) {
      const schema = this.registry.get(batch.table);
      if (schema !== undefined) for (const tier of this.stores.tiersOf(schema, [batch])) this.tiers.add(tier);
    }
    return NOTHING_STORED;
  }

  /** `rows`: of the whole stream. */
  report(table: TableName, rows: DecodedRequest): Buffer {
    const schemas = { table, known: this.real.registry.get(table), after: this.registry.get(table) };
    const tiersOf: DryRunStores['tiersOf'] = (schema) =>
      this.tiers.size > 0 ? [...this.tiers] : this.stores.tiersOf(schema, []);
    const run = { ...dryRunOf(schemas, rows, { ...this.stores, tiersOf }), parkedRows: this.parkedRows };
    return Buffer.from(JSON.stringify(dryRunJson(run)));
  }
}
