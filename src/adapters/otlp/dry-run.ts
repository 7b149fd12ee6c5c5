import type { DecodedRequest } from '../../core/batch';
import { BUILTIN_TABLES } from '../../core/builtin-tables';
import { type DryRunStores, dryRunJson, dryRunOf } from '../dry-run';

/** What an export would do, in JSON: its rows go to one table or more, all of them built in, so that no schema changes. */
export function exportReport({ batches, acceptedRows, rejectedRows, rejections }: DecodedRequest, stores: DryRunStores): object {
  const tables = batches.map((batch) => {
    const schema = BUILTIN_TABLES.find(({ table }) => table === batch.table);
    const own: DecodedRequest = { batches: [batch], acceptedRows: batch.batch.numRows, rejectedRows: 0, rejections: [] };
    return dryRunJson(dryRunOf({ table: batch.table, known: schema, after: schema }, own, stores));
  });
  return { dry_run: true, would_accept: acceptedRows, would_reject: rejectedRows, rejections, tables };
}
