/** What an error of COPY says about the row at fault: which one, which column, why (PostgreSQL manual, "Error and Notice Message Fields"). */
import { DataType, type RecordBatch } from 'apache-arrow';
import type { PoolClient } from 'pg';
import { positionOf, viewColumn } from '../../columnar/read';
import { quoteIdentifier } from '../../core/postgres-sql';
import type { Refusal } from '../isolate';
import { sinkError, sqlStateOf } from './errors';

/** A constraint or unique index that the error names; its columns are looked up in the catalogue. */
interface NamedConstraint {
  readonly schema: string | undefined;
  readonly table: string | undefined;
  readonly name: string;
}

export interface PostgresRefusal extends Refusal {
  readonly constraint?: NamedConstraint;
}

const MESSAGE_LENGTH_MAX = 1_000;

/** `COPY things, line 3, column labels`: the last line of the context; lines count from 1, also in binary. */
const COPY_CONTEXT = /^COPY .*, line (\d+)(?:, column (.+?))?(?::.*)?$/m;

/** TimescaleDB tells the column of a missing time only in the text. */
const NOT_NULL_MESSAGE = /^null value in column "(.+)" violates not-null constraint$/i;

interface ErrorFields {
  readonly message: string;
  readonly where?: string;
  readonly column?: string;
  readonly constraint?: string;
  readonly schema?: string;
  readonly table?: string;
}

/** The refusal that an error stands for; undefined for an error that is not the fault of rows. */
export function refusalOf(error: unknown): PostgresRefusal | undefined {
  // A row that is too large for a chunk of the encoder; which one, halving tells.
  if (error instanceof RangeError) return { stage: 'schema', code: 'too_large', message: error.message };
  if (sinkError(error, '').failure !== 'content') return undefined;
  const fields = error as ErrorFields;
  const [, line, named] = COPY_CONTEXT.exec(fields.where ?? '') ?? [];
  const column = fields.column ?? named ?? NOT_NULL_MESSAGE.exec(fields.message)?.[1];
  return {
    stage: 'insert',
    code: sqlStateOf(error),
    message: fields.message.slice(0, MESSAGE_LENGTH_MAX),
    ...(line === undefined ? {} : { suspect: Number(line) - 1 }),
    ...(column === undefined ? {} : { column }),
    ...(fields.constraint === undefined
      ? {}
      : { constraint: { schema: fields.schema, table: fields.table, name: fields.constraint } }),
  };
}

/** The first column of the constraint or index: the one that leads its definition. */
const CONSTRAINT_COLUMN = `SELECT a.attname AS name FROM (
    SELECT conrelid AS relation, conkey[1] AS position FROM pg_constraint WHERE conrelid = to_regclass($1) AND conname = $2
    UNION ALL
    SELECT i.indrelid, i.indkey[0] FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
      WHERE i.indrelid = to_regclass($1) AND c.relname = $2
  ) AS found JOIN pg_attribute a ON a.attrelid = found.relation AND a.attnum = found.position LIMIT 1`;

export async function columnOfConstraint(client: PoolClient, constraint: NamedConstraint): Promise<string | undefined> {
  const { schema, table, name } = constraint;
  if (schema === undefined || table === undefined) return undefined;
  const relation = [schema, table].map(quoteIdentifier).join('.');
  const { rows } = await client.query<{ name: string }>(CONSTRAINT_COLUMN, [relation, name]);
  return rows[0]?.name;
}

const INDEXED_COLUMNS = `SELECT DISTINCT a.attname AS name FROM pg_index i
  JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey) WHERE i.indrelid = to_regclass($1)`;

/** Names of the columns that are in an index of the table. */
export async function indexedColumns(client: PoolClient, table: string): Promise<ReadonlySet<string>> {
  const { rows } = await client.query<{ name: string }>(INDEXED_COLUMNS, [quoteIdentifier(table)]);
  return new Set(rows.map(({ name }) => name));
}

/**
 * The column of the longest text or bytes of a row. For errors of size, of which PostgreSQL does not say where: an index entry over
 * 8 kB comes without the name of its index.
 */
export function longestColumn(batch: RecordBatch, row: number, among: ReadonlySet<string>): string | undefined {
  let longest: { name: string; bytes: number } | undefined;
  for (const [i, { name }] of batch.schema.fields.entries()) {
    if (!among.has(name)) continue;
    const view = viewColumn(batch.data.children[i]);
    const at = positionOf(view, row);
    if (at < 0 || !(DataType.isUtf8(view.values.type) || DataType.isBinary(view.values.type))) continue;
    const bytes = view.values.valueOffsets[at + 1] - view.values.valueOffsets[at];
    if (longest === undefined || bytes > longest.bytes) longest = { name, bytes };
  }
  return longest?.name;
}
