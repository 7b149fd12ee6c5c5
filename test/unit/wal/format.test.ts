import * as fc from 'fast-check';
import type { WalId } from '../../../src/core/ids';
import {
  decodeFrameHeader,
  decodeSeal,
  decodeSegmentHeader,
  encodeFrameHeader,
  encodeSeal,
  encodeSegmentHeader,
  FRAME_ENTRY,
  FRAME_HEADER_BYTES,
  frameSeed,
  headerCrcOf,
  SEGMENT_HEADER_BYTES,
  type SegmentHeader,
  segmentFileName,
  segmentNumberOf,
} from '../../../src/wal/format';

const HEADER: SegmentHeader = {
  version: 1,
  salt: 0xdeadbeef,
  walId: '000102030405060708090a0b0c0d0e0f' as WalId,
  epoch: 3,
  segmentNumber: 7,
  base: 1_000_001,
  recycled: true,
};

const position = fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER });

test('a segment header reads back as it was written, whatever its numbers', () => {
  fc.assert(
    fc.property(
      position,
      position,
      position,
      fc.integer({ min: 0, max: 0xffffffff }),
      fc.boolean(),
      (epoch, segmentNumber, base, salt, recycled) => {
        const header = { ...HEADER, epoch, segmentNumber, base, salt, recycled };
        expect(decodeSegmentHeader(encodeSegmentHeader(header))).toEqual({ status: 'ok', header });
      },
    ),
  );
});

test('every changed byte and every cut of a segment header is found', () => {
  const bytes = encodeSegmentHeader(HEADER);
  for (let at = 0; at < SEGMENT_HEADER_BYTES; at++) {
    for (const flip of [1, 0x80, 0xff]) {
      const changed = Buffer.from(bytes);
      changed[at] ^= flip;
      expect(decodeSegmentHeader(changed).status).toBe('damaged');
    }
    expect(decodeSegmentHeader(bytes.subarray(0, at)).status).toBe('damaged');
  }
});

test('a header of an unknown version is told from a damaged one', () => {
  expect(decodeSegmentHeader(encodeSegmentHeader({ ...HEADER, version: 2 }))).toEqual({ status: 'unknown_version', version: 2 });
});

test('a frame header is valid only under the seed of its own segment', () => {
  const bytes = Buffer.alloc(FRAME_HEADER_BYTES);
  const frame = {
    length: 64,
    type: FRAME_ENTRY,
    seq: 2 ** 40 + 5,
    durableSeq: 2 ** 40,
    appendedAtMs: 1_700_000_000_123,
    payloadCrc: 0xfedcba98,
  };
  encodeFrameHeader(bytes, frame, frameSeed(HEADER));
  expect(decodeFrameHeader(bytes, 0, frameSeed(HEADER), 64)).toEqual({
    status: 'ok',
    frame: { ...frame, version: 1, headerCrc: headerCrcOf(bytes) },
  });
  for (const other of [{ salt: 1 }, { segmentNumber: 8 }, { walId: 'ff0102030405060708090a0b0c0d0e0f' as WalId }]) {
    expect(decodeFrameHeader(bytes, 0, frameSeed({ ...HEADER, ...other }), 64).status).toBe('damaged');
  }
});

test('a frame whose length is above what is left is refused before anything is allocated', () => {
  const bytes = Buffer.alloc(FRAME_HEADER_BYTES);
  const frame = { length: 0xffff_fff8, type: FRAME_ENTRY, seq: 1, durableSeq: 0, appendedAtMs: 0, payloadCrc: 0 };
  encodeFrameHeader(bytes, frame, 0);
  expect(decodeFrameHeader(bytes, 0, 0, 1 << 20).status).toBe('damaged');
});

test('zeros are the end of the log, a frame of an unknown type or version is neither end nor damage', () => {
  expect(decodeFrameHeader(Buffer.alloc(FRAME_HEADER_BYTES), 0, 5, 100).status).toBe('end');
  const bytes = Buffer.alloc(FRAME_HEADER_BYTES);
  encodeFrameHeader(bytes, { length: 8, type: 9, seq: 1, durableSeq: 0, appendedAtMs: 0, payloadCrc: 0 }, 5);
  expect(decodeFrameHeader(bytes, 0, 5, 100)).toEqual({ status: 'unknown_version', version: 1 });
});

test('a seal reads back, and any changed byte of it makes it no seal', () => {
  const seal = { base: 11, entries: 10, lastSeq: 20, reason: 'closed' as const, checksum: 0xfedcba98 };
  const bytes = encodeSeal(seal, 1_700_000_000_000, 99);
  expect(decodeSeal(bytes, 99)).toEqual(seal);
  for (let at = 0; at < bytes.length; at++) {
    const changed = Buffer.from(bytes);
    changed[at] ^= 0x10;
    expect(decodeSeal(changed, 99)).toBeUndefined();
  }
});

test('a seal of a release that wrote no checksum has none', () => {
  const seal = { base: 1, entries: 2, lastSeq: 2, reason: 'full' as const, checksum: undefined };
  expect(decodeSeal(encodeSeal(seal, 0, 7), 7)).toEqual(seal);
});

test('segment file names sort like their numbers, and other files are no segments', () => {
  expect(segmentFileName(12)).toBe('0000000000000012.wal');
  expect(segmentNumberOf('0000000000000012.wal')).toBe(12);
  for (const name of ['12.wal', '0000000000000012.wal.1.broken', 'spare.tmp', 'LOCK'])
    expect(segmentNumberOf(name)).toBeUndefined();
});
