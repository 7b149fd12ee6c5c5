/**
 * One write as one transaction (durability rules P1 to P4, P6): the batch row in `_ingest_batches` first, the rows by binary
 * COPY, COMMIT. A batch that holds rows which PostgreSQL refuses is written row group by row group in savepoints of the same
 * transaction, until only the bad rows are out; these are parked before the COMMIT, so that whoever repeats the write leaves
 * out the same rows.
 */
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { PoolClient } from 'pg';
import * as copyStreams from 'pg-copy-streams';
import { quoteIdentifier } from '../../core/postgres-sql';
import { SinkError, type SinkWrite, UnfitBatchError } from '../../core/sink';
import { acceptedRows, isolate, type Refusal } from '../isolate';
import { claim, correctClaim } from './batch-rows';
import { closedRanges, rowsWithin } from './demotion-rows';
import { CopyEncoder } from './encode-copy';
import { fingerprintOf } from './ensure-table';
import { SchemaMovedError } from './errors';
import { dayRange, daysOf } from './partitions';
import { columnOfConstraint, indexedColumns, longestColumn, type PostgresRefusal, refusalOf } from './refusal';

const PROGRAM_LIMIT_EXCEEDED = '54000';
/** Bytes that wait between our encoder and the socket. */
const COPY_BUFFER_BYTES = 1024 * 1024;

/** A stronger setting of the server stays: `on` would weaken `remote_apply`. */
const BEGIN = `BEGIN; SELECT set_config('synchronous_commit',
  CASE current_setting('synchronous_commit') WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, true)`;

/**
 * Makes one attempt; resolves with the number of values that were changed because PostgreSQL cannot hold them. `isolating`: look
 * for the rows that PostgreSQL refuses, after an attempt without that has failed for the content of its rows. `fingerprint`:
 * types of the table's columns as the write was made for them.
 */
export async function deliver(
  client: PoolClient,
  write: SinkWrite,
  { isolating, fingerprint }: { isolating: boolean; fingerprint: string },
): Promise<number> {
  const { table } = write.id;
  let rows = acceptedRows(write.batch.numRows, write.refused);
  await client.query(BEGIN);
  // Waits for another transaction with the same identity to end: a connection we have lost may still hold one.
  if (!(await claim(client, write.id, rows.length))) {
    await client.query('ROLLBACK');
    return 0;
  }
  // From here to the COMMIT nobody can change the columns.
  await client.query(`LOCK TABLE ${quoteIdentifier(table)} IN ROW EXCLUSIVE MODE`);
  if ((await fingerprintOf(client, write.schema)) !== fingerprint) {
    await client.query('ROLLBACK');
    throw new SchemaMovedError(table);
  }
  const claimed = rows.length;
  if (await divertLate(client, write, rows)) rows = acceptedRows(write.batch.numRows, write.refused);
  const copied = await copyRows(client, write, rows, isolating);
  if (copied.rows < claimed) await correctClaim(client, write.id, copied.rows);
  const { command } = await client.query('COMMIT');
  if (command !== 'COMMIT') throw new SinkError('retry', `postgresql answered ${command} to COMMIT`);
  return copied.sanitizedValues;
}

/**
 * Sends rows of closed ranges to the cold tier; were there any? Asked under the lock of the table, which who closes a range waits for,
 * in a statement of its own, whose snapshot is younger than that lock.
 */
async function divertLate(client: PoolClient, write: SinkWrite, rows: Int32Array): Promise<boolean> {
  const { batch, schema, id } = write;
  const days = [...daysOf(batch, schema.timeColumn)];
  if (days.length === 0) return false;
  const { fromMs } = dayRange(Math.min(...days));
  const { toMs } = dayRange(Math.max(...days));
  const late = rowsWithin(batch, schema.timeColumn, await closedRanges(client, id.table, fromMs, toMs), rows);
  if (late.length === 0) return false;
  if (write.onDiverted === undefined) throw new SinkError('retry', `rows of ${id.table} belong to a day that was demoted`);
  await write.onDiverted(late);
  return true;
}

interface Copied {
  readonly rows: number;
  readonly sanitizedValues: number;
}

async function copyRows(client: PoolClient, write: SinkWrite, rows: Int32Array, isolating: boolean): Promise<Copied> {
  if (rows.length === 0) return { rows: 0, sanitizedValues: 0 };
  let encoder: CopyEncoder;
  try {
    encoder = new CopyEncoder(write.schema, write.batch);
  } catch (error) {
    if (!(error instanceof UnfitBatchError)) throw error;
    const { code, column, message } = error;
    await write.onRefused(Array.from(rows, (row) => ({ row, stage: 'schema' as const, code, column, message })));
    return { rows: 0, sanitizedValues: 0 };
  }
  if (isolating) return copyIsolated(client, write, rows, encoder);
  await copyPart(client, write, encoder, rows);
  return { rows: rows.length, sanitizedValues: encoder.sanitizedValues };
}

async function copyIsolated(client: PoolClient, write: SinkWrite, rows: Int32Array, encoder: CopyEncoder): Promise<Copied> {
  // A constraint that waits for the COMMIT would speak when nothing can be done about one row any more.
  await client.query('SET CONSTRAINTS ALL IMMEDIATE');
  const columnOf = columnFinder(client, write);
  let sanitizedValues = 0;
  const attempt = async (part: Int32Array): Promise<Refusal | undefined> => {
    const before = encoder.sanitizedValues;
    await client.query('SAVEPOINT part');
    try {
      await copyPart(client, write, encoder, part);
    } catch (error) {
      const refusal = refusalOf(error);
      if (refusal === undefined) throw error;
      await client.query('ROLLBACK TO SAVEPOINT part');
      if (part.length > 1) return refusal;
      const column = await columnOf(refusal, part[0]);
      return column === undefined ? refusal : { ...refusal, column };
    }
    await client.query('RELEASE SAVEPOINT part');
    sanitizedValues += encoder.sanitizedValues - before;
    return undefined;
  };
  const bad = await isolate({ rows, attempt, onRefused: write.onRefused });
  return { rows: rows.length - bad, sanitizedValues };
}

/** Finds the column that a refusal of one row is about; what it looks up in the catalogue it keeps. */
function columnFinder(
  client: PoolClient,
  { id, batch }: SinkWrite,
): (refusal: PostgresRefusal, row: number) => Promise<string | undefined> {
  const ofConstraint = new Map<string, string | undefined>();
  let indexed: ReadonlySet<string> | undefined;
  return async ({ column, constraint, code }, row) => {
    if (column !== undefined) return column;
    if (constraint !== undefined) {
      if (!ofConstraint.has(constraint.name)) ofConstraint.set(constraint.name, await columnOfConstraint(client, constraint));
      return ofConstraint.get(constraint.name);
    }
    if (code !== PROGRAM_LIMIT_EXCEEDED) return undefined;
    indexed ??= await indexedColumns(client, id.table);
    return longestColumn(batch, row, indexed);
  };
}

/** Throws SinkError `broken` when the server does not count as many rows as were sent (P2). */
async function copyPart(client: PoolClient, { id }: SinkWrite, encoder: CopyEncoder, rows: Int32Array): Promise<void> {
  const columns = encoder.columns.map(quoteIdentifier).join(', ');
  const sql = `COPY ${quoteIdentifier(id.table)} (${columns}) FROM STDIN (FORMAT binary)`;
  const stream = client.query(copyStreams.from(sql, { highWaterMark: COPY_BUFFER_BYTES }));
  await pipeline(Readable.from(encoder.chunks(rows), { objectMode: true, highWaterMark: 1 }), stream);
  if (stream.rowCount === rows.length) return;
  const text = `postgresql stored ${stream.rowCount} of ${rows.length} rows of ${id.table}: does a trigger or rule drop rows?`;
  throw new SinkError('broken', text);
}
