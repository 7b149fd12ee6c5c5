/** A reader of both tiers that never stops looking, and a client that never stops writing. */
import { setTimeout as sleep } from 'node:timers/promises';
import { countsInCold } from '../../../src/core/demotion';
import type { PostgresSql } from '../../../src/query/hot';
import type { TestClickHouse } from '../../support/clickhouse';
import { DAY_MS, PAST_APP } from './data';

/** Looks at the past through a snapshot of both tiers until it is told to stop. */
export class Watcher {
  looks = 0;
  longestMs = 0;
  /** Rows and the sum of their numbers, as seen, by how often. */
  readonly seen = new Map<string, number>();
  private readonly stopping = new AbortController();
  private running: Promise<void> = Promise.resolve();

  constructor(
    private readonly hotReader: PostgresSql,
    private readonly clickhouse: TestClickHouse,
    private readonly range: { fromMs: number; toMs: number },
  ) {}

  start(): void {
    this.running = this.run();
  }

  async stop(): Promise<void> {
    this.stopping.abort();
    await this.running;
  }

  private async run(): Promise<void> {
    while (!this.stopping.signal.aborted) {
      const startedAt = performance.now();
      const found = await this.look();
      this.seen.set(found, (this.seen.get(found) ?? 0) + 1);
      this.looks++;
      this.longestMs = Math.max(this.longestMs, performance.now() - startedAt);
      await sleep(20);
    }
  }

  async look(): Promise<string> {
    const { fromMs, toMs } = this.range;
    const [from, to] = [fromMs, toMs].map((ms) => new Date(ms).toISOString());
    return this.hotReader.snapshot(['metrics_events'], async ({ hot, hidden }) => {
      const sql = `SELECT count(*), coalesce(sum(value_int), 0)::text FROM metrics_events WHERE app = '${PAST_APP}' AND time >= '${from}' AND time < '${to}'`;
      const { body } = await hot.query(sql, 'json');
      const [[hotRows, hotSum]] = (JSON.parse(body as string) as { rows: [string, string][] }).rows;
      const [[coldRows, coldSum]] = (await this.clickhouse.rows(
        `SELECT count(), ifNull(sum(value_int), 0) FROM metrics_events WHERE app = '${PAST_APP}' AND ${countsInCold(hidden)}
          AND time >= parseDateTime64BestEffort('${from}', 3, 'UTC') AND time < parseDateTime64BestEffort('${to}', 3, 'UTC')`,
      )) as [string, string][];
      return `${Number(hotRows) + Number(coldRows)} rows, sum ${BigInt(hotSum) + BigInt(coldSum)}`;
    });
  }
}

/** Posts metrics of now, and late ones of the past days, each until it is acknowledged, with a key so that it counts once. */
export class Writer {
  acknowledged = 0;
  late = 0;
  private readonly stopping = new AbortController();
  private running: Promise<void> = Promise.resolve();

  /** `url`: of the server that runs at the moment. */
  constructor(
    private readonly url: () => string | undefined,
    private readonly fromMs: number,
    private readonly days: number,
    private readonly rowsPerRequest: number,
    private readonly pauseMs: number,
  ) {}

  start(): void {
    this.running = this.run();
  }

  async stop(): Promise<void> {
    this.stopping.abort();
    await this.running;
  }

  private async run(): Promise<void> {
    for (let request = 0; !this.stopping.signal.aborted; request++) {
      const rows = Array.from({ length: this.rowsPerRequest }, (_, i) => {
        const isLate = i % 10 === 0;
        const time = isLate ? this.fromMs + ((request * 7_919 + i * 104_729) % (this.days * DAY_MS)) : Date.now();
        if (isLate) this.late++;
        return {
          time: new Date(time).toISOString(),
          app: 'load',
          metric: 'load',
          value: 1,
          value_int: request * this.rowsPerRequest + i,
        };
      });
      await this.post(JSON.stringify(rows), `load-${request}`);
      this.acknowledged += rows.length;
      await sleep(this.pauseMs);
    }
  }

  private async post(body: string, key: string): Promise<void> {
    for (;;) {
      const url = this.url();
      try {
        if (url === undefined) throw new Error('no server');
        const headers = { 'content-type': 'application/json', 'idempotency-key': key };
        const response = await fetch(`http://${url}/write/metrics`, { method: 'POST', headers, body });
        const text = await response.text();
        if (response.status === 200) return;
        if (response.status < 500 && response.status !== 429) throw new TypeError(`the server refuses rows: ${text}`);
      } catch (error) {
        if (error instanceof TypeError && error.message.startsWith('the server refuses')) throw error;
      }
      await sleep(50);
    }
  }
}
