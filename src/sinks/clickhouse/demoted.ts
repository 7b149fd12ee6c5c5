/**
 * The cold side of demotions (core/demotion.ts). Rows go in by the sink's own recipe, under an identity whose first half is the id of
 * the demotion: `_batch_hi` is the id in every row, `_batch_lo` counts parts of chunks, and a token is never used for two demotions.
 */
import type { RecordBatch } from 'apache-arrow';
import { RecordBatchReader } from 'apache-arrow';
import { concatRows } from '../../columnar/concat';
import { runsByDay } from '../../columnar/partition';
import { identifier, literal, qualified } from '../../core/clickhouse-sql';
import { type ColdDemotions, copiedSchema, type Demotion, DemotionRefusedError, type TimeSlice } from '../../core/demotion';
import { lsn, type WalId } from '../../core/ids';
import { type Sink, SinkError } from '../../core/sink';
import type { TableSchema } from '../../core/table-schema';
import { daysBetween } from '../../core/utc-day';
import { localTable } from './cluster';
import { Connection } from './connection';
import { BATCH_HI } from './ddl';
import { toSinkError } from './errors';
import { addKept, hotForm, KEPT_COLUMN, withKept } from './kept';
import { type Location, parseLocation } from './location';

export interface ClickHouseDemotionsOptions {
  /** Of every shard, see location.ts. */
  readonly urls: readonly string[];
  /** Inserts the rows, each write on one shard. */
  readonly sink: Pick<Sink, 'write' | 'ensureTable'>;
  /** Are the rows in local tables behind a Distributed one (cluster.ts)? */
  readonly distributed?: boolean | undefined;
  /** Rows of one slice, about; default 200,000. */
  readonly sliceRows?: number;
}

const SLICE_ROWS = 200_000;
const QUERY_TIMEOUT_MS = 600_000;
/** Parts of one chunk that can be told apart in `_batch_lo`. */
const PARTS_MAX = 2 ** 16;
const MINUTE_NS = 60_000_000_000n;

export class ClickHouseDemotions implements ColdDemotions {
  private readonly shards: readonly Shard[];

  /** Throws TypeError for a bad URL. */
  constructor(private readonly options: ClickHouseDemotionsOptions) {
    this.shards = options.urls.map((url) => {
      const location = parseLocation(url);
      const connection = new Connection({ location, queryTimeoutMs: QUERY_TIMEOUT_MS, connectionsMax: 2 });
      return { location, connection };
    });
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
    const minutes = new Map<bigint, number>();
    for (const shard of this.shards) {
      const rows = await rowsFrom<{ minute: string; n: string }>(
        shard,
        `SELECT toUnixTimestamp64Nano(${time}) - positiveModulo(toUnixTimestamp64Nano(${time}), ${MINUTE_NS}) AS minute, count() AS n
          FROM ${this.table(demotion, shard)} WHERE ${ofDemotion(demotion)}${from} GROUP BY minute`,
      );
      for (const { minute, n } of rows) minutes.set(BigInt(minute), (minutes.get(BigInt(minute)) ?? 0) + Number(n));
    }
    const slices: TimeSlice[] = [];
    for (const [fromMinute, rows] of [...minutes].sort(([a], [b]) => (a < b ? -1 : 1))) {
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
    try {
      for (const shard of this.shards) {
        const sql =
          `SELECT ${columns} FROM ${this.table(demotion, shard)} WHERE ${ofDemotion(demotion)} ` +
          `AND ${time} >= ${nanoTime(fromNs)} AND ${time} < ${nanoTime(toNs)} FORMAT ArrowStream`;
        const stream = shard.connection.stream(sql, { settings: ARROW_SETTINGS });
        for await (const batch of await RecordBatchReader.from(stream)) yield hotForm(batch, schema);
      }
    } catch (error) {
      throw error instanceof RangeError ? new DemotionRefusedError(error.message, { cause: error }) : toSinkError(error);
    }
  }

  async erase(demotion: Demotion, schema: TableSchema): Promise<void> {
    await this.options.sink.ensureTable(withKept(copiedSchema(schema, demotion)));
    for (const shard of this.shards) await this.eraseFrom(shard, demotion);
  }

  private async eraseFrom(shard: Shard, demotion: Demotion): Promise<void> {
    const ours = `startsWith(query_id, ${literal(`${walIdOf(demotion)}/`)})`;
    await attempt(() => shard.connection.command(`KILL QUERY WHERE ${ours} SYNC`));
    const [running] = await rowsFrom<{ n: string }>(shard, `SELECT count() AS n FROM system.processes WHERE ${ours}`);
    if (running?.n !== '0') throw new SinkError('retry', 'an insert of the demotion is still running');
    if ((await this.count(shard, demotion)) === 0) return;
    for (const day of daysBetween(demotion)) {
      const sql = `ALTER TABLE ${this.table(demotion, shard)} DELETE IN PARTITION ${day} WHERE ${ofDemotion(demotion)}`;
      await attempt(() => shard.connection.command(sql, { settings: { mutations_sync: '2' } }));
    }
    const left = await this.count(shard, demotion);
    if (left > 0) throw new SinkError('retry', `clickhouse still holds ${left} rows of a demotion that was deleted`);
  }

  private async count(shard: Shard, demotion: Demotion): Promise<number> {
    const sql = `SELECT count() AS n FROM ${this.table(demotion, shard)} WHERE ${ofDemotion(demotion)}`;
    const [found] = await rowsFrom<{ n: string }>(shard, sql);
    return Number(found?.n ?? Number.NaN);
  }

  private table({ table }: Demotion, { location }: Shard): string {
    return qualified(location.database, localTable(table, { distributed: this.options.distributed === true }));
  }

  async stop(): Promise<void> {
    await Promise.all(this.shards.map(({ connection }) => connection.close()));
  }
}

interface Shard {
  readonly location: Location;
  readonly connection: Connection;
}

const rowsFrom = <T>({ connection }: Shard, sql: string): Promise<T[]> => attempt(() => connection.rows<T>(sql));

async function attempt<T>(action: () => Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (error) {
    throw toSinkError(error);
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
