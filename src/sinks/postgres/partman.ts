/**
 * Day partitions by pg_partman (5 or newer) instead of our own, for who runs it for other tables already: it makes them ahead of time, also
 * while no server of ours runs. Late days go to the DEFAULT partition, as partman has it.
 */
import type { PoolClient } from 'pg';
import { quoteIdentifier } from '../../core/postgres-sql';
import type { TableSchema } from '../../core/table-schema';

/** Days made ahead of time. */
const PREMAKE = 7;

/** The schema in which pg_partman is installed; undefined without it. */
export async function partmanSchema(client: PoolClient): Promise<string | undefined> {
  const { rows } = await client.query<{ name: string }>(
    "SELECT n.nspname AS name FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'pg_partman'",
  );
  return rows[0]?.name;
}

/**
 * Gives the table to pg_partman, or has it make the partitions that are missing by now. In a transaction. The table is partitioned by
 * range of its time column.
 */
export async function keepByPartman(client: PoolClient, schema: TableSchema, partman: string): Promise<void> {
  const functions = quoteIdentifier(partman);
  const { rows } = await client.query<{ parent: string; known: boolean }>(
    `SELECT n.nspname || '.' || c.relname AS parent,
        EXISTS (SELECT FROM ${functions}.part_config WHERE parent_table = n.nspname || '.' || c.relname) AS known
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1::regclass`,
    [quoteIdentifier(schema.table)],
  );
  const [{ parent, known }] = rows;
  if (known) {
    await client.query(`SELECT ${functions}.run_maintenance($1, p_analyze := false)`, [parent]);
    return;
  }
  await client.query(
    `SELECT ${functions}.create_parent(p_parent_table := $1, p_control := $2, p_interval := '1 day', p_premake := ${PREMAKE})`,
    [parent, schema.timeColumn],
  );
}
