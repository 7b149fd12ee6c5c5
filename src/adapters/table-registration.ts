/** What a registration of a table asks for, checked: the same for gRPC, Flight and REST. */
import { columnNameProblem } from '../core/column-name';
import { IngestError } from '../core/errors';
import type { TableName } from '../core/ids';
import type { TableDefinition } from '../core/schema-registry';
import type { ColumnSchema, ColumnType, ConflictPolicy, TablePolicy, TableSchema, Tier } from '../core/table-schema';
import { columnTypeOf } from '../core/type-names';
import { isBuiltin } from './friendly-names';
import { newColumns } from './new-columns';
import { shownName } from './row-rejections';

/** A column as a client names it. */
export interface ColumnDefinition {
  readonly name: string;
  /** Any name that core/type-names.ts knows. */
  readonly type: string;
  readonly required: boolean;
  readonly lowCardinality: boolean;
  /** What happens to values that do not fit it. */
  readonly conflict: ConflictPolicy | undefined;
}

export interface DefinitionRequest {
  readonly table: TableName;
  readonly columns: readonly ColumnDefinition[];
  /** Undefined: by the names of the columns. */
  readonly timeColumn: string | undefined;
  readonly tier: Tier | undefined;
  readonly policy: TablePolicy | undefined;
}

/** The argument of `SchemaRegistry.register`. Throws IngestError `invalid_argument` for a column that cannot be. */
export function definitionOf(request: DefinitionRequest, known: TableSchema | undefined): TableDefinition {
  const columns = request.columns.map((column, i): ColumnSchema => {
    const checked = checkColumn(column, `columns[${i}]`);
    return column.conflict === undefined ? checked : { ...checked, conflict: column.conflict };
  });
  const types = new Map(columns.map(({ name, type }) => [name, type]));
  if (types.size < columns.length) throw invalid('a column is there twice', 'columns');
  const present = new Set(known?.columns.map(({ name }) => name));
  const timeColumn = request.timeColumn ?? known?.timeColumn ?? timeColumnOf(request, types);
  const required = known === undefined ? undefined : columns.find(({ name, nullable }) => !nullable && !present.has(name));
  if (required !== undefined) {
    throw invalid('a column that is added to a table cannot be required: its rows do not have it', `columns.${required.name}`);
  }
  if (known !== undefined && isBuiltin(known.table) && columns.some(({ name }) => !present.has(name))) {
    throw new IngestError('already_exists', `the built-in table ${known.table} does not change`);
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

function checkColumn({ name, type, required, lowCardinality }: ColumnDefinition, at: string): ColumnSchema {
  const problem = columnNameProblem(name);
  if (problem !== undefined) throw invalid(problem, `${at}.name`);
  const columnType = columnTypeOf(type);
  if (columnType === undefined) throw invalid(`${JSON.stringify(shownName(type))} is not a known type`, `${at}.type`);
  if (lowCardinality && columnType !== 'string') throw invalid('only strings can be of low cardinality', `${at}.low_cardinality`);
  return { name, type: columnType, nullable: !required, ...(lowCardinality ? { lowCardinality } : {}) };
}

function timeColumnOf({ timeColumn }: DefinitionRequest, types: ReadonlyMap<string, ColumnType>): string {
  if (timeColumn === undefined) return newColumns(types, undefined).timeColumn;
  const type = types.get(timeColumn) ?? 'timestamp';
  if (type !== 'timestamp') throw invalid(`the time column must be a timestamp, not ${type}`, 'time_column');
  const problem = columnNameProblem(timeColumn);
  if (problem !== undefined) throw invalid(problem, 'time_column');
  return timeColumn;
}

const invalid = (message: string, at: string): IngestError => new IngestError('invalid_argument', message, { at });
