/**
 * Schemas of all tables: the built-in ones, and those made on first write. The file `registry.json` in the data directory is
 * durable before a batch of a new schema is accepted, so that the server can take rows while both stores are down; the sinks
 * carry each schema into `table_registry` and their own tables when they create them.
 */
import { mkdir, open, readFile, rename } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { BUILTIN_TABLES } from '../core/builtin-tables';
import { IngestError } from '../core/errors';
import type { TableName } from '../core/ids';
import type { Registry } from '../core/ingest';
import { LIMITS } from '../core/limits';
import type { ColumnSchema, TableSchema, Tier } from '../core/table-schema';
import { evolveSchema } from './evolve';

const FORMAT = 1;

export class FileRegistry implements Registry {
  private readonly builtin = new Map<TableName, TableSchema>(BUILTIN_TABLES.map((schema) => [schema.table, schema]));
  /** Changes are made one after the other. */
  private queue: Promise<unknown> = Promise.resolve();

  private constructor(
    private readonly path: string,
    private readonly tables: Map<TableName, TableSchema>,
  ) {}

  /** Reads `registry.json` of the directory, or starts empty. A damaged file is an error, not an empty registry. */
  static async open(directory: string): Promise<FileRegistry> {
    const path = join(directory, 'registry.json');
    await mkdir(directory, { recursive: true, mode: 0o700 });
    let text: string;
    try {
      text = await readFile(path, 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return new FileRegistry(path, new Map());
      throw error;
    }
    const stored = JSON.parse(text) as { format: number; tables: TableSchema[] };
    if (stored.format !== FORMAT) throw new Error(`${path} has format ${stored.format}, this version reads ${FORMAT}`);
    return new FileRegistry(path, new Map(stored.tables.map((schema) => [schema.table, schema])));
  }

  get(table: TableName): TableSchema | undefined {
    return this.builtin.get(table) ?? this.tables.get(table);
  }

  list(): readonly TableSchema[] {
    return [...this.builtin.values(), ...this.tables.values()];
  }

  evolve(table: TableName, columns: readonly ColumnSchema[], options: { timeColumn: string; tier?: Tier }): Promise<TableSchema> {
    const change = this.queue.then(() => this.change(table, columns, options));
    this.queue = change.catch(() => undefined);
    return change;
  }

  private async change(
    table: TableName,
    columns: readonly ColumnSchema[],
    options: { timeColumn: string; tier?: Tier },
  ): Promise<TableSchema> {
    const known = this.get(table);
    if (known !== undefined && this.builtin.has(table)) return known;
    if (known === undefined && this.tables.size >= LIMITS.tablesMax) {
      throw new IngestError('invalid_argument', `there are already ${LIMITS.tablesMax} tables`);
    }
    const schema = evolveSchema(known, table, columns, options);
    if (schema === known) return known;
    const next = new Map(this.tables).set(table, schema);
    await this.save([...next.values()]);
    this.tables.set(table, schema);
    return schema;
  }

  private async save(tables: readonly TableSchema[]): Promise<void> {
    const temporary = `${this.path}.tmp`;
    const file = await open(temporary, 'w', 0o600);
    try {
      await file.writeFile(JSON.stringify({ format: FORMAT, tables }, undefined, 1));
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, this.path);
    const directory = await open(dirname(this.path), 'r');
    try {
      await directory.sync();
    } finally {
      await directory.close();
    }
  }
}
