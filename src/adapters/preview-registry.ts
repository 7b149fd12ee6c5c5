import type { TableName } from '../core/ids';
import type { Registry } from '../core/ingest';
import type { ColumnSchema, TableSchema } from '../core/table-schema';

type Options = Parameters<Registry['evolve']>[2];

/** A registry whose changes are only kept in mind: what several writes, one after the other, would make of their tables. */
export class PreviewRegistry implements Registry {
  private readonly changed = new Map<TableName, { columns: Map<string, ColumnSchema>; schema: TableSchema }>();

  constructor(private readonly registry: Registry) {}

  get(table: TableName): TableSchema | undefined {
    return this.changed.get(table)?.schema ?? this.registry.get(table);
  }

  list(): readonly TableSchema[] {
    return this.registry.list();
  }

  async evolve(table: TableName, columns: readonly ColumnSchema[], options: Options): Promise<TableSchema> {
    const asked = this.asked(table, columns);
    const schema = this.registry.preview(table, [...asked.values()], options);
    this.changed.set(table, { columns: asked, schema });
    return schema;
  }

  preview(table: TableName, columns: readonly ColumnSchema[], options: Options): TableSchema {
    return this.registry.preview(table, [...this.asked(table, columns).values()], options);
  }

  /** With what was asked before. */
  private asked(table: TableName, columns: readonly ColumnSchema[]): Map<string, ColumnSchema> {
    const asked = new Map(this.changed.get(table)?.columns);
    for (const column of columns) asked.set(column.name, column);
    return asked;
  }
}
