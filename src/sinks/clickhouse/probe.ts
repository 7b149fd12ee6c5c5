/**
 * Asks ClickHouse whether it would take rows, without storing them: an INSERT into a table with the columns and constraints of the
 * real one and the engine Null, which parses, converts and checks, and keeps nothing (measured with 26.7: `CREATE TABLE ... AS`
 * takes over constraints and defaults). Materialized views of the real table are not asked: their errors are never the rows' fault.
 */
import type { RecordBatch } from 'apache-arrow';
import { concatRows } from '../../columnar/concat';
import { identifier, qualified } from '../../core/clickhouse-sql';
import type { SinkWrite } from '../../core/sink';
import { type Refusal, runsOf } from '../isolate';
import { localTable } from './cluster';
import type { Connection } from './connection';
import type { DdlOptions } from './ddl-options';
import { encodeArrow } from './encode-arrow';
import { StoreError } from './errors';

/** Some rows of a batch, ascending. */
export const rowsOf = (batch: RecordBatch, rows: Int32Array): RecordBatch =>
  rows.length === batch.numRows ? batch : concatRows([{ batch, runs: runsOf(rows) }]);

const SETTINGS = { async_insert: 0, input_format_null_as_default: 1 } as const;

export class Probe {
  private readonly name: string;

  constructor(
    private readonly connection: Connection,
    private readonly ddl: DdlOptions,
    private readonly write: SinkWrite,
    private readonly timeoutMs: number,
  ) {
    const { walId, lsn, table, partition } = write.id;
    // Of its own for each write: two days of one table may be looked at at the same time. A repetition finds it again.
    this.name = `_probe_${table}_${walId.slice(0, 8)}_${lsn}_${partition}`;
  }

  private get qualifiedName(): string {
    return qualified(this.ddl.database, this.name);
  }

  async create(): Promise<void> {
    const like = qualified(this.ddl.database, localTable(this.write.id.table, this.ddl));
    await this.connection.command(`CREATE OR REPLACE TABLE ${this.qualifiedName} AS ${like} ENGINE = Null`);
  }

  async drop(): Promise<void> {
    await this.connection.command(`DROP TABLE IF EXISTS ${this.qualifiedName}`);
  }

  /** The refusal of these rows, undefined when they would be taken. Throws StoreError for what is not the rows' fault. */
  async attempt(rows: Int32Array): Promise<Refusal | undefined> {
    const { write } = this;
    try {
      const encoded = encodeArrow({ ...write, batch: rowsOf(write.batch, rows) });
      const columns = encoded.columns.map(identifier).join(', ');
      const sql = `INSERT INTO ${this.qualifiedName} (${columns}) FORMAT ArrowStream`;
      await this.connection.insert(sql, encoded.bytes, { settings: SETTINGS, timeoutMs: this.timeoutMs });
      return undefined;
    } catch (error) {
      if (error instanceof RangeError) return { stage: 'schema', code: 'too_large', message: error.message };
      if (!(error instanceof StoreError && error.kind === 'content')) throw error;
      return refusalOf(error, this.ddl.database, this.name, write);
    }
  }
}

/** The row counts from 1; values, which are clients' text, come after it. */
const VIOLATED_ROW = /^Code: 469\. .*? is violated at row (\d+)\. Expression: /s;
const CHECKED_COLUMN = /\. Column values: `?([^`=]+?)`? = /s;
const NAMED_COLUMN = /column [`']?([A-Za-z_][\w.]*)/gi;
/** `Code: 469. DB::Exception: ` in front, error name and version behind. */
const WRAPPING = /^Code: \d+\. DB::Exception: |\s*\([A-Z_]+\)(\s*\(version [^)]*\))?\s*$/g;

function refusalOf(error: StoreError, database: string, probe: string, { id, schema }: SinkWrite): Refusal {
  const text = error.message.replaceAll(`${database}.${probe}`, `${database}.${id.table}`).replaceAll(probe, id.table);
  const [, row] = VIOLATED_ROW.exec(text) ?? [];
  const names = new Set(schema.columns.map(({ name }) => name));
  const candidates = [CHECKED_COLUMN.exec(text)?.[1], ...[...text.matchAll(NAMED_COLUMN)].map(([, name]) => name)];
  const column = candidates.find((name) => name !== undefined && names.has(name));
  return {
    stage: 'insert',
    code: error.code,
    message: text.replace(WRAPPING, '').replace(/ \([0-9a-f-]{36}\)/, ''),
    ...(row === undefined ? {} : { suspect: Number(row) - 1 }),
    ...(column === undefined ? {} : { column }),
  };
}
