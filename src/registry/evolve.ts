import { columnNameProblem, nanosOwner, storeNameOf } from '../core/column-name';
import { haveRoom, isSideColumn } from '../core/column-room';
import { IngestError } from '../core/errors';
import type { TableName } from '../core/ids';
import { LIMITS } from '../core/limits';
import { mergeColumns } from '../core/merge-schema';
import type { DefinitionDifference, TableDefinition } from '../core/schema-registry';
import { CONFLICTS_COLUMN, type ColumnSchema, type TableSchema, type Tier } from '../core/table-schema';
import { holds, isNumeric, widerType } from '../core/type-lattice';

/**
 * The schema after rows have asked for these columns: the known one itself when nothing is new, otherwise the next version. A
 * column that exists gets a wider type where its conflict policy allows it and keeps its type otherwise; a strict or frozen
 * table stays as it is.
 */
export function evolveSchema(
  known: TableSchema | undefined,
  table: TableName,
  columns: readonly ColumnSchema[],
  options: { timeColumn: string; tier?: Tier },
): TableSchema {
  if (known !== undefined && (known.policy ?? 'evolve') !== 'evolve') return known;
  const present = new Map(known?.columns.map((column) => [column.name, column]));
  const added = columns.filter(({ name }) => !present.has(name)).map(withStoreName);
  const widened = columns.flatMap((asked): ColumnSchema[] => {
    const column = asked.name === known?.timeColumn ? undefined : present.get(asked.name);
    const type = column === undefined ? undefined : widerType(column, asked.type);
    return column === undefined || type === undefined ? [] : [{ ...column, type }];
  });
  if (known !== undefined && added.length + widened.length === 0) return known;
  const wider = mergeColumns(known?.columns ?? [], [...widened, ...added]);
  // A widened column may need a companion: without room for it the column stays, and rows that do not fit are refused one by one.
  const all = haveRoom(wider) ? wider : mergeColumns(known?.columns ?? [], added);
  if (all.length === known?.columns.length && !haveRoom(wider)) return known;
  checkColumns(all);
  const timeColumn = known?.timeColumn ?? options.timeColumn;
  checkTimeColumn(all, timeColumn);
  const policy = known?.policy === undefined ? {} : { policy: known.policy };
  return {
    table,
    version: (known?.version ?? 0) + 1,
    columns: all,
    timeColumn,
    tier: known?.tier ?? options.tier ?? 'hot',
    ...policy,
  };
}

function withStoreName(column: ColumnSchema): ColumnSchema {
  if (column.storeName !== undefined) return column;
  const storeName = storeNameOf(column.name);
  return storeName === undefined ? column : { ...column, storeName };
}

/** The schema after a registration; the known one when it says the same. Throws IngestError, see SchemaRegistry.register. */
export function registerSchema(known: TableSchema | undefined, definition: TableDefinition): TableSchema {
  const asked = definition.columns.map(withStoreName);
  if (known === undefined) {
    checkColumns(withConflictsColumn(asked));
    checkTimeColumn(asked, definition.timeColumn);
    const { table, timeColumn, tier = 'hot', policy } = definition;
    const columns = withConflictsColumn(asked);
    return { table, version: 1, columns, timeColumn, tier, ...(policy === undefined ? {} : { policy }) };
  }
  const diff = differencesOf(known, { ...definition, columns: asked });
  if (diff.length > 0) {
    const text = `table ${known.table} is registered differently: ${diff.map(describeDifference).join(', ')}`;
    throw new IngestError('already_exists', text, { details: { diff } });
  }
  const columns = withConflictsColumn(updatedColumns(known, asked));
  checkColumns(columns);
  const policy = definition.policy ?? known.policy;
  const same = columns.length === known.columns.length && columns.every((column, i) => column === known.columns[i]);
  if (same && policy === known.policy) return known;
  return { ...known, version: known.version + 1, columns, ...(policy === undefined ? {} : { policy }) };
}

/** Values that do not fit need a place (ConflictPolicy `side_column`). */
function withConflictsColumn(columns: readonly ColumnSchema[]): readonly ColumnSchema[] {
  const isNeeded = columns.some(({ conflict }) => conflict === 'side_column');
  if (!isNeeded || columns.some(({ name }) => name === CONFLICTS_COLUMN)) return columns;
  return [...columns, { name: CONFLICTS_COLUMN, type: 'json', nullable: true }];
}

function updatedColumns(known: TableSchema, asked: readonly ColumnSchema[]): readonly ColumnSchema[] {
  const wanted = new Map(asked.map((column) => [column.name, column]));
  const names = new Set(known.columns.map(({ name }) => name));
  const kept = known.columns.map((column): ColumnSchema => {
    const conflict = wanted.get(column.name)?.conflict;
    return conflict === undefined || conflict === column.conflict ? column : { ...column, conflict };
  });
  // Rows without a value are there already.
  return [...kept, ...asked.filter(({ name }) => !names.has(name)).map((column) => ({ ...column, nullable: true }))];
}

/** In what a definition contradicts what is in force. A column that was widened since still is what was asked for. */
function differencesOf(known: TableSchema, definition: TableDefinition): DefinitionDifference[] {
  const present = new Map(known.columns.map((column) => [column.name, column]));
  const isFrozen = (definition.policy ?? known.policy) === 'freeze' && known.policy === 'freeze';
  const diff: DefinitionDifference[] = [];
  for (const { name, type } of definition.columns) {
    const column = present.get(name);
    const isSame = column !== undefined && (column.type === type || (isNumeric(column.type) && holds(column.type, type)));
    if (column !== undefined && !isSame) diff.push({ column: name, property: 'type', registered: column.type, requested: type });
    if (column === undefined && isFrozen) {
      diff.push({ column: name, property: 'missing', registered: 'none (the table is frozen)', requested: type });
    }
  }
  const { timeColumn, tier = known.tier } = definition;
  if (timeColumn !== known.timeColumn)
    diff.push({ property: 'time_column', registered: known.timeColumn, requested: timeColumn });
  if (tier !== known.tier) diff.push({ property: 'tier', registered: known.tier, requested: tier });
  return diff;
}

const describeDifference = ({ column, property, registered, requested }: DefinitionDifference): string =>
  `${column ?? property} is ${registered}, not ${requested}`;

function checkTimeColumn(columns: readonly ColumnSchema[], timeColumn: string): void {
  const time = columns.find((column) => column.name === timeColumn);
  if (time?.type !== 'timestamp') throw new IngestError('invalid_argument', `the time column ${timeColumn} must be a timestamp`);
}

function checkColumns(columns: readonly ColumnSchema[]): void {
  if (!haveRoom(columns)) {
    const limits = `${LIMITS.columnsMax} columns, and ${LIMITS.storeColumnsMax} with one more for each timestamp`;
    throw new IngestError('invalid_argument', `a table has at most ${limits}`);
  }
  const types = new Map(columns.map(({ name, type }) => [name, type]));
  if (types.size < columns.length) throw new IngestError('invalid_argument', 'a column is there twice');
  for (const column of columns) {
    const problem = nameProblem(column, types);
    if (problem !== undefined) throw new IngestError('invalid_argument', problem);
  }
}

function nameProblem({ name, type }: ColumnSchema, types: ReadonlyMap<string, ColumnSchema['type']>): string | undefined {
  if (isSideColumn(name) && type === 'json') return undefined;
  const owner = nanosOwner(name, (other) => types.get(other) === 'timestamp');
  return columnNameProblem(name) ?? (owner === undefined ? undefined : `${name} is reserved for the nanoseconds of ${owner}`);
}
