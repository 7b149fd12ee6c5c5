import type { RecordBatch } from 'apache-arrow';
import { Client } from 'pg';
import type { Demotion } from '../../src/core/demotion';
import type { TableSchema } from '../../src/core/table-schema';
import { ClickHouseDemotions } from '../../src/sinks/clickhouse/demoted';
import { ClickHouseSink } from '../../src/sinks/clickhouse/sink';
import { PostgresDemotions } from '../../src/sinks/postgres/demotions';
import { PostgresSink } from '../../src/sinks/postgres/sink';
import { silentLogger, Telemetry } from '../../src/telemetry';
import { DemotionRunner, type DemotionRunnerOptions } from '../../src/tiering/demotion/runner';
import type { TestClickHouse } from './clickhouse';
import { writeOf } from './metric-batches';

/** Both sinks on real stores with a runner of demotions, as the server puts them together. */
export class DemotionRig {
  readonly telemetry = new Telemetry();
  readonly hotSink: PostgresSink;
  readonly coldSink: ClickHouseSink;
  readonly hot: PostgresDemotions;
  readonly cold: ClickHouseDemotions;
  readonly client: Client;
  readonly tables = new Map<string, TableSchema>();
  private runners: DemotionRunner[] = [];
  private lsn = 0;

  constructor(
    private readonly walId: string,
    postgres: string,
    readonly clickhouse: TestClickHouse,
  ) {
    const logger = silentLogger();
    this.hotSink = new PostgresSink({ url: postgres, logger, telemetry: this.telemetry });
    this.coldSink = new ClickHouseSink({ url: clickhouse.url, logger });
    this.hot = new PostgresDemotions({ url: postgres, logger, chunkBytes: 64 * 1024, lockTimeoutMs: 200 });
    this.cold = new ClickHouseDemotions({ urls: [clickhouse.url], sink: this.coldSink, sliceRows: 500 });
    this.client = new Client({ connectionString: postgres });
  }

  async start(): Promise<void> {
    await this.client.connect();
    await this.client.query("SET timezone = 'UTC'");
    await this.hotSink.start();
    await this.coldSink.start();
  }

  async create(schema: TableSchema): Promise<void> {
    this.tables.set(schema.table, schema);
    await this.hotSink.ensureTable(schema);
    await this.coldSink.ensureTable(schema);
  }

  async write(schema: TableSchema, batch: RecordBatch, onDiverted?: (rows: readonly number[]) => Promise<void>): Promise<void> {
    const write = writeOf(this.walId, ++this.lsn, batch, schema);
    const refused = new Set<number>();
    const divert = async (rows: readonly number[]): Promise<void> => {
      await onDiverted?.(rows);
      for (const row of rows) refused.add(row);
    };
    await this.hotSink.write({ ...write, refused, ...(onDiverted === undefined ? {} : { onDiverted: divert }) });
  }

  runner(more: Partial<DemotionRunnerOptions> = {}): DemotionRunner {
    const runner = new DemotionRunner({
      hot: this.hot,
      cold: this.cold,
      schemaOf: (table) => this.tables.get(table),
      tables: () => [...this.tables.values()],
      ensureHot: (schema) => this.hotSink.ensureTable(schema),
      retentionMs: () => undefined,
      isInBoth: () => false,
      rowsPerSecond: undefined,
      intervalMs: 50,
      clock: Date.now,
      logger: silentLogger(),
      telemetry: this.telemetry,
      ...more,
    });
    this.runners.push(runner);
    runner.start();
    return runner;
  }

  /** Waits until no demotion of the table has anything left to do, and gives all of them. */
  async settled(table: string, timeoutMs = 30_000): Promise<readonly Demotion[]> {
    const deadline = Date.now() + timeoutMs;
    for (;;) {
      const unfinished = await this.hot.list({ table, unfinished: true });
      if (unfinished.length === 0) return this.hot.list({ table });
      if (Date.now() > deadline)
        throw new Error(
          `not settled: ${JSON.stringify(unfinished, (_, value: unknown) => (typeof value === 'bigint' ? String(value) : value))}`,
        );
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  async stopRunners(): Promise<void> {
    await Promise.all(this.runners.splice(0).map((runner) => runner.stop()));
  }

  async stop(): Promise<void> {
    await this.stopRunners();
    await Promise.all([this.hot.stop(), this.cold.stop(), this.hotSink.stop(), this.coldSink.stop()]);
    await this.client.end();
  }
}
