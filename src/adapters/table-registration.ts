/** What a registration of a table asks for, checked: the same for gRPC and REST. */
import { columnNameProblem, nanosOwner } from '../core/column-name';
import { IngestError } from '../core/errors';
import type { TableName } from '../core/ids';
import type { TableDefinition } from '../core/schema-registry';
import type { ColumnSchema, ColumnType, ConflictPolicy, TablePolicy, TableSchema, Tier } from '../core/table-schema';
import { columnTypeOf } from '../core/type-names';
import { isBuiltin } from './friendly-names';
import { newColumns } from './new-columns';
import { shownName } from './row-rejections';

/** A column as a client names it. */
export interface ColumnRequest {
  readonly name: string;
  /** Any name that core/type-names.ts knows. */
  readonly type: string;
  readonly required: boolean;
  readonly lowCardinality: boolean;
}

export interface TableRequest {
  readonly table: TableName;
  readonly columns: readonly ColumnRequest[];
  /** Undefined: by the names of the columns. */
  readonly timeColumn: string | undefined;
  readonly tier: Tier | undefined;
}

/** The arguments of `Registry.evolve`. */
export interface Registration {
  readonly columns: readonly ColumnSchema[];
  readonly options: { timeColumn: string; tier?: Tier };
}

/**
 * Throws IngestError `invalid_argument` for a column that cannot be, and `already_exists` when the table has it otherwise.
 * Columns that the table has already, with the same type, are as good as not asked for.
 */
export function registrationOf(request: TableRequest, known: TableSchema | undefined): Registration {
  const columns = request.columns.map((column, i) => checkColumn(column, `columns[${i}]`));
  if (new Set(columns.map(({ name }) => name)).size < columns.length) throw invalid('a column is there twice', 'columns');
  if (known !== undefined) return { columns: addedTo(known, columns, request), options: { timeColumn: known.timeColumn } };
  const types = new Map(columns.map(({ name, type }) => [name, type]));
  for (const [i, { name }] of columns.entries()) {
    const owner = nanosOwner(name, (other) => types.get(other) === 'timestamp');
    if (owner !== undefined)
      throw invalid(`the name is reserved for the nanoseconds of ${shownName(owner)}`, `columns[${i}].name`);
  }
  const timeColumn = timeColumnOf(request, types);
  const all: ColumnSchema[] = columns.map((column) => (column.name === timeColumn ? { ...column, nullable: false } : column));
  if (!types.has(timeColumn)) all.unshift({ name: timeColumn, type: 'timestamp', nullable: false });
  return { columns: all, options: request.tier === undefined ? { timeColumn } : { timeColumn, tier: request.tier } };
}

/** A column with what happens to values that do not fit it. */
export interface ColumnDefinition extends ColumnRequest {
  readonly conflict: ConflictPolicy | undefined;
}

export interface DefinitionRequest extends TableRequest {
  readonly columns: readonly ColumnDefinition[];
  readonly policy: TablePolicy | undefined;
}

/** The argument of `SchemaRegistry.register`. Throws IngestError `invalid_argument` for a column that cannot be. */
export function definitionOf(request: DefinitionRequest, known: TableSchema | undefined): TableDefinition {
  const columns = request.columns.map((column, i): ColumnSchema => {
    const checked = checkColumn(column, `columns[${i}]`);
    return column.conflict === undefined ? checked : { ...checked, conflict: column.conflict };
  });
  const types = new Map(columns.map(({ name, type }) => [name, type]));
  const present = new Set(known?.columns.map(({ name }) => name));
  const timeColumn = request.timeColumn ?? known?.timeColumn ?? timeColumnOf(request, types);
  const required = known === undefined ? undefined : columns.find(({ name, nullable }) => !nullable && !present.has(name));
  if (required !== undefined) {
    throw invalid('a column that is added to a table cannot be required: its rows do not have it', `columns.${required.name}`);
  }
  const all = columns.map((column) => (column.name === timeColumn ? { ...column, nullable: false } : column));
  if (!types.has(timeColumn) && !present.has(timeColumn)) {
    all.unshift({ name: timeColumn, type: 'timestamp', nullable: false });
  }
  const { table, tier, policy } = request;
  return {
    table,
    columns: all,
    timeColumn,
    ...(tier === undefined ? {} : { tier }),
    ...(policy === undefined ? {} : { policy }),
  };
}

function checkColumn({ name, type, required, lowCardinality }: ColumnRequest, at: string): ColumnSchema {
  const problem = columnNameProblem(name);
  if (problem !== undefined) throw invalid(problem, `${at}.name`);
  const columnType = columnTypeOf(type);
  if (columnType === undefined) throw invalid(`${JSON.stringify(shownName(type))} is not a known type`, `${at}.type`);
  if (lowCardinality && columnType !== 'string') throw invalid('only strings can be of low cardinality', `${at}.low_cardinality`);
  return { name, type: columnType, nullable: !required, ...(lowCardinality ? { lowCardinality } : {}) };
}

function timeColumnOf({ timeColumn }: TableRequest, types: ReadonlyMap<string, ColumnType>): string {
  if (timeColumn === undefined) return newColumns(types, undefined).timeColumn;
  const type = types.get(timeColumn) ?? 'timestamp';
  if (type !== 'timestamp') throw invalid(`the time column must be a timestamp, not ${type}`, 'time_column');
  const problem = columnNameProblem(timeColumn);
  if (problem !== undefined) throw invalid(problem, 'time_column');
  return timeColumn;
}

function addedTo(known: TableSchema, columns: readonly ColumnSchema[], { timeColumn, tier }: TableRequest): ColumnSchema[] {
  const present = new Map(known.columns.map((column) => [column.name, column]));
  for (const [i, { name, type }] of columns.entries()) {
    const existing = present.get(name);
    if (existing === undefined || existing.type === type) continue;
    throw conflict(`the table has the column with type ${existing.type}`, `columns[${i}].type`);
  }
  if (timeColumn !== undefined && timeColumn !== known.timeColumn) {
    throw conflict(`the table has the time column ${known.timeColumn}`, 'time_column');
  }
  if (tier !== undefined && tier !== known.tier) throw conflict(`the home of the table is the ${known.tier} store`, 'tier');
  const added = columns.filter(({ name }) => !present.has(name));
  if (added.length > 0 && isBuiltin(known.table)) throw invalid('a built-in table cannot get columns', 'columns');
  const required = added.find(({ nullable }) => !nullable);
  if (required !== undefined) {
    throw invalid('a column that is added to a table cannot be required: its rows do not have it', `columns.${required.name}`);
  }
  return added;
}

const invalid = (message: string, at: string): IngestError => new IngestError('invalid_argument', message, { at });
const conflict = (message: string, at: string): IngestError => new IngestError('already_exists', message, { at });
