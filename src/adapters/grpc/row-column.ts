/** One column of the form `rows`: the values that rows gave it, by what they are, each with its row. */
import type { Data } from 'apache-arrow';
import {
  BoolBuilder,
  type ColumnBuilder,
  int64Builder,
  NumberBuilder,
  timestampBuilder,
  uint64Builder,
} from '../../columnar/builders';
import { type BytesBuilder, binaryBuilder, utf8Builder } from '../../columnar/bytes-builder';
import { DecimalBuilder, WideInteger } from '../../columnar/decimal';
import type { ForeignField } from '../../columnar/foreign-schema';
import type { ColumnType } from '../../core/table-schema';
import { readDecimal } from '../arrow-values';
import { type CellProblem, timeProblem } from '../cell-problem';
import { isTimeName } from '../friendly-names';
import { parseTimeText } from '../row-time';
import { malformed, type Wire } from '../wire';
import * as fields from './foreign-fields';
import { emptyValue, type ReadValue, type ValueKind } from './value';

/** Kinds that have a plain form in Arrow, whatever the column. */
export type ScalarKind = 'bool' | 'int' | 'uint' | 'double' | 'string' | 'bytes' | 'timestamp' | 'json' | 'decimal';

/** Values of one kind, none of them null. */
export interface Lane {
  readonly kind: Exclude<ValueKind, 'null'>;
  /** The row of each value, ascending. */
  readonly rows: number[];
}

export interface ScalarLane extends Lane {
  readonly kind: ScalarKind;
  readonly builder: ColumnBuilder;
}

/** Lists and maps: how they are read depends on the column's type. */
export interface NestedLane extends Lane {
  readonly kind: 'list' | 'map';
  /** Pairs of start and stop in the request. */
  readonly spans: number[];
}

const BUILDERS: Readonly<Record<ScalarKind, () => ColumnBuilder>> = {
  bool: () => new BoolBuilder(),
  int: int64Builder,
  uint: uint64Builder,
  double: () => NumberBuilder.float64(),
  string: utf8Builder,
  bytes: binaryBuilder,
  timestamp: timestampBuilder,
  json: utf8Builder,
  decimal: () => new DecimalBuilder(),
};

const TYPES: Readonly<Record<ScalarKind, ForeignField['type']>> = {
  bool: fields.BOOL,
  int: fields.INT64,
  uint: fields.UINT64,
  double: fields.DOUBLE,
  string: fields.UTF8,
  bytes: fields.BINARY,
  timestamp: fields.TIMESTAMP,
  json: fields.UTF8,
  decimal: fields.DECIMAL,
};

export class RowColumn {
  /** In order of first appearance. */
  readonly lanes: (ScalarLane | NestedLane)[] = [];
  /** What the open row gives; it counts while `cellRow` is the open row. */
  readonly cell: ReadValue = emptyValue();
  cellRow = -1;
  /** Is the cell given by name. */
  named = false;
  private readonly decimal = new WideInteger();
  private negative = false;
  private large = false;

  constructor(readonly name: string) {}

  /** Appends the cell; gives the problem of one that is not what it says, which is not appended. */
  commit(wire: Wire): CellProblem | undefined {
    const { cell } = this;
    const { kind, start, stop } = cell;
    if (kind === 'null') return undefined;
    if (kind === 'timestamp' && cell.badTime) return timeProblem('out_of_range');
    const problem = kind === 'decimal' ? readDecimal(wire.bytes, start, stop, this.decimal) : undefined;
    if (problem !== undefined) return problem;
    const lane = this.lanes.find((other) => other.kind === kind) ?? this.addLane(kind);
    lane.rows.push(this.cellRow);
    if ('spans' in lane) lane.spans.push(cell.start, cell.stop);
    else this.append(wire, lane.builder);
    return undefined;
  }

  private addLane(kind: Exclude<ValueKind, 'null'>): ScalarLane | NestedLane {
    const lane =
      kind === 'list' || kind === 'map' ? { kind, rows: [], spans: [] } : { kind, rows: [], builder: BUILDERS[kind]() };
    this.lanes.push(lane);
    return lane;
  }

  private append(wire: Wire, builder: ColumnBuilder): void {
    const { kind, low, high, double, start, stop } = this.cell;
    switch (kind) {
      case 'bool':
        (builder as BoolBuilder).append(low === 1);
        break;
      case 'double':
        (builder as NumberBuilder<Float64Array>).append(double);
        break;
      case 'string':
      case 'bytes':
      case 'json':
        (builder as BytesBuilder).append(wire.bytes, start, stop);
        break;
      case 'decimal':
        (builder as DecimalBuilder).append(this.decimal);
        break;
      default:
        if (kind === 'int' && high < 0) this.negative = true;
        if (kind === 'uint' && high < 0) this.large = true;
        (builder as ReturnType<typeof int64Builder>).append(low, high);
    }
  }

  /** Throws IngestError `invalid_argument` when a text is not UTF-8 (PB5). */
  checkTexts(): void {
    for (const lane of this.lanes) {
      if ((lane.kind === 'string' || lane.kind === 'json') && 'builder' in lane && !(lane.builder as BytesBuilder).isUtf8()) {
        throw malformed('a string is not valid UTF-8', 0);
      }
    }
  }

  /**
   * The type of a new column for these values: that of their kind; numbers of several kinds meet in the type that holds them all,
   * other scalars in string; lists and maps are JSON. A name of a time makes a timestamp of what can be read as one.
   */
  inferredType(): ColumnType | undefined {
    const kinds = new Set(this.lanes.map(({ kind }) => kind));
    const [first] = kinds;
    if (first === undefined) return undefined;
    if (isTimeName(this.name) && this.looksLikeTime(kinds)) return 'timestamp';
    if (kinds.has('list') || kinds.has('map') || kinds.has('json')) return 'json';
    if (kinds.size === 1) return this.typeOf(first);
    // A double has the digits it was written with.
    if (kinds.has('decimal') && isWithin(kinds, DECIMALS)) return 'decimal';
    if (isWithin(kinds, NUMBERS))
      return kinds.has('double') ? 'float64' : this.large ? (this.negative ? 'decimal' : 'uint64') : 'int64';
    return isWithin(kinds, TEXTS) ? 'string' : this.typeOf(first);
  }

  private typeOf(kind: Lane['kind']): ColumnType {
    switch (kind) {
      case 'int':
        return 'int64';
      case 'uint':
        return this.large ? 'uint64' : 'int64';
      case 'double':
        return 'float64';
      case 'bytes':
        return 'binary';
      case 'list':
      case 'map':
        return 'json';
      case 'bool':
      case 'string':
      case 'timestamp':
      case 'json':
      case 'decimal':
      default:
        return kind;
    }
  }

  private looksLikeTime(kinds: ReadonlySet<Lane['kind']>): boolean {
    if (!isWithin(kinds, TIMES)) return false;
    const texts = this.lanes.find(({ kind }) => kind === 'string');
    if (texts === undefined || !('builder' in texts)) return true;
    const text = (texts.builder as BytesBuilder).valueAt(0);
    return parseTimeText(text, 0, text.length, { low: 0, high: 0 }) === undefined;
  }
}

const NUMBERS = new Set<Lane['kind']>(['int', 'uint', 'double']);
const DECIMALS = new Set<Lane['kind']>([...NUMBERS, 'decimal']);
const TEXTS = new Set<Lane['kind']>([...DECIMALS, 'bool', 'string']);
const TIMES = new Set<Lane['kind']>(['int', 'uint', 'double', 'string', 'timestamp']);

const isWithin = (kinds: ReadonlySet<Lane['kind']>, all: ReadonlySet<Lane['kind']>): boolean =>
  [...kinds].every((kind) => all.has(kind));

/** Lanes as columns of a foreign stream. A request may be decoded twice, but a builder is used once. */
export class LaneColumns {
  private readonly finished = new Map<ScalarLane, Data>();

  of(name: string, lane: ScalarLane): { field: ForeignField; data: Data } {
    const data = this.finished.get(lane) ?? lane.builder.finish();
    this.finished.set(lane, data);
    return { field: fields.fieldOf(name, TYPES[lane.kind]), data };
  }
}
