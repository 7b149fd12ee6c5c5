/**
 * Values of Arrow columns that do not fit their column, or have none: what becomes of them is the policy of the column and the
 * table.
 */
import type { Data } from 'apache-arrow';
import { utf8Builder } from '../columnar/bytes-builder';
import { corrupt } from '../columnar/foreign-error';
import { positionOf, viewColumn } from '../columnar/read';
import { CONFLICTS_COLUMN, type ColumnSchema, type ColumnType, OVERFLOW_COLUMN, type TableSchema } from '../core/table-schema';
import { widestType } from '../core/type-lattice';
import { convertColumn, type ForeignColumn } from './arrow-convert';
import { jsonRows } from './arrow-json';
import { columnTypeOf, isNested } from './arrow-types';
import type { CellProblem } from './cell-problem';
import { isBuiltin } from './friendly-names';
import { newNameProblem } from './new-columns';

type Refuse = (row: number, column: string, problem: CellProblem) => void;

/** A value that does not fit. */
interface Misfit {
  /** As JSON text; undefined when it has none. */
  readonly text: () => string | undefined;
  /** What it is. */
  readonly type: () => ColumnType | undefined;
}

export class ConflictingValues {
  /** Types that would hold values for which rows were refused, by column. */
  readonly wider = new Map<string, ColumnType>();
  private readonly conflicts: SideColumn | undefined;
  private readonly overflow: SideColumn | undefined;
  private readonly canChange: boolean;

  constructor(
    private readonly schema: TableSchema,
    private readonly refuse: Refuse,
  ) {
    const has = (side: string): boolean => schema.columns.some(({ name }) => name === side);
    this.canChange = (schema.policy ?? 'evolve') === 'evolve' && !isBuiltin(schema.table);
    this.conflicts = has(CONFLICTS_COLUMN) ? new SideColumn() : undefined;
    this.overflow = this.canChange && has(OVERFLOW_COLUMN) ? new SideColumn() : undefined;
  }

  /** The values as a column of the table; what does not fit is null there, and dealt with. */
  convert(column: ColumnSchema, foreign: ForeignColumn): Data {
    let texts: RowTexts | undefined;
    // A text that coerces takes nested values as JSON, which is text.
    const isText = column.type === 'string' && column.conflict === 'coerce' && isNested(foreign.field);
    return convertColumn(foreign.data, foreign.field, isText ? 'json' : column.type, (row, problem) => {
      const text = (): string | undefined => (texts ??= jsonTexts(foreign))(row);
      this.misfit(row, column, problem, { text, type: () => columnTypeOf(foreign.field) });
    });
  }

  /**
   * A value that does not fit goes to the side column, or its row is refused and the type that would hold it noted. `givenAs`: the
   * name under which the client gave it.
   */
  misfit(row: number, column: ColumnSchema, problem: CellProblem, value: Misfit, givenAs = column.name): void {
    const { name } = column;
    const text = column.conflict === 'side_column' && this.conflicts !== undefined ? value.text() : undefined;
    if (text !== undefined) {
      this.conflicts?.add(row, name, text);
      return;
    }
    this.refuse(row, givenAs, problem);
    if (!this.canChange || name === this.schema.timeColumn) return;
    const fits = problem.fits ?? value.type();
    const wider = fits === undefined ? undefined : widestType(column, this.wider.get(name), fits);
    if (wider !== undefined) this.wider.set(name, wider);
  }

  /**
   * A column that the table does not have: into the overflow of a full table, or its rows are refused. Throws IngestError
   * `invalid_argument` for a name that no column can have.
   */
  placeUnknown(foreign: ForeignColumn): void {
    const { field, data } = foreign;
    const named = newNameProblem(field.name, this.schema);
    if (named !== undefined) throw corrupt(named);
    const view = viewColumn(data);
    let texts: RowTexts | undefined;
    for (let row = 0; row < data.length; row++) {
      if (positionOf(view, row) >= 0) this.unknown(row, field.name, () => (texts ??= jsonTexts(foreign))(row));
    }
  }

  /** One value of a column that the table does not have. */
  unknown(row: number, name: string, jsonText: () => string | undefined): void {
    const text = this.overflow === undefined ? undefined : jsonText();
    if (text !== undefined) this.overflow?.add(row, name, text);
    else this.refuse(row, name, { code: 'unknown_column', message: `table ${this.schema.table} has no such column` });
  }

  /** Adds the side columns that have a value. */
  addTo(columns: Map<string, Data>, rows: number): void {
    const conflicts = this.conflicts?.finish(rows);
    const overflow = this.overflow?.finish(rows);
    if (conflicts !== undefined) columns.set(CONFLICTS_COLUMN, conflicts);
    if (overflow !== undefined) columns.set(OVERFLOW_COLUMN, overflow);
  }
}

/** One JSON object a row, made when the first member is put there. */
class SideColumn {
  private readonly rows = new Map<number, string[]>();

  /** `json`: the value as JSON text. */
  add(row: number, name: string, json: string): void {
    const members = this.rows.get(row) ?? [];
    members.push(`${JSON.stringify(name)}:${json}`);
    this.rows.set(row, members);
  }

  /** Undefined when no row has a member. */
  finish(rows: number): Data | undefined {
    if (this.rows.size === 0) return undefined;
    const builder = utf8Builder(rows);
    for (let row = 0; row < rows; row++) {
      const members = this.rows.get(row);
      if (members === undefined) builder.appendNull();
      else builder.appendString(`{${members.join(',')}}`);
    }
    return builder.finish();
  }
}

/** By row; undefined for null. */
type RowTexts = (row: number) => string | undefined;

/** Values of a column as JSON text. */
export function jsonTexts({ data, field }: ForeignColumn): RowTexts {
  const text = jsonRows(field, data);
  const view = viewColumn(data);
  return (row) => (positionOf(view, row) < 0 ? undefined : text(row));
}
