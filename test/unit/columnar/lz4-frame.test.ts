import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { unlz4Into } from '../../../src/columnar/lz4-frame';
import { xxHash32 } from '../../../src/columnar/xxhash32';
import { IngestError } from '../../../src/core/errors';

/** Frames of the reference library, and what they hold (test/golden/lz4/generate.py). */
const FRAMES = Object.entries(
  JSON.parse(readFileSync(join(__dirname, '../../golden/lz4/frames.json'), 'utf8')) as Record<string, string>,
).map(([name, frame]) => ({ name, frame: Buffer.from(frame, 'base64'), content: contentOf(name.split(',')[0]) }));

function contentOf(name: string): Buffer {
  switch (name) {
    case 'text':
      return Buffer.from(range(12_000).reduce((text, i) => `${text}line ${(i % 50) + Math.floor(i / 4_000)}\n`, ''));
    case 'noise': {
      let state = 1n;
      return Buffer.from(
        range(600).map(() => {
          state = (state * 1_103_515_245n + 12_345n) % 2n ** 31n;
          return Number((state >> 16n) & 255n);
        }),
      );
    }
    case 'one':
      return Buffer.from('x');
    case 'run':
      return Buffer.alloc(70_000, 'a');
    default:
      return Buffer.alloc(0);
  }
}

function unpack(frame: Uint8Array, sizeBytes: number): Buffer {
  const room = Buffer.alloc(sizeBytes);
  unlz4Into(frame, room);
  return room;
}

function problem(frame: Uint8Array, sizeBytes: number): string {
  try {
    unpack(frame, sizeBytes);
    return 'read';
  } catch (error) {
    if (error instanceof IngestError) return error.message;
    throw error;
  }
}

/** Large contents take their time: some bytes of their frames have to do. */
const stepOf = (content: Buffer): number => (content.length > 10_000 ? 41 : 1);

const frameOf = (start: string): { frame: Buffer; content: Buffer } => {
  const found = FRAMES.find(({ name }) => name.startsWith(start));
  if (found === undefined) throw new Error(`no frame ${start}`);
  return found;
};

describe('LZ4 frames', () => {
  test('IP2: frames of the reference library are read, linked and independent, with and without checksums and size', () => {
    for (const { name, frame, content } of FRAMES)
      expect([name, unpack(frame, content.length).equals(content)]).toEqual([name, true]);
  });

  test('frames may follow each other, with skippable ones between them', () => {
    const { frame, content } = frameOf('text');
    const skippable = Buffer.from('512a4d18030000000102ff', 'hex');
    const both = Buffer.concat([frame, skippable, frame]);
    expect(unpack(both, content.length * 2).equals(Buffer.concat([content, content]))).toBe(true);
    expect(unpack(skippable, 0)).toHaveLength(0);
  });

  test('more or less than was declared is refused, and nothing is written behind the room', () => {
    for (const { frame, content } of FRAMES) {
      for (const sizeBytes of [content.length + 1, Math.max(0, content.length - 1)]) {
        if (sizeBytes === content.length) continue;
        expect(problem(frame, sizeBytes)).toContain('is not valid LZ4');
        const around = Buffer.alloc(sizeBytes + 16, 7);
        expect(() => unlz4Into(frame, around.subarray(0, sizeBytes))).toThrow(IngestError);
        expect(around.subarray(sizeBytes)).toEqual(Buffer.alloc(16, 7));
      }
    }
  });

  test('a frame that is cut anywhere is refused', () => {
    for (const { frame, content } of FRAMES.filter((each) => each.content.length > 0 && each.content.length < 1_000)) {
      for (let length = 0; length < frame.length; length++)
        expect(problem(frame.subarray(0, length), content.length)).not.toBe('read');
    }
  });

  test('whichever byte of a frame with checksums is changed, it is refused', () => {
    for (const { name, frame, content } of FRAMES.filter(
      (each) => each.name.includes('checksums') && each.frame.length < 2_000,
    )) {
      for (let at = 0; at < frame.length; at += stepOf(content)) {
        const changed = Buffer.from(frame);
        changed[at] ^= 1 << (at % 8);
        expect([name, at, problem(changed, content.length)]).not.toEqual([name, at, 'read']);
      }
    }
  });

  test('whichever byte of a frame without checksums is changed, the room comes out full or the frame is refused', () => {
    for (const { frame, content } of FRAMES.filter((each) => each.name.includes('bare') && each.frame.length < 2_000)) {
      const positions = range(frame.length).filter((at) => at % stepOf(content) === 0);
      const results = positions.map((at) => {
        const changed = Buffer.from(frame);
        changed[at] ^= 0xff;
        return problem(changed, content.length);
      });
      expect(results.filter((result) => result !== 'read' && !result.includes('is not valid LZ4'))).toEqual([]);
    }
  });

  test.each([
    ['a version that is not 1', '04224d1820408200000000', 'its header is of an unknown kind'],
    ['a dictionary', '04224d1861408200000000', 'its header is of an unknown kind'],
    ['a block size that does not exist', '04224d1860308200000000', 'its header is of an unknown kind'],
    ['a wrong header checksum', '04224d1860408300000000', 'its header is damaged'],
    ['no end mark', '04224d18604082', 'it ends too early'],
    ['the old format', '02214c180000000000', 'it does not start with a frame'],
    ['a block larger than the frame allows', '04224d1860408201000100', 'a block is too large'],
    ['a match before the data', '04224d186040820400000010610200500000000000', 'a match reaches before the data'],
    ['a match of nothing', '04224d186040820400000010610000500000000000', 'a match reaches before the data'],
    ['a block that ends with a match', '04224d186040820400000010610100', 'a block ends with a match'],
  ])('%s is refused', (_, hex, message) => {
    expect(problem(Buffer.from(hex, 'hex'), 5)).toContain(message);
  });

  test('xxHash32 gives the values of its reference implementation', () => {
    const vectors: [string, number][] = [
      ['', 0x02cc5d05],
      ['a', 0x550d7456],
      ['abc', 0x32d153ff],
      ['0123456789abcdef', 0xc2c45b69],
    ];
    for (const [text, hash] of vectors) expect([text, xxHash32(Buffer.from(text))]).toEqual([text, hash]);
    const bytes = Buffer.from(range(768).map((i) => i & 255));
    expect(xxHash32(bytes)).toBe(0xcdb946b1);
  });
});

function range(length: number): number[] {
  return Array.from({ length }, (_, i) => i);
}
