/**
 * The recipe against a model of a ClickHouse table with tokens: whatever happens to requests, answers, tokens and the process
 * that delivers, the rows are there exactly once when a call has succeeded, and the rows of every call are whole or absent.
 */
import * as fc from 'fast-check';
import { SinkError } from '../../../../src/core/sink';
import { StoreError } from '../../../../src/sinks/clickhouse/errors';
import { type BatchStore, deliverOnce } from '../../../../src/sinks/clickhouse/recipe';

const ROWS = 1_000;

const FAULTS = [
  'none',
  /** The request never arrives. */
  'request lost',
  /** Rows stored, answer lost. */
  'answer lost',
  /** The client gives up while the server works: it either ends or is killed when the batch is settled. */
  'ends later',
  'killed later',
  /** A crash between token and part: the token is remembered, the rows are not there. */
  'poisoned',
  /** A success from something that is not the store. */
  'false success',
  'refused',
  'unknown table',
] as const;
type Fault = (typeof FAULTS)[number];

class ModelStore implements BatchStore {
  copies = 0;
  tokens = new Set<number>();
  private unsettled: (() => void)[] = [];
  repairs = 0;

  constructor(
    private readonly inserts: Fault[],
    private readonly checks: boolean[],
  ) {}

  private store(attempt: number): void {
    if (this.tokens.has(attempt)) return;
    this.tokens.add(attempt);
    this.copies++;
  }

  async insert(attempt: number): Promise<void> {
    const fault = this.inserts.shift() ?? 'none';
    if (fault === 'none') return this.store(attempt);
    if (fault === 'false success') return;
    if (fault === 'refused') throw new StoreError('too many parts', { code: '252' });
    if (fault === 'unknown table') throw new StoreError('no table', { code: '60' });
    if (fault === 'answer lost') this.store(attempt);
    if (fault === 'poisoned') this.tokens.add(attempt);
    if (fault === 'ends later') this.unsettled.push(() => this.store(attempt));
    throw new StoreError('no answer');
  }

  async repair(): Promise<void> {
    this.repairs++;
  }

  async settle(): Promise<void> {
    this.check();
    for (const end of this.unsettled.splice(0)) end();
  }

  async count(): Promise<number> {
    this.check();
    return this.copies * ROWS;
  }

  private check(): void {
    if (this.checks.shift() === true) throw new StoreError('no answer');
  }
}

/** Calls as the delivery loop does, until one succeeds; tells how many calls that took. */
async function deliver(store: ModelStore, mayHaveRun: boolean, between: () => void = () => undefined): Promise<number> {
  const dead = { count: 0 };
  for (let calls = 1; calls < 100; calls++) {
    try {
      await deliverOnce(store, { rows: ROWS, mayHaveRun, dead });
      return calls;
    } catch (error) {
      if (error instanceof SinkError && error.failure === 'broken') throw error;
    }
    mayHaveRun = true;
    between();
  }
  throw new Error('never delivered');
}

// A false success cannot be told from a clean one on the first attempt: rule C4 trusts that one.
const firstFault = fc.constantFrom(...FAULTS.filter((fault) => fault !== 'false success'));

describe('delivery to ClickHouse', () => {
  it('stores a batch once under any faults of requests, answers and tokens', async () => {
    await fc.assert(
      fc.asyncProperty(
        firstFault,
        fc.array(fc.constantFrom(...FAULTS), { maxLength: 12 }),
        fc.array(fc.boolean(), { maxLength: 12 }),
        async (first, faults, checks) => {
          const store = new ModelStore([first, ...faults], checks);
          await deliver(store, false);
          expect(store.copies).toBe(1);
        },
      ),
      { numRuns: 2_000 },
    );
  });

  it('stores a batch once when every token is forgotten between the calls', async () => {
    await fc.assert(
      fc.asyncProperty(firstFault, fc.array(fc.constantFrom(...FAULTS), { maxLength: 12 }), async (first, faults) => {
        const store = new ModelStore([first, ...faults], []);
        await deliver(store, false, () => store.tokens.clear());
        store.tokens.clear();
        await deliver(store, true);
        expect(store.copies).toBe(1);
      }),
      { numRuns: 1_000 },
    );
  });

  it('takes a clean first success for delivered without asking', async () => {
    const store = new ModelStore([], [true, true]);
    expect(await deliver(store, false)).toBe(1);
  });

  it('asks before it writes when an earlier attempt may have run', async () => {
    const store = new ModelStore(['none', 'false success'], []);
    await deliver(store, false);
    store.tokens.clear();
    await deliver(store, true);
    expect(store.copies).toBe(1);
  });

  it('takes another token when a success brought no rows', async () => {
    const store = new ModelStore(['poisoned'], []);
    expect(await deliver(store, false)).toBe(1);
    expect([...store.tokens]).toEqual([0, 1]);
    expect(store.copies).toBe(1);
  });

  it('gets past any number of poisoned tokens', async () => {
    const store = new ModelStore(
      ['poisoned', 'none', 'poisoned', 'none', 'none', 'poisoned', 'none', 'none', 'none', 'poisoned'],
      [],
    );
    await deliver(store, false);
    expect(store.copies).toBe(1);
  });

  it('gives a store that keeps lying time instead of more tokens', async () => {
    const store = new ModelStore(Array(3).fill('false success'), []);
    await expect(deliverOnce(store, { rows: ROWS, mayHaveRun: true, dead: { count: 0 } })).rejects.toMatchObject({
      failure: 'retry',
    });
  });

  it('hands a refusal on once it is sure that nothing is stored', async () => {
    const store = new ModelStore(['refused'], []);
    await expect(deliverOnce(store, { rows: ROWS, mayHaveRun: false, dead: { count: 0 } })).rejects.toMatchObject({
      code: '252',
    });
  });

  it('creates a missing table and goes on in the same call', async () => {
    const store = new ModelStore(['unknown table'], []);
    expect(await deliver(store, false)).toBe(1);
    expect(store.repairs).toBe(1);
  });

  it.each([1, ROWS - 1, ROWS + 1, 2 * ROWS])('stops when %d rows are there', async (found) => {
    const store = new ModelStore(['answer lost'], []);
    store.count = async () => found;
    await expect(deliverOnce(store, { rows: ROWS, mayHaveRun: false, dead: { count: 0 } })).rejects.toMatchObject({
      failure: 'broken',
    });
  });

  it('takes more rows for the whole batch only where a repair of the log has lost some of it', async () => {
    const store = new ModelStore([], []);
    store.count = async () => ROWS + 1;
    await deliverOnce(store, { rows: ROWS, mayHaveRun: true, mayHoldMore: true, dead: { count: 0 } });
    store.count = async () => ROWS - 1;
    const fewer = deliverOnce(store, { rows: ROWS, mayHaveRun: true, mayHoldMore: true, dead: { count: 0 } });
    await expect(fewer).rejects.toMatchObject({ failure: 'broken' });
  });
});
