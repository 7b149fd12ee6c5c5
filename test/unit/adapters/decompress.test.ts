import { randomBytes } from 'node:crypto';
import { dirname } from 'node:path';
import { deflateRawSync, deflateSync, gzipSync } from 'node:zlib';
import * as fc from 'fast-check';
import loadNative from 'node-gyp-build';
import { compressSync, Compressor as SnappyCompressor } from 'snappy';
import { type ContentEncoding, declaredSize, decompress, parseContentEncoding } from '../../../src/adapters/decompress';
import { zstdShape } from '../../../src/columnar/zstd-frame';
import { IngestError } from '../../../src/core/errors';

const LIMIT = 4 * 1024 * 1024;

interface Zstd {
  compress(data: Buffer, level: number): Buffer;
  Compressor: new (level: number) => { data(b: Buffer, out: (p: Buffer) => void): void; end(out: (p: Buffer) => void): void };
}
const zstd = loadNative(dirname(require.resolve('@cloudpss/zstd/package.json'))) as Zstd;

/** A frame without a content size, as streaming encoders write it. */
function zstdStreamed(data: Buffer): Buffer {
  const pieces: Buffer[] = [];
  const encoder = new zstd.Compressor(3);
  for (let at = 0; at < data.length; at += 10_000) encoder.data(data.subarray(at, at + 10_000), (piece) => pieces.push(piece));
  encoder.end((piece) => pieces.push(piece));
  return Buffer.concat(pieces);
}

async function snappyFramed(data: Buffer): Promise<Buffer> {
  const encoder = new SnappyCompressor();
  const pieces: Buffer[] = [];
  for (let at = 0; at < data.length; at += 10_000) pieces.push(encoder.update(data.subarray(at, at + 10_000)));
  pieces.push(await encoder.finish());
  return Buffer.concat(pieces);
}

interface Format {
  readonly name: string;
  readonly encoding: ContentEncoding;
  encode(data: Buffer): Buffer | Promise<Buffer>;
}

const FORMATS: readonly Format[] = [
  { name: 'gzip', encoding: 'gzip', encode: (data) => gzipSync(data) },
  { name: 'zlib deflate', encoding: 'deflate', encode: (data) => deflateSync(data) },
  { name: 'raw deflate', encoding: 'deflate', encode: (data) => deflateRawSync(data) },
  { name: 'zstd', encoding: 'zstd', encode: (data) => zstd.compress(data, 3) },
  { name: 'zstd without a content size', encoding: 'zstd', encode: zstdStreamed },
  { name: 'snappy block', encoding: 'snappy', encode: (data) => compressSync(data) },
  { name: 'snappy framed', encoding: 'snappy', encode: snappyFramed },
];

async function codeOf(encoding: ContentEncoding, body: Buffer, limit = LIMIT): Promise<string> {
  try {
    await decompress(encoding, body, limit);
    return 'accepted';
  } catch (error) {
    if (!(error instanceof IngestError)) throw error;
    return error.code;
  }
}

const text = (bytes: number): Buffer =>
  Buffer.from('the quick brown fox jumps over 13 lazy dogs; '.repeat(bytes / 45 + 1)).subarray(0, bytes);

describe.each(FORMATS)('decompress: $name', (format) => {
  const { encoding } = format;
  const encode = (data: Buffer): Buffer | Promise<Buffer> => format.encode(data);
  it('gives back any bytes', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.uint8Array({ minLength: 1, maxLength: 3000 }),
        fc.integer({ min: 1, max: 60 }),
        async (bytes, times) => {
          const data = Buffer.concat(Array.from({ length: times }, () => bytes));
          expect(data.equals(await decompress(encoding, await encode(data), LIMIT))).toBe(true);
        },
      ),
      { numRuns: 60 },
    );
  });

  it('gives back bodies of more than a slice', async () => {
    const data = text(3_500_000);
    expect(data.equals(await decompress(encoding, await encode(data), LIMIT))).toBe(true);
  });

  it('takes exactly the limit and refuses one byte more', async () => {
    for (const limit of [10_000, 2_000_000]) {
      expect(await codeOf(encoding, await encode(text(limit)), limit)).toBe('accepted');
      expect(await codeOf(encoding, await encode(text(limit + 1)), limit)).toBe('payload_too_large');
    }
  });

  it('OH16: refuses a body cut at any byte', async () => {
    const whole = await encode(Buffer.concat([text(300), Buffer.from(Array.from({ length: 50 }, (_, i) => (i * 7919) % 251))]));
    const identifierOnly = encoding === 'snappy' && whole[0] === 0xff ? 10 : -1;
    for (let cut = 0; cut < whole.length; cut++) {
      if (cut === identifierOnly) continue;
      expect([cut, await codeOf(encoding, whole.subarray(0, cut))]).toEqual([cut, 'invalid_argument']);
    }
  });

  it('OH16: refuses bytes after the end', async () => {
    const whole = await encode(text(500));
    for (const tail of [Buffer.from([0]), Buffer.from('garbage'), Buffer.alloc(64)]) {
      expect(await codeOf(encoding, Buffer.concat([whole, tail]))).toBe('invalid_argument');
    }
    const large = await encode(text(2_000_000));
    expect(await codeOf(encoding, Buffer.concat([large, Buffer.alloc(9)]))).toBe('invalid_argument');
  });

  it('OH15: refuses bytes of no format', async () => {
    expect(await codeOf(encoding, Buffer.from('{"resourceLogs":[]}'))).toBe('invalid_argument');
    expect(await codeOf(encoding, Buffer.from('\xff'.repeat(100), 'latin1'))).toBe('invalid_argument');
  });

  it('never fails with anything but a clear error', async () => {
    const whole = await encode(text(2000));
    await fc.assert(
      fc.asyncProperty(fc.nat(whole.length - 1), fc.integer({ min: 1, max: 255 }), async (at, flip) => {
        const damaged = Buffer.from(whole);
        damaged[at] = damaged[at] ^ flip;
        expect(['accepted', 'invalid_argument', 'payload_too_large']).toContain(await codeOf(encoding, damaged));
      }),
      { numRuns: 200 },
    );
  });
});

describe('decompress: joined streams', () => {
  it('OH16: reads gzip of several members', async () => {
    const parts = [text(100), text(2_000_000), Buffer.alloc(0), text(7)];
    const joined = await decompress('gzip', Buffer.concat(parts.map((part) => gzipSync(part))), LIMIT);
    expect(joined.equals(Buffer.concat(parts))).toBe(true);
  });

  it('reads zstd of several frames, of known and unknown size, with skippable ones between', async () => {
    const skippable = Buffer.from([0x53, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3]);
    const parts = [text(100), text(300_000), text(7)];
    const body = Buffer.concat([zstd.compress(text(100), 3), skippable, zstdStreamed(text(300_000)), zstd.compress(text(7), 19)]);
    expect(zstdShape(body)).toMatchObject({ frames: 3, contentBytes: undefined });
    expect(Buffer.concat(parts).equals(await decompress('zstd', body, LIMIT))).toBe(true);
    const known = Buffer.concat([zstd.compress(text(100), 3), zstd.compress(text(7), 3)]);
    expect(declaredSize('zstd', known)).toBe(107);
    expect((await decompress('zstd', known, LIMIT)).equals(Buffer.concat([text(100), text(7)]))).toBe(true);
  });
});

describe('decompress: claims of size', () => {
  it('refuses a zstd frame whose header lies about its content', async () => {
    const frame = Buffer.from(zstd.compress(text(1000), 3));
    expect(declaredSize('zstd', frame)).toBe(1000);
    frame.writeUInt16LE(999 - 256, 5);
    expect(await codeOf('zstd', frame)).toBe('invalid_argument');
  });

  it('refuses a zstd window that would not fit into the limit', async () => {
    const frame = Buffer.from(zstdStreamed(text(100)));
    frame[5] = (27 - 10) << 3;
    expect(zstdShape(frame)?.windowBytes).toBe(2 ** 27);
    expect(await codeOf('zstd', frame)).toBe('payload_too_large');
  });

  it('refuses a snappy block of six bytes that claims 4 GB, before anything is allocated', async () => {
    const before = process.memoryUsage().rss;
    expect(await codeOf('snappy', Buffer.from([0xff, 0xff, 0xff, 0xff, 0x0f, 0x00]))).toBe('payload_too_large');
    expect(await codeOf('snappy', Buffer.from([0xff, 0xff, 0xff, 0x01, 0x00]))).toBe('invalid_argument');
    expect(process.memoryUsage().rss - before).toBeLessThan(32 * 1024 * 1024);
  });

  it('does not believe a gzip trailer', async () => {
    const body = gzipSync(text(5000));
    body.writeUInt32LE(50_000, body.length - 4);
    expect(await codeOf('gzip', body)).toBe('invalid_argument');
  });

  it('refuses a damaged checksum of framed snappy', async () => {
    const body = await snappyFramed(text(500));
    body[14] = body[14] ^ 1;
    expect(await codeOf('snappy', body)).toBe('invalid_argument');
  });
});

describe('decompress: bombs', () => {
  const zeros = Buffer.alloc(100_000_000);
  const bombs: [string, ContentEncoding, () => Buffer][] = [
    ['gzip', 'gzip', () => gzipSync(zeros)],
    ['deflate', 'deflate', () => deflateSync(zeros)],
    ['zstd', 'zstd', () => zstdStreamed(zeros)],
  ];
  it.each(bombs)('OH10: stops %s of 100 MB zeros at the limit, with bounded memory', async (_, encoding, make) => {
    const body = make();
    const before = process.memoryUsage();
    let peak = 0;
    const watch = setInterval(() => (peak = Math.max(peak, process.memoryUsage().rss)), 2);
    expect(await codeOf(encoding, body, 16 * 1024 * 1024)).toBe('payload_too_large');
    clearInterval(watch);
    peak = Math.max(peak, process.memoryUsage().rss);
    expect(peak - before.rss).toBeLessThan(64 * 1024 * 1024);
  });

  it('gives other work its turn while it unpacks a large body', async () => {
    for (const [encoding, body] of [
      ['gzip', gzipSync(zeros)],
      ['zstd', zstdStreamed(Buffer.concat(Array.from({ length: 20 }, () => randomBytes(200_000))))],
    ] as const) {
      let turns = 0;
      let counting = true;
      const count = (): void => {
        turns++;
        if (counting) setImmediate(count);
      };
      setImmediate(count);
      try {
        await decompress(encoding, body, 128 * 1024 * 1024);
      } finally {
        counting = false;
      }
      expect(turns).toBeGreaterThan(20);
    }
  });
});

describe('content-encoding', () => {
  it('OH2: names are case-insensitive, absent and identity mean plain', () => {
    expect(
      [undefined, '', 'identity', 'GZIP', ' gzip ', 'x-gzip', 'zlib', 'deflate', 'zstd', 'snappy'].map(parseContentEncoding),
    ).toEqual(['identity', 'identity', 'identity', 'gzip', 'gzip', 'gzip', 'deflate', 'deflate', 'zstd', 'snappy']);
  });

  it.each(['br', 'gzip, gzip', 'gzip,identity', 'lz4', '__proto__'])('OH15: %s is refused', (header) => {
    expect(() => parseContentEncoding(header)).toThrow(expect.objectContaining({ code: 'unsupported_encoding' }));
  });
});
