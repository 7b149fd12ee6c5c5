import type { RecordBatch } from 'apache-arrow';
import { Client } from 'pg';
import { countsInCold, type Demotion } from '../../src/core/demotion';
import type { TableSchema } from '../../src/core/table-schema';
import { PostgresSql } from '../../src/query/hot';
import { ClickHouseDemotions } from '../../src/sinks/clickhouse/demoted';
import { ClickHouseSink } from '../../src/sinks/clickhouse/sink';
import { PostgresDemotions } from '../../src/sinks/postgres/demotions';
import { PostgresSink, type PostgresSinkOptions } from '../../src/sinks/postgres/sink';
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
  private readonly reader: PostgresSql;
  readonly tables = new Map<string, TableSchema>();
  private runners: DemotionRunner[] = [];
  private lsn = 0;

  constructor(
    private readonly walId: string,
    postgres: string,
    readonly clickhouse: TestClickHouse,
    { partitioning = 'auto' }: Partial<Pick<PostgresSinkOptions, 'partitioning'>> = {},
  ) {
    const logger = silentLogger();
    this.hotSink = new PostgresSink({ url: postgres, logger, telemetry: this.telemetry, partitioning });
    this.coldSink = new ClickHouseSink({ url: clickhouse.url, logger });
    this.hot = new PostgresDemotions({
      url: postgres,
      logger,
      partitionsAreForeign: partitioning === 'partman',
      chunkBytes: 64 * 1024,
      lockTimeoutMs: 200,
    });
    this.cold = new ClickHouseDemotions({ urls: [clickhouse.url], sink: this.coldSink, sliceRows: 500 });
    this.reader = new PostgresSql(postgres, { rowsMax: 10, timeoutMs: 20_000 });
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
  async settled(table: string, timeoutMs = 90_000): Promise<readonly Demotion[]> {
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

  /** Every row of a table in PostgreSQL as text, in any order. */
  async hotRows(table: string): Promise<string[]> {
    const { rows } = await this.client.query<{ row: string }>(`SELECT t::text AS row FROM ${table} t ORDER BY 1`);
    return rows.map(({ row }) => row);
  }

  /** Name of the partition, or chunk, of a day; undefined without one. */
  async partitionOf(schema: TableSchema, dayMs: number): Promise<string | undefined> {
    const found = await this.hot.partitions(schema, Number.MAX_SAFE_INTEGER);
    return found.find(({ fromMs, toMs }) => fromMs <= dayMs && toMs > dayMs)?.name;
  }

  async coldCount(sql: string): Promise<number> {
    return Number((await this.clickhouse.rows(sql))[0]?.[0]);
  }

  /** Rows that a reader of both tiers sees, and the sum of their values. */
  async visible(table: string): Promise<number[]> {
    return this.reader.snapshot([table], async ({ hot, hidden }) => {
      const { body } = await hot.query(`SELECT count(*), coalesce(sum(value), 0)::float8 FROM ${table}`, 'json');
      const [[hotRows, hotSum]] = (JSON.parse(body as string) as { rows: [string, number][] }).rows;
      const [[coldRows, coldSum]] = (await this.clickhouse.rows(
        `SELECT count(), sum(value) FROM ${table} WHERE ${countsInCold(hidden)}`,
      )) as [string, number][];
      return [Number(hotRows) + Number(coldRows), hotSum + coldSum];
    });
  }

  async stopRunners(): Promise<void> {
    await Promise.all(this.runners.splice(0).map((runner) => runner.stop()));
  }

  async stop(): Promise<void> {
    await this.stopRunners();
    await Promise.all([this.hot.stop(), this.cold.stop(), this.hotSink.stop(), this.coldSink.stop()]);
    await Promise.all([this.client.end(), this.reader.close()]);
  }
}
