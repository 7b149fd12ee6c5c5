/** From an HTTP request to its plain bytes: admission, reading, decompression, each step within its bound. */
import type { Ingest } from '../core/ingest';
import { type ContentEncoding, declaredSize, decompress, parseContentEncoding } from './decompress';
import { GrowingAdmission } from './growing-admission';
import type { HttpExchange } from './http-contract';

export interface ReceivedBody {
  readonly body: Buffer;
  /** Bytes of the body as it came. */
  readonly wireBytes: number;
  /** `performance.now()` when the whole request was there. */
  readonly receivedAtMs: number;
  /** Room for what is made of the body beside it, bytes in all. Throws IngestError `unavailable` when there is none. */
  readonly reserveUnpacked: (totalBytes: number) => void;
}

/**
 * Receives a body and gives it to `use`; the room it takes is reserved from before its first byte until `use` has settled.
 * Rejects with IngestError `unavailable` when there is no room, and as `readBody`, `parseContentEncoding` and `decompress` do.
 */
export async function withBody<T>(
  exchange: HttpExchange,
  ingest: Ingest,
  limitBytes: number,
  use: (received: ReceivedBody) => Promise<T>,
): Promise<T> {
  const encoding = parseContentEncoding(exchange.headers['content-encoding']);
  const admission = new GrowingAdmission(ingest, exchange.client);
  try {
    const wire = await exchange.readBody((totalBytes) => admission.reserve(totalBytes));
    const receivedAtMs = performance.now();
    const body = encoding === 'identity' ? wire : await unpack(encoding, wire, limitBytes, admission);
    const held = encoding === 'identity' ? wire.length : wire.length + body.length;
    const reserveUnpacked = (totalBytes: number): void => admission.reserve(held + totalBytes);
    return await use({ body, wireBytes: wire.length, receivedAtMs, reserveUnpacked });
  } finally {
    admission.release();
  }
}

async function unpack(encoding: ContentEncoding, wire: Buffer, limitBytes: number, admission: GrowingAdmission): Promise<Buffer> {
  admission.reserve(wire.length + Math.min(declaredSize(encoding, wire) ?? wire.length, limitBytes));
  const plain = decompress(encoding, wire, limitBytes);
  const body = Buffer.isBuffer(plain) ? plain : await plain;
  admission.reserve(wire.length + body.length);
  return body;
}
