/** Tables and views in the store: created once a schema version, again after the store says that they are gone. */
import { createHash } from 'node:crypto';
import { signalOf } from '../../core/builtin-tables';
import { qualified } from '../../core/clickhouse-sql';
import { covers } from '../../core/merge-schema';
import { SinkError } from '../../core/sink';
import type { TableSchema } from '../../core/table-schema';
import type { Logger } from '../../telemetry';
import { createDistributed, localTable } from './cluster';
import type { Connection } from './connection';
import { alterTable, createTable, createView, describeTable, movedColumn, objection, type StoredTable } from './ddl';
import type { DdlOptions } from './ddl-options';
import { StoreError } from './errors';
import { viewsOf } from './views';

interface Ensured {
  readonly schema: TableSchema;
  readonly done: Promise<void>;
}

const ALTER_ATTEMPTS = 4;
/** Begins the comment of our views. */
const MARK = 'thermocline';

export class Tables {
  private readonly ensured = new Map<string, Ensured>();

  constructor(
    private readonly connection: Connection,
    private readonly options: DdlOptions,
    private readonly logger: Logger,
  ) {}

  /** Resolves when the table has every column of the schema. Calls for one table run one after the other. */
  ensure(schema: TableSchema): Promise<void> {
    const before = this.ensured.get(schema.table);
    if (before !== undefined && covers(before.schema, schema)) return before.done;
    const done = (before?.done ?? Promise.resolve()).catch(() => undefined).then(() => this.create(schema));
    const entry: Ensured = { schema, done };
    this.ensured.set(schema.table, entry);
    done.catch(() => {
      if (this.ensured.get(schema.table) === entry) this.ensured.delete(schema.table);
    });
    return done;
  }

  /**
   * Throws SinkError `retry` while another server has given a column a wider type than this one knows of: the shared registry tells of
   * it within seconds. Between this look and the insert a few milliseconds are left, in which an integer above 2^53 may become a double.
   */
  async checkUnmoved(schema: TableSchema): Promise<void> {
    if (signalOf(schema.table) !== undefined) return;
    const stored = await this.describe(localTable(schema.table, this.options));
    const moved = stored === undefined ? undefined : movedColumn(schema, stored);
    if (moved === undefined) return;
    throw new SinkError('retry', `another server has widened column ${moved} of ${schema.table}`, { scope: 'table' });
  }

  /** Creates the table anew although it was there before. */
  repair(schema: TableSchema): Promise<void> {
    this.ensured.delete(schema.table);
    return this.ensure(schema);
  }

  private async create(schema: TableSchema): Promise<void> {
    await this.connection.command(this.createStatement(schema));
    await this.alter(schema);
    if (this.options.distributed === true) await this.distribute(schema);
    const table = qualified(this.options.database, schema.table);
    for (const { name, select } of viewsOf(schema.table)) await this.ensureView(name, select(table));
  }

  /** The table over all shards has the columns of the local ones. */
  private async distribute({ table }: TableSchema): Promise<void> {
    const columns = async (name: string): Promise<string> => JSON.stringify((await this.describe(name))?.columns);
    if ((await columns(table)) === (await columns(localTable(table, this.options)))) return;
    await this.connection.command(createDistributed(table, this.options));
  }

  /** Another server may be doing the same: what the store refuses is looked at again. */
  private async alter(schema: TableSchema, attempts = ALTER_ATTEMPTS): Promise<void> {
    const stored = await this.describe(localTable(schema.table, this.options));
    if (stored === undefined) throw new StoreError(`table ${schema.table} is missing after it was created`);
    const problem = objection(schema, stored);
    if (problem !== undefined) throw new SinkError('retry', problem, { scope: 'table' });
    try {
      for (const statement of alterTable(schema, stored, this.options)) await this.connection.command(statement);
    } catch (error) {
      if (attempts <= 1 || !(error instanceof StoreError && error.refused)) throw error;
      await this.alter(schema, attempts - 1);
    }
  }

  private createStatement(schema: TableSchema): string {
    try {
      return createTable(schema, this.options);
    } catch (error) {
      throw new SinkError('broken', `${schema.table} cannot be a clickhouse table`, { cause: error });
    }
  }

  /** What is in the store under this name. */
  async describe(name: string): Promise<StoredTable | undefined> {
    const [stored] = await this.connection.rows<StoredTable>(describeTable(name, this.options));
    return stored;
  }

  /** A view serves readers: one that cannot be made is reported and does not hold up rows. */
  async ensureView(name: string, select: string): Promise<void> {
    const comment = `${MARK} ${createHash('sha256').update(select).digest('hex').slice(0, 16)}`;
    try {
      const stored = await this.describe(name);
      if (stored?.comment === comment) return;
      if (stored !== undefined && !(stored.engine === 'View' && stored.comment.startsWith(`${MARK} `))) {
        this.logger.info({ view: name, engine: stored.engine }, 'a table with the name of a view is left as it is');
        return;
      }
      await this.connection.command(createView(name, select, comment, this.options));
    } catch (error) {
      if (!(error instanceof StoreError && error.refused)) throw error;
      this.logger.warn({ err: error, view: name }, 'cannot create a view');
    }
  }
}
