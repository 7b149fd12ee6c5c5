import type { TableName } from './ids';
import type { Registry } from './ingest';
import type { ColumnSchema, TablePolicy, TableSchema, Tier } from './table-schema';

/** A table as somebody wants it to be. */
export interface TableDefinition {
  readonly table: TableName;
  /** With the time column. */
  readonly columns: readonly ColumnSchema[];
  readonly timeColumn: string;
  /** Undefined: what is in force, or `hot` and `evolve` for a new table. */
  readonly tier?: Tier;
  readonly policy?: TablePolicy;
}

/** One thing in which a definition is not what is in force; names as they are shown. */
export interface DefinitionDifference {
  /** Undefined: the table itself. */
  readonly column?: string;
  readonly property: 'type' | 'time_column' | 'tier' | 'missing';
  readonly registered: string;
  readonly requested: string;
}

/** The registry to those who define tables rather than write rows. */
export interface SchemaRegistry extends Registry {
  /**
   * Makes the table or adds the columns that it lacks; sets its policy. Resolves with the schema in force once it is durable.
   * Throws IngestError `already_exists` with `details.diff` (DefinitionDifference[]) when types, time column or tier are
   * others, or the table is frozen; `invalid_argument` for a bad column.
   */
  register(definition: TableDefinition): Promise<TableSchema>;
  /** What `register` would make of it; throws as it would. */
  previewRegistration(definition: TableDefinition): TableSchema;
  /** Takes over what other servers have added to the shared registry. Resolves with the schema in force once it is durable. */
  adopt(shared: TableSchema): Promise<TableSchema>;
}

/** The registry that all servers on the same stores share. */
export interface SharedRegistry {
  /** Every table in it. Rejects when the store does not answer. */
  schemas(): Promise<readonly TableSchema[]>;
}

/** How the tables of one store look, beside what a Sink does with rows. */
export interface StoreTables {
  readonly tier: Tier;
  /** Names and types that the store's table has for a schema. */
  columnsOf(schema: TableSchema): ReadonlyMap<string, string>;
  /** The statements that make the table, or bring it from `before` to `schema`. Nothing is run. */
  explain(schema: TableSchema, before: TableSchema | undefined): readonly string[];
  /** Names and types that are in the store; undefined when there is no such table. Throws SinkError. */
  describe(table: TableName): Promise<ReadonlyMap<string, string> | undefined>;
}
