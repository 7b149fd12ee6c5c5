/**
 * Zstandard bodies (RFC 8878) with a bound on the output. The frame and block headers are walked first (zstd-frame.ts), then the
 * native decoder runs; it checks what the frames stated.
 */
import { nativeZstd, ZSTD_WINDOW_BYTES_MIN, zstdShape } from '../columnar/zstd-frame';
import { corrupt, giveWay, OutputCollector, SYNC_OUTPUT_BYTES_MAX, tooLarge } from './decompress-output';

const INPUT_SLICE_BYTES = 64 * 1024;

export function zstdDeclaredSize(body: Buffer): number | undefined {
  return zstdShape(body)?.contentBytes;
}

/** See `decompress` of decompress.ts. */
export function unzstd(body: Buffer, limitBytes: number): Buffer | Promise<Buffer> {
  const shape = zstdShape(body);
  if (shape === undefined || shape.frames === 0) throw corrupt('zstd');
  if (shape.contentBytes !== undefined && shape.contentBytes > limitBytes) throw tooLarge(limitBytes);
  if (shape.windowBytes > Math.max(limitBytes, ZSTD_WINDOW_BYTES_MIN)) throw tooLarge(limitBytes);
  if (shape.frames === 1 && shape.contentBytes !== undefined && shape.contentBytes <= SYNC_OUTPUT_BYTES_MAX) {
    try {
      return nativeZstd.decompress(body, shape.contentBytes + 1);
    } catch (error) {
      throw corrupt('zstd', error);
    }
  }
  return unzstdInSlices(body, limitBytes, shape.contentBytes);
}

async function unzstdInSlices(body: Buffer, limitBytes: number, contentBytes: number | undefined): Promise<Buffer> {
  const decoder = new nativeZstd.Decompressor();
  const output = new OutputCollector(limitBytes, contentBytes);
  const over = tooLarge(limitBytes);
  const take = (piece: Buffer): void => {
    // Thrown through the native call, so that a bomb is stopped inside one slice.
    if (!output.add(piece)) throw over;
  };
  try {
    for (let at = 0; at < body.length; at += INPUT_SLICE_BYTES) {
      if (at > 0) await giveWay();
      decoder.data(body.subarray(at, at + INPUT_SLICE_BYTES), take);
    }
    decoder.end(take);
  } catch (error) {
    throw error === over ? over : corrupt('zstd', error);
  }
  return output.take();
}
