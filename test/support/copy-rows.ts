import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { RecordBatch } from 'apache-arrow';
import type { Client } from 'pg';
import * as copyStreams from 'pg-copy-streams';
import { quoteIdentifier } from '../../src/core/postgres-sql';
import type { TableSchema } from '../../src/core/table-schema';
import { CopyEncoder } from '../../src/sinks/postgres/encode-copy';

/** Writes the batch by COPY, without a sink around it; gives how many values were changed on the way. */
export async function copyRows(client: Client, schema: TableSchema, batch: RecordBatch): Promise<number> {
  const encoder = new CopyEncoder(schema, batch);
  const columns = encoder.columns.map(quoteIdentifier).join(', ');
  const stream = client.query(copyStreams.from(`COPY ${quoteIdentifier(schema.table)} (${columns}) FROM STDIN (FORMAT binary)`));
  await pipeline(Readable.from(encoder.chunks(), { objectMode: true }), stream);
  if (stream.rowCount !== batch.numRows) throw new Error(`stored ${stream.rowCount} of ${batch.numRows} rows`);
  return encoder.sanitizedValues;
}
