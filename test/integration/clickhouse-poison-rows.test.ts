/**
 * Scenario: batches hold rows that ClickHouse refuses for what they hold. Guarantee: these rows become dead letters with their column
 * and reason, all others are stored exactly once, also when the way to the store breaks or the engine dies between the two; and
 * after the cause is gone a replay stores the letters exactly once.
 */
import { LOGS_EVENTS } from '../../src/core/builtin-tables';
import { ClickHouseSink } from '../../src/sinks/clickhouse/sink';
import { silentLogger } from '../../src/telemetry';
import { startClickHouse, type TestClickHouse } from '../support/clickhouse';
import { DeliveryRig, type RigOptions } from '../support/delivery-rig';
import { type HttpFault, HttpFaultProxy } from '../support/http-fault-proxy';
import { logBatch } from '../support/log-batches';

/** One row of 1,000 is bad. `POISON_ROWS=1000000` is the full size. */
const ROWS = Number(process.env['POISON_ROWS'] ?? 20_000);
const ROWS_PER_ENTRY = 20_000;
const BAD = ROWS / 1_000;

jest.setTimeout(120_000 + ROWS);

const DAY_NS = 86_400_000_000_000n;
const START_NS = 1_767_312_000_000_000_000n;
const TABLE = LOGS_EVENTS.table;

let clickhouse: TestClickHouse;
let proxy: HttpFaultProxy;

beforeAll(async () => {
  clickhouse = await startClickHouse();
  proxy = new HttpFaultProxy(clickhouse.url);
  await proxy.start();
});

afterAll(async () => {
  await proxy?.stop();
  await clickhouse?.stop();
});

beforeEach(async () => {
  proxy.next = () => 'none';
  await clickhouse.command(`DROP TABLE IF EXISTS ${TABLE} SYNC`);
});

const startRig = (options: Partial<RigOptions> = {}): Promise<DeliveryRig> =>
  DeliveryRig.start({
    schemas: [LOGS_EVENTS],
    makeSink: () =>
      new ClickHouseSink({ url: proxy.url, logger: silentLogger(), queryTimeoutMs: 20_000, insertTimeoutMs: 20_000 }),
    ...options,
  });

/** Numbers of the rows that are stored, which their labels carry, by how often they are. */
const stored = async (): Promise<number[]> =>
  (await clickhouse.rows(`SELECT toUInt32(labels['row']) AS row FROM ${TABLE} ORDER BY row`)).map(([row]) => row as number);
const numbers = (count: number, without: (i: number) => boolean = () => false): number[] =>
  Array.from({ length: count }, (_, i) => i).filter((i) => !without(i));
/** Row numbers of all entries, which are alike. */
const everyEntry = (without?: (i: number) => boolean): number[] =>
  numbers(ROWS_PER_ENTRY, without).flatMap((i) => Array<number>(ROWS / ROWS_PER_ENTRY).fill(i));
const numberOf = ({ json }: { json: string }): number => Number((JSON.parse(json) as { labels: { row: string } }).labels.row);

/** Breaks the next real INSERTs in this way, one after the other; probes have no token and pass. */
function breakInserts(...faults: HttpFault[]): void {
  proxy.next = (url) => (url.searchParams.has('insert_deduplication_token') ? (faults.shift() ?? 'none') : 'none');
}

it('parks each row of 1,000 that is bad, over two days, and a replay after the constraint is gone stores them once', async () => {
  const rig = await startRig();
  try {
    await rig.delivery.firstReady;
    await clickhouse.command(`ALTER TABLE ${TABLE} ADD CONSTRAINT not_cursed CHECK toUInt32OrZero(labels['row']) % 1000 != 17`);
    const bad = (i: number): boolean => i % 1_000 === 17;
    // Rows a microsecond apart around midnight.
    const startNs = START_NS - (START_NS % DAY_NS) - 10_000_000n;
    for (let i = 0; i < ROWS / ROWS_PER_ENTRY; i++) await rig.append(LOGS_EVENTS, logBatch({ rows: ROWS_PER_ENTRY, startNs }));
    await rig.drained(60_000 + ROWS);
    expect(await stored()).toEqual(everyEntry(bad));
    expect(await clickhouse.rows(`SELECT uniqExact(toDate(timestamp)) FROM ${TABLE}`)).toEqual([['2']]);
    expect(await clickhouse.rows("SELECT name FROM system.tables WHERE startsWith(name, '_probe')")).toEqual([]);
    await rig.restart();
    const { letters } = await rig.store.list({ filter: { tier: 'cold' }, limit: 10_000 });
    expect(letters.map(numberOf).sort((a, b) => a - b)).toEqual(everyEntry((i) => !bad(i)));
    expect(new Set(letters.map(({ code, column, stage }) => [code, column, stage].join()))).toEqual(
      new Set(['469,labels,cold_insert']),
    );
    expect(letters[0].message).toMatch(/^Constraint `not_cursed` for table default\.logs_events is violated/);

    await clickhouse.command(`ALTER TABLE ${TABLE} DROP CONSTRAINT not_cursed`);
    expect(await rig.replay({ filter: { code: '469' } })).toBe(BAD);
    await rig.restart();
    await rig.drained();
    expect(await stored()).toEqual(everyEntry());
    expect(rig.store.stats().letters).toBe(0);
  } finally {
    await rig.stop();
  }
});

it.each<HttpFault>(['cut before', 'cut after forward', 'error after effect', 'cut before answer'])(
  'is exact when the insert behind parked rows suffers "%s"',
  async (fault) => {
    const rig = await startRig();
    try {
      await rig.delivery.firstReady;
      await clickhouse.command(`ALTER TABLE ${TABLE} ADD CONSTRAINT odd CHECK labels['row'] != '5'`);
      breakInserts('none', fault);
      await rig.append(LOGS_EVENTS, logBatch({ rows: 100, startNs: START_NS }));
      await rig.drained();
      expect(proxy.seen.get(fault)).toBe(1);
      expect(await stored()).toEqual(numbers(100, (i) => i === 5));
      expect(rig.store.stats().letters).toBe(1);
    } finally {
      await rig.stop();
    }
  },
);

it('leaves out the same rows after the process ended between parking and the insert', async () => {
  let endAfterPark = true;
  let parked: () => void = () => undefined;
  const parkedOnce = new Promise<void>((resolve) => {
    parked = resolve;
  });
  const rig = await startRig({
    wrap: (parking) => ({
      refusedRows: (tier, id) => parking.refusedRows(tier, id),
      divertedRows: (tier, id) => parking.divertedRows(tier, id),
      divert: (rows) => parking.divert(rows),
      park: async (rows) => {
        await parking.park(rows);
        if (!endAfterPark) return;
        parked();
        throw new Error('the process ends here');
      },
    }),
  });
  try {
    await rig.delivery.firstReady;
    await clickhouse.command(`ALTER TABLE ${TABLE} ADD CONSTRAINT odd CHECK labels['row'] != '5'`);
    await rig.append(LOGS_EVENTS, logBatch({ rows: 100, startNs: START_NS }));
    await parkedOnce;
    endAfterPark = false;
    await clickhouse.command(`ALTER TABLE ${TABLE} DROP CONSTRAINT odd`);
    await rig.restart();
    await rig.drained();
    expect(await stored()).toEqual(numbers(100, (i) => i === 5));
    expect(await rig.replay({ filter: {} })).toBe(1);
    await rig.drained();
    expect(await stored()).toEqual(numbers(100));
  } finally {
    await rig.stop();
  }
});

it('finds rows of two constraints, some next to each other, in a batch with more bad rows than good ones', async () => {
  const rig = await startRig();
  try {
    await rig.delivery.firstReady;
    await clickhouse.command(
      `ALTER TABLE ${TABLE} ADD CONSTRAINT a CHECK toUInt32OrZero(labels['row']) % 3 != 0,` +
        `ADD CONSTRAINT b CHECK NOT (message LIKE '%1 took%')`,
    );
    await rig.append(LOGS_EVENTS, logBatch({ rows: 300, startNs: START_NS }));
    await rig.drained();
    const bad = (i: number): boolean => i % 3 === 0 || i % 10 === 1;
    expect(await stored()).toEqual(numbers(300, bad));
    const { letters } = await rig.store.list({ filter: {}, limit: 500 });
    expect(letters.map(numberOf)).toEqual(numbers(300).filter(bad));
    expect(letters.find((letter) => numberOf(letter) === 11)).toMatchObject({ column: 'message', code: '469' });
  } finally {
    await rig.stop();
  }
});
