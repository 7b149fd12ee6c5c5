/** Requests made to hurt: durability.md rows 22, 23 and 26, and shapes that make careless decoders quadratic. */
import { IngestError } from '../../../../src/core/errors';
import { LIMITS } from '../../../../src/core/limits';
import { decodeBytes, decodeRows, delimited, logRequest, requestOf } from '../../../support/otlp-decode';
import { expectedOf } from '../../../support/otlp-oracle';
import { type Signal } from '../../../support/otlp-requests';

/** Bytes written back to front, so that nesting to any depth costs linear time. */
class BackwardWriter {
  private bytes = new Uint8Array(1 << 21);
  private start = this.bytes.length;

  get length(): number {
    return this.bytes.length - this.start;
  }

  put(...bytes: readonly number[]): void {
    this.start -= bytes.length;
    this.bytes.set(bytes, this.start);
  }

  /** Wraps everything so far as length-delimited field `id`. */
  wrap(id: number): void {
    let rest = this.length;
    const head = [id * 8 + 2];
    for (; rest > 0x7f; rest >>>= 7) head.push((rest & 0x7f) | 0x80);
    this.put(...head, rest);
  }

  finish(): Uint8Array {
    return this.bytes.slice(this.start);
  }
}

/** An AnyValue of `levels` levels: arrays (field 5 > 1) or lists (field 6 > 1 > 2) around an int. */
function nested(levels: number, kind: 'array' | 'kvlist'): Uint8Array {
  const writer = new BackwardWriter();
  writer.put(0x18, 1);
  for (let level = 1; level < levels; level++) {
    if (kind === 'kvlist') writer.wrap(2);
    writer.wrap(1);
    writer.wrap(kind === 'array' ? 5 : 6);
  }
  return writer.finish();
}

function refusal(run: () => unknown): { code: string; message: string } {
  try {
    run();
  } catch (error) {
    if (error instanceof IngestError) return { code: error.code, message: error.message };
    throw error;
  }
  return { code: 'accepted', message: '' };
}

const TOO_DEEP = { code: 'invalid_argument', message: expect.stringContaining('deeper than 100') as string };
const ACCEPTED = { code: 'accepted', message: '' };

/** The same value as a body, as an attribute, and inside what is not stored. */
const places = (value: Uint8Array): Uint8Array[] => {
  const keyValue = delimited(6, delimited(1, Buffer.from('k')), delimited(2, value));
  const late = Uint8Array.of(0x09, 0, 0, 0, 0, 0, 0, 0, 0x80);
  return [
    logRequest(delimited(5, value)),
    logRequest(keyValue),
    logRequest(late, delimited(5, value)),
    logRequest(delimited(5, value, delimited(1, Buffer.from('replaced')))),
    delimited(1, delimited(1, delimited(1, delimited(2, value)))),
  ];
};

describe.each(['array', 'kvlist'] as const)('PB7: a value nested in %s', (kind) => {
  test('is accepted to 100 levels and refused at 101, wherever it stands', () => {
    for (const body of places(nested(100, kind))) expect(refusal(() => decodeBytes('logs', body))).toEqual(ACCEPTED);
    for (const body of places(nested(101, kind))) expect(refusal(() => decodeBytes('logs', body))).toEqual(TOO_DEEP);
  });

  test('is refused at 100,000 levels in less than 10 ms', () => {
    for (const body of places(nested(100_000, kind))) {
      const times = Array.from({ length: 5 }, () => {
        const before = performance.now();
        expect(refusal(() => decodeBytes('logs', body))).toEqual(TOO_DEEP);
        return performance.now() - before;
      });
      expect(Math.min(...times)).toBeLessThan(10);
    }
  });
});

const groups = (levels: number): number[] => [...Array<number>(levels).fill(0x7b), ...Array<number>(levels).fill(0x7c)];

test('PB1, PB7: unknown groups are skipped, to 100 levels', () => {
  expect(refusal(() => decodeBytes('logs', Uint8Array.from(groups(100))))).toEqual(ACCEPTED);
  expect(refusal(() => decodeBytes('logs', Uint8Array.from(groups(101))))).toEqual(TOO_DEEP);
  expect(refusal(() => decodeBytes('logs', new Uint8Array(1_000_000).fill(0x7b)))).toEqual(TOO_DEEP);
});

test('PB4: lengths that lie, overlong varints, field 0 and stray ends of groups are refused, with the place', () => {
  const bodies = {
    'length behind the end': [0x0a, 5, 0],
    'length 2^31': [0x0a, 0x80, 0x80, 0x80, 0x80, 0x08],
    'length 2^32-1': [0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f],
    'length of six bytes': [0x0a, 0x80, 0x80, 0x80, 0x80, 0x80, 0],
    'no length': [0x0a],
    'varint of 11 bytes': [0x10, ...Array<number>(10).fill(0x80), 0],
    'unfinished varint': [0x10, 0x80],
    'unfinished fixed64': [0x11, 1, 2, 3],
    'unfinished fixed32': [0x15, 1],
    'field 0': [0x02, 0],
    'field 0 in a group': [0x7b, 0x00, 0x7c],
    'wire type 6': [0x0e],
    'wire type 7': [0x0f],
    'stray end of group': [0x0c],
    'other end of group': [0x7b, 0x0c],
    'group without end': [0x7b],
    'tag above 32 bits': [0xff, 0xff, 0xff, 0xff, 0x1f],
  };
  for (const [name, bytes] of Object.entries(bodies)) {
    const inner = Uint8Array.from(bytes);
    for (const body of [inner, delimited(1, inner), delimited(1, delimited(2, inner)), logRequest(inner)]) {
      expect([name, refusal(() => decodeBytes('logs', body)).code]).toEqual([name, 'invalid_argument']);
    }
  }
  expect(() => decodeBytes('logs', Uint8Array.of(0x0a, 5, 0))).toThrow(
    expect.objectContaining({ at: 'byte 1', message: 'protobuf: a field ends outside its message' }),
  );
});

const SPLIT = { first: [0x61, 0xc3], second: [0xa9, 0x62] };

test('PB4: a length that is cut off by the end of a value is refused, whatever bytes come next', () => {
  const next = delimited(6, [0x0a, 0x85, 0x80, 0x00]);
  const cut: readonly (readonly number[])[] = [
    [0x0a, 1, 0x6b, 0x12, 2, 0x0a, 0x80],
    [0x0a, 1, 0x6b, 0x12, 3, 0x0a, 0x81, 0x80],
    [0x0a, 1, 0x6b, 0x12, 1, 0x0a],
    [0x0a, 1, 0x6b, 0x12, 0x82],
    [0x0a, 1, 0x6b, 0x12],
    [0x0a, 0x80],
    [0x0a],
    [0x0a, 1, 0x6b, 0x12, 2, 0x18, 0x80],
    [0x0a, 1, 0x6b, 0x12, 2, 0x10, 0x80],
    [0x0a, 1, 0x6b, 0x12, 2, 0x21, 0],
  ];
  for (const keyValue of cut) {
    for (const body of [logRequest(delimited(6, keyValue), next), logRequest(delimited(6, keyValue))]) {
      expect([keyValue, refusal(() => decodeBytes('logs', body)).code]).toEqual([keyValue, 'invalid_argument']);
    }
  }
});

const stringValue = (bytes: readonly number[]): Uint8Array => delimited(2, delimited(1, bytes));

test('PB5: every string must be valid UTF-8 by itself: a character split over two values is refused', () => {
  const pairs: Uint8Array[] = [
    // Attribute values, keys, bodies, tags: in each column the two halves lie side by side.
    logRequest(
      delimited(6, delimited(1, [0x61]), stringValue(SPLIT.first)),
      delimited(6, delimited(1, [0x62]), stringValue(SPLIT.second)),
    ),
    logRequest(delimited(6, delimited(1, SPLIT.first)), delimited(6, delimited(1, SPLIT.second))),
    delimited(
      1,
      delimited(2, delimited(2, delimited(5, delimited(1, SPLIT.first))), delimited(2, delimited(5, delimited(1, SPLIT.second)))),
    ),
    delimited(1, delimited(2, delimited(2, delimited(3, SPLIT.first)), delimited(2, delimited(3, SPLIT.second)))),
    delimited(1, delimited(2, delimited(2, delimited(12, SPLIT.first)), delimited(2, delimited(12, SPLIT.second)))),
    // Nested values, repeated keys, replaced fields.
    logRequest(delimited(5, delimited(5, delimited(1, delimited(1, SPLIT.first)), delimited(1, delimited(1, SPLIT.second))))),
    logRequest(delimited(5, delimited(6, delimited(1, delimited(1, SPLIT.first)), delimited(1, delimited(1, SPLIT.first))))),
    logRequest(delimited(6, stringValue([0xff])), delimited(6, stringValue([0x61]))),
    logRequest(delimited(3, [0xff]), delimited(3, [0x61])),
    logRequest(delimited(5, delimited(1, [0xff]), [0x18, 1])),
  ];
  for (const body of pairs) {
    expect(() => expectedOf('logs', body, 0n)).toThrow(/utf-8/);
    expect(refusal(() => decodeBytes('logs', body))).toEqual({
      code: 'invalid_argument',
      message: 'protobuf: a string is not valid UTF-8',
    });
  }
  expect(refusal(() => decodeBytes('logs', logRequest(delimited(99, [0xff]), delimited(9, [0xff]))))).toEqual(ACCEPTED);
});

test('row 26: times and counts at the edges of 64 bits are exact or rejected, never wrapped', () => {
  const times = [1n, 2n ** 32n - 1n, 2n ** 32n, 2n ** 53n + 1n, 2n ** 63n - 1n, 2n ** 63n, 2n ** 64n - 1n];
  const { rows, request } = decodeRows(
    'logs',
    requestOf(
      'logs',
      times.map((time) => ({ timeUnixNano: String(time) })),
    ),
  );
  expect(rows.logs_events.map((row) => row.timestamp)).toEqual(times.filter((time) => time < 2n ** 63n));
  expect(request.rejections.map(({ row, code }) => [row, code])).toEqual([
    [5, 'out_of_range'],
    [6, 'out_of_range'],
  ]);
});

test('a request of more rows than one write may hold is refused as too large', () => {
  const body = delimited(
    1,
    delimited(
      2,
      new Uint8Array((LIMITS.rowsPerWriteMax + 1) * 2).map((_, i) => (i % 2 === 0 ? 0x12 : 0)),
    ),
  );
  expect(refusal(() => decodeBytes('logs', body)).code).toBe('payload_too_large');
});

const repeat = (count: number, make: (i: number) => Uint8Array): Uint8Array =>
  Buffer.concat(Array.from({ length: count }, (_, i) => make(i)));
const key = (i: number): Uint8Array => Buffer.from(i.toString(36).padStart(4, '0'));
const POINT_TIME = [0x19, 1, 0, 0, 0, 0, 0, 0, 0];

/** About half a megabyte each: a quadratic decoder would take minutes. */
const SHAPES: readonly [string, Signal, () => Uint8Array][] = [
  ['distinct attribute keys in one row', 'logs', () => logRequest(repeat(50_000, (i) => delimited(6, delimited(1, key(i)))))],
  ['one key repeated in one row', 'logs', () => logRequest(repeat(50_000, () => delimited(6, delimited(1, key(1)))))],
  [
    'keys of one prefix and length',
    'logs',
    () => logRequest(repeat(10_000, (i) => delimited(6, delimited(1, Buffer.alloc(64, 'x'), key(i), Buffer.alloc(64, 'x'))))),
  ],
  [
    'every key repeated in every row',
    'logs',
    () =>
      delimited(
        1,
        delimited(
          2,
          repeat(1000, () =>
            delimited(
              2,
              repeat(100, (i) => delimited(6, delimited(1, key(i % 50)))),
            ),
          ),
        ),
      ),
  ],
  [
    'distinct keys of a nested list',
    'logs',
    () =>
      logRequest(
        delimited(
          5,
          delimited(
            6,
            repeat(50_000, (i) => delimited(1, delimited(1, key(i)))),
          ),
        ),
      ),
  ],
  [
    'one key repeated in a nested list',
    'logs',
    () =>
      logRequest(
        delimited(
          5,
          delimited(
            6,
            repeat(50_000, () => delimited(1, delimited(1, key(1)))),
          ),
        ),
      ),
  ],
  [
    'tiny resources',
    'logs',
    () => repeat(50_000, (i) => delimited(1, delimited(1, delimited(1, delimited(1, key(i)))), delimited(2, delimited(2)))),
  ],
  [
    'a resource in tiny pieces',
    'logs',
    () =>
      delimited(
        1,
        repeat(50_000, (i) => delimited(1, delimited(1, delimited(1, key(i))))),
        delimited(2, delimited(2)),
      ),
  ],
  ['a body in tiny pieces', 'logs', () => logRequest(repeat(100_000, () => delimited(5, delimited(5, delimited(1)))))],
  [
    'a body that changes its kind',
    'logs',
    () => logRequest(repeat(50_000, () => Buffer.concat([delimited(5, delimited(5)), delimited(5, [0x10, 1])]))),
  ],
  [
    'distinct names',
    'logs',
    () =>
      delimited(
        1,
        delimited(
          2,
          repeat(50_000, (i) => delimited(2, delimited(12, key(i)))),
        ),
      ),
  ],
  [
    'pieces at every level of nesting',
    'logs',
    () => {
      let value = repeat(10_000, () => delimited(5, delimited(1)));
      for (let level = 0; level < 95; level++) value = Buffer.concat([delimited(5), delimited(5, delimited(1, value))]);
      return logRequest(delimited(5, value));
    },
  ],
  [
    'tiny events',
    'traces',
    () =>
      delimited(
        1,
        delimited(
          2,
          delimited(
            2,
            repeat(100_000, () => delimited(11)),
          ),
        ),
      ),
  ],
  [
    'tiny metrics that are rejected',
    'metrics',
    () =>
      delimited(
        1,
        delimited(
          2,
          repeat(50_000, () => delimited(2, delimited(5, delimited(1)))),
        ),
      ),
  ],
  [
    'metrics of one point',
    'metrics',
    () =>
      delimited(
        1,
        delimited(
          2,
          repeat(40_000, (i) => delimited(2, delimited(1, key(i)), delimited(11, delimited(1, POINT_TIME)))),
        ),
      ),
  ],
  [
    'unpacked bucket counts',
    'metrics',
    () =>
      delimited(
        1,
        delimited(
          2,
          delimited(
            2,
            delimited(
              10,
              delimited(
                1,
                POINT_TIME,
                delimited(
                  8,
                  repeat(200_000, () => Uint8Array.of(0x10, 1)),
                ),
              ),
            ),
          ),
        ),
      ),
  ],
];

test.each(SHAPES)('%s: decoded in less than a second of CPU', (_name, signal, make) => {
  const body = make();
  const before = process.cpuUsage();
  decodeBytes(signal, body);
  const { user, system } = process.cpuUsage(before);
  expect((user + system) / 1e6).toBeLessThan(1);
});
