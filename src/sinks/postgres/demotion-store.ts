/** Rows of `_demotions` as demotions, and the one lock under which they run. */
import { randomBytes } from 'node:crypto';
import type { ClientBase, Pool, PoolClient } from 'pg';
import {
  type ChunkLayout,
  type Demotion,
  type DemotionChange,
  DemotionConflictError,
  type DemotionLock,
  type DemotionState,
  type DigestSums,
  type HotPartition,
} from '../../core/demotion';
import type { TableName } from '../../core/ids';

interface Row {
  readonly id: string;
  readonly table_name: string;
  readonly partition: string;
  readonly from_ms: string;
  readonly to_ms: string;
  readonly state: string;
  readonly layout: ChunkLayout | null;
  readonly next_chunk: number;
  readonly digest: DigestSums | null;
  readonly rows_estimate: string;
  readonly size_bytes: string;
  readonly cursor_ns: string | null;
  readonly rows_back: string;
  readonly error: string | null;
  readonly revision: number;
  readonly created_at: Date;
  readonly updated_at: Date;
}

const toDemotion = (row: Row): Demotion => ({
  id: row.id,
  table: row.table_name as TableName,
  partition: row.partition,
  fromMs: Number(row.from_ms),
  toMs: Number(row.to_ms),
  state: row.state as DemotionState,
  ...(row.layout === null ? {} : { layout: row.layout }),
  nextChunk: row.next_chunk,
  ...(row.digest === null ? {} : { digest: row.digest }),
  rowsEstimate: Number(row.rows_estimate),
  sizeBytes: Number(row.size_bytes),
  ...(row.cursor_ns === null ? {} : { cursorNs: BigInt(row.cursor_ns) }),
  rowsBack: Number(row.rows_back),
  ...(row.error === null ? {} : { error: row.error }),
  createdAtMs: row.created_at.getTime(),
  updatedAtMs: row.updated_at.getTime(),
  revision: row.revision,
});

const UNFINISHED = `state IN ('planned', 'copying', 'verifying', 'flipping', 'aborting', 'restoring', 'returning')`;

/** The newest come last. */
export async function listDemotions(
  client: Pick<Pool, 'query'>,
  { table, unfinished = false }: { table?: string; unfinished?: boolean },
): Promise<Demotion[]> {
  const { rows } = await client.query<Row>(
    `SELECT * FROM _demotions WHERE ($1::text IS NULL OR table_name = $1) ${unfinished ? `AND ${UNFINISHED}` : ''}
      ORDER BY created_at, from_ms, table_name`,
    [table ?? null],
  );
  return rows.map(toDemotion);
}

/** A range that is on its way or away is left out; one whose hand-off was aborted or taken back may go again. */
const INSERT = `INSERT INTO _demotions (id, table_name, partition, from_ms, to_ms, state, rows_estimate, size_bytes)
  SELECT $1, $2, $3, $4, $5, 'planned', $6, $7
  WHERE NOT EXISTS (SELECT FROM _demotions WHERE table_name = $2 AND from_ms < $5 AND to_ms > $4
    AND state NOT IN ('aborted', 'restored', 'demoted'))
  RETURNING *`;

/** In a transaction that holds a lock against other planners. */
export async function insertDemotions(client: ClientBase, partitions: readonly HotPartition[]): Promise<Demotion[]> {
  const planned: Demotion[] = [];
  for (const { table, name, fromMs, toMs, rowsEstimate, sizeBytes } of partitions) {
    const id = randomBytes(8).toString('hex');
    const { rows } = await client.query<Row>(INSERT, [id, table, name, fromMs, toMs, rowsEstimate, sizeBytes]);
    planned.push(...rows.map(toDemotion));
  }
  return planned;
}

/** Columns that a change may set beside those of `DemotionChange`. */
export interface Flags {
  readonly closed?: boolean;
  readonly hidden?: boolean;
}

/** Throws DemotionConflictError when the demotion is not as it was read. */
export async function updateDemotion(
  client: Pick<Pool, 'query'>,
  { id, revision }: Demotion,
  change: DemotionChange & Flags,
): Promise<Demotion> {
  const values: [string, unknown][] = [
    ['state', change.state],
    ['closed', change.closed],
    ['hidden', change.hidden],
    ['layout', change.layout && JSON.stringify(change.layout)],
    ['next_chunk', change.nextChunk],
    ['digest', change.digest && JSON.stringify(change.digest)],
    ['cursor_ns', change.cursorNs],
    ['rows_back', change.rowsBack],
    ['error', change.error],
  ];
  const set = values.filter(([, value]) => value !== undefined);
  const { rows } = await client.query<Row>(
    `UPDATE _demotions SET ${set.map(([name], i) => `${name} = $${i + 3}, `).join('')} revision = revision + 1, updated_at = now()
      WHERE id = $1 AND revision = $2 RETURNING *`,
    [id, revision, ...set.map(([, value]) => value)],
  );
  if (rows[0] === undefined) throw new DemotionConflictError(id);
  return toDemotion(rows[0]);
}

/** An arbitrary number; it must not change. */
const RUNNER_LOCK = '7454681337209918';

/** A session lock: it ends with the connection, so that a server that dies gives it back. */
export async function lockDemotions(pool: Pool): Promise<DemotionLock | undefined> {
  const client: PoolClient = await pool.connect();
  const lost = new AbortController();
  const onEnd = (): void => lost.abort(new Error('the connection that holds the lock of demotions is gone'));
  client.on('error', onEnd);
  client.on('end', onEnd);
  const giveBack = (error?: Error): void => {
    client.removeListener('error', onEnd);
    client.removeListener('end', onEnd);
    client.release(error);
  };
  try {
    const { rows } = await client.query<{ locked: boolean }>(`SELECT pg_try_advisory_lock(${RUNNER_LOCK}) AS locked`);
    if (!rows[0]?.locked) {
      giveBack();
      return undefined;
    }
  } catch (error) {
    giveBack(error as Error);
    throw error;
  }
  return {
    lost: lost.signal,
    release: async () => {
      if (lost.signal.aborted) return giveBack(lost.signal.reason as Error);
      await client.query(`SELECT pg_advisory_unlock(${RUNNER_LOCK})`).then(
        () => giveBack(),
        (error: Error) => giveBack(error),
      );
    },
  };
}
