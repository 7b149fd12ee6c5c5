/**
 * Record batches as Arrow IPC streams: schema, dictionaries, one record batch, end of stream (Arrow columnar format,
 * "IPC Streaming Format"). Only for batches that we made or have validated: see `validate` for foreign bytes.
 */
import { type RecordBatch, RecordBatchReader, RecordBatchStreamWriter } from 'apache-arrow';

/** The batch as one self-contained IPC stream. */
export function encodeIpc(batch: RecordBatch): Uint8Array {
  const writer = new RecordBatchStreamWriter();
  writer.write(batch);
  writer.close();
  return writer.toUint8Array(true);
}

/** The single batch of a stream written by `encodeIpc`; its columns are views into `bytes`. */
export function decodeIpc(bytes: Uint8Array): RecordBatch {
  const batches = [...RecordBatchReader.from(bytes)];
  const [batch] = batches;
  if (batch === undefined || batches.length !== 1) throw new Error(`an IPC stream of one record batch holds ${batches.length}`);
  return batch;
}

/** Lays the pieces end to end; one piece is given back as it is. */
export function joinPieces(pieces: readonly Uint8Array[]): Uint8Array {
  const [first] = pieces;
  if (pieces.length === 1 && first !== undefined) return first;
  return Buffer.concat(pieces);
}
