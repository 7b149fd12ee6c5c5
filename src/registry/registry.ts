/**
 * Schemas of all tables: the built-in ones, and those made on first write. The file `registry.json` in the data directory is
 * durable before a batch of a new schema is accepted, so that the server can take rows while both stores are down.
 * `table_registry` in PostgreSQL is what servers on the same stores agree on: the PostgreSQL sink merges each schema with it
 * before it changes a table, and what has come of it is taken over here (`adopt`).
 */
import { mkdir, open, readFile, rename } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { BUILTIN_TABLES } from '../core/builtin-tables';
import { IngestError } from '../core/errors';
import type { TableName } from '../core/ids';
import { LIMITS } from '../core/limits';
import { mergeSchemas, sameContent } from '../core/merge-schema';
import type { SchemaRegistry, TableDefinition } from '../core/schema-registry';
import type { ColumnSchema, TableSchema, Tier } from '../core/table-schema';
import { evolveSchema, registerSchema } from './evolve';

const FORMAT = 1;

export class FileRegistry implements SchemaRegistry {
  private readonly builtin = new Map<TableName, TableSchema>(BUILTIN_TABLES.map((schema) => [schema.table, schema]));
  /** Changes are made one after the other. */
  private queue: Promise<unknown> = Promise.resolve();
  private readonly listeners: ((schema: TableSchema) => void)[] = [];

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
    return this.change(table, () => this.preview(table, columns, options));
  }

  preview(table: TableName, columns: readonly ColumnSchema[], options: { timeColumn: string; tier?: Tier }): TableSchema {
    return this.builtin.get(table) ?? evolveSchema(this.get(table), table, columns, options);
  }

  register(definition: TableDefinition): Promise<TableSchema> {
    return this.change(definition.table, () => this.previewRegistration(definition));
  }

  previewRegistration(definition: TableDefinition): TableSchema {
    const { table } = definition;
    const schema = registerSchema(this.get(table), definition);
    if (!this.builtin.has(table) || schema === this.get(table)) return schema;
    throw new IngestError('already_exists', `the built-in table ${table} does not change`);
  }

  adopt(shared: TableSchema): Promise<TableSchema> {
    return this.change(shared.table, (known) => {
      if (known === undefined) return shared;
      if (this.builtin.has(shared.table)) return known;
      const merged = mergeSchemas(shared, known);
      return merged.version === known.version && sameContent(merged, known) ? known : merged;
    });
  }

  /** Called with every schema that has become durable here. */
  watch(listener: (schema: TableSchema) => void): void {
    this.listeners.push(listener);
  }

  private change(table: TableName, next: (known: TableSchema | undefined) => TableSchema): Promise<TableSchema> {
    const change = this.queue.then(() => this.apply(table, next));
    this.queue = change.catch(() => undefined);
    return change;
  }

  private async apply(table: TableName, next: (known: TableSchema | undefined) => TableSchema): Promise<TableSchema> {
    const known = this.get(table);
    if (known === undefined && this.tables.size >= LIMITS.tablesMax) {
      throw new IngestError('invalid_argument', `there are already ${LIMITS.tablesMax} tables`);
    }
    const schema = next(known);
    if (schema === known) return known;
    await this.save([...new Map(this.tables).set(table, schema).values()]);
    this.tables.set(table, schema);
    for (const listener of this.listeners) listener(schema);
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
