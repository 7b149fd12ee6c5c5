/**
 * The cold side of demotions (core/demotion.ts). Rows go in by the sink's own recipe, under an identity whose first half is the id of
 * the demotion: `_batch_hi` is the id in every row, `_batch_lo` counts parts of chunks, and a token is never used for two demotions.
 */
import type { RecordBatch } from 'apache-arrow';
import { RecordBatchReader } from 'apache-arrow';
import { concatRows } from '../../columnar/concat';
import { runsByDay } from '../../columnar/partition';
import { type ColdDemotions, copiedSchema, type Demotion, DemotionRefusedError, type TimeSlice } from '../../core/demotion';
import { lsn, type WalId } from '../../core/ids';
import { SinkError } from '../../core/sink';
import type { TableSchema } from '../../core/table-schema';
import { Connection } from './connection';
import { BATCH_HI } from './ddl';
import { toSinkError } from './errors';
import { addKept, hotForm, KEPT_COLUMN, withKept } from './kept';
import { type Location, parseLocation } from './location';
import type { ClickHouseSink } from './sink';
import { identifier, literal, qualified } from './sql';

export interface ClickHouseDemotionsOptions {
  /** See location.ts. */
  readonly url: string;
  /** Inserts the rows. */
  readonly sink: Pick<ClickHouseSink, 'write' | 'ensureTable'>;
  /** Rows of one slice, about; default 200,000. */
  readonly sliceRows?: number;
}

const SLICE_ROWS = 200_000;
const QUERY_TIMEOUT_MS = 600_000;
/** Parts of one chunk that can be told apart in `_batch_lo`. */
const PARTS_MAX = 2 ** 16;
const MINUTE_NS = 60_000_000_000n;
const DAY_MS = 86_400_000;

export class ClickHouseDemotions implements ColdDemotions {
  private readonly location: Location;
  private readonly connection: Connection;

  constructor(private readonly options: ClickHouseDemotionsOptions) {
    this.location = parseLocation(options.url);
    this.connection = new Connection({ location: this.location, queryTimeoutMs: QUERY_TIMEOUT_MS, connectionsMax: 2 });
  }

  async insert(
    demotion: Demotion,
    schema: TableSchema,
    { chunk, part }: { chunk: number; part: number },
    batch: RecordBatch,
    mayHaveRun: boolean,
  ): Promise<void> {
    if (part >= PARTS_MAX) throw new DemotionRefusedError(`a chunk of ${demotion.partition} has more than ${PARTS_MAX} parts`);
    const copied = copiedSchema(schema, demotion);
    const at = lsn(chunk * PARTS_MAX + part + 1);
    const days = runsByDay(batch, copied.timeColumn);
    for (const [partition, runs] of days) {
      const rows = days.size === 1 ? batch : concatRows([{ batch, runs }]);
      await this.options.sink.write({
        id: { walId: walIdOf(demotion), lsn: at, lastLsn: at, table: demotion.table, partition },
        schema: withKept(copied),
        batch: addKept(rows, copied),
        mayHaveRun,
        refused: new Set(),
        onRefused: async ([row]) => {
          throw new DemotionRefusedError(`clickhouse refuses rows of ${demotion.partition}: ${row?.message}`);
        },
      });
    }
  }

  async slices(demotion: Demotion, schema: TableSchema, fromNs?: bigint): Promise<readonly TimeSlice[]> {
    const { sliceRows = SLICE_ROWS } = this.options;
    await this.options.sink.ensureTable(withKept(copiedSchema(schema, demotion)));
    const time = identifier(copiedSchema(schema, demotion).timeColumn);
    const from = fromNs === undefined ? '' : ` AND ${time} >= ${nanoTime(fromNs)}`;
    const minutes = await this.rows<{ minute: string; n: string }>(
      `SELECT toUnixTimestamp64Nano(${time}) - positiveModulo(toUnixTimestamp64Nano(${time}), ${MINUTE_NS}) AS minute, count() AS n
        FROM ${this.table(demotion)} WHERE ${ofDemotion(demotion)}${from} GROUP BY minute ORDER BY minute`,
    );
    const slices: TimeSlice[] = [];
    for (const { minute, n } of minutes) {
      const fromMinute = BigInt(minute);
      const rows = Number(n);
      const last = slices.at(-1);
      const next = { fromNs: last?.fromNs ?? fromMinute, toNs: fromMinute + MINUTE_NS, rows: (last?.rows ?? 0) + rows };
      if (last !== undefined && next.rows <= sliceRows) slices[slices.length - 1] = next;
      else slices.push({ fromNs: fromMinute, toNs: fromMinute + MINUTE_NS, rows });
    }
    return slices;
  }

  async *read(demotion: Demotion, schema: TableSchema, { fromNs, toNs }: TimeSlice): AsyncIterable<RecordBatch> {
    const time = identifier(schema.timeColumn);
    const columns = [...schema.columns, KEPT_COLUMN].map(({ name }) => identifier(name)).join(', ');
    const sql =
      `SELECT ${columns} FROM ${this.table(demotion)} WHERE ${ofDemotion(demotion)} ` +
      `AND ${time} >= ${nanoTime(fromNs)} AND ${time} < ${nanoTime(toNs)} FORMAT ArrowStream`;
    try {
      const stream = this.connection.stream(sql, { settings: ARROW_SETTINGS });
      for await (const batch of await RecordBatchReader.from(stream)) yield hotForm(batch, schema);
    } catch (error) {
      throw error instanceof RangeError ? new DemotionRefusedError(error.message, { cause: error }) : toSinkError(error);
    }
  }

  async erase(demotion: Demotion, schema: TableSchema): Promise<void> {
    await this.options.sink.ensureTable(withKept(copiedSchema(schema, demotion)));
    const ours = `startsWith(query_id, ${literal(`${walIdOf(demotion)}/`)})`;
    await this.attempt(() => this.connection.command(`KILL QUERY WHERE ${ours} SYNC`));
    const [running] = await this.rows<{ n: string }>(`SELECT count() AS n FROM system.processes WHERE ${ours}`);
    if (running?.n !== '0') throw new SinkError('retry', 'an insert of the demotion is still running');
    if ((await this.count(demotion)) === 0) return;
    for (const day of daysBetween(demotion)) {
      const sql = `ALTER TABLE ${this.table(demotion)} DELETE IN PARTITION ${day} WHERE ${ofDemotion(demotion)}`;
      await this.attempt(() => this.connection.command(sql, { settings: { mutations_sync: '2' } }));
    }
    const left = await this.count(demotion);
    if (left > 0) throw new SinkError('retry', `clickhouse still holds ${left} rows of a demotion that was deleted`);
  }

  private async count(demotion: Demotion): Promise<number> {
    const [found] = await this.rows<{ n: string }>(
      `SELECT count() AS n FROM ${this.table(demotion)} WHERE ${ofDemotion(demotion)}`,
    );
    return Number(found?.n ?? Number.NaN);
  }

  private table({ table }: Demotion): string {
    return qualified(this.location.database, table);
  }

  private rows<T>(sql: string): Promise<T[]> {
    return this.attempt(() => this.connection.rows<T>(sql));
  }

  private async attempt<T>(action: () => Promise<T>): Promise<T> {
    try {
      return await action();
    } catch (error) {
      throw toSinkError(error);
    }
  }

  async stop(): Promise<void> {
    await this.connection.close();
  }
}

const ARROW_SETTINGS = {
  output_format_arrow_compression_method: 'none',
  output_format_arrow_string_as_string: 1,
  output_format_arrow_low_cardinality_as_dictionary: 0,
} as const;

/** 128 bits, as the identity of a write has; the first 64 become `_batch_hi`. */
const walIdOf = ({ id }: Demotion): WalId => `${id}${id}` as WalId;

const ofDemotion = ({ id }: Demotion): string => `${identifier(BATCH_HI)} = ${BigInt(`0x${id}`)}`;

const nanoTime = (ns: bigint): string => `fromUnixTimestamp64Nano(toInt64(${ns}), 'UTC')`;

/** Names of the partitions that the range meets. */
function daysBetween({ fromMs, toMs }: Demotion): string[] {
  const days: string[] = [];
  for (let day = Math.floor(fromMs / DAY_MS); day * DAY_MS < toMs; day++) {
    days.push(new Date(day * DAY_MS).toISOString().slice(0, 10).replaceAll('-', ''));
  }
  return days;
}
