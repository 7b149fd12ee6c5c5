/**
 * The decoders against protobufjs: over the same bytes both accept or both refuse, and every value of every row is the same.
 */
import * as fc from 'fast-check';
import type { DecodeContext } from '../../../../src/adapters/otlp/context';
import { decodeLogs } from '../../../../src/adapters/otlp/decode-logs';
import { decodeMetrics } from '../../../../src/adapters/otlp/decode-metrics';
import { decodeTraces } from '../../../../src/adapters/otlp/decode-traces';
import type { DecodedRequest } from '../../../../src/core/batch';
import { BUILTIN_TABLES } from '../../../../src/core/builtin-tables';
import { IngestError } from '../../../../src/core/errors';
import { Entropy, randomMessage } from '../../../support/otlp-generator';
import { type Expected, expectedOf } from '../../../support/otlp-oracle';
import { requestType, type Signal } from '../../../support/otlp-requests';
import { plainRows } from '../../../support/plain-rows';

const ARRIVAL = 1_750_000_000_000_000_001n;
const CONTEXT: DecodeContext = { arrivalNs: ARRIVAL };
const DECODERS: Record<Signal, (body: Uint8Array, context: DecodeContext) => DecodedRequest> = {
  logs: decodeLogs,
  traces: decodeTraces,
  metrics: decodeMetrics,
};
const SIGNALS: readonly Signal[] = ['logs', 'traces', 'metrics'];

/** Fills in the columns that a batch leaves out, and checks that it has no others. */
function actualOf(decoded: DecodedRequest): Expected {
  const tables = decoded.batches.map(({ table, schemaVersion, batch }) => {
    const schema = BUILTIN_TABLES.find((candidate) => candidate.table === table)!;
    expect(schemaVersion).toBe(schema.version);
    const absent = Object.fromEntries(schema.columns.map(({ name }) => [name, null]));
    for (const { name } of batch.schema.fields) expect(absent).toHaveProperty(name);
    return [table, plainRows(batch).map((row) => ({ ...absent, ...row }))] as const;
  });
  return {
    tables: Object.fromEntries(tables),
    accepted: decoded.acceptedRows,
    rejections: decoded.rejections.map(({ row, code, column = '' }) => ({ row, code, column })),
  };
}

function withAbsent(expected: Expected): Expected {
  const tables = Object.entries(expected.tables).map(([table, rows]) => {
    const schema = BUILTIN_TABLES.find((candidate) => candidate.table === table)!;
    const absent = Object.fromEntries(schema.columns.map(({ name }) => [name, null]));
    return [table, rows.map((row) => ({ ...absent, ...row }))] as const;
  });
  return { ...expected, tables: Object.fromEntries(tables), rejections: expected.rejections.slice(0, 100) };
}

const REFUSED = 'refused';

/** What ours makes of a request. Anything but an `invalid_argument` refusal is a failure of the test. */
function ours(signal: Signal, body: Uint8Array): Expected | typeof REFUSED {
  try {
    return actualOf(DECODERS[signal](body, CONTEXT));
  } catch (error) {
    if (error instanceof IngestError && error.code === 'invalid_argument') return REFUSED;
    throw error;
  }
}

function theirs(signal: Signal, body: Uint8Array): Expected | typeof REFUSED {
  try {
    return withAbsent(expectedOf(signal, body, ARRIVAL));
  } catch {
    return REFUSED;
  }
}

/** protobufjs skips varints of any length in unknown fields; PB4 wants at most ten bytes. */
const isLongVarint = (body: Uint8Array): boolean => {
  let length = 0;
  return body.some((byte) => (length = byte < 0x80 ? 0 : length + 1) > 9);
};

/** Random requests per property: a few seconds a file. `THERMOCLINE_FUZZ_RUNS` digs deeper. */
const RUNS = Number(process.env.THERMOCLINE_FUZZ_RUNS ?? 200);

const entropy = fc.uint8Array({ maxLength: 1500, size: 'max' });
const bodyOf = (signal: Signal, seed: Uint8Array, broken: boolean): Uint8Array =>
  Uint8Array.from(randomMessage(requestType(signal), new Entropy(seed), { broken }));

describe.each(SIGNALS)('%s', (signal) => {
  test('PB1, PB2, PB3, PB6, OD5: every value is what protobufjs reads, in whatever form the wire allows', () => {
    let rows = 0;
    fc.assert(
      fc.property(entropy, (seed) => {
        const body = bodyOf(signal, seed, false);
        expect(ours(signal, body)).toEqual(theirs(signal, body));
        rows += DECODERS[signal](body, CONTEXT).acceptedRows;
      }),
      { numRuns: RUNS },
    );
    expect(rows).toBeGreaterThan(RUNS / 4);
  });

  test('PB4, PB5: broken lengths, packed lists and strings are refused where protobufjs refuses them', () => {
    fc.assert(
      fc.property(entropy, (seed) => {
        const body = bodyOf(signal, seed, true);
        expect(ours(signal, body)).toEqual(theirs(signal, body));
      }),
      { numRuns: RUNS },
    );
  });

  test('PB4: a request cut at any byte is refused, or is what protobufjs makes of the rest', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 200, maxLength: 300, size: 'max' }), (seed) => {
        const body = bodyOf(signal, seed, false);
        for (let end = 0; end < body.length; end++) {
          const cut = body.subarray(0, end);
          expect(ours(signal, cut)).toEqual(theirs(signal, cut));
        }
      }),
      { numRuns: 2 },
    );
  });

  test('PB4: flipped bits never do more than make the request invalid', () => {
    const flips = fc.array(fc.tuple(fc.nat(), fc.integer({ min: 1, max: 255 })), { minLength: 1, maxLength: 3 });
    fc.assert(
      fc.property(entropy, flips, (seed, mutations) => {
        const body = bodyOf(signal, seed, false);
        if (body.length === 0) return;
        for (const [at, mask] of mutations) body[at % body.length] ^= mask;
        const mine = ours(signal, body);
        expect(mine).toEqual(mine === REFUSED && isLongVarint(body) ? REFUSED : theirs(signal, body));
      }),
      { numRuns: RUNS },
    );
  });

  test('PB4: random bytes are refused or read as protobufjs reads them', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (body) => {
        const mine = ours(signal, body);
        expect(mine).toEqual(mine === REFUSED && isLongVarint(body) ? REFUSED : theirs(signal, body));
      }),
      { numRuns: RUNS },
    );
  });
});
