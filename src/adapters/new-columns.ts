/** Which columns a request adds to a table: the rules of names and of the time column, the same for JSON and Arrow. */
import { columnNameProblem, nanosOwner } from '../core/column-name';
import { withinRoom } from '../core/column-room';
import { type ColumnSchema, type ColumnType, NANOS_SUFFIX, OVERFLOW_COLUMN, type TableSchema } from '../core/table-schema';
import { TIME_NAMES } from './friendly-names';

export interface InferredColumns {
  /** Columns that the table does not have yet. */
  readonly columns: readonly ColumnSchema[];
  /** The known table's, or the one that a new table should have. */
  readonly timeColumn: string;
}

/**
 * The columns for values of these types, in their order, the time column first. Names that cannot be columns are left out:
 * their rows are refused when they are decoded. Columns beyond the limit are left out too: their values go to OVERFLOW_COLUMN.
 * Every column may be null, except the time column, which the arrival time fills.
 */
export function newColumns(found: ReadonlyMap<string, ColumnType>, known: TableSchema | undefined): InferredColumns {
  if (known !== undefined && (known.policy ?? 'evolve') !== 'evolve') return { columns: [], timeColumn: known.timeColumn };
  const taken = new Map(known?.columns.map(({ name, type }) => [name, type]));
  const types = new Map([...found].filter(([name]) => !taken.has(name) && columnNameProblem(name) === undefined));
  // A timestamp whose companion name is a column already is kept as it is written.
  for (const [name, type] of types) {
    if (type === 'timestamp' && taken.has(name + NANOS_SUFFIX)) types.set(name, 'json');
  }
  const isTimestamp = (name: string): boolean => (taken.get(name) ?? types.get(name)) === 'timestamp';
  for (const name of types.keys()) if (nanosOwner(name, isTimestamp) !== undefined) types.delete(name);
  const timeColumn = known?.timeColumn ?? timeColumnOf(types);
  if (known === undefined && !types.has(timeColumn)) types.set(timeColumn, 'timestamp');
  const columns = [...types].map(([name, type]) => ({ name, type, nullable: name !== timeColumn }));
  return { columns: withOverflow(known?.columns ?? [], withTimeFirst(columns, timeColumn)), timeColumn };
}

/** Columns for which there is no room share one. */
function withOverflow(taken: readonly ColumnSchema[], added: readonly ColumnSchema[]): readonly ColumnSchema[] {
  const columns = withinRoom(taken, added);
  if (columns.length === added.length || taken.some(({ name }) => name === OVERFLOW_COLUMN)) return columns;
  return [...columns, { name: OVERFLOW_COLUMN, type: 'json', nullable: true }];
}

/** The first time-like name that is a timestamp, or else a free name for the arrival time. */
function timeColumnOf(types: ReadonlyMap<string, ColumnType>): string {
  const isFree = (name: string): boolean => !types.has(name) && !types.has(name + NANOS_SUFFIX);
  const present = TIME_NAMES.find((name) => types.get(name) === 'timestamp');
  return present ?? [...TIME_NAMES, 'arrival_time'].find(isFree) ?? 'ingest_time';
}

function withTimeFirst(columns: readonly ColumnSchema[], timeColumn: string): ColumnSchema[] {
  return [...columns.filter(({ name }) => name === timeColumn), ...columns.filter(({ name }) => name !== timeColumn)];
}

/** Why a column that the table does not have cannot be there under this name; undefined when it could. */
export function newNameProblem(name: string, schema: TableSchema): string | undefined {
  const owner = nanosOwner(name, (other) =>
    schema.columns.some((column) => column.name === other && column.type === 'timestamp'),
  );
  return columnNameProblem(name) ?? (owner === undefined ? undefined : `the name is reserved for the nanoseconds of ${owner}`);
}
