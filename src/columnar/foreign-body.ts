/**
 * The body of a record batch or dictionary message, uncompressed whatever came (Arrow `Message.fbs`, BodyCompression): each
 * compressed buffer begins with the length of its content, int64, -1 for one that is stored as it is.
 */
import type { FlatTable } from './flatbuffer';
import type { RequestBudget } from './foreign-budget';
import { type BatchSource, checkLayout } from './foreign-buffers';
import { corrupt } from './foreign-error';

const BATCH = { nodes: 1, buffers: 2, compression: 3, variadic: 4 } as const;

/** Nodes, buffers and body of a RecordBatch table. Throws IngestError. */
export function readSource(batch: FlatTable, body: Uint8Array, _budget: RequestBudget): BatchSource {
  const buffers = batch.int64Pairs(BATCH.buffers);
  checkLayout({ body, buffers });
  if (batch.has(BATCH.compression)) throw corrupt('compressed bodies are not supported, send the stream uncompressed');
  return { body, buffers, nodes: batch.int64Pairs(BATCH.nodes), variadic: batch.int64s(BATCH.variadic) };
}
