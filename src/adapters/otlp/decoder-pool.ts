import { ColumnFullError } from '../../columnar/builders';
import { type Keep, keepOwn, Slab } from '../../columnar/slab';
import type { DecodedRequest } from '../../core/batch';
import { IngestError } from '../../core/errors';
import type { DecodeContext } from './context';

/** Decodes one request at a time. `keep` says where the columns' buffers go. */
export interface RequestDecoder {
  decode(body: Uint8Array, context: DecodeContext, keep: Keep): DecodedRequest;
  /** Makes the decoder ready for the next request, if the buffers of the last one were copied. */
  reset(): void;
}

/** A decoder that has served a greater request than this is not kept: its buffers are the request's. */
const REUSE_BYTES_MAX = 4 * 1024 * 1024;
const REUSE_ROWS_MAX = 65_536;

/** A batch takes about as many bytes as its request; a small one more, for types and padding. */
const slabBytes = (bodyBytes: number): number => bodyBytes + (bodyBytes >> 2) + 4_096;

/**
 * Keeps a decoder and the memory of its columns from one request to the next: to allocate them anew costs as much as 100 rows
 * (measured). Decoding is synchronous, so one is enough. After an error the decoder is thrown away.
 */
export class DecoderPool {
  private idle: RequestDecoder | undefined;

  constructor(private readonly make: (bodyBytes: number) => RequestDecoder) {}

  run(body: Uint8Array, context: DecodeContext): DecodedRequest {
    const reuse = body.length <= REUSE_BYTES_MAX;
    const decoder = (reuse ? this.idle : undefined) ?? this.make(body.length);
    if (reuse) this.idle = undefined;
    try {
      const request = decoder.decode(body, context, reuse ? new Slab(slabBytes(body.length)).keep : keepOwn);
      if (reuse && request.acceptedRows <= REUSE_ROWS_MAX) {
        decoder.reset();
        this.idle = decoder;
      }
      return request;
    } catch (error) {
      if (!(error instanceof ColumnFullError)) throw error;
      throw new IngestError('payload_too_large', 'the rows of this request are too large', { cause: error });
    }
  }
}
