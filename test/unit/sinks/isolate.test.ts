import * as fc from 'fast-check';
import type { RefusedRow } from '../../../src/core/sink';
import { acceptedRows, isolate, type Refusal, runsOf } from '../../../src/sinks/isolate';

type Hint = 'first' | 'any bad row' | 'a lie' | 'none';

interface Run {
  readonly attempts: number;
  readonly sent: number;
  readonly taken: number[];
  readonly refused: RefusedRow[];
}

/** A store that refuses a part with a bad row, stores any other, and names a row as the hint says. */
async function run(rows: Int32Array, bad: ReadonlySet<number>, hint: Hint): Promise<Run> {
  let attempts = 0;
  let sent = 0;
  const taken: number[] = [];
  const refused: RefusedRow[] = [];
  const attempt = async (part: Int32Array): Promise<Refusal | undefined> => {
    if (part.length === 0) throw new Error('an empty part');
    attempts++;
    sent += part.length;
    const at = [...part.keys()].filter((i) => bad.has(part[i]));
    if (at.length === 0) {
      taken.push(...part);
      return undefined;
    }
    const suspect = { first: at[0], 'any bad row': at.at(-1), 'a lie': part.length * 2 - 1 - at[0] * 3, none: undefined }[hint];
    return { stage: 'insert', code: '22003', message: `row ${part[0]} and on`, ...(suspect === undefined ? {} : { suspect }) };
  };
  const count = await isolate({ rows, attempt, onRefused: async (found) => void refused.push(...found) });
  expect(count).toBe(refused.length);
  return { attempts, sent, taken, refused };
}

const hints = fc.constantFrom<Hint>('first', 'any bad row', 'a lie', 'none');

test('exactly the bad rows are refused, and each other row is in one part that was taken, in order', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 0, max: 300 }),
      fc.uniqueArray(fc.nat(299)),
      fc.uniqueArray(fc.nat(299)),
      hints,
      async (length, badRows, leftOut, hint) => {
        const rows = acceptedRows(length, new Set(leftOut));
        const bad = new Set(badRows);
        const { taken, refused } = await run(rows, bad, hint);
        expect(refused.map(({ row }) => row)).toEqual([...rows].filter((row) => bad.has(row)));
        expect(taken).toEqual([...rows].filter((row) => !bad.has(row)));
      },
    ),
  );
});

test('the number of attempts is bounded by the bad rows, and with named rows nothing is sent more than a few times', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 5_000 }),
      fc.array(fc.nat(4_999), { maxLength: 60 }),
      hints,
      async (length, badRows, hint) => {
        const bad = new Set(badRows.map((row) => row % length));
        const { attempts, sent } = await run(acceptedRows(length, new Set()), bad, hint);
        const parts = 20 + length / 16_384;
        const perBad = hint === 'first' ? 6 + Math.log2(5_000) : 2 * Math.log2(5_000) + 14;
        // A store that lies can make every split a bad one: then only the number of splits bounds it.
        const splits = hint === 'a lie' ? 3 * length : bad.size * perBad;
        expect(attempts).toBeLessThanOrEqual(parts + splits);
        expect(hint === 'first' ? sent : 0).toBeLessThanOrEqual(4 * length + 2_048);
      },
    ),
    { numRuns: 200 },
  );
});

test('a batch of nothing but bad rows ends, in short attempts', async () => {
  const rows = acceptedRows(20_000, new Set());
  const { attempts, sent, refused } = await run(rows, new Set(rows), 'first');
  expect(refused).toHaveLength(20_000);
  expect(attempts).toBeLessThanOrEqual(41_000);
  expect(sent).toBeLessThanOrEqual(20_000 * 20);
});

test('what is found is made durable in portions while the search goes on', async () => {
  const rows = acceptedRows(5_000, new Set());
  const portions: number[] = [];
  const attempt = async (part: Int32Array): Promise<Refusal | undefined> =>
    part.some((row) => row % 2 === 1) ? { stage: 'insert', code: 'x', message: 'odd' } : undefined;
  await isolate({ rows, attempt, onRefused: async (found) => void portions.push(found.length) });
  expect(portions).toEqual([1_000, 1_000, 500]);
});

test('an error that is no refusal ends the search', async () => {
  const attempt = async (): Promise<undefined> => {
    throw new Error('the store is down');
  };
  await expect(isolate({ rows: acceptedRows(3, new Set()), attempt, onRefused: async () => undefined })).rejects.toThrow('down');
});

test('rows become runs', () => {
  expect([...runsOf(Int32Array.of(0, 1, 2, 5, 7, 8))]).toEqual([0, 3, 5, 6, 7, 9]);
  expect([...runsOf(new Int32Array(0))]).toEqual([]);
});
