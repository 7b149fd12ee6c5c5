/**
 * The cold tier on several shards: each write goes as a whole to one of them, chosen by its identity, so that its token and its count
 * are asked of the server that had it. A write that may have run is looked for on every shard first: the list of shards may have
 * changed since.
 */
import { createHash } from 'node:crypto';
import type { TableName, WalId } from '../../core/ids';
import type { StoreTables } from '../../core/schema-registry';
import type { LastInsert, Recall, Sink, SinkWrite, WriteIdentity } from '../../core/sink';
import type { TableSchema } from '../../core/table-schema';
import type { ClickHouseSink } from './sink';

/** The position of the shard that has a write, evenly spread. */
export function shardOf({ walId, lsn, table, partition }: WriteIdentity, shards: number): number {
  const digest = createHash('sha256').update(`${walId}/${lsn}/${table}/${partition}`).digest();
  return digest.readUInt32BE(0) % shards;
}

export class ShardedClickHouseSink implements Sink, StoreTables {
  readonly tier = 'cold';
  readonly partitioning = 'day';

  /** At least one. Statements of tables are run on the cluster through the first. */
  constructor(private readonly shards: readonly [ClickHouseSink, ...ClickHouseSink[]]) {}

  async start(): Promise<void> {
    await this.each((shard) => shard.start());
  }

  ensureTable(schema: TableSchema): Promise<void> {
    return this.shards[0].ensureTable(schema);
  }

  async write(write: SinkWrite): Promise<void> {
    await (await this.shardFor(write)).write(write);
  }

  private async shardFor(write: SinkWrite): Promise<ClickHouseSink> {
    const chosen = this.shards[shardOf(write.id, this.shards.length)];
    if (!write.mayHaveRun) return chosen;
    const held = await Promise.all(this.shards.map((shard) => shard.holds(write)));
    return this.shards[held.indexOf(true)] ?? chosen;
  }

  columnsOf(schema: TableSchema): ReadonlyMap<string, string> {
    return this.shards[0].columnsOf(schema);
  }

  explain(schema: TableSchema, before: TableSchema | undefined): readonly string[] {
    return this.shards[0].explain(schema, before);
  }

  describe(table: TableName): Promise<ReadonlyMap<string, string> | undefined> {
    return this.shards[0].describe(table);
  }

  async recall(walId: WalId, schemas: readonly TableSchema[], settle: boolean): Promise<Recall> {
    const recalls = await Promise.all(this.shards.map((shard) => shard.recall(walId, schemas, settle)));
    const tables = new Map<TableName, LastInsert>();
    for (const [table, insert] of recalls.flatMap((recall) => [...recall.tables])) {
      const other = tables.get(table);
      if (other !== undefined && other.fromLsn > insert.fromLsn) continue;
      // Partitions of one insert are on different shards.
      const rows = other?.fromLsn === insert.fromLsn ? new Map([...other.rows, ...insert.rows]) : insert.rows;
      tables.set(table, { ...insert, rows });
    }
    return { below: recalls[0].below, tables };
  }

  async ping(): Promise<void> {
    await this.each((shard) => shard.ping());
  }

  async stop(): Promise<void> {
    await this.each((shard) => shard.stop());
  }

  private async each(action: (shard: ClickHouseSink) => Promise<void>): Promise<void> {
    await Promise.all(this.shards.map(action));
  }
}
