import { dirname } from 'node:path';
import { CompressionType, compressionRegistry, RecordBatchStreamWriter, type Table } from 'apache-arrow';
import loadNative from 'node-gyp-build';
import { regionsOf } from './arrow-regions';

interface Zstd {
  compress(data: Buffer, level: number): Buffer;
}
const zstd = loadNative(dirname(require.resolve('@cloudpss/zstd/package.json'))) as Zstd;

const OUTSIDE_OF_BUFFERS = ['frame', 'schema', 'header', 'padding'];

/**
 * An IPC stream with bodies compressed by Zstandard. apache-arrow 21.2 writes the compressed length where that of the content
 * belongs (Message.fbs, BodyCompressionMethod), so it is put right.
 */
export function zstdStream(table: Table): Buffer {
  const lengths: number[] = [];
  const encode = (content: Uint8Array): Uint8Array => {
    const packed = zstd.compress(Buffer.from(content), 3);
    if (packed.length < content.length) lengths.push(content.length);
    return packed;
  };
  compressionRegistry.set(CompressionType.ZSTD, { encode });
  const writer = new RecordBatchStreamWriter({ compressionType: CompressionType.ZSTD });
  writer.write(table);
  writer.finish();
  const stream = Buffer.from(writer.toUint8Array(true));
  for (const { role, start } of regionsOf(stream)) {
    if (OUTSIDE_OF_BUFFERS.includes(role) || stream.readBigInt64LE(start) === -1n) continue;
    stream.writeBigInt64LE(BigInt(lengths.shift() ?? 0), start);
  }
  return stream;
}
