/**
 * The rows of delivered writes (rule P1) and their end (P5): once a sink's durable cursor has passed a write, it is never repeated but
 * by a checkpoint that was lost. One row for each WAL keeps how far that is, and stands for all batch rows before it, which are
 * deleted when they are old enough. Each server touches only what is of its own WAL.
 */
import type { Pool, PoolClient } from 'pg';
import { type Lsn, lsn, type TableName, type WalId } from '../../core/ids';
import { type Recall, SinkError, type WriteIdentity } from '../../core/sink';
import { inTransaction, withConnection } from './connection';

/** The row and the data it stands for are committed together, so that a write whose outcome is unknown can be asked for. */
const CREATE_BATCHES = `CREATE TABLE IF NOT EXISTS _ingest_batches (
  wal_id     text NOT NULL,
  lsn        bigint NOT NULL,
  last_lsn   bigint NOT NULL,
  table_name text NOT NULL,
  rows       bigint NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (wal_id, lsn, table_name)
)`;

/** Writes of entries before `lsn` are delivered. */
const CREATE_WATERMARKS = `CREATE TABLE IF NOT EXISTS _ingest_watermarks (
  wal_id     text PRIMARY KEY,
  lsn        bigint NOT NULL,
  updated_at timestamptz NOT NULL DEFAULT now()
)`;

export const CREATE_BATCH_ROWS: readonly string[] = [CREATE_BATCHES, CREATE_WATERMARKS];

const CLAIM = `INSERT INTO _ingest_batches (wal_id, lsn, last_lsn, table_name, rows)
  SELECT $1::text, $2::bigint, $3::bigint, $4::text, $5::bigint
    WHERE NOT EXISTS (SELECT FROM _ingest_watermarks WHERE wal_id = $1::text AND lsn > $2::bigint)
  ON CONFLICT DO NOTHING`;

const CLAIMED = `SELECT (SELECT last_lsn FROM _ingest_batches WHERE wal_id = $1 AND lsn = $2 AND table_name = $3) AS last_lsn,
  (SELECT lsn FROM _ingest_watermarks WHERE wal_id = $1) AS watermark`;

const CORRECT_CLAIM = 'UPDATE _ingest_batches SET rows = $4 WHERE wal_id = $1 AND lsn = $2 AND table_name = $3';

const RAISE_WATERMARK = `INSERT INTO _ingest_watermarks (wal_id, lsn) VALUES ($1, $2)
  ON CONFLICT (wal_id) DO UPDATE SET lsn = GREATEST(_ingest_watermarks.lsn, EXCLUDED.lsn), updated_at = now()`;

/** Rows that are deleted in one statement, so that none holds its locks for long. */
const PRUNED_AT_ONCE = 10_000;

const PRUNE = `DELETE FROM _ingest_batches WHERE ctid = ANY (ARRAY(
  SELECT ctid FROM _ingest_batches WHERE wal_id = $1 AND lsn < $2 AND created_at < now() - $3::bigint * interval '1 millisecond'
  LIMIT ${PRUNED_AT_ONCE}))`;

/** First statement of a write; false: the write was delivered before. Throws SinkError `broken` for another batch under a used identity. */
export async function claim(client: PoolClient, id: WriteIdentity, rows: number): Promise<boolean> {
  const claimed = await client.query(CLAIM, [id.walId, id.lsn, id.lastLsn, id.table, rows]);
  if (claimed.rowCount !== 0) return true;
  await checkClaimed(client, id);
  return false;
}

/** The same first entry with another last one is another batch under a used identity: its rows would be taken for delivered. */
async function checkClaimed(client: PoolClient, id: WriteIdentity): Promise<void> {
  const { rows } = await client.query<{ last_lsn: string | null; watermark: string | null }>(CLAIMED, [
    id.walId,
    id.lsn,
    id.table,
  ]);
  const [{ last_lsn: found, watermark }] = rows;
  if (found === null ? id.lastLsn < Number(watermark) : found === String(id.lastLsn)) return;
  await client.query('ROLLBACK');
  const stand = found === null ? `before the watermark ${watermark}` : `as ${id.lsn} to ${found} in _ingest_batches`;
  throw new SinkError('broken', `entries ${id.lsn} to ${id.lastLsn} of ${id.table} stand ${stand}`);
}

/** Fewer rows went in than were claimed. */
export async function correctClaim(client: PoolClient, { walId, lsn: at, table }: WriteIdentity, rows: number): Promise<void> {
  await client.query(CORRECT_CLAIM, [walId, at, table, rows]);
}

const SELECT_LAST = `SELECT DISTINCT ON (table_name) table_name, lsn, last_lsn, rows FROM _ingest_batches
  WHERE wal_id = $1 AND table_name = ANY ($2) ORDER BY table_name, lsn DESC`;

/** The last write of each table. `settle`: waits for transactions of lost connections, which may still commit theirs. */
export async function recallBatches(
  pool: Pool,
  timeoutMs: number,
  { walId, tables, settle }: { walId: WalId; tables: readonly TableName[]; settle: boolean },
): Promise<Recall> {
  return inTransaction(pool, timeoutMs, async (client) => {
    if (settle) await client.query('LOCK TABLE _ingest_batches IN SHARE MODE');
    const watermark = await client.query<{ lsn: string }>('SELECT lsn FROM _ingest_watermarks WHERE wal_id = $1', [walId]);
    const last = await client.query<Record<'table_name' | 'lsn' | 'last_lsn' | 'rows', string>>(SELECT_LAST, [walId, tables]);
    return {
      below: lsn(Number(watermark.rows[0]?.lsn ?? 1)),
      tables: new Map(
        last.rows.map((row) => [
          row.table_name as TableName,
          { fromLsn: lsn(Number(row.lsn)), toLsn: lsn(Number(row.last_lsn)), rows: new Map([['', Number(row.rows)]]) },
        ]),
      ),
    };
  });
}

/** Every write of the WAL that begins before `below` is done with for good. Gives the number of rows deleted. */
export async function pruneBatches(
  pool: Pool,
  timeoutMs: number,
  { walId, below, retentionMs }: { walId: WalId; below: Lsn; retentionMs: number },
): Promise<number> {
  await inTransaction(pool, timeoutMs, (client) => client.query(RAISE_WATERMARK, [walId, below]));
  for (let pruned = 0; ; ) {
    const result = await withConnection(pool, timeoutMs, (client) => client.query(PRUNE, [walId, below, retentionMs]));
    const count = result.rowCount ?? 0;
    pruned += count;
    if (count < PRUNED_AT_ONCE) return pruned;
  }
}
