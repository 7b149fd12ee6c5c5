import { crc32 } from 'node:zlib';
import * as fc from 'fast-check';
import { IngestError } from '../../../src/core/errors';
import type { TableName } from '../../../src/core/ids';
import type { WalBatch } from '../../../src/core/wal';
import { decodeEntry, encodeEntry } from '../../../src/wal/entry-codec';
import { FRAME_HEADER_BYTES } from '../../../src/wal/format';
import { fingerprint, walBatch } from '../../support/wal-fixtures';

const BYTES_MAX = 1 << 20;

const batch: fc.Arbitrary<WalBatch> = fc.record({
  table: fc.stringMatching(/^[A-Za-z][A-Za-z0-9_]{0,62}$/).map((name) => name as TableName),
  schemaVersion: fc.integer({ min: 0, max: 0xffffffff }),
  tiers: fc.constantFrom<WalBatch['tiers']>(['hot'], ['cold'], ['hot', 'cold']),
  rows: fc.integer({ min: 0, max: 0xffffffff }),
  ipc: fc.array(
    fc.oneof(
      fc.uint8Array({ maxLength: 40 }),
      fc.integer({ min: 1000, max: 5000 }).map((size) => new Uint8Array(size).fill(size)),
    ),
    { maxLength: 6 },
  ),
});

const payloadOf = (batches: readonly WalBatch[]): Buffer =>
  Buffer.concat(encodeEntry(batches, BYTES_MAX).pieces).subarray(FRAME_HEADER_BYTES);

test('any batches read back byte for byte, laid out at multiples of 8, under the checksum of the whole payload', () => {
  fc.assert(
    fc.property(fc.array(batch, { minLength: 1, maxLength: 4 }), (batches) => {
      const entry = encodeEntry(batches, BYTES_MAX);
      const payload = payloadOf(batches);
      expect(payload.length).toBe(entry.payloadBytes);
      expect(entry.frameBytes % 8).toBe(0);
      expect(crc32(payload)).toBe(entry.payloadCrc);
      const decoded = decodeEntry(payload)?.batches ?? [];
      expect(fingerprint(decoded)).toBe(fingerprint(batches));
      for (const { ipc } of decoded) expect((ipc[0].byteOffset - payload.byteOffset) % 8).toBe(0);
    }),
  );
});

test('a note reads back byte for byte, an entry without one has none', () => {
  fc.assert(
    fc.property(fc.array(batch, { minLength: 1, maxLength: 3 }), fc.uint8Array({ maxLength: 100 }), (batches, note) => {
      const entry = encodeEntry(batches, BYTES_MAX, note);
      const payload = Buffer.concat(entry.pieces).subarray(FRAME_HEADER_BYTES);
      expect(crc32(payload)).toBe(entry.payloadCrc);
      const decoded = decodeEntry(payload);
      expect(fingerprint(decoded?.batches ?? [])).toBe(fingerprint(batches));
      expect(decoded?.note === undefined ? undefined : [...decoded.note]).toEqual(note.length === 0 ? undefined : [...note]);
    }),
  );
});

test('large pieces are written as they are, without a copy', () => {
  const large = Buffer.alloc(100_000, 1);
  const { pieces } = encodeEntry([{ ...walBatch(1, 0), ipc: [Buffer.alloc(10), large, Buffer.alloc(20)] }], BYTES_MAX);
  expect(pieces).toContain(large);
});

test('a payload cut anywhere is refused without reading past its end', () => {
  const payload = payloadOf([walBatch(1, 200), walBatch(2, 90)]);
  for (let size = 0; size < payload.length - 8; size++) expect(decodeEntry(payload.subarray(0, size))).toBeUndefined();
});

test('no random bytes crash the decoder', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.boolean(), (bytes, looksRight) => {
      const payload = Buffer.from(bytes);
      if (looksRight && payload.length >= 4) payload.writeUInt16LE(1, 2);
      const decoded = decodeEntry(payload);
      expect(decoded === undefined || Array.isArray(decoded.batches)).toBe(true);
    }),
    { numRuns: 2_000 },
  );
});

const code = (batches: WalBatch[], limit = BYTES_MAX): string => {
  try {
    encodeEntry(batches, limit);
    return 'accepted';
  } catch (error) {
    return error instanceof IngestError ? error.code : 'other';
  }
};

test('an entry above the limit is payload_too_large, what the caller must not send is internal', () => {
  const one = walBatch(1, 100);
  expect(code([walBatch(1, 2000)], 1000)).toBe('payload_too_large');
  expect(code([])).toBe('internal');
  expect(code([{ ...one, tiers: [] }])).toBe('internal');
  expect(code([{ ...one, rows: -1 }])).toBe('internal');
  expect(code([{ ...one, rows: 2 ** 32 }])).toBe('internal');
  expect(code([{ ...one, schemaVersion: 1.5 }])).toBe('internal');
  expect(code([{ ...one, table: '' as TableName }])).toBe('internal');
  expect(code([{ ...one, table: 'x'.repeat(256) as TableName }])).toBe('internal');
});
