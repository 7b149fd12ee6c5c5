/** The end of old rows in PostgreSQL (core/retention.ts): partitions and chunks are dropped whole, strays are deleted in batches. */
import type { Pool, PoolClient } from 'pg';
import { storeForm } from '../../core/column-name';
import type { DemotionState } from '../../core/demotion';
import { quoteIdentifier } from '../../core/postgres-sql';
import { type HotRetention, mayDrop, type OldPartition, type OldRows } from '../../core/retention';
import type { Logger } from '../../telemetry';
import { closePool, createPool, tryLocked, withConnection } from './connection';
import { defaultPartition, dropPartition, kindOf, listPartitions } from './hot-partitions';

export interface PostgresRetentionOptions {
  readonly url: string;
  readonly logger: Logger;
  /** Longest wait for the lock that readers and writers have to wait behind, milliseconds; default 500. */
  readonly lockTimeoutMs?: number;
  /** Rows of the DEFAULT partition that one statement deletes; default 10,000. */
  readonly strayRowsMax?: number;
}

const STATEMENT_TIMEOUT_MS = 300_000;
const LOCK_TIMEOUT_MS = 500;
const STRAY_ROWS_MAX = 10_000;
const STOP_GRACE_MS = 2_000;
const MOVED_RANGES = `SELECT from_ms::float8 AS "fromMs", to_ms::float8 AS "toMs", state FROM _demotions WHERE table_name = $1
  ORDER BY created_at`;

interface MovedRange {
  readonly fromMs: number;
  readonly toMs: number;
  readonly state: DemotionState;
}

/** On connections of its own. */
export class PostgresRetention implements HotRetention {
  private readonly pool: Pool;

  constructor(private readonly options: PostgresRetentionOptions) {
    const { url, logger } = options;
    this.pool = createPool({ url, logger, connectionsMax: 1, statementTimeoutMs: STATEMENT_TIMEOUT_MS });
  }

  outdated({ schema, beforeMs, isDemoted }: OldRows): Promise<readonly OldPartition[] | undefined> {
    const { table } = storeForm(schema);
    return withConnection(this.pool, STATEMENT_TIMEOUT_MS, async (client) => {
      if ((await kindOf(client, table)) === 'plain') return undefined;
      const moved = await movedRanges(client, table);
      const old = (await listPartitions(client, table)).filter(
        ({ fromMs, toMs }) => toMs <= beforeMs && mayDrop(statesWithin(moved, fromMs, toMs), isDemoted),
      );
      const found: OldPartition[] = [];
      for (const { name, fromMs, toMs, rowsEstimate } of old) {
        const rows = rowsEstimate > 0 ? rowsEstimate : await countRows(client, name);
        found.push({ name, fromMs, toMs, rows });
      }
      return found;
    });
  }

  async drop({ schema, isDemoted }: OldRows, { name, fromMs, toMs }: OldPartition): Promise<'dropped' | 'busy' | 'kept'> {
    const { table } = storeForm(schema);
    const { lockTimeoutMs = LOCK_TIMEOUT_MS } = this.options;
    const done = await tryLocked(this.pool, { deadlineMs: STATEMENT_TIMEOUT_MS, lockTimeoutMs }, async (client) => {
      // In the order in which a demotion takes them.
      await client.query(`LOCK TABLE ONLY ${quoteIdentifier(table)} IN ACCESS EXCLUSIVE MODE`);
      await client.query('LOCK TABLE _demotions IN SHARE ROW EXCLUSIVE MODE');
      const same = (await listPartitions(client, table)).find((each) => each.name === name);
      if (same?.fromMs !== fromMs || same.toMs !== toMs) return 'kept';
      if (!mayDrop(statesWithin(await movedRanges(client, table), fromMs, toMs), isDemoted)) return 'kept';
      await dropPartition(client, table, name);
      return 'dropped';
    });
    return done ?? 'busy';
  }

  async deleteStrays({ schema, beforeMs, isDemoted }: OldRows): Promise<number> {
    // These get a partition, and are moved.
    if (isDemoted) return 0;
    const { table, timeColumn } = storeForm(schema);
    const { strayRowsMax = STRAY_ROWS_MAX } = this.options;
    const strays = await defaultPartition(this.pool, table);
    if (strays === undefined) return 0;
    const time = quoteIdentifier(timeColumn);
    const { rowCount } = await this.pool.query(
      `DELETE FROM ONLY ${strays} WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM ONLY ${strays} s WHERE s.${time} < to_timestamp($1::float8 / 1000) AND NOT EXISTS (
          SELECT FROM _demotions d WHERE d.table_name = $2 AND d.state NOT IN ('aborted', 'restored', 'demoted')
            AND s.${time} >= to_timestamp(d.from_ms / 1000.0) AND s.${time} < to_timestamp(d.to_ms / 1000.0))
        LIMIT ${strayRowsMax}))`,
      [beforeMs, table],
    );
    return rowCount ?? 0;
  }

  async stop(): Promise<void> {
    await closePool(this.pool, STOP_GRACE_MS);
  }
}

async function movedRanges(client: PoolClient, table: string): Promise<MovedRange[]> {
  return (await client.query<MovedRange>(MOVED_RANGES, [table])).rows;
}

const statesWithin = (moved: readonly MovedRange[], fromMs: number, toMs: number): DemotionState[] =>
  moved.filter((each) => each.fromMs < toMs && each.toMs > fromMs).map(({ state }) => state);

async function countRows(client: PoolClient, partition: string): Promise<number> {
  const { rows } = await client.query<{ n: number }>(`SELECT count(*)::float8 AS n FROM ${partition}`);
  return rows[0]?.n ?? 0;
}
